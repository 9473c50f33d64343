"""Schedules, the barrier, and what a change of configuration does to endpoints."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest

from adapter.collect import Collector, plan, read_once, successors
from adapter.sources import SourceFailureError
from scaler.model import Batch, MetricRef, Reason, Unknown
from tests.builders import REF, batch, failure, queue
from tests.waiting import until


@dataclass(eq=False)
class Scripted:
    """An endpoint that does what a test tells it to."""

    act: Callable[[], list[Batch]]
    closed: bool = False

    async def collect(self, now_ms: int) -> list[Batch]:
        return self.act()

    def failed(self, unknown: Unknown, now_ms: int) -> list[Batch]:
        return [failure(now_ms / 1000, unknown)]

    async def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class Spec:
    type: ClassVar[str] = "scripted"
    asks: ClassVar[bool] = True
    name: str
    act: Callable[[], list[Batch]] = field(compare=False)
    opened: list[Scripted] = field(default_factory=list, compare=False)
    namespace: str = "shop"
    host: str = "somewhere"
    interval_ms: int = 20
    timeout_ms: int = 1000
    metrics: frozenset[MetricRef] = frozenset({REF})

    def open(self) -> Scripted:
        self.opened.append(Scripted(self.act))
        return self.opened[-1]


class Told:
    """Telemetry that remembers."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def collected(self, source: str, outcome: str, seconds: float, samples: int) -> None:
        self.outcomes.append(outcome)


def test_plan_opens_what_is_new_and_closes_what_is_gone() -> None:
    """What is in both sets is not touched."""
    assert plan(["a", "b"], ["b", "c"]) == (["c"], ["a"])


def raising(error: BaseException) -> Callable[[], list[Batch]]:
    def act() -> list[Batch]:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SourceFailureError("WRONGPASS", Reason.SOURCE_ERROR), Unknown(Reason.SOURCE_ERROR, "WRONGPASS")),
        (TimeoutError(), Unknown(Reason.SOURCE_ERROR, "timeout")),
        (ConnectionRefusedError(111, "Connection refused"), Unknown(Reason.SOURCE_ERROR, "Connection refused")),
        (KeyError("secret"), Unknown(Reason.SOURCE_ERROR, "internal error: KeyError")),
    ],
)
def test_whatever_a_source_raises_becomes_an_unknown(error: Exception, expected: Unknown) -> None:
    """Known failures, OS errors and plain bugs end in the batches of a failed read, and a bug's text is not shown."""
    spec = Spec("x", raising(error))
    outcome = asyncio.run(read_once(spec, spec.open(), 5_000))
    assert outcome.unknown == expected
    assert [b.failure for b in outcome.batches] == [expected]


def test_a_read_past_its_deadline_is_a_timeout() -> None:
    """The deadline ends a read that hangs."""

    class Hangs(Scripted):
        async def collect(self, now_ms: int) -> list[Batch]:
            await asyncio.Event().wait()
            return []

    spec = Spec("x", list, timeout_ms=10)
    outcome = asyncio.run(read_once(spec, Hangs(list), 5_000))
    assert outcome.unknown == Unknown(Reason.SOURCE_ERROR, "timeout")


def test_endpoints_are_read_closed_and_logged_once_a_change_of_state(caplog: pytest.LogCaptureFixture) -> None:
    """A failing endpoint logs one line when it begins and one when it recovers, and does not disturb its neighbour."""
    submitted: list[Batch] = []
    broken = [True]

    def flaky() -> list[Batch]:
        if broken[0]:
            raise SourceFailureError("connection refused")
        return [batch(1, {queue("a"): 1})]

    moments = iter(range(0, 10**9, 10))

    def clock() -> int:
        return next(moments)

    async def scenario() -> None:
        told = Told()
        async with asyncio.TaskGroup() as tasks:
            collector = Collector(tasks, submitted.extend, clock, told)
            good, bad = Spec("good", lambda: [batch(1, {queue("b"): 2})]), Spec("bad", flaky)
            collector.apply([good, bad])
            await until(lambda: told.outcomes.count("SourceError") >= 3)
            found = collector.breakers
            assert found[bad].failure == Unknown(Reason.SOURCE_ERROR, "connection refused")
            assert found[good].failure is None
            broken[0] = False
            await until(lambda: collector.breakers[bad].failures == 0)
            collector.apply([good])
            await until(lambda: bad.opened[0].closed)
            await collector.stop()
            assert good.opened[0].closed
            assert len(good.opened) == 1
            assert told.outcomes.count("ok") > 3

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    said = [(r.message, r.__dict__["endpoint"]) for r in caplog.records]
    assert said == [("source failing", "bad"), ("source recovered", "bad")]
    assert {b.failure is None for b in submitted} == {True, False}


def test_the_same_spec_keeps_its_endpoint_open() -> None:
    """Applying an equal spec again neither closes nor reopens."""

    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            collector = Collector(tasks, noted.extend, lambda: 0, Told())
            first = Spec("x", list)
            collector.apply([first])
            await until(lambda: first.opened)
            second = Spec("x", list)
            collector.apply([second])
            assert list(collector.specs) == [first]
            await collector.stop()
            assert second.opened == []

    noted: list[Batch] = []
    asyncio.run(scenario())


def test_who_goes_on_as_whom() -> None:
    """Only where a place is there once before and once after is it clear what became of an endpoint."""
    pairs = successors(["a1", "b1", "c1", "c2"], ["a2", "c3", "d1"], lambda name: name[0])
    assert pairs == {"a1": "a2"}


class Held(Scripted):
    """An endpoint whose read waits to be let go."""

    def __init__(self, act: Callable[[], list[Batch]], gate: asyncio.Event) -> None:
        super().__init__(act)
        self.gate = gate
        self.reads_ms: list[int] = []

    async def collect(self, now_ms: int) -> list[Batch]:
        self.reads_ms.append(now_ms)
        await self.gate.wait()
        return self.act()


@dataclass(frozen=True)
class HeldSpec(Spec):
    gate: asyncio.Event = field(default_factory=asyncio.Event, compare=False)
    held: list[Held] = field(default_factory=list, compare=False)
    version: int = 0

    def open(self) -> Held:
        self.held.append(Held(self.act, self.gate))
        return self.held[-1]


def test_an_endpoint_that_is_read_for_other_metrics_keeps_its_rhythm() -> None:
    """A change lets the read under way end and count, but for what is read from elsewhere now; none comes between."""
    submitted: list[Batch] = []
    changed = REF._replace(name="changed")

    def clock() -> int:
        return time.time_ns() // 1_000_000

    def both() -> list[Batch]:
        one = batch(1, {queue("a"): 1})
        return [one, replace(one, metric=changed)]

    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            collector = Collector(tasks, submitted.extend, clock, Told())
            old, new = HeldSpec("x", both, interval_ms=200), HeldSpec("x", both, interval_ms=200, version=1)
            old.gate.set()
            collector.apply([old])
            await until(lambda: len(submitted) == 2)  # it works
            old.gate.clear()
            old.held[0].reads_ms.clear()
            await until(lambda: old.held[0].reads_ms)
            collector.apply([new], other=[changed])
            assert list(collector.specs) == list(collector.breakers) == [new]
            assert (new.held, old.held[0].closed) == ([], False)
            old.gate.set()
            await until(lambda: len(submitted) == 3)
            assert submitted[2].metric == REF
            planned_ms = collector.breakers[new].next_ms
            new.gate.set()
            await until(lambda: len(submitted) == 5)
            assert [b.metric for b in submitted[3:]] == [REF, changed]
            assert new.held[0].reads_ms[0] >= planned_ms - 1
            assert old.held[0].closed
            assert list(collector.breakers) == [new]
            await collector.stop()

    asyncio.run(scenario())


def test_a_change_that_may_mend_is_used_at_once() -> None:
    """What fails is opened anew when its definition changes: nobody waits for the turn of a breaker."""

    def fails() -> list[Batch]:
        raise SourceFailureError("connection refused")

    async def scenario() -> None:
        submitted: list[Batch] = []
        async with asyncio.TaskGroup() as tasks:
            collector = Collector(tasks, submitted.extend, lambda: 0, Told())
            bad, good = HeldSpec("x", fails), HeldSpec("x", list, version=1)
            bad.gate.set()
            collector.apply([bad])
            await until(lambda: bad in collector.breakers and collector.breakers[bad].failures > 0)
            collector.apply([good])
            await until(lambda: good.held and good.held[0].reads_ms)
            assert bad.held[0].closed
            await collector.stop()

    asyncio.run(scenario())


def test_what_asks_nobody_is_read_at_once() -> None:
    """The first read of fixed values is not put off to spare anybody; that of a source is."""

    @dataclass(frozen=True)
    class Fixed(Spec):
        asks: ClassVar[bool] = False

    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            collector = Collector(tasks, lambda _: None, lambda: 0, Told())
            fixed, asking = Fixed("x", list, interval_ms=60_000), Spec("x", list, interval_ms=60_000)
            collector.apply([fixed, asking])
            await until(lambda: len(collector.breakers) == 2)
            assert collector.breakers[asking].good_ms is None
            assert 0 < collector.breakers[asking].next_ms <= 1_000
            await until(lambda: collector.breakers[fixed].good_ms == 0)
            await collector.stop()

    asyncio.run(scenario())


def test_an_endpoint_of_which_no_metric_stays_is_read_at_once() -> None:
    """Who has changed all that is read there does not wait for the next turn: there is no rhythm to keep."""

    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            collector = Collector(tasks, lambda _: None, lambda: 0, Told())
            old, new = HeldSpec("x", list, interval_ms=30_000), HeldSpec("x", list, interval_ms=30_000, version=1)
            old.gate.set()
            collector.apply([old])
            await until(lambda: old in collector.breakers and collector.breakers[old].good_ms is not None)
            collector.apply([new], other=[REF])
            await until(lambda: new.held and new.held[0].reads_ms)
            assert old.held[0].closed
            await collector.stop()

    asyncio.run(scenario())
