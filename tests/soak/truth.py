"""What was true, and since when: the oracle's knowledge. It shares no code with the adapter."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

Labels = frozenset[tuple[str, str]]

KEPT_S = 180.0
"""How long what was true is remembered: longer than any answer may be old."""


class History:
    """A value that somebody changes: `begin` before a change is made, `settle` when it has been.

    In between both values are true, for nobody knows when exactly the server changed. None: there is nothing to read.
    """

    def __init__(self, value: float | None, now_s: float) -> None:
        self._spans: deque[tuple[float, float, float | None]] = deque()
        self._current = value
        self._since_s = now_s
        self._begun: list[tuple[float, float | None]] = []
        self._lock = Lock()

    @property
    def current(self) -> float | None:
        """The value at present."""
        return self._current

    def begin(self, value: float | None, now_s: float) -> None:
        """From now on it may be this."""
        with self._lock:
            self._begun = [(now_s, value)]

    def settle(self, now_s: float) -> None:
        """It is what was begun, and no longer what it was."""
        with self._lock:
            ((began_s, value),) = self._begun
            self._spans.append((self._since_s, now_s, self._current))
            self._current, self._since_s, self._begun = value, began_s, []
            while self._spans and self._spans[0][1] < now_s - KEPT_S:
                self._spans.popleft()

    def was(self, value: float, from_s: float, to_s: float) -> bool:
        """Tell whether it was this at any moment of a time."""
        with self._lock:
            spans = [*self._spans, (self._since_s, math.inf, self._current)]
            spans += [(began_s, math.inf, begun) for began_s, begun in self._begun]
        return any(value == each and since_s <= to_s and until_s >= from_s for since_s, until_s, each in spans)


@dataclass(frozen=True, slots=True)
class Steps:
    """A value that is a function of time: it changes every `period_s`, through `count` values from `base` on."""

    base: float
    period_s: float
    phase_s: float
    count: int = 89

    def at(self, time_s: float) -> float:
        """Return the value at a time."""
        return self.base + math.floor((time_s + self.phase_s) / self.period_s) * 31 % self.count

    def was(self, value: float, from_s: float, to_s: float) -> bool:
        """Tell whether it was this at any moment of a time."""
        first = math.floor((from_s + self.phase_s) / self.period_s)
        last = math.floor((to_s + self.phase_s) / self.period_s)
        return any(value == self.base + step * 31 % self.count for step in range(first, last + 1))


@dataclass(frozen=True, slots=True)
class Rate:
    """A counter that grows evenly by `slope` a second; what is served is its rate over a window.

    While the window is not full the rate is smaller, as in Prometheus: then only too much is wrong. A sample has the
    time at which its read began, and a page may be answered late in it. Where two samples are left, a late answer is
    a larger part of what lies between them; they count for the whole window if 1 / 2.1 of it lies between them.

    Args:
        slope: A second.
        tolerance: By which part of a window an answer may be late.
    """

    slope: float
    tolerance: float

    def may_be(self, value: float, *, full: bool) -> bool:
        """Tell whether it is the rate."""
        least = self.slope * (1 - self.tolerance) if full else 0.0
        most = self.slope * (1 + self.tolerance * (1.0 if full else 2.1))
        return least <= value <= most

    def error(self, value: float) -> float:
        """Return by which part of it a rate is off."""
        return abs(value / self.slope - 1)


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that never changes."""

    value: float

    def was(self, value: float, from_s: float, to_s: float) -> bool:
        """Tell whether it is this."""
        del from_s, to_s
        return value == self.value


Truth = History | Steps | Rate | Constant


class Faults:
    """When something was broken, and in which way. `end` None: it still is."""

    def __init__(self) -> None:
        self._spans: deque[list[object]] = deque()
        self._lock = Lock()

    def begin(self, kind: str, now_s: float) -> None:
        """It breaks now."""
        with self._lock:
            self._spans.append([kind, now_s, None])

    def end(self, now_s: float) -> None:
        """It works again."""
        with self._lock:
            self._spans[-1][2] = now_s
            while len(self._spans) > 1 and _end(self._spans[0]) < now_s - KEPT_S:
                self._spans.popleft()

    def during(self, from_s: float, to_s: float) -> set[str]:
        """Return the kinds of faults there were at any moment of a time."""
        with self._lock:
            return {str(one[0]) for one in self._spans if _start(one) <= to_s and _end(one) >= from_s}


def _start(span: list[object]) -> float:
    return span[1] if isinstance(span[1], float) else 0.0


def _end(span: list[object]) -> float:
    return span[2] if isinstance(span[2], float) else math.inf


@dataclass(frozen=True, slots=True)
class Source:
    """What a metric is read from, and when that was broken."""

    name: str
    faults: Faults = field(default_factory=Faults)


@dataclass(frozen=True, slots=True)
class Definition:
    """One version of a metric, as the adapter was told.

    Args:
        truths: The items there are: labels → what their values should be.
        source: What is read; None: nothing (static).
        interval_s, max_age_s: As in the spec.
        window_s: Of its rate; 0: none.
    """

    name: str
    truths: Mapping[Labels, Truth]
    source: Source | None
    interval_s: float
    max_age_s: float
    window_s: float = 0.0


class Timeline:
    """The versions of one metric: which might be in force, for a change takes some time to be noticed."""

    def __init__(self) -> None:
        self._versions: deque[tuple[float, Definition | None]] = deque([(0.0, None)])
        self._lock = Lock()

    @property
    def current(self) -> Definition | None:
        """The newest version; None: it is not defined."""
        return self._versions[-1][1]

    def change(self, definition: Definition | None, now_s: float) -> None:
        """Note what has been written."""
        with self._lock:
            self._versions.append((now_s, definition))
            while len(self._versions) > 1 and self._versions[1][0] < now_s - KEPT_S:
                self._versions.popleft()

    def possible(self, from_s: float, to_s: float, notice_s: float) -> list[tuple[float, Definition | None]]:
        """Return the versions that might be in force at some moment, and since when they are.

        A change is noticed within `notice_s`.
        """
        with self._lock:
            versions = list(self._versions)
        ends = [*(since_s for since_s, _ in versions[1:]), math.inf]
        return [
            (since_s, one)
            for (since_s, one), end_s in zip(versions, ends, strict=True)
            if since_s <= to_s and end_s + notice_s >= from_s
        ]

    def changed_since(self, time_s: float) -> bool:
        """Tell whether it has been changed since then."""
        with self._lock:
            return self._versions[-1][0] >= time_s
