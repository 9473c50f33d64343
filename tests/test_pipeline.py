"""collect → append → evaluate → publish, with a clock the test drives."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from prometheus_client import generate_latest

from adapter.collect import Collector
from adapter.pipeline import MAX_WAITING, Pipeline
from adapter.telemetry import Telemetry
from scaler.model import EXTERNAL_METRICS_GROUP, Batch, MetricRef, MetricResult, Reason, Then, Unknown, WhenUnknown
from scaler.rules import Aggregate, MetricRule
from tests.builders import REF, batch, failure, milli, queue
from tests.waiting import until

RULE = MetricRule(REF, "M", "s", interval_ms=5_000, targets=("t",), aggregate=Aggregate())
OTHER = MetricRef(EXTERNAL_METRICS_GROUP, "shop", "other")
TIMEOUT = Unknown(Reason.SOURCE_ERROR, "timeout")


class Clock:
    """A wall clock that moves when told to."""

    def __init__(self) -> None:
        self.ms = 10_000

    def __call__(self) -> int:
        return self.ms


def drive(scenario: Callable[[Pipeline, Clock], Awaitable[None]]) -> Telemetry:
    """Run a scenario beside a running pipeline."""
    telemetry = Telemetry()

    async def main() -> None:
        clock = Clock()
        async with Pipeline(clock, telemetry) as pipeline:
            running = asyncio.create_task(pipeline.run())
            try:
                await scenario(pipeline, clock)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())
    return telemetry


async def result(pipeline: Pipeline, wanted: Callable[[MetricResult], bool], ref: MetricRef = REF) -> MetricResult:
    """Wait until a metric's result is as wanted."""

    def look() -> MetricResult | None:
        found = pipeline.snapshot.results.get(ref)
        return found if found is not None and wanted(found) else None

    found = await until(look)
    assert found is not None
    return found


def test_what_is_submitted_is_published() -> None:
    """A batch becomes a value; readers that hold the snapshot from before keep it."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        pipeline.configure({REF: RULE})
        first = await result(pipeline, lambda r: r.unknown is not None)
        held = pipeline.snapshot
        pipeline.submit([batch(10, {queue("a"): 3, queue("b"): 4})])
        assert milli(await result(pipeline, lambda r: r.unknown is None)) == {(): 7000}
        assert held.results[REF] is first
        assert pipeline.reads[REF, "ok"] == 1

    drive(scenario)


def test_a_metric_that_was_just_computed_waits_and_holds_up_no_other() -> None:
    """What targets bring one after another is taken in and computed together, a fiftieth of an interval on."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        rules = {REF: replace(RULE, interval_ms=3_600_000), OTHER: replace(RULE, ref=OTHER, source_id="o")}
        pipeline.configure(rules)
        await result(pipeline, lambda r: r.unknown is not None)
        pipeline.configure({**rules})  # nothing waits for what it was before
        pipeline.submit([batch(10, {queue("a"): 3})])
        first = await result(pipeline, lambda r: r.unknown is None)
        pipeline.submit([batch(11, {queue("a"): 4}), batch(11, {queue("a"): 7}, ref=OTHER)])
        await result(pipeline, lambda r: r.unknown is None, OTHER)
        assert pipeline.snapshot.results[REF] is first
        pipeline.configure({**rules})
        assert milli(await result(pipeline, lambda r: r is not first)) == {(): 4000}

    drive(scenario)


def test_a_passed_deadline_is_evaluated_without_any_read(caplog: pytest.LogCaptureFixture) -> None:
    """When maxAge passes the metric becomes unknown by itself, and that is logged once."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        pipeline.configure({REF: RULE})
        await result(pipeline, lambda r: r.unknown is not None)
        pipeline.submit([batch(10, {queue("a"): 3})])
        await result(pipeline, lambda r: r.unknown is None)
        clock.ms = 15_000
        pipeline.submit([failure(15, TIMEOUT)])
        await result(pipeline, lambda r: r.evaluated_ms == 15_000)
        clock.ms = 70_001
        pipeline.submit([failure(70, TIMEOUT)])
        found = await result(pipeline, lambda r: r.unknown is not None)
        assert found.unknown == Unknown(Reason.SOURCE_ERROR, "t: timeout", 15_000)

    with caplog.at_level(logging.INFO):
        drive(scenario)
    messages = [r.message for r in caplog.records]
    assert messages == ["metric unknown"]


def test_our_metrics_show_what_is_unknown_and_the_policy_that_serves_it() -> None:
    """A held metric shows its reason, its policy, and the true age of what is served."""
    seen: list[str] = []

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        now_ms = time.time_ns() // 1_000_000
        policy = WhenUnknown(Then.HOLD, hold_for_ms=600_000)
        clock.ms = now_ms - 100_000
        pipeline.configure({REF: replace(RULE, when_unknown=policy)})
        await result(pipeline, lambda r: r.unknown is not None)
        pipeline.submit([batch(clock.ms / 1000, {queue("a"): 3})])
        await result(pipeline, lambda r: r.unknown is None)
        clock.ms = now_ms
        pipeline.submit([failure(now_ms / 1000, TIMEOUT)])
        await result(pipeline, lambda r: r.unknown is not None)
        telemetry = Telemetry()
        telemetry.watch(pipeline, Collector(asyncio.TaskGroup(), pipeline.submit, clock, telemetry))
        seen.extend(generate_latest(telemetry.registry).decode().splitlines())

    drive(scenario)
    assert 'spillway_metric_unknown{metric="m",namespace="shop",reason="SourceError"} 1.0' in seen
    assert 'spillway_metric_policy{metric="m",namespace="shop",policy="hold"} 1.0' in seen
    (age,) = [line for line in seen if line.startswith("spillway_metric_age_seconds{")]
    assert 100 <= float(age.rpartition(" ")[2]) < 200


def test_a_batch_that_cannot_be_taken_in_is_logged_once_and_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """A bug of ours makes one metric unknown, says so once while it lasts, and again when it comes back."""

    def broken(seconds: int) -> Batch:
        good = batch(seconds, {queue("a"): 3})
        return replace(good, values=np.zeros(7))

    def is_at(total: int, result: MetricResult) -> bool:
        return result.unknown is None and milli(result) == {(): total}

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        pipeline.configure({REF: RULE, OTHER: replace(RULE, ref=OTHER)})
        for t in (10, 11, 12):
            pipeline.submit([broken(t), replace(batch(t, {queue("a"): t}), metric=OTHER)])
            await result(pipeline, partial(is_at, 1000 * t), OTHER)
            trouble = (await result(pipeline, lambda r: r.unknown is not None)).unknown
            assert trouble is not None
            assert "internal error" in trouble.detail
        pipeline.submit([batch(13, {queue("a"): 3})])
        await result(pipeline, lambda r: r.unknown is None)
        pipeline.submit([broken(14)])
        await result(pipeline, lambda r: r.unknown is not None)

    drive(scenario)
    assert [r.message for r in caplog.records if r.levelno == logging.ERROR] == ["bug in the store"] * 2


def test_a_metric_that_is_removed_goes_and_one_that_changes_starts_again() -> None:
    """Removing a rule, or changing what is read, forgets result and samples; changing maxAge forgets neither."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        pipeline.configure({REF: RULE, OTHER: replace(RULE, ref=OTHER)})
        pipeline.submit([batch(10, {queue("a"): 3}), batch(10, {queue("a"): 3}, ref=OTHER)])
        await result(pipeline, lambda r: r.unknown is None)
        await result(pipeline, lambda r: r.unknown is None, OTHER)
        pipeline.configure({REF: replace(RULE, max_age_ms=90_000)})
        await until(lambda: OTHER not in pipeline.snapshot.results)
        found = await result(pipeline, lambda r: r.recompute_at_ms == 100_001)
        assert milli(found) == {(): 3000}
        assert (OTHER, "ok") not in pipeline.reads
        pipeline.configure({REF: replace(RULE, source_id="another queue")})
        found = await result(pipeline, lambda r: r.unknown is not None)
        assert found.unknown == Unknown(Reason.NO_DATA, "t: not read yet", 10_000)
        assert pipeline.store_series == 0

    drive(scenario)


def test_a_read_that_ends_after_its_target_has_left_brings_it_back_to_nobody() -> None:
    """What comes in with the edit that takes a target away neither fails the others nor stays in memory."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        both = replace(RULE, targets=("t", "u"), lingers=True)
        pipeline.configure({REF: both})
        pipeline.submit([batch(10, {queue("a"): 1}, target="t"), batch(10, {queue("b"): 2}, target="u")])
        await result(pipeline, lambda r: r.unknown is None and milli(r) == {(): 3_000})
        clock.ms = 15_000
        late = replace(failure(15, TIMEOUT), target="u")
        pipeline.submit([batch(15, {queue("a"): 1}, target="t"), late])
        pipeline.configure({REF: replace(both, targets=("t",))})
        await result(pipeline, lambda r: r.unknown is None and milli(r) == {(): 1_000})
        shown = await pipeline.explain(REF)
        assert shown is not None
        assert shown["targetsFailing"] == 0

    drive(scenario)


def test_explain_shows_what_led_to_the_result() -> None:
    """Explain names rule, items, targets and samples, and None for a metric that is not defined."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        pipeline.configure({REF: RULE})
        pipeline.submit([batch(9, {queue("a"): 3, queue("b"): Unknown(Reason.WRONG_TYPE, "holds a string")})])
        await result(pipeline, lambda r: len(r.items) == 1)
        found = await pipeline.explain(REF)
        assert found is not None
        assert found["state"]["unknown"]["reason"] == "WrongType"
        series = {s["labels"]["queue"]: s for s in found["targets"][0]["series"]}
        assert series["a"]["samples"] == [{"ageMs": 1_000, "value": 3.0}]
        assert series["b"]["samples"] == [{"ageMs": 1_000, "value": "failed"}]
        assert series["b"]["problem"]["detail"] == "holds a string"
        assert await pipeline.explain(OTHER) is None

    drive(scenario)


def test_reads_that_come_faster_than_they_are_evaluated_are_left_out() -> None:
    """What waits is bounded; a read too many is as if it had not been made, and is counted."""

    async def scenario(pipeline: Pipeline, clock: Clock) -> None:
        pipeline.configure({REF: RULE})
        same = batch(10, {queue("a"): 3})
        pipeline.submit([same] * (MAX_WAITING + 5))
        assert pipeline.dropped == 5
        assert milli(await result(pipeline, lambda r: r.unknown is None)) == {(): 3000}
        pipeline.submit([batch(11, {queue("a"): 4})])
        assert milli(await result(pipeline, lambda r: milli(r) != {(): 3000})) == {(): 4000}
        assert pipeline.dropped == 5

    drive(scenario)
