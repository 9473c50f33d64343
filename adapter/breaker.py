"""When one endpoint is read: on its phase, every interval, and less often while that is of no use. Pure.

A circuit breaker in the field's words:

    closed      read every interval, also while reads fail
    open        not read until `next_ms`: it has failed for too long, or asked for a pause
    half-open   one read is under way that shows whether it is back

Reads that fail are not skipped as long as one of them could still keep a metric current. So a breaker takes nothing
from anybody: what it opens on is unknown already, or asked for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from scaler.model import Unknown

THRESHOLD = 3
"""Failed reads in a row before a breaker may open."""

LONGEST_OPEN_MS = 30_000
"""The longest time between two reads of what fails, unless the interval is longer: it is missed when it is back."""

LONGEST_ASKED_MS = 300_000
"""The longest pause that a source is granted: a wrong or hostile Retry-After must not silence a metric for ever."""

_FIRST_WITHIN_MS = 1_000
_FIRST_EACH_MS = 2
"""The first reads are spread over this time, or so much an endpoint, but never over more than an interval: a start must
not be a stampede. A page's first read takes about a millisecond: there is a connection to make, and names to learn."""

_MOST_DOUBLINGS = 8


class State(StrEnum):
    """Whether an endpoint is read. The names appear in our metrics and in explain."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """An endpoint is read when wall-clock time modulo `interval_ms` is `phase_ms`."""

    interval_ms: int
    phase_ms: int

    @classmethod
    def of(cls, name: str, interval_ms: int) -> Rhythm:
        """Return an endpoint's rhythm: the same on every replica, so that replicas answer alike."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return cls(interval_ms, int.from_bytes(digest, "big") % interval_ms)

    def at_or_after(self, time_ms: int) -> int:
        """Return the first moment of the rhythm that is not before a time."""
        return time_ms + (self.phase_ms - time_ms) % self.interval_ms

    def after(self, read_ms: int, wait_ms: int) -> int:
        """Return when to read again about `wait_ms` after a read, which may have come late or early."""
        return self.at_or_after(read_ms + max(self.interval_ms // 2, wait_ms - self.interval_ms // 2))

    def first_delay_ms(self, endpoints: int = 1) -> int:
        """Return how long to wait before the first read: briefly, spread by phase, longer if so many begin together.

        0 of them: there is nobody to be spared, and nothing to wait for.
        """
        within_ms = max(_FIRST_WITHIN_MS, _FIRST_EACH_MS * endpoints) if endpoints else 0
        return self.phase_ms * min(self.interval_ms, within_ms) // self.interval_ms


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of the reads of one endpoint. Times are wall-clock milliseconds.

    Args:
        rhythm: When it is read.
        state, since_ms: Its state, and since when.
        next_ms: When it is read next.
        reading: A read is under way; there is never a second one.
        failures: Failed reads since the last good one.
        failing_since_ms: When the first of them began.
        failure: Why the last of them failed.
        good_ms: When the last good read began.
        trips: How often the breaker opened since then.
        opened: How often it opened in all.
        asked_until_ms: Until when the source has asked to be left alone, as far as that is granted.
    """

    rhythm: Rhythm
    state: State
    since_ms: int
    next_ms: int
    reading: bool = False
    failures: int = 0
    failing_since_ms: int | None = None
    failure: Unknown | None = None
    good_ms: int | None = None
    trips: int = 0
    opened: int = 0
    asked_until_ms: int | None = None

    @classmethod
    def new(cls, rhythm: Rhythm, now_ms: int, endpoints: int = 1) -> Breaker:
        """Return the breaker of an endpoint that was never read, one of so many that begin now."""
        return cls(rhythm, State.CLOSED, now_ms, now_ms + rhythm.first_delay_ms(endpoints))

    def began(self, now_ms: int) -> Breaker:
        """Return what a read that begins makes of it.

        Raises:
            ValueError: One is under way.
        """
        if self.reading:
            raise ValueError("a read is under way")
        if self.state is State.OPEN:
            return replace(self, state=State.HALF_OPEN, since_ms=now_ms, reading=True)
        return replace(self, reading=True)

    def succeeded(self, read_ms: int, now_ms: int) -> Breaker:
        """Return what a good read that began at `read_ms` makes of it: closed, with no failures."""
        return Breaker(
            self.rhythm,
            State.CLOSED,
            self.since_ms if self.state is State.CLOSED else now_ms,
            self.rhythm.after(read_ms, self.rhythm.interval_ms),
            good_ms=read_ms,
            opened=self.opened,
        )

    def failed(
        self, unknown: Unknown, read_ms: int, now_ms: int, max_age_ms: int, asked_ms: int | None = None
    ) -> Breaker:
        """Return what a failed read makes of it.

        Args:
            unknown: Why it failed.
            read_ms: When it began.
            now_ms: When it had failed.
            max_age_ms: How old the last good read may be and still count for one of the endpoint's metrics.
            asked_ms: How long the source asked to be left alone from now on; 0: it gave no time; None: it did not ask.
        """
        failures = self.failures + 1
        interval_ms = self.rhythm.interval_ms
        lost = self.good_ms is None or read_ms + interval_ms - self.good_ms > max_age_ms
        opens = asked_ms is not None or (failures >= THRESHOLD and lost)
        trips = self.trips + opens
        asked_until_ms = None
        if asked_ms:
            asked_until_ms = now_ms + min(asked_ms, LONGEST_ASKED_MS)
            next_ms = self.rhythm.at_or_after(max(asked_until_ms, read_ms + interval_ms // 2))
        else:
            next_ms = self.rhythm.after(read_ms, open_ms(trips, interval_ms) if opens else interval_ms)
        state = State.OPEN if opens else State.CLOSED
        return replace(
            self,
            state=state,
            since_ms=self.since_ms if state is self.state else now_ms,
            next_ms=next_ms,
            reading=False,
            failures=failures,
            failing_since_ms=read_ms if self.failing_since_ms is None else self.failing_since_ms,
            failure=unknown,
            trips=trips,
            opened=self.opened + opens,
            asked_until_ms=asked_until_ms,
        )

    def wait_ms(self, read_ms: int, now_ms: int) -> int:
        """Return how long to wait for the next read, after one that began at `read_ms`.

        A clock that was set back during the read does not make it longer.
        """
        planned_ms = max(self.next_ms - read_ms, self.rhythm.interval_ms // 2)
        return min(max(0, self.next_ms - now_ms), planned_ms)

    def as_json(self) -> dict[str, Any]:
        """Return it for explain."""
        return {
            "state": self.state.value,
            "sinceMs": self.since_ms,
            "nextReadMs": self.next_ms,
            "reading": self.reading,
            "consecutiveFailures": self.failures,
            "failingSinceMs": self.failing_since_ms,
            "lastGoodMs": self.good_ms,
            "opened": self.opened,
            "askedUntilMs": self.asked_until_ms,
            "failure": None
            if self.failure is None
            else {"reason": self.failure.reason.value, "detail": self.failure.detail, "sinceMs": self.failing_since_ms},
        }


def open_ms(trips: int, interval_ms: int) -> int:
    """Return the time between reads after a breaker opened so often in a row: doubling, up to 30 s or the interval."""
    cap_ms = max(interval_ms, min(8 * interval_ms, LONGEST_OPEN_MS))
    return min(interval_ms << min(trips, _MOST_DOUBLINGS), cap_ms)
