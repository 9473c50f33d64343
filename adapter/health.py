"""What livez and readyz mean, and the watch on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from adapter.pipeline import Pipeline

_OLD_S = 30.0
_START_S = 60.0
_LAG_EVERY_S = 0.1

Check = tuple[str, str | None]
"""The name of a check, and what is wrong; None: nothing."""


class Health:
    """livez: the event loop and the pipeline live. readyz: started, and not stopping.

    Neither looks at a source once the start is over: a broken Redis must not take the adapter out of service, for then
    every metric would be gone with it.
    """

    def __init__(self, pipeline: Pipeline, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pipeline = pipeline
        self.more: Callable[[], Iterator[Check]] = lambda: iter(())
        """Further checks of readiness: what the cluster has to give."""
        self._monotonic = monotonic
        self._began = monotonic()
        self._started = False
        self.beat = monotonic()
        """When the event loop last ran a timer of ours."""
        self.compiled = False
        self.configured = False
        self.stopping = False

    def livez(self) -> list[Check]:
        """Return the checks of liveness."""
        now = self._monotonic()
        return [
            ("event-loop", _young(now - self.beat)),
            ("pipeline", _young(now - self._pipeline.heartbeat)),
        ]

    def readyz(self) -> list[Check]:
        """Return the checks of readiness."""
        return [
            ("kernels", None if self.compiled else "still compiling"),
            ("configuration", None if self.configured else "not loaded yet"),
            ("first-reads", None if self._first_reads_ended() else "some metrics have not been read yet"),
            *self.more(),
            ("shutdown", "stopping" if self.stopping else None),
        ]

    def _first_reads_ended(self) -> bool:
        if not self._started:
            late = self._monotonic() - self._began > _START_S
            self._started = self.configured and (late or not any(True for _ in self._unread()))
        return self._started

    def _unread(self) -> Iterator[object]:
        results = self._pipeline.snapshot.results
        for ref in self._pipeline.rules:
            result = results.get(ref)
            if result is None or not result.all_read:
                yield ref


def _young(age_s: float) -> str | None:
    return None if age_s < _OLD_S else f"no sign of life for {_OLD_S:.0f}s"


async def watch_loop(health: Health, lagged: Callable[[float], None]) -> None:
    """Measure how late timers run, for ever."""
    while True:
        due = time.perf_counter() + _LAG_EVERY_S  # the loop's own clock stands still while it is held
        await asyncio.sleep(_LAG_EVERY_S)
        lagged(max(0.0, time.perf_counter() - due))
        health.beat = time.monotonic()
