"""Collection: one task, one deadline, one breaker and one exception barrier an endpoint, within a common budget.

Reads happen on their own clock and at the same wall-clock moments on every replica, so that replicas answer alike.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from adapter.breaker import Breaker, Rhythm
from adapter.budget import Budget, NoTurnError
from adapter.sources import Endpoint, EndpointSpec, SourceFailureError
from scaler.model import Batch, MetricRef, Reason, Unknown

log = logging.getLogger(__name__)

Spec = TypeVar("Spec")

_WAITING = 0.5
"""Of its timeout that a read may wait for its turn: with less left than the rest, a slow one would be blamed for it."""

_SOON_MS = 30_000
"""A changed endpoint with a longer interval is read at once: a new metric is not to wait for long."""

_SHOWN = 20
"""Endpoints of a metric that explain lists."""


class CollectTelemetry(Protocol):
    """What collection tells about itself."""

    def collected(self, source: str, outcome: str, seconds: float, samples: int) -> None:
        """One read has ended. `outcome` is ok or a reason."""
        ...


def plan(current: Collection[Spec], wanted: Collection[Spec]) -> tuple[list[Spec], list[Spec]]:
    """Return which endpoints to open and which to close."""
    have, want = set(current), set(wanted)
    return [s for s in wanted if s not in have], [s for s in current if s not in want]


def successors(stopping: Iterable[Spec], starting: Iterable[Spec], key: Callable[[Spec], object]) -> dict[Spec, Spec]:
    """Return which of those that stop goes on as which of those that start: where a key is there once on each side."""
    before, after = _by_key(stopping, key), _by_key(starting, key)
    return {old[0]: after[k][0] for k, old in before.items() if len(old) == 1 and len(after.get(k, ())) == 1}


def _by_key(specs: Iterable[Spec], key: Callable[[Spec], object]) -> dict[object, list[Spec]]:
    found: dict[object, list[Spec]] = {}
    for spec in specs:
        found.setdefault(key(spec), []).append(spec)
    return found


@dataclass(slots=True)
class _Polled:
    """One endpoint that is read for ever.

    Attributes:
        spec: What is to be read from the next read on.
        stale: Metrics of which a read that is under way brings what is no longer wanted.
        task: Reads it.
    """

    spec: EndpointSpec
    stale: frozenset[MetricRef] = frozenset()
    task: asyncio.Task[None] | None = None


class Collector:
    """The tasks that read. `tasks` is their parent: it outlives them."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        submit: Callable[[Iterable[Batch]], None],
        now_ms: Callable[[], int],
        telemetry: CollectTelemetry,
        budget: Budget | None = None,
    ) -> None:
        self._parent = tasks
        self._submit = submit
        self._now_ms = now_ms
        self._telemetry = telemetry
        self._polled: dict[EndpointSpec, _Polled] = {}
        self._max_age_ms: Mapping[MetricRef, int] = {}
        self._breakers: dict[EndpointSpec, Breaker] = {}
        self._opened: Counter[str] = Counter()
        self.budget = budget or Budget()

    @property
    def specs(self) -> Collection[EndpointSpec]:
        """The endpoints being read, as a copy: telemetry asks from another thread."""
        return list(self._polled)

    @property
    def breakers(self) -> Mapping[EndpointSpec, Breaker]:
        """The state of each endpoint, as a copy."""
        return self._breakers.copy()

    @property
    def opened(self) -> Mapping[str, int]:
        """How often breakers have opened, by type of source; those of endpoints that are gone too."""
        return self._opened.copy()

    def apply(
        self,
        wanted: Collection[EndpointSpec],
        max_age_ms: Mapping[MetricRef, int] = MappingProxyType({}),
        other: Collection[MetricRef] = (),
    ) -> None:
        """Read exactly these endpoints. Those that stay are not disturbed.

        One that works, and is read for other metrics too from now on, keeps its rhythm: a read that is missed, or comes
        between two others, bends the rates of all that are on the same page. Where none stays, it is read at once.

        Args:
            wanted: The endpoints.
            max_age_ms: How old a good read may be and still count, by metric; 0 for those that are not in it.
            other: The metrics that are read from something else than before.
        """
        self._max_age_ms = max_age_ms
        starting, stopping = plan(self._polled, wanted)
        going_on = successors(filter(self._keeps_its_rhythm, stopping), starting, _place)
        going_on = {old: new for old, new in going_on.items() if (old.metrics & new.metrics).difference(other)}
        for old, new in going_on.items():
            polled = self._polled[new] = self._polled.pop(old)
            self._breakers[new] = self._breakers.pop(old)
            polled.spec, polled.stale = new, polled.stale | frozenset(other)
        for spec in stopping:
            if spec not in going_on:
                _cancel(self._polled.pop(spec))
                self._breakers.pop(spec, None)
        begun = set(going_on.values())
        starting = [spec for spec in starting if spec not in begun]
        for spec in starting:
            polled = self._polled[spec] = _Polled(spec)
            polled.task = self._parent.create_task(self._poll(polled, len(starting)), name=f"collect {spec.name}")

    def _keeps_its_rhythm(self, spec: EndpointSpec) -> bool:
        """Say whether a changed endpoint may wait for its next turn: it works, and that turn is soon."""
        breaker = self._breakers.get(spec)
        return (
            breaker is not None
            and breaker.good_ms is not None
            and not breaker.failures
            and spec.interval_ms <= _SOON_MS
        )

    def explain(self, ref: MetricRef) -> dict[str, Any]:
        """Return the endpoints that a metric is read from, those in trouble first, as many as a person reads."""
        own = [(spec, breaker) for spec, breaker in self._breakers.items() if ref in spec.metrics]
        own.sort(key=lambda pair: (not pair[1].failures, pair[0].name))
        return {
            "endpoints": [
                {"endpoint": spec.name, "source": spec.type, "intervalMs": spec.interval_ms} | breaker.as_json()
                for spec, breaker in own[:_SHOWN]
            ],
            "endpointsInAll": len(own),
            "endpointsByState": Counter(breaker.state.value for _, breaker in own),
        }

    async def stop(self) -> None:
        """Stop all reading and wait for it."""
        tasks = [polled.task for polled in self._polled.values() if polled.task is not None]
        self.apply([])
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _poll(self, polled: _Polled, starting: int) -> None:
        """Read one endpoint for ever; it is one of so many that begin together."""
        spec, began_ms = polled.spec, self._now_ms()
        crowd = starting if spec.asks else 0
        breaker = self._breakers[spec] = Breaker.new(Rhythm.of(spec.name, spec.interval_ms), began_ms, crowd)
        endpoint = spec.open()
        failing = True  # until it has shown that it works: a crowd of newcomers must not crowd out what does
        try:
            await asyncio.sleep(breaker.wait_ms(began_ms, began_ms) / 1000)
            while True:
                if polled.spec is not spec:
                    await endpoint.close()
                    spec, polled.stale = polled.spec, frozenset()
                    endpoint = spec.open()
                breaker = self._breakers[spec] = breaker.began(self._now_ms())
                outcome = await self._read(spec, endpoint, failing=failing)
                self._submit([batch for batch in outcome.batches if batch.metric not in polled.stale])
                if outcome.had_turn:  # what others do makes nobody one of those that fail
                    failing = outcome.unknown is not None
                before, breaker = breaker, self._after(spec, breaker, outcome)
                self._breakers[polled.spec] = breaker
                self._note(spec, before, breaker)
                await asyncio.sleep(breaker.wait_ms(outcome.read_ms, self._now_ms()) / 1000)
        finally:
            await endpoint.close()

    async def _read(self, spec: EndpointSpec, endpoint: Endpoint, *, failing: bool) -> Outcome:
        """Read once, when it is our turn."""
        started, now_s = time.perf_counter(), asyncio.get_running_loop().time()
        deadline, latest = now_s + spec.timeout_ms / 1000, now_s + _WAITING * spec.timeout_ms / 1000
        try:
            async with self.budget.turn(spec.namespace, spec.host, failing=failing, deadline=latest):
                outcome = await read_once(spec, endpoint, self._now_ms(), deadline)
        except NoTurnError as late:
            read_ms, unknown = self._now_ms(), Unknown(Reason.SOURCE_ERROR, str(late))
            outcome = Outcome(endpoint.failed(unknown, read_ms), read_ms, unknown, had_turn=False)
        told = "ok" if outcome.unknown is None else outcome.unknown.reason.value
        samples = sum(len(batch.layout) - len(batch.problems) for batch in outcome.batches)
        self._telemetry.collected(spec.type, told, time.perf_counter() - started, samples)
        return outcome

    def _after(self, spec: EndpointSpec, breaker: Breaker, outcome: Outcome) -> Breaker:
        """Return what a read makes of the breaker."""
        now_ms = self._now_ms()
        if outcome.unknown is None:
            return breaker.succeeded(outcome.read_ms, now_ms)
        max_age_ms = max((self._max_age_ms.get(ref, 0) for ref in spec.metrics), default=0)
        after = breaker.failed(outcome.unknown, outcome.read_ms, now_ms, max_age_ms, outcome.asked_ms)
        self._opened[spec.type] += after.opened - breaker.opened
        return after

    def _note(self, spec: EndpointSpec, before: Breaker, after: Breaker) -> None:
        """Log a change of state, and only that."""
        fields = {"source": spec.type, "endpoint": spec.name}
        if after.failure is None:
            if before.failure is not None:
                log.info("source recovered", extra=fields)
        elif before.failure != after.failure:
            told = {"reason": after.failure.reason.value, "detail": after.failure.detail}
            log.warning("source failing", extra=fields | told)


def _place(spec: EndpointSpec) -> tuple[str, str, str, int]:
    """Return where and how often something is read, whatever is read there."""
    return spec.type, spec.namespace, spec.name, spec.interval_ms


def _cancel(polled: _Polled) -> None:
    if polled.task is not None:
        polled.task.cancel()


class Outcome(NamedTuple):
    """What one read came to.

    Args:
        batches: What to hand on.
        read_ms: When it began.
        unknown: Why it failed as a whole, if it did.
        asked_ms: For how long the source then asked to be left alone; 0: it gave no time; None: it did not ask.
        had_turn: It was made; False: it has waited for its turn in vain.
    """

    batches: list[Batch]
    read_ms: int
    unknown: Unknown | None = None
    asked_ms: int | None = None
    had_turn: bool = True


async def read_once(spec: EndpointSpec, endpoint: Endpoint, read_ms: int, deadline: float | None = None) -> Outcome:
    """Read an endpoint under its deadline. Whatever goes wrong becomes an Unknown, never an exception.

    Args:
        deadline: In the loop's time; None: its timeout from now on.
    """
    asked_ms = None
    if deadline is None:
        deadline = asyncio.get_running_loop().time() + spec.timeout_ms / 1000
    try:
        async with asyncio.timeout_at(deadline):
            return Outcome(await endpoint.collect(read_ms), read_ms)
    except SourceFailureError as failure:
        unknown, asked_ms = failure.unknown, failure.retry_after_ms
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
    return Outcome(endpoint.failed(unknown, read_ms), read_ms, unknown, asked_ms)
