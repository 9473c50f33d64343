"""What one input may cost: a second of processor time, and some memory."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

CPU_S = 1.0
MEMORY_BYTES = 512 << 20
"""Of address space, beyond what is mapped: threads reserve some that they never use."""


class HangError(BaseException):
    """An input took too long. No Exception: nothing that catches those may hide it."""


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise HangError(f"more than {CPU_S:g} s of processor time for one input")


@contextmanager
def bounded(memory_bytes: int = MEMORY_BYTES) -> Iterator[None]:
    """Raise HangError or MemoryError in the block if an input costs too much. In the main thread only.

    The time is what this process spends, so that a busy machine is no failure; an input that waits for ever is caught
    by the deadlines of the target that waits.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if _LINUX else 0
    before = signal.signal(signal.SIGVTALRM, _hang)
    if mapped:
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if mapped:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, before)


_LINUX = Path("/proc/self/statm").exists()
