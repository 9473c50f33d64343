"""What docs/unknown.md says is so: its decision tables are made by the HPA's algorithm, and so are its sentences."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from adapter.config.load import load
from scaler.model import Then
from tests.unknown_table import CASES, POLICIES, Case, follow, tables

DOCUMENT = Path(__file__).parent.parent / "docs" / "unknown.md"
BEGIN, END = (
    "<!-- Written by tests/test_unknown_doc.py: begin -->\n",
    "<!-- Written by tests/test_unknown_doc.py: end -->\n",
)
ALL = [case for cases in CASES.values() for case in cases]


def test_the_tables_are_what_the_algorithm_does() -> None:
    """Every cell is what an HPA does with what a reader gets; with WRITE_GOLDEN in the environment they are written."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    made = f"{before}{BEGIN}\n{tables()}\n\n{END}{after}"
    if "WRITE_GOLDEN" in os.environ:
        DOCUMENT.write_text(made)
    assert DOCUMENT.read_text() == made


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.words)
def test_with_error_nothing_goes_down(case: Case) -> None:
    """Whatever was last read and whatever else the HPA reads, an unknown metric takes no replica away."""
    assert [n for read, n in follow(case, POLICIES["error"]) if read == "503" and n < case.replicas] == []


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.words)
def test_only_a_floor_wakes_what_sleeps(case: Case) -> None:
    """At zero replicas an error and a held zero leave it asleep; a floor wakes it."""
    if case.replicas == 0:
        ends = {name: list(follow(case, policy))[-1][1] for name, policy in POLICIES.items()}
        assert (ends["error"], ends["hold"], ends["floor"] > 0) == (0, 0, True)


@pytest.mark.parametrize("case", [case for case in ALL if case.last is None], ids=lambda case: case.words)
def test_after_a_restart_hold_is_error(case: Case) -> None:
    """A process that has never known the metric has nothing to hold."""
    assert list(follow(case, POLICIES["hold"])) == list(follow(case, POLICIES["error"]))


def test_the_examples_are_valid(tmp_path: Path) -> None:
    """Every whole object of the page loads without an error or a warning, and each policy is in one."""
    examples = [
        e for e in re.findall("^```yaml\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE) if "kind:" in e
    ]
    (tmp_path / "a.yaml").write_text("---\n".join(examples))
    result = load([tmp_path])
    assert (result.errors, result.warnings) == ((), ())
    assert {metric.rule.when_unknown.then for metric in result.metrics} == {Then.HOLD, Then.FLOOR}
