"""What docs/functions.md says is so."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from adapter.config.load import load
from scaler.rules import TWO_SAMPLES, Function, Signal
from tests.naive import Sample
from tests.prometheus.pages import BEGIN_MS
from tests.range_functions import feed, run

TEXT = (Path(__file__).parent.parent / "docs" / "functions.md").read_text()
SERIES = (("a", "b"),)


def rows() -> dict[str, list[str]]:
    """Return the cells of the table of functions by name."""
    found = re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", TEXT, re.MULTILINE)
    return {name: rest.split(" | ") for name, rest in found if name in set(Function)}


def test_every_function_is_there() -> None:
    """The table has a row for each function, with how many samples it needs."""
    table = rows()
    assert table.keys() == set(Function)
    for function in Function:
        assert table[function][1].startswith("2" if function in TWO_SAMPLES else "1")


@pytest.mark.parametrize("function", [f for f in Function if f is not Function.HISTOGRAM_QUANTILE])
def test_the_examples_are_what_we_compute(function: Function) -> None:
    """Each example's result is that of the samples above the table."""
    (samples,) = re.findall(r"^\| (\d+(?: \| \d+){4}) \|$", TEXT, re.MULTILINE)
    times = [BEGIN_MS + 15_000 * i for i in range(5)]
    reads: list[Sample] = list(zip(times, map(float, samples.split(" | ")), strict=True))
    what, _, result = rows()[function]
    quantile, ahead_s = re.search("quantile: ([0-9.]+)", what), re.search("ahead: ([0-9]+)s", what)
    signal = Signal(function, 60_000 if function is not Function.VALUE else None)
    if quantile is not None:
        signal = replace(signal, quantile=float(quantile[1]))
    if ahead_s is not None:
        signal = replace(signal, ahead_ms=1000 * int(ahead_s[1]))
    said = run(feed(times, {SERIES: reads}, signal), times[-1], signal)
    assert said == {SERIES: pytest.approx(float(result), abs=5e-5)}


def test_the_examples_are_valid(tmp_path: Path) -> None:
    """Every whole object of the page loads without an error or a warning."""
    examples = [e for e in re.findall("^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE) if "kind:" in e]
    (tmp_path / "a.yaml").write_text("---\n".join(examples))
    result = load([tmp_path])
    assert (result.errors, result.warnings) == ((), ())
    assert len(result.metrics) == len(examples) > 0
