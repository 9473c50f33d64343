"""The steps of a guard that remember: maxStep and fallHalfLife."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import ExternalMetricValue, Labels, MetricResult, Reason, Unknown
from scaler.rules import Aggregate, Guard, MetricRule
from tests.builders import REF, Bench, batch, failure, milli, queue, reasons

RULE = MetricRule(REF, "M", "s", interval_ms=5_000, targets=("t",))
ALL: Labels = ()
A, B = queue("a"), queue("b")
TIMEOUT = Unknown(Reason.SOURCE_ERROR, "timeout")


def guarded(**steps: float | int) -> MetricRule:
    return replace(RULE, guard=Guard(**steps))  # type: ignore[arg-type]


def times(result: MetricResult) -> list[float]:
    return [item.timestamp_ms / 1000 for item in result.items if isinstance(item, ExternalMetricValue)]


def one(result: MetricResult) -> float:
    (value,) = milli(result).values()
    return value / 1000


def run(rule: MetricRule, values: list[float]) -> list[float]:
    """Return what is served of a series that is read every 5 s."""
    bench = Bench(rule)
    return [one(bench.at(5 * i, batch(5 * i, {A: value}))) for i, value in enumerate(values)]


def test_a_jump_is_held_once_and_believed_the_second_time() -> None:
    """Beyond maxStep the value before is served with its own time; a second collection beyond it is believed."""
    bench = Bench(guarded(max_step=10))
    bench.at(5, batch(5, {A: 20}))
    held = bench.at(10, batch(10, {A: 1000}))
    assert (one(held), times(held)) == (20, [5])
    believed = bench.at(15, batch(15, {A: 900}))
    assert (one(believed), times(believed)) == (900, [15])


def test_evaluations_do_not_count() -> None:
    """However often the same sample is looked at, a jump is held until another sample has come."""
    bench = Bench(guarded(max_step=10))
    bench.at(5, batch(5, {A: 20}))
    bench.at(10, batch(10, {A: 1000}))
    for now in (11, 12, 15, 20):
        assert one(bench.at(now)) == 20
    assert one(bench.at(21, failure(21, TIMEOUT))) == 20
    assert one(bench.at(25, batch(25, {A: 1000}))) == 1000


@pytest.mark.parametrize(
    ("values", "out"),
    [
        ([20, 0, 20, 21], [20, 20, 20, 21]),  # one wrong zero
        ([20, 0, 20, 0, 20], [20, 20, 20, 20, 20]),  # not in a row
        ([20, 30, 40, 30, 20], [20, 30, 40, 30, 20]),  # as far as it may go
        ([20, 30.001, 30.001], [20, 20, 30.001]),
        ([20, 100, 0], [20, 20, 0]),  # two in a row, whichever way
        ([20, 100, 100, 20, 20], [20, 20, 100, 100, 20]),
    ],
)
def test_max_step(values: list[float], out: list[float]) -> None:
    """What is served, for values read one after the other, with maxStep 10."""
    assert run(guarded(max_step=10), values) == out


def test_a_jump_of_a_sum_needs_a_second_look_at_every_target() -> None:
    """A glitch of one target is held though the other one's reads go on; believed when both were read again."""
    rule = replace(guarded(max_step=10), targets=("t", "u"), aggregate=Aggregate())
    bench = Bench(rule)
    bench.at(6, batch(5, {A: 20}), batch(6, {A: 20}, target="u"))
    assert one(bench.at(10, batch(10, {A: 1000}))) == 40
    assert one(bench.at(11, batch(11, {A: 20}, target="u"))) == 40  # the glitch is still the newest of t
    assert one(bench.at(15, batch(15, {A: 20}))) == 40
    assert one(bench.at(20, batch(20, {A: 1000}))) == 40
    assert one(bench.at(21, batch(21, {A: 20}, target="u"))) == 40
    assert one(bench.at(25, batch(25, {A: 1000}))) == 1020


def test_a_target_that_fails_does_not_hold_a_jump_for_ever() -> None:
    """Two intervals after a jump it is believed, though one of the targets could not be read again."""
    rule = replace(guarded(max_step=10), targets=("t", "u"), aggregate=Aggregate())
    bench = Bench(rule)
    bench.at(5, batch(5, {A: 20}), batch(5, {A: 20}, target="u"))
    values = [one(bench.at(t, batch(t, {A: 1000}), failure(t, TIMEOUT, "u"))) for t in (10, 15, 20)]
    assert values == [40, 40, 1020]


def test_what_is_no_longer_current_is_not_held() -> None:
    """After an outage longer than maxAge the first value is believed: there is nothing to compare it with."""
    bench = Bench(guarded(max_step=10))
    bench.at(5, batch(5, {A: 20}))
    bench.at(70, failure(70, TIMEOUT))
    assert one(bench.at(75, batch(75, {A: 1000}))) == 1000


def test_a_fall_takes_a_half_life_for_half_of_the_way() -> None:
    """It rises at once; a half-life after the last high sample it is half way down, after two three quarters."""
    assert run(guarded(fall_half_life_ms=5_000), [0, 80, 0, 0, 0, 50, 50]) == [0, 80, 40, 20, 10, 50, 50]
    assert run(guarded(fall_half_life_ms=10_000), [100, 20, 20, 20, 20]) == [100, 76.568, 60, 48.284, 40]


def test_a_fall_ends_at_zero() -> None:
    """What falls to zero gets there: less than a thousandth above is nothing."""
    served = run(guarded(fall_half_life_ms=5_000), [100, *[0.0] * 20])
    assert served[16:19] == [0.001, 0, 0]


def test_a_fall_counts_samples_not_evaluations() -> None:
    """Between reads nothing falls, and a read that was missed makes up for it."""
    bench = Bench(guarded(fall_half_life_ms=5_000))
    bench.at(5, batch(5, {A: 80}))
    bench.at(10, batch(10, {A: 0}))
    for now in (11, 13, 15, 20):
        assert one(bench.at(now)) == 40
    assert one(bench.at(20, batch(20, {A: 0}))) == 10


def test_bounds_come_first() -> None:
    """min and max are applied before the steps: what is beyond them can be no jump and no height to fall from."""
    assert run(guarded(max=100, max_step=10), [95, 1e9, 95]) == [95, 100, 95]
    assert run(guarded(min=10, max=100, fall_half_life_ms=5_000), [1e9, 0, 0]) == [100, 55, 32.5]


def test_a_jump_that_is_held_falls_from_where_it_was() -> None:
    """maxStep comes before fallHalfLife: while a jump is held nothing falls; then it does, by the time of samples."""
    assert run(guarded(max_step=50, fall_half_life_ms=5_000), [80, 0, 0, 0]) == [80, 80, 20, 10]


def test_an_unknown_item_stays_unknown() -> None:
    """No step makes a number of an unknown one, and what follows is compared with what was before it."""
    bench = Bench(replace(guarded(fall_half_life_ms=20_000), max_age_ms=10_000))
    bench.at(5, batch(5, {A: 80, B: 1}))
    assert reasons(bench.at(20, batch(20, {A: TIMEOUT, B: 2}))) == {A: "SourceError"}
    assert milli(bench.at(25, batch(25, {A: 0, B: 3}))) == {A: 40_000, B: 3_000}


def test_an_item_that_was_gone_begins_anew() -> None:
    """What was remembered of a series goes with it."""
    bench = Bench(guarded(max_step=1))
    bench.at(5, batch(5, {A: 80, B: 1}))
    bench.at(10, batch(10, {B: 1}))
    assert milli(bench.at(15, batch(15, {A: 0, B: 1}))) == {A: 0, B: 1_000}


def test_a_clock_that_is_set_back_forgets_the_past() -> None:
    """What was remembered under the later time neither holds nor falls."""
    bench = Bench(guarded(max_step=1, fall_half_life_ms=60_000))
    bench.at(10_000, batch(10_000, {A: 80}))
    assert one(bench.at(100, batch(100, {A: 5}))) == 5


def test_items_with_the_same_labels_have_a_past_each() -> None:
    """Two targets that show the same series: a small value is not held at what the large one was."""
    bench = Bench(replace(guarded(max_step=50, fall_half_life_ms=5_000), targets=("t", "u")))
    for t in (5, 10, 15):
        result = bench.at(t, batch(t, {A: 10}, target="t"), batch(t, {A: 1_000}, target="u"))
        assert [item.milli for item in result.items if isinstance(item, ExternalMetricValue)] == [10_000, 1_000_000]
    result = bench.at(20, batch(20, {}, target="t"), batch(20, {A: 1_010}, target="u"))
    assert milli(result) == {A: 1_010_000}


def test_without_steps_nothing_is_remembered() -> None:
    """A rule whose guard has bounds only keeps no past."""
    assert Bench(guarded(min=1, max=5)).at(5, batch(5, {A: 1})).past is None


VALUES = st.lists(st.integers(0, 1_000).map(float), min_size=1, max_size=20)


@given(
    values=VALUES, low=st.integers(0, 500), width=st.integers(0, 500), step=st.integers(1, 300), half=st.integers(1, 60)
)
def test_nothing_leaves_the_bounds(values: list[float], low: int, width: int, step: int, half: int) -> None:
    """Whatever the steps do, what is served is within min and max."""
    rule = guarded(min=low, max=low + width, max_step=step, fall_half_life_ms=half * 1_000)
    assert all(low <= out <= low + width for out in run(rule, values))


@given(values=VALUES, half=st.integers(1, 60))
def test_a_fall_is_never_below_the_value_and_a_rise_is_at_once(values: list[float], half: int) -> None:
    """What falls stays at or above the value and at or below what it was; what rises is the value."""
    served = run(guarded(fall_half_life_ms=half * 1_000), values)
    for before, out, value in zip([0.0, *served], served, values, strict=False):
        assert out == value if value >= before else value <= out <= before


@given(pairs=st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 1_000)), min_size=1, max_size=20))
def test_more_gives_no_less(pairs: list[tuple[int, int]]) -> None:
    """If every value is at least as high, so is everything that is served."""
    rule = guarded(fall_half_life_ms=7_000)
    lower = run(rule, [float(min(pair)) for pair in pairs])
    higher = run(rule, [float(max(pair)) for pair in pairs])
    # Each is rounded down to a thousandth above its own value.
    assert all(high >= low - 0.001 for low, high in zip(lower, higher, strict=True))


@given(values=VALUES, step=st.integers(1, 300))
def test_a_second_collection_is_believed(values: list[float], step: int) -> None:
    """What is served is the newest value, or, where that jumped and the one before was believed, the one before."""
    served = run(guarded(max_step=step), values)
    held = False
    for i in range(1, len(values)):
        jumped = abs(values[i] - served[i - 1]) > step
        held = jumped and not held
        assert served[i] == (served[i - 1] if held else values[i])
