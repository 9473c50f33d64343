"""When a process waited for a processor: what it did late then is the machine's doing."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

_EVERY_S = 0.5
_LONG = 0.5
"""Which part of such a time without a processor makes it one of those that count."""
_KEPT = 2_000


class Starved:
    """Looks at some processes twice a second while its block runs, and remembers when one of them was kept waiting."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = tuple(pids)
        self._moments: deque[float] = deque(maxlen=_KEPT)
        self._lock = Lock()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="starved", daemon=True)

    def during(self, from_s: float, to_s: float) -> bool:
        """Tell whether one of them was kept waiting at any moment of a time."""
        with self._lock:
            return any(from_s <= moment_s <= to_s for moment_s in self._moments)

    def _run(self) -> None:
        at_s, before = time.time(), _waited_s(self._pids)
        while not self._stop.wait(_EVERY_S):
            now_s, after = time.time(), _waited_s(self._pids)
            waited_s = max((after[thread] - before.get(thread, 0.0) for thread in after), default=0.0)
            # A watcher that itself comes late has been kept waiting, too.
            if waited_s > _LONG * _EVERY_S or now_s - at_s > 2 * _EVERY_S:
                with self._lock:
                    self._moments.append(now_s)
            at_s, before = now_s, after

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def _waited_s(pids: Sequence[int]) -> dict[str, float]:
    """Return how long each thread of some processes has been ready to run without running, in its life.

    Source: /proc/PID/task/TID/schedstat, the second field, nanoseconds.
    """
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path("/proc", str(pid), "task").iterdir():
                with contextlib.suppress(OSError):
                    found[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
    return found
