"""`python -m tests.faults.set_clock OFFSETS adapter …`: a module run by a clock that is set wrong from outside.

OFFSETS is a file with the milliseconds that are added to what the operating system says, looked at each time. It takes
the place of the system's clock for one process, on every machine, without the right to set the real one.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

_real_ns = time.time_ns


def install(offsets: Path) -> None:
    """Let this process's wall clock be off by what the file says."""

    def time_ns() -> int:
        return _real_ns() + int(offsets.read_text()) * 1_000_000

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


if __name__ == "__main__":
    _, file, module, *arguments = sys.argv
    install(Path(file))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
