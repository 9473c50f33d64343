"""What was measured is kept where SPILLWAY_FAULT_RESULTS says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.course import Measured
from tests.faults.matrix import Fault
from tests.faults.table import key, load

Record = Callable[[str, Fault, Measured], None]


@pytest.fixture(scope="session")
def record() -> Record:
    """Return a function that keeps what a cell has brought, if it is to be kept."""

    def keep(thing: str, fault: Fault, measured: Measured) -> None:
        if path := os.environ.get("SPILLWAY_FAULT_RESULTS"):
            found = {**load(Path(path)), key(thing, fault): measured.as_json()}
            Path(path).write_text(f"{json.dumps(found, indent=1, sort_keys=True)}\n")

    return keep
