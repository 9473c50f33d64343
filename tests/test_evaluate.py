"""From samples and rules to results: what is served, and when it is unknown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.evaluate import evaluate, table_spec
from scaler.model import (
    EMPTY_SNAPSHOT,
    EXTERNAL_METRICS_GROUP,
    ExternalMetricValue,
    Labels,
    MetricRef,
    Reason,
    Snapshot,
    Unknown,
    labels_of,
)
from scaler.rules import Aggregate, AggregateOp, CounterStart, Function, Guard, MetricRule, Signal
from scaler.store import SeriesStore
from tests.builders import REF, Bench, batch, failure, milli, queue, reasons

VALUE = MetricRule(REF, "M", "s", interval_ms=5_000, targets=("t",))
RATE = replace(VALUE, signal=Signal(Function.RATE, 60_000))
SUM = Aggregate()
TIMEOUT = Unknown(Reason.SOURCE_ERROR, "timeout")
WRONG_TYPE = Unknown(Reason.WRONG_TYPE, "holds a string")
ALL: Labels = ()


def test_a_value_is_the_newest_sample_with_its_own_time() -> None:
    """An item carries what was read last and when, not when it was computed."""
    bench = Bench(VALUE)
    bench.at(10, batch(10, {queue("a"): 3}))
    result = bench.at(17, batch(15, {queue("a"): 1.5, queue("b"): 4}))
    assert milli(result) == {queue("a"): 1500, queue("b"): 4000}
    assert [i.timestamp_ms for i in result.items if isinstance(i, ExternalMetricValue)] == [15_000, 15_000]


def test_before_the_first_read_everything_is_unknown() -> None:
    """A metric nobody has read yet is unknown as a whole, for every selector."""
    result = Bench(VALUE).at(1)
    assert result.unknown == Unknown(Reason.NO_DATA, "t: not read yet", 1_000)
    assert result.items == ()


def test_a_failure_changes_nothing_until_max_age_and_then_makes_unknown() -> None:
    """Past maxAge, not before, a failing target makes the metric unknown with its reason and since when."""
    bench = Bench(VALUE)
    bench.at(10, batch(10, {queue("a"): 3}))
    for now in (15, 40, 70):
        assert milli(bench.at(now, failure(now, TIMEOUT))) == {queue("a"): 3000}
    result = bench.at(70.001)
    assert result.unknown == Unknown(Reason.SOURCE_ERROR, "t: timeout", 15_000)
    assert milli(bench.at(75, batch(75, {queue("a"): 9}))) == {queue("a"): 9000}


def test_a_result_says_when_it_must_be_computed_again() -> None:
    """recompute_at_ms is the first moment at which a member is older than maxAge."""
    bench = Bench(VALUE)
    assert bench.at(10, batch(10, {queue("a"): 3})).recompute_at_ms == 70_001


def test_the_unknown_of_a_lasting_state_is_constant() -> None:
    """While a failure lasts the result says the same, word for word; one that changes its face began when it began."""
    bench = Bench(VALUE)
    first = bench.at(5, failure(5, TIMEOUT)).unknown
    assert bench.at(10, failure(10, TIMEOUT)).unknown == first
    second = bench.at(15, failure(15, Unknown(Reason.SOURCE_ERROR, "connection refused"))).unknown
    assert second == Unknown(Reason.SOURCE_ERROR, "t: connection refused", 5_000)
    bench.at(20, batch(20, {queue("a"): 1.0}))
    third = bench.at(90, failure(90, TIMEOUT)).unknown
    assert third == Unknown(Reason.SOURCE_ERROR, "t: timeout", 90_000)


def test_one_unreadable_queue_is_an_unknown_item_beside_the_others() -> None:
    """A series with a problem is unknown by itself; a sum over it is unknown, never the sum of the rest."""
    readings: dict[Labels, float | Unknown] = {queue("a"): 3, queue("b"): WRONG_TYPE}
    result = Bench(VALUE).at(10, batch(10, readings))
    assert reasons(result) == {queue("b"): "WrongType"}
    total = Bench(replace(VALUE, aggregate=SUM)).at(10, batch(10, readings))
    assert reasons(total) == {ALL: "WrongType"}
    assert len(total.items) == 1


def test_a_queue_that_fails_keeps_its_last_good_value_while_it_is_current() -> None:
    """Queues that fail in turn stay served from their own last good reading, and age by it."""
    bench = Bench(replace(VALUE, aggregate=SUM))
    bench.at(10, batch(10, {queue("a"): 3, queue("b"): 5}))
    assert milli(bench.at(15, batch(15, {queue("a"): TIMEOUT, queue("b"): 7}))) == {ALL: 10_000}
    assert milli(bench.at(20, batch(20, {queue("a"): 4, queue("b"): TIMEOUT}))) == {ALL: 11_000}
    result = bench.at(75, batch(75, {queue("a"): 4, queue("b"): TIMEOUT}))
    assert milli(result) == {ALL: 11_000}
    assert result.recompute_at_ms == 75_001  # b was last read at 15 s
    assert reasons(bench.at(75.001)) == {ALL: "SourceError"}


def test_a_read_that_fails_for_every_series_does_not_drain_the_window() -> None:
    """A rate stands still while its source fails: the silence is not extrapolated over."""
    bench = Bench(replace(RATE, aggregate=SUM))
    for t in range(0, 65, 5):
        result = bench.at(t, batch(t, {queue("a"): 10.0 * t}))
    assert milli(result) == {ALL: 10_000}
    for t in range(65, 120, 5):
        assert milli(bench.at(t, batch(t, {queue("a"): TIMEOUT}))) == {ALL: 10_000}
    assert reasons(bench.at(120.001)) == {ALL: "SourceError"}


def test_a_series_that_ends_leaves_the_set() -> None:
    """A series that a good read no longer has is gone at once from a value, and drains from a rate."""
    bench = Bench(VALUE)
    bench.at(10, batch(10, {queue("a"): 3, queue("b"): 4}))
    assert milli(bench.at(15, batch(15, {queue("a"): 3}))) == {queue("a"): 3000}
    bench = Bench(RATE)
    for t in range(0, 35, 5):
        bench.at(t, batch(t, {queue("a"): 1.0 * t, queue("b"): 2.0 * t}))
    for t in range(35, 100, 5):
        result = bench.at(t, batch(t, {queue("a"): 1.0 * t}))
        assert (queue("b") in milli(result)) == (t < 85)  # two samples remain while 25 s is in (t - 60, t]


def test_one_sample_is_unknown_not_zero() -> None:
    """A counter seen once has no rate yet: unknown, and with it any sum it is in."""
    bench = Bench(replace(RATE, aggregate=SUM))
    assert reasons(bench.at(5, batch(5, {queue("a"): 7}))) == {ALL: "TooFewSamples"}
    assert list(milli(bench.at(10, batch(10, {queue("a"): 9})))) == [ALL]


def test_a_new_series_does_not_take_a_sum_away() -> None:
    """While a new counter has one sample, the sum computed before it came is still current and still served."""
    bench = Bench(replace(RATE, aggregate=SUM))
    for t in (0, 5, 10):
        before = bench.at(t, batch(t, {queue("a"): 10.0 * t}))
    during = bench.at(15, batch(15, {queue("a"): 150.0, queue("b"): 1.0}))
    assert during.items == before.items
    after = bench.at(20, batch(20, {queue("a"): 200.0, queue("b"): 2.0}))
    assert milli(after)[ALL] > milli(before)[ALL]


def test_a_nan_in_the_window_is_not_finite() -> None:
    """A NaN or Inf makes its series NotFinite for as long as the window holds it, once nothing older is current."""
    bench = Bench(RATE)
    bench.at(0, batch(0, {queue("a"): math.nan}))
    for t in range(5, 60, 5):
        assert reasons(bench.at(t, batch(t, {queue("a"): float(t)}))) == {queue("a"): "NotFinite"}
    assert milli(bench.at(60, batch(60, {queue("a"): 60.0}))) == {queue("a"): 1000}


def test_a_nan_value_counts_as_a_failed_read() -> None:
    """A gauge that turns NaN is served from its last good reading until maxAge, then it is NotFinite."""
    bench = Bench(VALUE)
    bench.at(10, batch(10, {queue("a"): 3}))
    assert milli(bench.at(15, batch(15, {queue("a"): math.nan}))) == {queue("a"): 3000}
    assert reasons(bench.at(71, batch(71, {queue("a"): math.inf}))) == {queue("a"): "NotFinite"}


def test_a_negative_value_is_never_served() -> None:
    """An HPA reads a negative sum as overflow; below zero is unknown unless the guard clamps it."""
    assert reasons(Bench(VALUE).at(1, batch(1, {queue("a"): -0.5}))) == {queue("a"): "Negative"}
    guarded = replace(VALUE, guard=Guard(min=0, max=10))
    assert milli(Bench(guarded).at(1, batch(1, {queue("a"): -0.5, queue("b"): 99}))) == {
        queue("a"): 0,
        queue("b"): 10_000,
    }


def test_groups_keep_the_by_labels_only() -> None:
    """An aggregate has one item a distinct combination of its by labels; a label a series lacks is absent."""
    rule = replace(VALUE, aggregate=Aggregate(by=("queue",), op=AggregateOp.MAX))
    readings: dict[Labels, float | Unknown] = {
        labels_of({"queue": "a", "state": "waiting"}): 3,
        labels_of({"queue": "a", "state": "inFlight"}): 4,
        labels_of({"state": "waiting"}): 5,
    }
    assert milli(Bench(rule).at(1, batch(1, readings))) == {queue("a"): 4000, ALL: 5000}


def test_a_sum_of_rates_is_not_the_rate_of_a_sum() -> None:
    """One of two counters resets: its reset is its own, and does not swallow the other's increase."""
    rule = replace(RATE, signal=Signal(Function.INCREASE, 60_000), aggregate=SUM)
    bench = Bench(rule)
    bench.at(1, batch(1, {queue("a"): 1000.0, queue("b"): 0.0}))
    result = bench.at(60, batch(60, {queue("a"): 10.0, queue("b"): 600.0}))
    a_and_b = 10 * (59 + 1) / 59 + 600  # b began at zero, so it is not extrapolated backwards
    assert milli(result)[ALL] == math.ceil(a_and_b * 1000)


def test_coverage_decides_whether_a_missing_target_makes_all_unknown() -> None:
    """With minCoverage 1 one missing target makes every selector unknown; with less the rest may stand."""
    two = replace(VALUE, targets=("t", "u"))
    bench = Bench(two)
    result = bench.at(10, batch(10, {queue("a"): 3}), failure(10, TIMEOUT, "u"))
    assert result.unknown == Unknown(Reason.SOURCE_ERROR, "u: timeout", 10_000)
    bench = Bench(replace(two, min_coverage=0.5))
    assert milli(bench.at(10, batch(10, {queue("a"): 3}), failure(10, TIMEOUT, "u"))) == {queue("a"): 3000}
    bench = Bench(replace(two, min_coverage=0.6))
    result = bench.at(10, batch(10, {queue("a"): 3}), failure(10, TIMEOUT, "u"))
    assert result.unknown is not None
    assert result.unknown.reason is Reason.LOW_COVERAGE


def test_a_target_that_is_added_does_not_take_the_metric_away() -> None:
    """While a new target has not been read, the result from before it came is still current and still served."""
    bench = Bench(VALUE)
    bench.at(10, batch(10, {queue("a"): 3}))
    bench.rule = replace(VALUE, targets=("t", "u"))
    assert milli(bench.at(12)) == {queue("a"): 3000}
    assert bench.at(71).unknown is not None


def test_a_good_read_without_the_series_is_no_data() -> None:
    """A page that has no such series is a definite answer: unknown at once, not the number from before."""
    bench = Bench(replace(VALUE, aggregate=SUM))
    bench.at(10, batch(10, {queue("a"): 3}))
    result = bench.at(15, batch(15, {}))
    assert result.unknown == Unknown(Reason.NO_DATA, "t: read, but it has no such series", 15_000)


def test_a_clock_that_is_set_back_does_not_keep_the_past_alive() -> None:
    """What was read under the later time is dropped with the first read under the earlier one, good or failed."""
    bench = Bench(VALUE)
    bench.at(10_000, batch(10_000, {queue("a"): 3}))
    assert milli(bench.at(100, batch(100, {queue("a"): 5}))) == {queue("a"): 5000}
    bench = Bench(VALUE)
    bench.at(10_000, batch(10_000, {queue("a"): 3}))
    result = bench.at(100, failure(100, TIMEOUT))
    assert result.unknown == Unknown(Reason.SOURCE_ERROR, "t: timeout", 100_000)


def test_series_that_ended_do_not_count_against_the_bound() -> None:
    """maxSeries is about what there is, not about what there was."""
    bench = Bench(replace(RATE, max_series=3, aggregate=SUM))
    for t in range(5, 300, 5):
        names = "abc" if t % 10 else "def"
        result = bench.at(t, batch(t, {queue(name): float(t) for name in names}))
        assert result.unknown is None


def test_too_many_series_is_unknown_never_a_partial_sum() -> None:
    """Over maxSeries nothing is served."""
    bench = Bench(replace(VALUE, max_series=2, aggregate=SUM))
    result = bench.at(1, batch(1, {queue(name): 1 for name in "abc"}))
    assert result.unknown is not None
    assert result.unknown.reason is Reason.TOO_MANY_SERIES


def test_only_due_metrics_are_computed_and_removed_ones_go() -> None:
    """Metrics that are not due carry over by reference; a due one without a rule disappears."""
    other = MetricRef(EXTERNAL_METRICS_GROUP, "shop", "other")
    store = SeriesStore()
    rules = {REF: VALUE, other: replace(VALUE, ref=other)}
    first = evaluate(store, rules, EMPTY_SNAPSHOT, rules.keys(), 1_000)
    second = evaluate(store, {other: rules[other]}, first, {REF}, 2_000)
    assert second == Snapshot({other: first.results[other]}, 2_000)
    assert second.results[other] is first.results[other]


ZERO = replace(RATE, signal=Signal(Function.INCREASE, 60_000, CounterStart.ZERO), aggregate=SUM)


def test_with_counter_start_zero_a_new_series_counts_from_the_read_before() -> None:
    """A series first seen at 40 on a target that was read before has increased by 40; by PromQL it is unknown."""
    bench = Bench(ZERO)
    for t in (5, 10):
        bench.at(t, batch(t, {queue("a"): 100.0}))
    result = bench.at(15, batch(15, {queue("a"): 100.0, queue("b"): 40.0}))
    assert milli(result) == {ALL: 40_000 * 5 // 5}


def test_with_counter_start_zero_a_new_process_counts_from_its_start() -> None:
    """A target whose process started after the metric was configured counts from that start; an older one does not."""
    bench = Bench(ZERO, start_s=100)
    result = bench.at(130, batch(130, {queue("a"): 40.0}, start_s=110))
    assert milli(result) == {ALL: 40_000}
    bench = Bench(ZERO, start_s=100)
    assert reasons(bench.at(130, batch(130, {queue("a"): 40.0}, start_s=90))) == {ALL: "TooFewSamples"}


def test_a_pod_that_leaves_takes_nothing_away_from_an_increase() -> None:
    """What a target counted before it left stays in the sum until it has slid out of the window."""
    rule = replace(RATE, targets=("t", "u"), signal=Signal(Function.INCREASE, 60_000), aggregate=SUM)
    bench = Bench(rule)
    for t in range(5, 65, 5):
        before = bench.at(t, batch(t, {queue("a"): 10.0 * t}), batch(t, {queue("a"): 10.0 * t}, target="u"))
    bench.rule = replace(rule, targets=("t",))
    bench.store.retain(REF, ("t",), 60_000)
    values = [milli(bench.at(t, batch(t, {queue("a"): 10.0 * t})))[ALL] / 1000 for t in range(65, 130, 5)]
    assert values[0] == pytest.approx(milli(before)[ALL] / 1000, rel=0.05)
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(600)
    assert list(bench.store.tables[REF].blocks) == ["t"]


def test_a_pod_that_was_seen_once_and_left_is_no_unknown() -> None:
    """One sample of a target that is gone will never be two: it is left out, not waited for."""
    rule = replace(RATE, targets=("t", "u"), aggregate=SUM)
    bench = Bench(rule)
    bench.at(5, batch(5, {queue("a"): 5.0}), batch(5, {queue("a"): 5.0}, target="u"))
    bench.rule = replace(rule, targets=("t",))
    bench.store.retain(REF, ("t",), 6_000)
    assert list(milli(bench.at(10, batch(10, {queue("a"): 9.0})))) == [ALL]


def test_an_adapter_that_restarts_does_not_count_from_zero() -> None:
    """The first read of a running target is not an increase, whatever counterStart says."""
    bench = Bench(ZERO)
    assert reasons(bench.at(5, batch(5, {queue("a"): 1e6}))) == {ALL: "TooFewSamples"}


def test_a_series_that_returns_after_the_window_does_not_count_from_zero() -> None:
    """A counter that was seen before and comes back with its old count has counted nothing new."""
    bench = Bench(replace(ZERO, aggregate=SUM))
    bench.at(5, batch(5, {queue("a"): 0.0, queue("b"): 1e6}))
    for t in range(10, 205, 5):
        bench.at(t, batch(t, {queue("a"): 0.0}))
    assert [labels for labels in next(iter(bench.store.tables[REF].blocks.values())).labels if labels] == [queue("a")]
    bench.at(205, batch(205, {queue("a"): 0.0, queue("b"): 1e6}))
    assert milli(bench.at(210, batch(210, {queue("a"): 0.0, queue("b"): 1e6}))) == {ALL: 0}
    bench.at(215, batch(215, {queue("a"): 0.0, queue("b"): 1e6, queue("c"): 6.0}))
    assert milli(bench.at(220, batch(220, {queue("a"): 0.0, queue("b"): 1e6, queue("c"): 6.0})))[ALL] > 0


def test_a_batch_that_is_not_newer_is_not_used() -> None:
    """A clock that went back, or a read that was overtaken, adds nothing."""
    bench = Bench(VALUE)
    bench.at(10, batch(10, {queue("a"): 3}))
    assert milli(bench.at(11, batch(9, {queue("a"): 1}))) == {queue("a"): 3000}
    assert milli(bench.at(11, batch(10, {queue("a"): 1}))) == {queue("a"): 3000}
    assert bench.store.rejected == 2


def test_a_series_that_was_never_read_well_is_unknown_not_absent() -> None:
    """A series that first appears as a failure, on a target read before, makes its sum unknown."""
    bench = Bench(replace(VALUE, targets=("t", "u"), aggregate=SUM))
    bench.at(1, batch(1, {}, target="u"))
    bench.at(2, batch(2, {queue("a"): WRONG_TYPE}, target="u"))
    assert reasons(bench.at(3, batch(3, {queue("b"): 1.0}))) == {ALL: "WrongType"}


steps = st.lists(
    st.tuples(
        st.sampled_from("tu"),
        st.one_of(
            st.just("failure"),
            st.dictionaries(
                st.sampled_from([queue(n) for n in "abc"]),
                st.one_of(st.integers(0, 9).map(float), st.just(WRONG_TYPE), st.just(math.nan)),
                max_size=3,
            ),
        ),
        st.sampled_from([1, 5, 40]),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(steps=steps)
def test_a_sum_is_the_sum_of_every_current_series_or_unknown(
    steps: list[tuple[str, str | dict[Labels, float | Unknown], int]],
) -> None:
    """Whatever fails in whatever order: a served sum never lacks a member, and each member is within maxAge."""
    rule = replace(VALUE, targets=("t", "u"), aggregate=SUM)
    bench = Bench(rule)
    now = 100
    good: dict[str, dict[Labels, tuple[float, int]]] = {}
    read: dict[str, int] = {}
    for target, what, step in steps:
        now += step
        if isinstance(what, str):
            result = bench.at(now, failure(now, TIMEOUT, target))
        else:
            result = bench.at(now, batch(now, what, target=target))
            before = good.get(target, {})
            current = {s: (v, now) for s, v in what.items() if not isinstance(v, Unknown) and math.isfinite(v)}
            kept = {s: before.get(s, (math.nan, -999)) for s in what if s not in current}
            good[target] = current | kept
            read[target] = now
        known = [i for i in result.items if isinstance(i, ExternalMetricValue)]
        if not known or known[0].timestamp_ms < now * 1000:
            continue  # unknown, or an earlier result that is still current
        members = [m for series in good.values() for m in series.values()]
        assert set(read) == {"t", "u"}
        assert all(now - when <= 60 for _, when in members)
        assert known[0].milli == pytest.approx(1000 * sum(v for v, _ in members))


def test_what_would_be_too_many_series_is_not_kept_and_makes_no_smaller_sum() -> None:
    """The batch that brings one too many leaves no trace in memory, and minCoverage does not make do without it."""
    rule = replace(VALUE, targets=("a", "b"), max_series=3, min_coverage=0.5, aggregate=SUM, max_age_ms=10_000)
    bench = Bench(rule)
    two = {queue("x"): 1.0, queue("y"): 2.0}
    assert milli(bench.at(1, batch(1, two, target="a"), batch(1, {queue("z"): 4.0}, target="b"))) == {(): 7_000}
    for now_s in (2, 30):
        more = {queue(f"n{n}"): 1.0 for n in range(50_000)}
        result = bench.at(now_s, batch(now_s, two, target="a"), batch(now_s, more, target="b"))
        assert now_s > 2 or milli(result) == {(): 7_000}  # as after a read that failed, until maxAge
    assert result.unknown == Unknown(Reason.TOO_MANY_SERIES, "more than 3 series (spec.maxSeries)", 2_000)
    assert bench.store.tables[REF].series() == 3
    assert bench.store.refused == 2
    found = bench.at(31, batch(31, two, target="a"), batch(31, {queue("z"): 4.0}, target="b"))
    assert milli(found) == {(): 7_000}


def test_series_that_come_and_go_are_bounded_within_the_window() -> None:
    """A label with a new value at each read is noticed before the window is full of its past."""
    bench = Bench(replace(RATE, targets=("a",), max_series=10, aggregate=SUM))
    for now_s in range(1, 60):
        fresh = {queue(f"{now_s}-{n}"): 1.0 for n in range(9)}
        result = bench.at(now_s, batch(now_s, fresh, target="a"))
        assert bench.store.tables[REF].series() <= 40
    assert result.unknown is not None
    assert result.unknown.detail == "more than 40 series within the window, 4 × spec.maxSeries: a label changes"


def test_one_namespace_cannot_take_the_memory_of_all() -> None:
    """Past its share a namespace's new series are refused; its others, and those of other namespaces, go on."""
    store = SeriesStore(max_bytes=4 << 20)
    specs = {name: replace(table_spec(VALUE), max_series=10**6) for name in ("one", "two")}
    here, there = (REF._replace(name=name) for name in specs), REF._replace(namespace="web")
    one, two = here
    many = {queue(f"q{n}"): 1.0 for n in range(8_000)}
    for ref in (one, two, there):
        store.configure(ref, specs["one"], 0)
        store.append(batch(1, many, target="a", ref=ref))
    refused = store.tables[two].blocks["a"].failure
    detail = "the metrics of this namespace need more than 4 MiB (--max-namespace-mib)"
    assert refused == Unknown(Reason.TOO_MANY_SERIES, detail, 1_000)
    assert [store.tables[ref].series() for ref in (one, two, there)] == [8_000, 0, 8_000]
    store.append(batch(2, many, target="a", ref=one))
    assert store.tables[one].blocks["a"].last_good_ms == 2_000
    store.drop(one)
    store.append(batch(3, many, target="a", ref=two))
    assert store.tables[two].blocks["a"].failure is None
    store.drop(two)
    assert store.bytes_of.keys() == {"web"}


def test_no_other_item_stands_in_for_one_with_the_same_labels() -> None:
    """Two targets with the same series: where one cannot be read, its own earlier value stands in, not the other's."""
    bench = Bench(replace(RATE, interval_ms=15_000, targets=("t", "u"), signal=Signal(Function.INCREASE, 60_000)))
    a, b = queue("a"), queue("b")
    for t in (0, 15, 30):
        bench.at(t, batch(t, {a: 10.0 * t, b: 0.0}, target="t"), batch(t, {a: 100.0 * t}, target="u"))
    result = bench.at(45, batch(45, {a: WRONG_TYPE, b: 0.0}, target="t"), batch(45, {a: 4_500.0}, target="u"))
    assert [item.milli for item in result.items if isinstance(item, ExternalMetricValue)] == [300_000, 4_500_000, 0]


@pytest.mark.parametrize(("share", "count", "enough"), [(0.28, 25, 7), (0.07, 100, 7), (0.5, 3, 2), (1.0, 9, 9)])
def test_the_share_that_is_asked_for_is_enough(share: float, count: int, enough: int) -> None:
    """minCoverage 0.28 of 25 targets is 7 of them, whatever the product of the floats is; 6 are too few."""
    names = tuple(str(n) for n in range(count))
    for current, known in ((enough - 1, False), (enough, True)):
        bench = Bench(replace(VALUE, aggregate=SUM, targets=names, min_coverage=share))
        reads = [batch(5, {ALL: 1}, target=n) if int(n) < current else failure(5, TIMEOUT, n) for n in names]
        assert (bench.at(5, *reads).unknown is None) == known
