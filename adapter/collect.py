"""Schedules: one task, one deadline and one exception barrier an endpoint; phased, with backoff.

Reads happen on their own clock and at the same wall-clock moments on every replica, so that replicas answer alike.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Protocol, TypeVar

from adapter.sources import Endpoint, EndpointSpec, SourceFailureError
from scaler.model import Batch, Reason, Unknown

log = logging.getLogger(__name__)

Spec = TypeVar("Spec")

_FIRST_WITHIN_MS = 1_000
"""The first reads are spread over this time, or an interval if that is shorter: a start must not be a stampede."""

_PATIENCE = 3
"""After so many failed reads in a row, reads are skipped."""

_BACKOFF_CAP_MS = 30_000


class CollectTelemetry(Protocol):
    """What collection tells about itself."""

    def collected(self, source: str, outcome: str, seconds: float, samples: int) -> None:
        """One read has ended. `outcome` is ok or a reason."""
        ...


def plan(current: Collection[Spec], wanted: Collection[Spec]) -> tuple[list[Spec], list[Spec]]:
    """Return which endpoints to open and which to close."""
    have, want = set(current), set(wanted)
    return [s for s in wanted if s not in have], [s for s in current if s not in want]


def phase_ms(name: str, interval_ms: int) -> int:
    """Return when within each interval of wall-clock time an endpoint is read; the same on every replica."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % interval_ms


def first_delay_ms(phase: int, interval_ms: int) -> int:
    """Return how long to wait before the first read: briefly, spread by phase."""
    return phase * min(interval_ms, _FIRST_WITHIN_MS) // interval_ms


def next_read_ms(read_ms: int, phase: int, interval_ms: int, failures: int) -> int:
    """Return when to read next: on the phase, not sooner than half an interval, later the longer it has failed."""
    wait_ms = max(interval_ms // 2, backoff_ms(failures, interval_ms) - interval_ms // 2)
    earliest_ms = read_ms + wait_ms
    return earliest_ms + (phase - earliest_ms) % interval_ms


def backoff_ms(failures: int, interval_ms: int) -> int:
    """Return the time between reads after so many failures in a row: doubling, up to 30 s or the interval."""
    if failures < _PATIENCE:
        return interval_ms
    cap_ms = max(interval_ms, min(8 * interval_ms, _BACKOFF_CAP_MS))
    return int(min(interval_ms << min(failures - _PATIENCE + 1, 8), cap_ms))


class Collector:
    """The tasks that read. `tasks` is their parent: it outlives them."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        submit: Callable[[Iterable[Batch]], None],
        now_ms: Callable[[], int],
        telemetry: CollectTelemetry,
    ) -> None:
        self._parent = tasks
        self._submit = submit
        self._now_ms = now_ms
        self._telemetry = telemetry
        self._tasks: dict[EndpointSpec, asyncio.Task[None]] = {}
        self.failing: dict[EndpointSpec, Unknown] = {}
        """The endpoints whose last read failed as a whole."""

    @property
    def specs(self) -> Collection[EndpointSpec]:
        """The endpoints being read, as a copy: telemetry asks from another thread."""
        return list(self._tasks)

    def apply(self, wanted: Collection[EndpointSpec]) -> None:
        """Read exactly these endpoints. Those that stay are not disturbed."""
        starting, stopping = plan(self._tasks, wanted)
        for spec in stopping:
            self._tasks.pop(spec).cancel()
            self.failing.pop(spec, None)
        for spec in starting:
            self._tasks[spec] = self._parent.create_task(self._poll(spec), name=f"collect {spec.name}")

    async def stop(self) -> None:
        """Stop all reading and wait for it."""
        tasks = list(self._tasks.values())
        self.apply([])
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _poll(self, spec: EndpointSpec) -> None:
        """Read one endpoint for ever."""
        phase = phase_ms(spec.name, spec.interval_ms)
        endpoint = spec.open()
        failures = 0
        try:
            await asyncio.sleep(first_delay_ms(phase, spec.interval_ms) / 1000)
            while True:
                read_ms = self._now_ms()
                unknown = await self._read(spec, endpoint, read_ms)
                failures = failures + 1 if unknown is not None else 0
                self._note(spec, unknown)
                due_ms = next_read_ms(read_ms, phase, spec.interval_ms, failures)
                await asyncio.sleep(max(0, due_ms - self._now_ms()) / 1000)
        finally:
            await endpoint.close()

    async def _read(self, spec: EndpointSpec, endpoint: Endpoint, read_ms: int) -> Unknown | None:
        """Read once and hand on what it brought. Return why it failed as a whole, if it did."""
        started = time.perf_counter()
        batches, unknown = await read_once(spec, endpoint, read_ms)
        self._submit(batches)
        outcome = "ok" if unknown is None else unknown.reason.value
        samples = sum(len(batch.layout) - len(batch.problems) for batch in batches)
        self._telemetry.collected(spec.type, outcome, time.perf_counter() - started, samples)
        return unknown

    def _note(self, spec: EndpointSpec, unknown: Unknown | None) -> None:
        """Log a change of state, and only that."""
        before = self.failing.get(spec)
        if unknown is None:
            if before is not None:
                del self.failing[spec]
                log.info("source recovered", extra={"source": spec.type, "endpoint": spec.name})
        elif before != unknown:
            self.failing[spec] = unknown
            fields = {"source": spec.type, "endpoint": spec.name, "reason": unknown.reason.value}
            log.warning("source failing", extra={**fields, "detail": unknown.detail})


async def read_once(spec: EndpointSpec, endpoint: Endpoint, read_ms: int) -> tuple[list[Batch], Unknown | None]:
    """Read an endpoint under its deadline. Whatever goes wrong becomes an Unknown, never an exception."""
    try:
        async with asyncio.timeout(spec.timeout_ms / 1000):
            return await endpoint.collect(read_ms), None
    except SourceFailureError as failure:
        unknown = failure.unknown
    except TimeoutError:
        unknown = Unknown(Reason.SOURCE_ERROR, "timeout")
    except OSError as error:
        unknown = Unknown(Reason.SOURCE_ERROR, error.strerror or type(error).__name__)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        unknown = Unknown(Reason.SOURCE_ERROR, "cancelled from within")  # or the endpoint would never be read again
    except Exception as error:
        # The one barrier: a bug in one source must not end the others.
        log.exception("bug in a source", extra={"source": spec.type, "endpoint": spec.name})
        unknown = Unknown(Reason.SOURCE_ERROR, f"internal error: {type(error).__name__}")
    return endpoint.failed(unknown, read_ms), unknown
