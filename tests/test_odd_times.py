"""Clocks that jump and reads that come in the wrong order: the outcomes that docs/unknown.md states."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import ANY

import pytest

from scaler.answer import UnknownAnswer, answer
from scaler.model import ExternalMetricValue, MetricResult, Reason, Then, Unknown, WhenUnknown
from scaler.rules import Aggregate, Function, Guard, MetricRule, Signal
from scaler.selector import EVERYTHING
from tests.builders import REF, Bench, batch, failure, milli, queue, reasons

VALUE = MetricRule(REF, "M", "s", interval_ms=15_000, targets=("t",))
HOLD = WhenUnknown(Then.HOLD, hold_for_ms=600_000)
FLOOR = WhenUnknown(Then.FLOOR, floor_milli=5_000, floor_after_ms=60_000)
INCREASE = replace(VALUE, signal=Signal(Function.INCREASE, 60_000))
A = queue("a")
TIMEOUT = Unknown(Reason.SOURCE_ERROR, "timeout")
HOUR_S = 3_600


def told(result: MetricResult, now_s: float) -> int | str:
    """Return what an HPA gets at a moment: milli-units, or the reason of an error."""
    found = answer(result, EVERYTHING, round(now_s * 1000))
    return found.reason.value if isinstance(found, UnknownAnswer) else sum(item.milli for item in found)


@pytest.mark.parametrize("policy", [WhenUnknown(), HOLD, FLOOR], ids=lambda policy: policy.then.value)
def test_a_clock_that_is_set_back_ends_with_the_next_read(policy: WhenUnknown) -> None:
    """What was read under the later time counts until the next read, good or failed; then it is forgotten, not held."""
    for good in (True, False):
        bench = Bench(replace(VALUE, when_unknown=policy))
        first = bench.at(2 * HOUR_S, batch(2 * HOUR_S, {A: 9}))
        assert told(first, HOUR_S) == 9_000
        assert told(bench.at(HOUR_S), HOUR_S) == 9_000
        read = batch(HOUR_S + 5, {A: 3}) if good else failure(HOUR_S + 5, TIMEOUT)
        assert told(bench.at(HOUR_S + 5, read), HOUR_S + 5) == (3_000 if good else "SourceError")


def test_a_clock_that_is_set_back_takes_what_is_gone_along() -> None:
    """A pod that left under the later time is not counted on, hour after hour, as what it did in its last minute."""
    bench = Bench(replace(INCREASE, targets=("t", "gone"), aggregate=Aggregate(), lingers=True))
    for t in (0, 15, 30, 45, 60):
        reads = [batch(HOUR_S + t, {A: at * t}, target=target) for target, at in (("t", 10.0), ("gone", 100.0))]
        assert told(bench.at(HOUR_S + t, *reads), HOUR_S + t) == (6_600_000 if t == 60 else ANY)
    bench.rule = replace(bench.rule, targets=("t",))
    bench.store.retain(REF, ("t",), (HOUR_S + 61) * 1000)
    for t in (100, 115, 130, 145, 160):
        result = bench.at(t, batch(t, {A: 10.0 * t}))
    assert milli(result) == {(): 600_000}
    assert [item.timestamp_ms for item in result.items if isinstance(item, ExternalMetricValue)] == [160_000]


def test_a_small_step_back_only_delays_the_next_sample() -> None:
    """Reads that are not newer than the newest one are left out, and counted, until the clock has caught up."""
    bench = Bench(VALUE)
    bench.at(100, batch(100, {A: 9}))
    assert milli(bench.at(97, batch(97, {A: 3}))) == {A: 9_000}
    assert bench.store.rejected == 1
    assert milli(bench.at(112, batch(112, {A: 3}))) == {A: 3_000}


@pytest.mark.parametrize(
    ("policy", "after_an_hour", "after_five_minutes"),
    [(WhenUnknown(), "Stale", "Stale"), (HOLD, "Stale", 1_000), (FLOOR, 5_000, 5_000)],
    ids=["error", "hold", "floor"],
)
def test_a_vm_that_was_suspended_has_nothing_current(
    policy: WhenUnknown, after_an_hour: int | str, after_five_minutes: int | str
) -> None:
    """When the clock jumps forward, what is known has aged by as much, evaluated or not; the first read mends it."""
    bench = Bench(replace(VALUE, when_unknown=policy))
    before = bench.at(100, batch(100, {A: 1}))
    assert told(before, 100 + HOUR_S) == after_an_hour
    assert told(before, 400) == after_five_minutes
    assert told(bench.at(100 + HOUR_S), 100 + HOUR_S) == after_an_hour
    assert told(bench.at(110 + HOUR_S, batch(110 + HOUR_S, {A: 2})), 110 + HOUR_S) == 2_000


def test_a_rate_does_not_span_a_suspension() -> None:
    """After a gap longer than its window a function begins anew: unknown, then of the samples since."""
    bench = Bench(INCREASE)
    for t in (0, 15, 30):
        bench.at(t, batch(t, {A: 10.0 * t}))
    assert reasons(bench.at(HOUR_S, batch(HOUR_S, {A: 50_000}))) == {A: "TooFewSamples"}
    again = bench.at(HOUR_S + 15, batch(HOUR_S + 15, {A: 50_150}))
    assert 150_000 <= milli(again)[A] <= 300_000


def test_a_sample_from_the_future_counts_until_the_next_read() -> None:
    """A sample later than now, by a clock set back while it was read, is served; the next read takes its place."""
    bench = Bench(VALUE)
    assert milli(bench.at(100, batch(HOUR_S, {A: 9}))) == {A: 9_000}
    assert milli(bench.at(115, batch(115, {A: 3}))) == {A: 3_000}


def test_what_is_from_the_future_never_stands_in() -> None:
    """An earlier value with a time past the present stands in for nothing."""
    bench = Bench(replace(VALUE, aggregate=Aggregate(), when_unknown=HOLD, targets=("t", "u")))
    bench.at(HOUR_S, batch(HOUR_S, {A: 9}), batch(HOUR_S, {A: 9}, target="u"))
    result = bench.at(100, failure(100, TIMEOUT), batch(100, {A: 1}, target="u"))
    assert told(result, 100) == "SourceError"


def test_an_item_from_the_future_is_not_held() -> None:
    """One of several items that fails when the clock is set back has no last good value."""
    bench = Bench(replace(VALUE, when_unknown=HOLD))
    bench.at(HOUR_S, batch(HOUR_S, {A: 9, queue("b"): 1}))
    result = bench.at(100, batch(100, {A: TIMEOUT, queue("b"): 1}))
    assert reasons(result) == {A: "SourceError"}
    assert told(result, 100) == "SourceError"


def test_of_equal_times_the_first_counts() -> None:
    """A second batch of the same moment is left out."""
    bench = Bench(INCREASE)
    bench.at(0, batch(0, {A: 0}))
    bench.at(15, batch(15, {A: 10}))
    once = milli(bench.at(30, batch(30, {A: 20})))
    assert milli(bench.at(31, batch(30, {A: 999}))) == once
    assert bench.store.rejected == 1


def test_a_read_that_was_overtaken_changes_nothing() -> None:
    """A slow read that began before the newest one and ends after it is left out, good or failed."""
    bench = Bench(VALUE)
    bench.at(30, batch(30, {A: 2}))
    assert milli(bench.at(31, batch(15, {A: 1}))) == {A: 2_000}
    assert milli(bench.at(32, failure(20, TIMEOUT))) == {A: 2_000}
    assert bench.store.tables[REF].blocks["t"].failure is None


@pytest.mark.parametrize(("bits", "least", "most"), [(32, 40, 41), (64, 0, 2_048)])
def test_a_counter_that_wraps_is_a_reset(bits: int, least: int, most: int) -> None:
    """What was counted up to the wrap is missed, as by Prometheus, and never negative; a float rounds 2^64 to 2,048."""
    bench = Bench(INCREASE)
    for t in (1, 16):
        bench.at(t, batch(t, {A: 2.0**bits - 1_000}))
    bench.at(31, batch(31, {A: 40}))
    result = bench.at(60, batch(60, {A: 40}))
    assert least * 1000 <= milli(result)[A] <= most * 1000


def test_steps_of_the_guard_over_a_jump_of_the_clock() -> None:
    """An hour of suspension is an hour of falling, and nothing from before it is compared with for a jump."""
    bench = Bench(replace(VALUE, guard=Guard(fall_half_life_ms=HOUR_S * 1_000)))
    bench.at(0, batch(0, {A: 80}))
    assert milli(bench.at(HOUR_S, batch(HOUR_S, {A: 0}))) == {A: 40_000}
    bench = Bench(replace(VALUE, guard=Guard(max_step=1)))
    bench.at(0, batch(0, {A: 80}))
    assert milli(bench.at(HOUR_S, batch(HOUR_S, {A: 0}))) == {A: 0}
