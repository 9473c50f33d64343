"""What was measured is kept where SPILLWAY_FAULT_RESULTS says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.course import Measured
from tests.faults.matrix import Fault
from tests.faults.table import key, load

Record = Callable[[str, Fault, Measured], None]


@pytest.fixture(scope="session")
def record() -> Iterator[Record]:
    """Return a function that keeps what a cell has brought; at the end it is written, if it is to be kept."""
    kept: dict[str, object] = {}

    def keep(thing: str, fault: Fault, measured: Measured) -> None:
        kept[key(thing, fault)] = measured.as_json()

    yield keep
    if path := os.environ.get("SPILLWAY_FAULT_RESULTS"):
        text = json.dumps({**load(Path(path)), **kept}, indent=1, sort_keys=True)
        Path(path).write_text(f"{text}\n")
