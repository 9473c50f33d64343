"""What the functions are served as: quantiles of histograms, trends, and what makes them unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scaler import quantity
from scaler.evaluate import table_spec
from scaler.explain import explain
from scaler.model import ExternalMetricValue, Labels, MetricResult, Reason, Unknown, labels_of
from scaler.rules import Aggregate, AggregateOp, CounterStart, Function, Guard, MetricRule, Signal
from tests.builders import REF, Bench, batch, milli, queue, reasons
from tests.prometheus import corpus

P90 = Signal(Function.HISTOGRAM_QUANTILE, 60_000, quantile=0.9)
RULE = MetricRule(REF, "M", "s", interval_ms=15_000, targets=("t",), signal=P90)
Readings = dict[Labels, float | Unknown]
ALL: Labels = ()


def buckets(pod: str, *counts: float | Unknown, bounds: tuple[str, ...] = ("0.1", "1", "+Inf")) -> Readings:
    """Return one histogram's readings."""
    return {labels_of({"pod": pod, "le": le}): count for le, count in zip(bounds, counts, strict=True)}


def pod(name: str) -> Labels:
    return labels_of({"pod": name})


def details(result: MetricResult) -> list[str]:
    return [item.unknown.detail for item in result.items if not isinstance(item, ExternalMetricValue)]


def test_a_histogram_is_one_item_without_le() -> None:
    """Nine of ten observations in the window are below the 0.9-quantile; the item has the newest read's time."""
    bench = Bench(RULE)
    bench.at(15, batch(15, buckets("a", 0, 0, 0) | buckets("b", 0, 0, 0)))
    result = bench.at(30, batch(30, buckets("a", 0, 10, 10) | buckets("b", 5, 10, 10)))
    assert milli(result) == {pod("a"): 910, pod("b"): 820}
    assert [(i.timestamp_ms, i.window_s) for i in result.items if isinstance(i, ExternalMetricValue)] == [
        (30_000, 60)
    ] * 2


def test_sum_adds_histograms_before_the_quantile_is_taken() -> None:
    """A busy pod counts for more than an idle one, which does no harm; quantiles are never added."""
    bench = Bench(replace(RULE, aggregate=Aggregate()))
    bench.at(15, batch(15, buckets("a", 0, 0, 0) | buckets("b", 0, 0, 0) | buckets("idle", 7, 7, 7)))
    result = bench.at(30, batch(30, buckets("a", 90, 90, 90) | buckets("b", 0, 10, 10) | buckets("idle", 7, 7, 7)))
    assert milli(result) == {ALL: 100}


@pytest.mark.parametrize(
    ("op", "value"), [(AggregateOp.MAX, 910), (AggregateOp.MIN, 820), (AggregateOp.AVG, 865), (AggregateOp.COUNT, 2000)]
)
def test_other_aggregations_are_of_the_quantiles(op: AggregateOp, value: int) -> None:
    """max is the slowest pod's quantile."""
    bench = Bench(replace(RULE, aggregate=Aggregate(op=op)))
    bench.at(15, batch(15, buckets("a", 0, 0, 0) | buckets("b", 0, 0, 0)))
    result = bench.at(30, batch(30, buckets("a", 0, 10, 10) | buckets("b", 5, 10, 10)))
    assert milli(result) == {ALL: value}


def test_a_histogram_without_observations_is_unknown_never_a_number() -> None:
    """There is no quantile of nothing."""
    bench = Bench(RULE)
    bench.at(15, batch(15, buckets("a", 3, 4, 4)))
    result = bench.at(30, batch(30, buckets("a", 3, 4, 4)))
    assert reasons(result) == {pod("a"): "NoData"}
    assert details(result) == ["no observations in the window"]
    slowest = Bench(replace(RULE, aggregate=Aggregate(op=AggregateOp.MAX)))
    slowest.at(15, batch(15, buckets("a", 3, 4, 4) | buckets("b", 0, 0, 0)))
    result = slowest.at(30, batch(30, buckets("a", 3, 4, 4) | buckets("b", 0, 2, 2)))
    assert reasons(result) == {ALL: "NoData"}
    assert details(result) == ["pod=a: no observations in the window"]


def test_buckets_without_infinity_are_no_histogram() -> None:
    """Without its last bucket nobody knows how many observations there were."""
    bench = Bench(RULE)
    for t, count in ((15, 0.0), (30, 9.0)):
        result = bench.at(t, batch(t, buckets("a", count, count, bounds=("0.1", "1"))))
    assert reasons(result) == {pod("a"): "WrongType"}
    assert details(result) == ['not a histogram: it needs a bucket with le="+Inf" and another one']


def test_one_unknown_bucket_makes_its_histogram_unknown_and_any_sum_it_is_in() -> None:
    """The unknown bucket is named with its labels."""
    wrong = Unknown(Reason.WRONG_TYPE, "x")
    for aggregate, labels in ((None, pod("b")), (Aggregate(), ALL)):
        bench = Bench(replace(RULE, aggregate=aggregate))
        for t in (15, 30):
            result = bench.at(t, batch(t, buckets("a", t, t, t) | buckets("b", t, wrong, t)))
        assert reasons(result) == {labels: "WrongType"}
        assert details(result) == ["t: le=1,pod=b: x"]


def test_a_new_histogram_is_too_few_samples_or_counts_from_zero() -> None:
    """A pod's first read is unknown by PromQL, and an observation since its start with counterStart: zero."""
    bench = Bench(RULE)
    assert reasons(bench.at(15, batch(15, buckets("a", 1, 9, 9)))) == {pod("a"): "TooFewSamples"}
    from_zero = Bench(replace(RULE, signal=replace(P90, counter_start=CounterStart.ZERO)))
    from_zero.at(15, batch(15, buckets("a", 0, 0, 0)))
    result = from_zero.at(30, batch(30, buckets("a", 0, 1, 1) | buckets("b", 0, 10, 10)))
    assert milli(result) == {pod("a"): 910, pod("b"): 910}


def test_histograms_come_and_go_with_their_series() -> None:
    """A pod that is gone leaves once its samples have left the window; a new one has a slot of its own."""
    bench = Bench(RULE)
    known: list[set[Labels]] = []
    for t in range(0, 180, 15):
        readings = buckets("a", t, 2 * t, 2 * t) if t < 60 else buckets("b", t, 2 * t, 2 * t)
        result = bench.at(t, batch(t, readings))
        known.append({item.labels for item in result.items if isinstance(item, ExternalMetricValue)})
    assert known[3] == {pod("a")}
    assert known[5] == {pod("a"), pod("b")}
    assert known[-1] == {pod("b")}


def test_a_change_of_the_function_forgets_the_other_series() -> None:
    """Buckets are not the series that a rate of the same source reads, so nothing of them is kept."""
    bench = Bench(replace(RULE, signal=Signal(Function.RATE, 60_000)))
    for t in (0, 15):
        bench.at(t, batch(t, {pod("a"): float(t)}))
    bench.rule = RULE
    bench.store.configure(REF, table_spec(RULE), 16_000)
    assert not bench.store.tables[REF].blocks


def test_a_trend_below_zero_is_unknown_unless_it_is_clamped() -> None:
    """A queue that drains has a negative slope: Negative, or with guard.min 0 nothing to do."""
    deriv = replace(RULE, signal=Signal(Function.DERIV, 60_000))
    for guard, want in ((Guard(), None), (Guard(min=0), 0)):
        bench = Bench(replace(deriv, guard=guard))
        for t in (0, 15, 30):
            result = bench.at(t, batch(t, {queue("a"): 100.0 - t}))
        if want is None:
            assert reasons(result) == {queue("a"): "Negative"}
        else:
            assert milli(result) == {queue("a"): want}


def test_predict_linear_looks_ahead_of_the_newest_read() -> None:
    """A queue that grows by two a second holds 180 more in 90 s."""
    bench = Bench(replace(RULE, signal=Signal(Function.PREDICT_LINEAR, 60_000, ahead_ms=90_000)))
    assert reasons(bench.at(0, batch(0, {queue("a"): 10.0}))) == {queue("a"): "TooFewSamples"}
    result = bench.at(15, batch(15, {queue("a"): 40.0}))
    assert milli(result) == {queue("a"): 220_000}
    assert milli(bench.at(60)) == {queue("a"): 220_000}  # nothing was read since, so nothing is extrapolated


def test_explain_says_quantile_and_ahead() -> None:
    """What a function was given is part of the explanation."""
    rule = replace(RULE, signal=Signal(Function.PREDICT_LINEAR, 60_000, ahead_ms=90_000))
    said = explain(Bench(rule).store, rule, None, 0)["rule"]
    assert (said["function"], said["quantile"], said["ahead"]) == ("predict_linear", None, "1m30s")
    assert explain(Bench(RULE).store, RULE, None, 0)["rule"]["quantile"] == 0.9


def test_what_is_served_is_what_prometheus_says() -> None:
    """From batches to quantities: each item is Prometheus' number at the newest read, rounded up to a thousandth."""
    compared = 0
    for page, asked in corpus.load().pages:
        for question, answers in asked:
            if question.end_ms not in page.times_ms:
                continue
            rule = replace(RULE, signal=question.signal, aggregate=question.aggregate)
            bench = Bench(rule)
            times, history = page.until(question.end_ms)
            for at, time_ms in enumerate(times):
                reads = {labels: samples[at][1] for labels, samples in history.items()}
                readings = {
                    labels: Unknown(Reason.WRONG_TYPE, "x") if value == "failed" else float(value)
                    for labels, value in reads.items()
                    if value != "absent"
                }
                bench.store.append(replace(batch(0, readings), time_ms=time_ms))
            for item in bench.at(question.end_ms / 1000).items:
                if isinstance(item, ExternalMetricValue):
                    want = answers[item.labels]
                    off = abs(item.milli - quantity.milli(want))
                    assert off <= max(1, abs(want) * 1e-9), (question.promql(page), item.labels, item.milli, want)
                    compared += 1
    assert compared > 3_000
