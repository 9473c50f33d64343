"""The threat model makes no claim that nothing shows."""

from __future__ import annotations

import ast
import re

import pytest

from tests.kubectl import ROOT

DOCUMENT = (ROOT / "docs/threats.md").read_text()


def rows() -> list[list[str]]:
    """Return the cells of every row that makes a claim."""
    lines = [line for line in DOCUMENT.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [
        cells
        for line in lines
        if (cells := [cell.strip() for cell in line.strip("|").split(" | ")])[0][:9] != "what they"
    ]


def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:60])
def test_every_claim_has_a_test(row: list[str]) -> None:
    """Each row of the threat model has three cells, and the tests it names exist."""
    what, stops, shown = row
    assert what, stops
    named = re.findall(r"`(test_\w+\.py|[\w/]+\.py)::(test_\w+)`", shown)
    assert named
    assert ", ".join(f"`{path}::{test}`" for path, test in named) == shown
    missing = [f"{path}::{test}" for path, test in named if test not in functions_of(path)]
    assert missing == []


def test_there_are_claims() -> None:
    """The document is read as it is written: each of its five tables has rows."""
    assert len(re.findall(r"(?m)^\| what they could try", DOCUMENT)) == 5
    assert len(rows()) > 25
