"""Policies, edits and clocks through the pipeline, with a clock the test drives."""

from __future__ import annotations

from dataclasses import replace

from adapter.pipeline import Pipeline
from scaler.answer import UnknownAnswer, answer
from scaler.model import MetricResult, Then, WhenUnknown
from scaler.rules import Guard
from scaler.selector import EVERYTHING
from tests.builders import REF, batch, failure, milli, queue
from tests.test_pipeline import RULE, TIMEOUT, Clock, drive, result

HOLD = WhenUnknown(Then.HOLD, hold_for_ms=600_000)
FLOOR = WhenUnknown(Then.FLOOR, floor_milli=5_000, floor_after_ms=60_000)
A = queue("a")


def told(pipeline: Pipeline, clock: Clock) -> int | str:
    """Return what an HPA gets now: milli-units, or the reason of an error."""
    found = answer(pipeline.snapshot.results[REF], EVERYTHING, clock())
    return found.reason.value if isinstance(found, UnknownAnswer) else sum(item.milli for item in found)


async def known(pipeline: Pipeline, clock: Clock, value: float) -> MetricResult:
    """Read the metric well."""
    pipeline.submit([batch(clock.ms / 1000, {A: value})])
    return await result(pipeline, lambda r: r.unknown is None and r.evaluated_ms == clock.ms)


async def failed(pipeline: Pipeline, clock: Clock) -> MetricResult:
    """Read it badly."""
    pipeline.submit([failure(clock.ms / 1000, TIMEOUT)])
    return await result(pipeline, lambda r: r.evaluated_ms == clock.ms)


def test_an_edit_of_the_policy_in_an_outage_counts_at_once() -> None:
    """What was known is kept over an edit of then, holdFor and floor, and given up with one of maxAge or the guard."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        pipeline.configure({REF: RULE})
        await result(pipeline, lambda r: r.unknown is not None)
        await known(pipeline, clock, 3)
        clock.ms += 100_000
        await failed(pipeline, clock)
        assert told(pipeline, clock) == "SourceError"
        for policy, served in ((HOLD, 3_000), (FLOOR, 5_000), (replace(HOLD, hold_for_ms=1_000), "SourceError")):
            pipeline.configure({REF: replace(RULE, when_unknown=policy)})
            await result(pipeline, lambda r, policy=policy: r.when_unknown == policy)  # type: ignore[misc]
            assert told(pipeline, clock) == served
        pipeline.configure({REF: replace(RULE, when_unknown=HOLD, max_age_ms=70_000)})
        await result(pipeline, lambda r: r.when_unknown == HOLD and not r.last)
        assert told(pipeline, clock) == "SourceError"

    drive(scenario)


def test_a_hold_ends_without_any_read() -> None:
    """When holdFor has passed the metric is computed again, so that whoever watches results sees it end."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        pipeline.configure({REF: replace(RULE, when_unknown=HOLD)})
        await result(pipeline, lambda r: r.unknown is not None)
        first = await known(pipeline, clock, 3)
        assert first.recompute_at_ms == clock.ms + 60_001
        clock.ms += 60_001
        held = await failed(pipeline, clock)
        assert held.recompute_at_ms == 10_000 + 60_001 + 600_000
        assert told(pipeline, clock) == 3_000
        clock.ms = held.recompute_at_ms
        pipeline.submit([failure(70.5, TIMEOUT)])  # wakes it: the test's clock is not the event loop's
        over = await result(pipeline, lambda r: r.evaluated_ms == clock.ms)
        assert told(pipeline, clock) == "SourceError"
        assert over.recompute_at_ms is None

    drive(scenario)


def test_a_suspended_machine() -> None:
    """An hour later by the clock, nothing is current before the first read, which mends it."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        pipeline.configure({REF: RULE})
        await result(pipeline, lambda r: r.unknown is not None)
        await known(pipeline, clock, 3)
        clock.ms += 3_600_000
        assert told(pipeline, clock) == "Stale"
        assert milli(await known(pipeline, clock, 4)) == {(): 4_000}

    drive(scenario)


def test_a_clock_that_is_set_back() -> None:
    """The value counts until the next read; a bad one ends it, and nothing from the later time is held."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        clock.ms = 7_200_000
        pipeline.configure({REF: replace(RULE, when_unknown=HOLD)})
        await result(pipeline, lambda r: r.unknown is not None)
        await known(pipeline, clock, 3)
        clock.ms -= 3_600_000
        assert told(pipeline, clock) == 3_000
        await failed(pipeline, clock)
        assert told(pipeline, clock) == "SourceError"
        clock.ms += 5_000
        assert milli(await known(pipeline, clock, 4)) == {(): 4_000}

    drive(scenario)


def test_steps_count_collections_in_the_pipeline() -> None:
    """A jump is held over edits that mean the same and over failures, until a second good read."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        rule = replace(RULE, guard=Guard(max_step=10))
        pipeline.configure({REF: rule})
        await result(pipeline, lambda r: r.unknown is not None)
        await known(pipeline, clock, 3)
        clock.ms += 5_000
        assert milli(await known(pipeline, clock, 900)) == {(): 3_000}
        pipeline.configure({REF: replace(rule, when_unknown=HOLD)})
        await result(pipeline, lambda r: r.when_unknown == HOLD)
        assert told(pipeline, clock) == 3_000
        clock.ms += 5_000
        await failed(pipeline, clock)
        assert told(pipeline, clock) == 3_000
        clock.ms += 5_000
        assert milli(await known(pipeline, clock, 900)) == {(): 900_000}

    drive(scenario)
