"""What `spillway explain` says, to the letter: JSON of the explain port in, text out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapter.breaker import Breaker, Rhythm
from adapter.explain.arithmetic import Replicas, arithmetic
from adapter.explain.hpa_object import hpa_of
from adapter.explain.render import text_of
from adapter.explain.words import clock, milli, number, span
from scaler.explain import explain, values
from scaler.model import Labels, Reason, Then, Unknown, WhenUnknown, labels_of
from scaler.rules import Aggregate, AggregateOp, CounterStart, Function, Guard, MetricRule, Signal
from tests.builders import REF, Bench, batch, failure, queue

GOLDEN = Path(__file__).parent / "testdata" / "explain"
NOON_S = 1_800_014_400  # 2027-01-15 12:00:00 UTC
RULE = MetricRule(REF._replace(name="orders-backlog"), "orders-backlog", "s", 5_000, ("redis.shop:6379/0",))
REQUESTS = replace(
    RULE,
    ref=REF._replace(name="requests"),
    metric_name="requests",
    interval_ms=15_000,
    targets=("http://10.0.0.7:8080/metrics",),
    signal=Signal(Function.RATE, 60_000),
)
DOWN = Unknown(Reason.SOURCE_ERROR, "connection refused")
HPA_AGENT = (
    "kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/0123abc/system:serviceaccount:kube-system:"
    "horizontal-pod-autoscaler"
)
READERS = [
    {
        "userAgent": HPA_AGENT,
        "selector": "",
        "namespace": "shop",
        "ageMs": 4_000,
        "code": 200,
        "items": 1,
        "milli": 42_000,
    },
    {
        "userAgent": "curl/8",
        "selector": "queue=x",
        "namespace": "web",
        "ageMs": 70_000,
        "code": 503,
        "items": None,
        "milli": None,
    },
]


class Case:
    """A metric, driven by hand from noon on."""

    def __init__(self, rule: MetricRule) -> None:
        self.bench, self.rule = Bench(rule, NOON_S), rule

    def read(self, after_s: float, reads: Mapping[Labels, float | Unknown] | Unknown, target: str = "") -> None:
        """Let a target be read, so many seconds after noon; an Unknown is the failure of all of it."""
        target, time_s = target or self.rule.targets[0], NOON_S + after_s
        if isinstance(reads, Unknown):
            self.bench.at(time_s, replace(failure(time_s, reads, target), metric=self.rule.ref))
        else:
            self.bench.at(time_s, batch(time_s, reads, target=target, ref=self.rule.ref))

    def document(self, after_s: float, **more: Any) -> dict[str, Any]:
        """Return what the explain port says, so many seconds after noon."""
        now_s = NOON_S + after_s
        result = self.bench.at(now_s)
        found = explain(self.bench.store, self.bench.rule, result, int(now_s * 1000)) | {"readers": []} | more
        loaded: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
        return loaded

    def values(self, after_s: float) -> dict[str, Any]:
        """Return every item, so many seconds after noon."""
        now_s = NOON_S + after_s
        return values(self.bench.rule, self.bench.at(now_s), int(now_s * 1000))


def golden(name: str, document: Mapping[str, Any]) -> None:
    """Compare a rendering with the file of that name; with WRITE_GOLDEN in the environment, write it."""
    text, path = text_of(document), GOLDEN / f"{name}.txt"
    if "WRITE_GOLDEN" in os.environ:
        path.write_text(text)
    assert text == path.read_text(), text


def backlog(aggregate: Aggregate | None = None, **changes: Any) -> Case:
    case = Case(replace(RULE, aggregate=aggregate, **changes))
    case.read(0, {queue("orders"): 30.0, queue("mail"): 12.0, queue("returns"): 0.0})
    return case


def test_a_known_value() -> None:
    """First what it is and from what, then the members, the reads and the readers."""
    golden("known", backlog(Aggregate()).document(1.2, readers=READERS))


def test_several_items() -> None:
    """Without aggregation each series is an item, and the sentence says what they are in all."""
    golden("items", backlog().document(1.2))


def test_a_failure_within_max_age() -> None:
    """The value stands; since when reads fail, why, and until when it counts."""
    case = backlog(Aggregate())
    case.read(5, {queue("orders"): DOWN, queue("mail"): 13.0, queue("returns"): 0.0})
    golden("failing", case.document(20))


def test_a_failure_past_max_age() -> None:
    """The metric is unknown, for a reason and since a time; what an HPA does with that is said."""
    case = backlog(Aggregate())
    case.read(5, DOWN)
    golden("unknown", case.document(90, readers=READERS))


HOLD = WhenUnknown(Then.HOLD, hold_for_ms=600_000)
FLOOR = WhenUnknown(Then.FLOOR, floor_milli=50_000, floor_after_ms=60_000)


def test_a_value_that_is_held() -> None:
    """Since when, why, how old the value is, until when it is held, and what comes then."""
    case = backlog(Aggregate(), when_unknown=HOLD)
    case.read(5, DOWN)
    golden("held", case.document(90))


def test_an_item_that_is_held_beside_others() -> None:
    """Which of the items is held is said, and the others are as ever."""
    case = backlog(when_unknown=HOLD)
    for after_s in range(5, 95, 5):
        case.read(after_s, {queue("orders"): DOWN, queue("mail"): 13.0, queue("returns"): 0.0})
    golden("held_item", case.document(90))


def test_a_hold_that_is_over() -> None:
    """It is unknown, with its last good value beside it."""
    case = backlog(when_unknown=HOLD)
    for after_s in range(5, 705, 5):
        case.read(after_s, {queue("orders"): DOWN, queue("mail"): 13.0, queue("returns"): 0.0})
    golden("hold_over", case.document(700))


def test_a_value_at_a_floor() -> None:
    """The last good value and the floor, and that more of the two is served."""
    case = backlog(Aggregate(), when_unknown=FLOOR)
    case.read(5, DOWN)
    golden("floored", case.document(90))


def test_a_floor_without_a_value() -> None:
    """What was never known is the floor, once it has been unknown for maxAge; until then it says from when on."""
    case = Case(replace(RULE, when_unknown=FLOOR))
    case.read(5, DOWN)
    golden("floor_waits", case.document(20))
    golden("floor_alone", case.document(66))


def test_a_jump_that_is_held() -> None:
    """The value before is served, and the one that jumped stands beside it with when it was first seen."""
    case = backlog(Aggregate(), guard=Guard(max=5_000, max_step=100))
    case.read(5, {queue("orders"): 9_000.0, queue("mail"): 12.0, queue("returns"): 0.0})
    golden("max_step", case.document(6))


def test_a_value_that_falls_slowly() -> None:
    """What it falls to stands beside what is served."""
    case = backlog(Aggregate(), guard=Guard(fall_half_life_ms=10_000))
    case.read(5, {queue("orders"): 0.0, queue("mail"): 12.0, queue("returns"): 0.0})
    golden("fall", case.document(6))


def test_endpoints_in_trouble() -> None:
    """What fails says how often it has, why, and when it is read next; what is well takes no room."""
    noon_ms = NOON_S * 1_000
    down = Breaker.new(Rhythm(1_000, 0), noon_ms)
    for after_ms in (5_000, 6_000, 7_000):
        down = down.began(noon_ms + after_ms).failed(DOWN, noon_ms + after_ms, noon_ms + after_ms, 0)
    busy = Breaker.new(Rhythm(1_000, 0), noon_ms).began(noon_ms)
    busy = busy.failed(Unknown(Reason.SOURCE_ERROR, "HTTP 429"), noon_ms, noon_ms, 0, 60_000)
    fine = Breaker.new(Rhythm(1_000, 0), noon_ms).began(noon_ms).succeeded(noon_ms, noon_ms)
    states = (("redis.shop:6379/0", down), ("http://10.0.0.7/busy", busy), ("http://10.0.0.7/fine", fine))
    case = backlog(Aggregate())
    case.read(5, DOWN)
    found = [{"endpoint": name, "source": "x", "intervalMs": 1_000} | state.as_json() for name, state in states]
    by_state = {"open": 7, "closed": 1}
    golden("endpoints", case.document(8, endpoints=found, endpointsInAll=8, endpointsByState=by_state))


def test_a_rate_with_a_reset() -> None:
    """Every part of the arithmetic has a line: samples, reset, growth, both edges, factor."""
    case = Case(replace(REQUESTS, aggregate=Aggregate()))
    for after_s, ok, bad in ((0, 100.0, 5.0), (15, 130.0, 5.0), (30, 160.0, 6.0), (45, 20.0, 7.0), (60, 50.0, 7.0)):
        case.read(after_s, {labels_of({"code": "200"}): ok, labels_of({"code": "500"}): bad})
    golden("rate", case.document(61))


def test_a_series_that_is_counted_from_zero() -> None:
    """With counterStart zero a new series starts at zero, and an explanation says that it was counted so."""
    case = Case(replace(REQUESTS, signal=replace(REQUESTS.signal, counter_start=CounterStart.ZERO)))
    for after_s in (0, 15, 30, 45, 60):
        new = {labels_of({"code": "404"}): 3.0} if after_s >= 45 else {}
        case.read(after_s, {labels_of({"code": "200"}): 100.0 + after_s, **new})
    golden("from_zero", case.document(62))


def test_an_aggregate_with_an_unknown_member() -> None:
    """One unknown member makes the aggregate unknown; it stands first among the members."""
    wrong = Unknown(Reason.WRONG_TYPE, "holds a string")
    case = Case(replace(RULE, aggregate=Aggregate(("team",), AggregateOp.SUM)))
    reads = {labels_of({"team": "a", "queue": f"q{n}"}): float(n) for n in range(8)}
    case.read(
        0, {**reads, labels_of({"team": "a", "queue": "text"}): wrong, labels_of({"team": "b", "queue": "x"}): 1.0}
    )
    golden("unknown_member", case.document(2))


def test_the_guard() -> None:
    """What was there before the guard is shown beside the bound that took its place."""
    golden("guard", backlog(Aggregate(), guard=Guard(0, 40)).document(1.2))


def test_a_quantile_of_a_histogram() -> None:
    """Rank, bucket and the buckets' rates lead to the quantile."""
    signal = Signal(Function.HISTOGRAM_QUANTILE, 60_000, quantile=0.9)
    case = Case(replace(REQUESTS, signal=signal, aggregate=Aggregate(("path",))))
    for n in range(5):
        buckets = {"0.5": 80.0 * n, "1": 100.0 * n, "+Inf": 100.0 * n}
        case.read(15 * n, {labels_of({"le": le, "path": "/"}): value for le, value in buckets.items()})
    golden("histogram", case.document(61))


@pytest.mark.parametrize(
    "signal",
    [
        Signal(Function.QUANTILE_OVER_TIME, 60_000, quantile=0.9),
        Signal(Function.AVG_OVER_TIME, 60_000),
        Signal(Function.IRATE, 60_000),
        Signal(Function.PREDICT_LINEAR, 60_000, ahead_ms=30_000),
    ],
    ids=lambda signal: signal.function.value,
)
def test_every_kind_of_function(signal: Signal) -> None:
    """Each kind of function has words of its own."""
    case = Case(replace(REQUESTS, signal=signal))
    for after_s, value in ((0, 70.0), (15, 100.0), (30, 130.0), (45, 20.0), (60, 50.0)):
        case.read(after_s, {labels_of({"code": "200"}): value})
    golden(signal.function.value, case.document(61))


def test_long_lists_are_cut() -> None:
    """Of hundreds of items, members and targets the first are shown, then how many more there are."""
    names = tuple(f"http://10.0.0.{n}:8080/metrics" for n in range(200))
    case = Case(replace(REQUESTS, signal=Signal(), targets=names))
    for n, name in enumerate(names):
        case.read(0, {labels_of({"pod": f"web-{n:03}"}): float(n)}, name)
    golden("many", case.document(2))


def test_a_value_below_zero_leaves_the_earlier_one() -> None:
    """What was read since gives no value, and the sentence says why."""
    case = Case(replace(REQUESTS, signal=Signal(Function.DELTA, 60_000)))
    for after_s, value in ((0, 70.0), (15, 100.0), (30, 90.0), (45, 20.0)):
        case.read(after_s, {labels_of({"code": "200"}): value})
    golden("negative", case.document(46))


def test_before_the_first_read() -> None:
    """Nothing was read, and that is what is said; no number."""
    case = Case(RULE)
    golden("not_read", case.document(1))
    assert text_of(explain(case.bench.store, RULE, None, 0)).startswith("shop/orders-backlog is not known yet: nothing")


def test_an_earlier_value_that_stands_in() -> None:
    """Where the result cannot be computed now and the one before still counts, both are said."""
    case = Case(replace(RULE, aggregate=Aggregate(), signal=Signal(Function.AVG_OVER_TIME, 60_000)))
    case.read(0, {queue("a"): 10.0, queue("b"): 1.0})
    case.read(5, {queue("a"): DOWN, queue("b"): 2.0})
    golden("stands_in", case.document(8))


def test_numbers_and_times() -> None:
    """Whole numbers in full, milli-units exactly, ages as a person says them, a moment with its date if it is far."""
    assert [number(x) for x in (42.0, 0.43829, 1234.56, 123456789.0, "nan")] == [
        "42",
        "0.4383",
        "1234.6",
        "123456789",
        "nan",
    ]
    assert [milli(x) for x in (0, 1, 1500, -250, 10**18)] == ["0", "0.001", "1.5", "-0.25", "1000000000000000"]
    assert [span(x) for x in (0, 1_240, 9_949, 57_000, 119_000, 720_000, 10_800_000, 300_000_000)] == [
        *("0.0 s", "1.2 s", "9.9 s", "57 s", "119 s", "12 min", "3 h", "3 d"),
    ]
    assert clock(NOON_S * 1000, NOON_S * 1000) == "12:00:00Z"
    assert clock(NOON_S * 1000, (NOON_S + 200_000) * 1000) == "2027-01-15 12:00:00Z"


CONDITION = {"lastTransitionTime": "2027-01-15T11:50:00Z"}
ABLE = {"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale", "message": "recommended size matches"}
ACTIVE = {
    "type": "ScalingActive",
    "status": "True",
    "reason": "ValidMetricFound",
    "message": "the HPA was able to successfully calculate a replica count",
}
LIMITED = {"type": "ScalingLimited", "status": "False", "reason": "DesiredWithinRange", "message": "in range"}


def hpa_object(*metrics: dict[str, Any], status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return an HPA as the API gives it."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "orders-worker", "namespace": "shop", "uid": "1", "managedFields": []},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders-worker"},
            "minReplicas": 1,
            "maxReplicas": 20,
            "metrics": list(metrics),
            **spec,
        },
        **({} if status is None else {"status": status}),
    }


def external(
    name: str, kind: str = "AverageValue", target: str = "10", selector: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return an External metric of an HPA."""
    metric: dict[str, Any] = {"name": name}
    if selector:
        metric["selector"] = {"matchLabels": selector}
    return {
        "type": "External",
        "external": {"metric": metric, "target": {"type": kind, kind[0].lower() + kind[1:]: target}},
    }


def status(
    current: int, desired: int, *conditions: dict[str, str], own: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return an HPA's status; `own` is what it last read of its first metric, orders-backlog."""
    found: dict[str, Any] = {
        "currentReplicas": current,
        "desiredReplicas": desired,
        "lastScaleTime": "2027-01-15T11:59:00Z",
        "conditions": [each | CONDITION for each in conditions],
    }
    if own is not None:
        read = {"metric": {"name": "orders-backlog"}, "current": own}
        found["currentMetrics"] = [{"type": "External", "external": read}]
    return found


def beside(case: Case, after_s: float, hpa: dict[str, Any], replicas: Replicas, **served: Any) -> dict[str, Any]:
    """Return an explanation with what an HPA makes of it."""
    now_ms = int((NOON_S + after_s) * 1000)
    found = arithmetic(
        hpa_of(hpa, "hpa.yaml"), replicas, {"orders-backlog": case.values(after_s), **served}, "orders-backlog", now_ms
    )
    return case.document(after_s) | {"hpa": json.loads(json.dumps(found, allow_nan=False))}


THREE = Replicas(3, 3, 3, 3, "of the scale")


def test_an_hpa_that_agrees() -> None:
    """Reading, target, ratio, tolerance, proposal, limits and result, one a line; then the HPA's own word, the same."""
    said = status(3, 5, ABLE, ACTIVE, LIMITED, own={"averageValue": "14"})
    golden("hpa", beside(backlog(), 1.2, hpa_object(external("orders-backlog"), status=said), THREE))


def test_an_hpa_that_waits_to_go_down() -> None:
    """Where its scale-down window holds it up, that is said, with the window."""
    able = ABLE | {"reason": "ScaleDownStabilized", "message": "recent recommendations were higher than current one"}
    said = status(9, 9, able, ACTIVE, LIMITED, own={"averageValue": "12"})
    nine = Replicas(9, 9, 9, 9, "of the scale")
    golden("hpa_stabilized", beside(backlog(), 1.2, hpa_object(external("orders-backlog"), status=said), nine))


def test_an_hpa_of_an_unknown_metric() -> None:
    """It holds its replicas; what it says of itself is the same."""
    case = backlog(Aggregate())
    case.read(5, DOWN)
    active = ACTIVE | {"status": "False", "reason": "FailedGetExternalMetric", "message": "unable to get it"}
    said = status(3, 3, ABLE, active, own={"averageValue": "14"})
    golden("hpa_unknown", beside(case, 90, hpa_object(external("orders-backlog"), status=said), THREE))


def test_an_hpa_of_several_metrics_with_behavior() -> None:
    """Each External metric has its steps, the most wins, the policy limits it; what is not computed is named."""
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}
    metrics = (
        cpu,
        external("orders-backlog", target="5", selector={"queue": "orders"}),
        external("open-jobs", "Value", "100"),
    )
    behavior = {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
    other = backlog(ref=REF._replace(name="open-jobs"), metric_name="open-jobs").values(1.2)
    hpa = hpa_object(*metrics, behavior=behavior, minReplicas=2)
    two = Replicas(2, 1, 2, 1, "of the scale")
    golden("hpa_several", beside(backlog(), 1.2, hpa, two, **{"open-jobs": other}))


def test_an_hpa_that_is_off() -> None:
    """At zero replicas the HPA does nothing, and that is what is said."""
    active = ACTIVE | {"status": "False", "reason": "ScalingDisabled", "message": "scaling is disabled"}
    hpa = hpa_object(external("orders-backlog"), status=status(0, 0, ABLE, active))
    golden("hpa_off", beside(backlog(), 1.2, hpa, Replicas(0, 0, 0, 0, "of the scale")))


def test_an_hpa_of_another_metric() -> None:
    """An HPA that does not read the metric is said not to, with what it reads."""
    hpa = hpa_object(external("mail"))
    document = beside(backlog(), 1.2, hpa, THREE, mail="this adapter has no metric shop/mail")
    golden("hpa_other", document)
