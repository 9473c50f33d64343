"""The row of the clock: a replica whose clock is set wrong, beside one whose clock is right."""

from __future__ import annotations

import signal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.adapter_process import Adapter
from tests.faults.files import Slowly, flapping, replace
from tests.faults.matrix import Fault
from tests.faults.origins import RedisOrigin, metric
from tests.faults.stage import MAX_AGE_S
from tests.faults.truth import TICK_S, Span, now_ms
from tests.faults.watcher import Seen, Watcher

_HOUR_MS = 3_600_000
_YEAR_MS = 365 * 24 * _HOUR_MS
_JUMP_MS = 10_000
_SLEW_MS = 25
"""A tick: half a second a second."""


class OwnClock(Adapter):
    """An adapter whose clock is off by what a file says."""

    def __init__(self, directory: Path, config: Path, offsets: Path) -> None:
        super().__init__(directory, config)
        at = self._command.index("adapter")
        self._command[at : at + 1] = ["tests.faults.set_clock", str(offsets), "adapter"]


class BrokenClock:
    """A replica with a metric of a Redis. Its answers are judged by the right clock, its timestamps by its own."""

    def __init__(self, fault: Fault, directory: Path) -> None:
        self.name = f"clock-{fault.slug}"
        self._fault = fault
        self._directory = directory / self.name
        self._origin = RedisOrigin(self._directory / "redis", 700)
        self._offsets = self._directory / "offset"
        self._slowly: Slowly | None = None
        self._set: list[tuple[float, int]] = []
        self._slept = (0.0, 0.0)

    def metrics(self, max_age_s: int) -> list[dict[str, Any]]:
        """Return what both replicas are told."""
        return [metric(self.name, self._origin.source("127.0.0.1", self._origin.port, None), max_age_s)]

    def was(self, seen: Seen) -> Span | None:
        """Return when what was seen was true."""
        return self._origin.truth.span(seen.value)

    def is_back(self, seen: Seen, mended_ms: float) -> bool:
        """Tell whether a value was read since the fault has ended."""
        span = self.was(seen)
        return span is not None and span.until_ms > mended_ms

    @property
    def answers(self) -> list[Seen]:
        """What the replica answered, its timestamps by the right clock."""
        # Who asked a process that slept is answered when it wakes, and must not be told what was true before.
        return [
            each._replace(stamp_ms=self._by_right_clock(each), asked_ms=self._heard_ms(each.asked_ms))
            for each in [*self._watcher.seen[self.name]]
        ]

    def _heard_ms(self, asked_ms: float) -> float:
        slept_ms, woken_ms = self._slept
        return woken_ms if slept_ms < asked_ms < woken_ms else asked_ms

    def _by_right_clock(self, seen: Seen) -> float:
        """Return a timestamp by the right clock: by the newest offset that makes it a time at which the value was."""
        span = self.was(seen)
        for _, offset in reversed(self._set):
            stamp_ms = seen.stamp_ms - offset
            if span is not None and span.from_ms - 2000 <= stamp_ms <= span.until_ms:
                return stamp_ms
        return seen.stamp_ms

    def break_it(self) -> None:
        """Begin."""
        match self._fault:
            case Fault.HANGS:
                self._adapter.signal(signal.SIGSTOP)
                self._slept = (now_ms(), 0.0)
                self._slowly = Slowly(*[lambda: None] * round(2 * MAX_AGE_S / TICK_S), self._wake)
            case Fault.DRIPS:
                self._slowly = Slowly(*([self._slew] * 1000))
            case Fault.CUTS:
                self._be(-_HOUR_MS)
            case Fault.GARBAGE:
                self._be(-int(now_ms()) + _YEAR_MS)
            case Fault.TOO_MUCH:
                self._be(_HOUR_MS)
            case Fault.EXPIRED:
                self._be(2 * _YEAR_MS)
            case _:
                self._slowly = flapping(lambda: self._be(0), lambda: self._be(_JUMP_MS))

    def mend(self) -> None:
        """End it."""
        if self._slowly is not None:
            self._slowly.stop()
        if self._fault is Fault.HANGS:
            self._wake()
        self._be(0)

    def _be(self, offset_ms: int) -> None:
        replace(self._offsets, str(offset_ms).encode())
        self._set.append((now_ms(), offset_ms))

    def _slew(self) -> None:
        self._be(self._set[-1][1] - _SLEW_MS)

    def _wake(self) -> None:
        self._slept = (self._slept[0], self._slept[1] or now_ms())
        self._adapter.signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self._origin.__enter__()
        self._be(0)
        config = self._directory / "metrics.yaml"
        config.write_text(yaml.safe_dump_all(self.metrics(MAX_AGE_S)))
        self._adapter = OwnClock(self._directory, config, self._offsets)
        self._adapter.__enter__()
        self._watcher = Watcher(self._adapter, [self.name])
        self._watcher.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._slowly is not None:
            self._slowly.stop()
        self._adapter.signal(signal.SIGCONT)
        self._watcher.__exit__(kind, error, trace)
        self._adapter.__exit__(kind, error, trace)
        self._origin.__exit__(kind, error, trace)
