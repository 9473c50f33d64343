"""What is true, and when it was: values that never stop growing, so that each says when it was read."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

TICK_S = 0.05


def now_ms() -> float:
    """Return wall-clock time."""
    return time.time() * 1000


class Span(NamedTuple):
    """When a value was true, as wide as we cannot tell."""

    from_ms: float
    until_ms: float


class Truth:
    """A value that grows by one a tick, and the span in which it had each of its values.

    `first` is its first value. Whoever changes the real thing says `begin` before and `done` after.
    """

    def __init__(self, first: int) -> None:
        self.value = first
        self._first = first
        self._began_ms = [0.0]
        self._done_ms = [now_ms()]

    def begin(self) -> int:
        """The next value is about to become true. Returns it."""
        self._began_ms.append(now_ms())
        return self.value + 1

    def done(self) -> None:
        """It is true now."""
        self._done_ms.append(now_ms())
        self.value += 1

    def span(self, value: float) -> Span | None:
        """Return when a value was true; None: never."""
        at = value - self._first
        if at != int(at) or not 0 <= at < len(self._began_ms):
            return None
        at = int(at)
        return Span(self._began_ms[at], self._done_ms[at + 1] if at + 1 < len(self._done_ms) else now_ms())

    def at(self, moment_ms: float) -> int:
        """Return the value that was begun last at a moment."""
        return self._first + bisect.bisect_right(self._began_ms, moment_ms) - 1


class Ticker:
    """Calls a function every tick, in a thread, until the end of the block."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            self._tick()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._stop.set()
        self._thread.join(20)
