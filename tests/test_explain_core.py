"""The explanation of a metric: its steps lead to what is served, and to nothing else."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler import quantity
from scaler.explain import explain, values
from scaler.model import ExternalMetricValue, Labels, MetricResult, Reason, Unknown, labels_of
from scaler.rules import Aggregate, AggregateOp, CounterStart, Function, Guard, MetricRule, Signal
from tests.builders import REF, Bench, batch, failure, queue

RULE = MetricRule(REF, "m", "s", 15_000, ("t",))
RATE = Signal(Function.RATE, 60_000)
DOWN = Unknown(Reason.SOURCE_ERROR, "connection refused")


def explained(bench: Bench, now_s: float, result: MetricResult) -> dict[str, Any]:
    """Return the explanation; it is JSON."""
    found = explain(bench.store, bench.rule, result, int(now_s * 1000))
    json.dumps(found, allow_nan=False)
    return found


def only_series(found: dict[str, Any]) -> dict[str, Any]:
    (series,) = found["targets"][0]["series"]
    assert isinstance(series, dict)
    return series


SIGNALS = st.sampled_from(
    [
        Signal(),
        RATE,
        Signal(Function.INCREASE, 60_000, CounterStart.ZERO),
        Signal(Function.DELTA, 60_000),
        Signal(Function.IRATE, 60_000),
        Signal(Function.IDELTA, 60_000),
        Signal(Function.AVG_OVER_TIME, 60_000),
        Signal(Function.QUANTILE_OVER_TIME, 60_000, quantile=0.9),
        Signal(Function.DERIV, 60_000),
        Signal(Function.PREDICT_LINEAR, 60_000, ahead_ms=30_000),
    ]
)
READING = st.one_of(st.integers(0, 50).map(float), st.just(math.nan), st.just(DOWN))
READ = st.one_of(
    st.dictionaries(st.sampled_from("abc"), READING, max_size=3),
    st.dictionaries(st.sampled_from("abc"), READING),
    st.none(),
)
AGGREGATES = st.sampled_from([None, Aggregate(), Aggregate(("kind",), AggregateOp.MAX), Aggregate((), AggregateOp.AVG)])


def series_labels(name: str) -> Labels:
    return labels_of({"queue": name, "kind": "late" if name == "c" else "early"})


@settings(max_examples=300, deadline=None)
@given(
    SIGNALS,
    AGGREGATES,
    st.lists(st.tuples(READ, READ), min_size=1, max_size=8),
    st.sampled_from([0, 20, 70]),
    st.booleans(),
)
def test_the_steps_lead_to_what_is_served(
    signal: Signal, aggregate: Aggregate | None, history: list[tuple[Any, Any]], later_s: int, stays: bool
) -> None:
    """Folding the members shown and clamping gives the item served, unless an earlier item stands in, which is said."""
    rule = replace(RULE, targets=("t", "u"), signal=signal, aggregate=aggregate, guard=Guard(0, 1_000))
    bench, now_s = Bench(rule), 0
    for n, reads in enumerate(history):
        now_s += 15
        if n == len(history) - 1 and not stays:
            bench.rule = rule = replace(rule, targets=("t",))
            bench.store.retain(REF, rule.targets, now_s * 1000)
        for target, read in zip(rule.targets, reads, strict=False):
            read_s = now_s - 4 * (target == "u")  # targets have phases of their own
            if read is None:
                bench.store.append(failure(read_s, DOWN, target))
            else:
                bench.store.append(batch(read_s, {series_labels(n): v for n, v in read.items()}, target=target))
        result = bench.at(now_s)
    result = bench.at(now_s + later_s)
    found = explained(bench, now_s + later_s, result)
    assert found["state"]["known"] == (
        result.unknown is None and all(isinstance(item, ExternalMetricValue) for item in result.items)
    )
    for item, told in zip(result.items, found["items"], strict=True):
        assert told["labels"] == dict(item.labels)
        if isinstance(item, ExternalMetricValue) and not told["standsIn"]:
            folded = told["made"]["folded"]
            assert quantity.milli(min(max(folded, 0), 1_000)) == item.milli == told["milli"]
            assert told["made"]["guarded"] == ("min" if folded < 0 else "max" if folded > 1_000 else None)
            assert told["made"]["unknownMembers"] == 0
            assert told["made"]["members"] == len(told["made"]["shown"])
        elif told["made"] is not None and result.unknown is None:
            assert told["made"]["folded"] is None or told["made"]["folded"] < 0 or told["made"]["folded"] == "nan"
    for target in found["targets"]:
        for series in target["series"]:
            parts, outcome = series["parts"], series["result"]
            if parts is not None and "result" in parts and outcome is not None and "value" in outcome:
                assert parts["result"] == pytest.approx(outcome["value"], rel=1e-9, abs=1e-9)


def test_a_rate_names_first_last_resets_edges_and_factor() -> None:
    """90 and 20 more after a reset are 110 over 45 s; both edges are 15 s or nearer, so the factor is 60 / 45."""
    bench = Bench(replace(RULE, signal=RATE))
    for time_s, value in ((15, 10.0), (30, 60.0), (45, 100.0), (60, 20.0)):
        result = bench.at(time_s, batch(time_s, {queue("a"): value}))
    parts = only_series(explained(bench, 61, result))["parts"]
    assert parts["first"] == {"ageMs": 46_000, "value": 10.0}
    assert parts["last"] == {"ageMs": 1_000, "value": 20.0}
    assert parts["resets"] == [{"ageMs": 1_000, "from": 100.0, "to": 20.0}]
    assert (parts["difference"], parts["added"], parts["change"]) == (10.0, 100.0, 110.0)
    assert parts["end"] == {"distanceS": 0.0, "extendedS": 0.0, "why": "edge"}
    assert parts["start"]["why"] == "zero"  # 10 was counted in 4.1 s at that pace: there was no more before
    assert parts["start"]["extendedS"] == pytest.approx(45 * 10 / 110)
    assert parts["result"] == pytest.approx((110 + 10) / 60)


def test_a_series_that_began_within_the_window_is_extended_by_half_a_spacing() -> None:
    """Far from the window's start, half the spacing is added, and the explanation says that it is far."""
    bench = Bench(replace(RULE, signal=RATE))
    for time_s in (15, 30, 45, 60):
        reads = {queue("a"): 1000.0 + time_s, **({queue("b"): 1000.0 + time_s} if time_s >= 45 else {})}
        result = bench.at(time_s, batch(time_s, reads))
    series = {s["labels"]["queue"]: s for s in explained(bench, 60, result)["targets"][0]["series"]}
    assert series["a"]["parts"]["start"] == {"distanceS": 15.0, "extendedS": 15.0, "why": "edge"}
    assert series["b"]["parts"]["start"] == {"distanceS": 45.0, "extendedS": 7.5, "why": "far"}


def test_a_new_series_is_counted_from_zero_where_the_rule_says_so() -> None:
    """With counterStart zero, a series that was not in the read before begins with 0 there, and the parts say it."""
    bench = Bench(replace(RULE, signal=replace(RATE, counter_start=CounterStart.ZERO)))
    for time_s in (15, 30, 45, 60):
        reads = {queue("a"): 500.0, **({queue("b"): 7.0} if time_s >= 45 else {})}
        result = bench.at(time_s, batch(time_s, reads))
    series = {s["labels"]["queue"]: s for s in explained(bench, 60, result)["targets"][0]["series"]}
    assert series["b"]["parts"]["countedFromZero"] is True
    assert series["b"]["parts"]["first"] == {"ageMs": 30_000, "value": 0.0}
    assert series["a"]["parts"]["countedFromZero"] is False


def test_too_few_samples_have_no_parts_but_their_count() -> None:
    """One sample where two are needed: how many there are, how many it takes, and no number."""
    bench = Bench(replace(RULE, signal=RATE))
    result = bench.at(15, batch(15, {queue("a"): 10.0}))
    series = only_series(explained(bench, 15, result))
    assert series["parts"] == {"kind": "extrapolated", "samples": 1, "needs": 2, "windowMs": 60_000}
    assert series["result"]["unknown"]["reason"] == "TooFewSamples"


def test_a_quantile_of_a_histogram_names_its_buckets_and_the_one_it_falls_into() -> None:
    """The rates of the buckets are shown cumulated, and the 0.9-quantile lies between 0.5 and 1."""
    rule = replace(RULE, signal=Signal(Function.HISTOGRAM_QUANTILE, 60_000, quantile=0.9), aggregate=Aggregate())
    bench = Bench(rule)
    for n, time_s in enumerate((15, 30, 45, 60)):
        buckets = {"0.5": 80.0 * n, "1": 100.0 * n, "+Inf": 100.0 * n}
        result = bench.at(time_s, batch(time_s, {labels_of({"le": le}): v for le, v in buckets.items()}))
    (item,) = explained(bench, 60, result)["items"]
    histogram = item["made"]["histogram"]
    assert (histogram["from"], histogram["to"], histogram["quantile"]) == ("0.5", "1", 0.9)
    assert [bucket["le"] for bucket in histogram["buckets"]] == ["0.5", "1", "+Inf"]
    assert item["made"]["folded"] == pytest.approx(0.75)
    assert item["value"] == 0.75


def test_during_a_failure_the_held_value_is_named_with_its_age() -> None:
    """While reads of a series fail within maxAge, its newest good sample stands, with the time it is from."""
    bench = Bench(RULE)
    bench.at(15, batch(15, {queue("a"): 10.0, queue("b"): 1.0}))
    result = bench.at(30, batch(30, {queue("a"): DOWN, queue("b"): 2.0}))
    found = explained(bench, 31, result)
    series = {s["labels"]["queue"]: s for s in found["targets"][0]["series"]}
    assert series["a"]["held"] == {"value": 10.0, "ageMs": 16_000}
    assert series["a"]["problem"]["reason"] == "SourceError"
    assert found["state"]["known"] is True
    assert found["state"]["validForMs"] == 44_001
    assert found["seriesFailing"] == 1


def test_an_item_that_stands_in_is_said_to() -> None:
    """Where a member cannot be computed, the earlier item stands in and is marked, with the member that is unknown."""
    bench = Bench(replace(RULE, aggregate=Aggregate(), signal=Signal(Function.AVG_OVER_TIME, 60_000)))
    bench.at(15, batch(15, {queue("a"): 10.0, queue("b"): 1.0}))
    result = bench.at(30, batch(30, {queue("a"): DOWN, queue("b"): 2.0}))
    (item,) = explained(bench, 30, result)["items"]
    assert (item["value"], item["standsIn"], item["ageMs"]) == (11.0, True, 15_000)
    assert (item["made"]["members"], item["made"]["unknownMembers"], item["made"]["folded"]) == (2, 1, None)
    first = item["made"]["shown"][0]
    assert (first["target"], first["labels"], first["unknown"]["reason"]) == ("t", {"queue": "a"}, "SourceError")


def test_past_max_age_there_is_the_message_that_readers_get() -> None:
    """Nothing is left of a target that has been silent for longer than maxAge but why and since when."""
    bench = Bench(RULE)
    bench.at(15, batch(15, {queue("a"): 10.0}))
    found = explained(bench, 80, bench.at(80, failure(80, DOWN)))
    assert found["items"] == []
    assert found["state"]["message"] == "SourceError: t: connection refused since 00:01:20Z"
    assert found["targets"][0]["failure"]["reason"] == "SourceError"


def test_what_is_shown_is_bounded_and_failing_series_come_first() -> None:
    """Of 3,000 series a hundred are shown, and the two that fail are among them; every item is in the values."""
    reads: dict[Labels, float | Unknown] = {queue(f"q{n:04}"): float(n) for n in range(3_000)}
    reads[queue("q2998")] = reads[queue("q2999")] = DOWN
    bench = Bench(replace(RULE, targets=("t", "u")))
    result = bench.at(15, batch(15, reads), batch(15, {queue("z"): 1.0}, target="u"))
    found = explained(bench, 15, result)
    shown = [series["labels"]["queue"] for target in found["targets"] for series in target["series"]]
    assert len(shown) == 100
    assert {"q2998", "q2999", "z"} <= set(shown)
    assert (found["seriesInAll"], found["seriesFailing"], found["itemsInAll"]) == (3_001, 2, 3_001)
    assert len(found["items"]) == 100
    everything = values(bench.rule, result, 15_000)
    assert len(everything["items"]) == 3_001
    assert everything["itemsUnknown"] == 2
    assert everything["state"]["known"] is False


def test_a_failing_target_is_shown_however_many_there_are() -> None:
    """Of 300 targets a hundred are shown in their order, and the one that fails is among them."""
    names = tuple(f"t{n:03}" for n in range(300))
    bench = Bench(replace(RULE, targets=names, aggregate=Aggregate()))
    batches = [batch(15, {queue("a"): 1.0}, target=name) for name in names[:-1]]
    found = explained(bench, 15, bench.at(15, *batches, failure(15, DOWN, names[-1])))
    shown = [target["target"] for target in found["targets"]]
    assert shown == [*names[:99], names[-1]]
    assert (found["targetsInAll"], found["targetsFailing"]) == (300, 1)
    assert sum(len(target["series"]) for target in found["targets"]) == 99
