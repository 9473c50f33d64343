"""The HPA's algorithm: vectors made by the Go code, whole syncs, and the truths it rests on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.hpa import combine, decide, reads_metrics, tolerance_of
from scaler.hpa_behavior import normalize, record_scale, scale_down_limit, scale_up_limit
from scaler.hpa_model import (
    SCALE_DOWN_DEFAULTS,
    SCALE_UP_DEFAULTS,
    Behavior,
    Condition,
    Controller,
    Decision,
    ExternalMetric,
    History,
    HpaSpec,
    MetricError,
    Policy,
    PolicyType,
    Proposal,
    Recommendation,
    ScaleEvent,
    ScalingRules,
    SelectPolicy,
    State,
)
from scaler.hpa_replicas import (
    MAX_INT32,
    MAX_INT64,
    MIN_INT32,
    MIN_INT64,
    Tolerance,
    average_value_replicas,
    to_int32,
    to_int64,
    value_replicas,
    wrap_int32,
    wrap_int64,
)

VECTORS = Path(__file__).parent / "testdata" / "wire" / "hpa.jsonl"
Vector = dict[str, Any]

BACKLOG = ExternalMetric("backlog", average_value_milli=10_000)
RATE = ExternalMetric("rate", average_value_milli=5_000)


# The vectors: one file, each line a kind, the Go function's input and its output. Ages are seconds before now.


def _vectors(kind: str) -> list[Vector]:
    with VECTORS.open() as lines:
        return [vector for vector in map(json.loads, lines) if vector["kind"] == kind]


def _recommendations(ages: list[list[float]] | None) -> tuple[Recommendation, ...]:
    return tuple(Recommendation(-age, int(replicas)) for age, replicas in ages or [])


def _events(ages: list[list[float]] | None) -> tuple[ScaleEvent, ...]:
    return tuple(ScaleEvent(-age, int(change)) for age, change in ages or [])


def _rules(given: Vector) -> ScalingRules:
    policies = tuple(Policy(PolicyType(p["type"]), p["value"], p["periodSeconds"]) for p in given["policies"])
    return ScalingRules(given["stabilizationWindowSeconds"], SelectPolicy(given["selectPolicy"]), policies)


def _spec(given: Vector, behavior: Behavior | None) -> HpaSpec:
    return HpaSpec(given["max"], (BACKLOG,), min_replicas=given["min"], behavior=behavior)


def _shown(conditions: Sequence[Condition]) -> list[list[str]]:
    return [[each.type, str(each.status), each.reason] for each in conditions]


def _answer(result: Proposal | MetricError) -> Vector:
    if isinstance(result, MetricError):
        return {"err": result.message, "replicas": 0, "usage": result.usage_milli}
    return {"err": "", "replicas": result.replicas, "usage": result.usage_milli}


def _run_value(given: Vector) -> Vector:
    tolerance = Tolerance(down=given["tolDown"], up=given["tolUp"])
    scale = (given["specReplicas"], given["pods"], given["ready"])
    return _answer(value_replicas(given["values"], given["target"], *scale, tolerance))


def _run_average(given: Vector) -> Vector:
    tolerance = Tolerance(down=given["tolDown"], up=given["tolUp"])
    return _answer(average_value_replicas(given["values"], given["target"], given["statusReplicas"], tolerance))


def _run_normalize(given: Vector) -> Vector:
    behavior = Behavior(_rules(given["up"]), _rules(given["down"])) if "up" in given else None
    history = History(_recommendations(given["recs"]), _events(given.get("upEvents")), _events(given.get("downEvents")))
    controller = Controller(downscale_stabilization_s=given["window"])
    got = normalize(_spec(given, behavior), given["current"], given["desired"], history, 0.0, controller)
    recommendations = [[-past.time_s, past.replicas] for past in got.recommendations]
    return {"conditions": _shown(got.conditions), "desired": got.replicas, "recs": recommendations}


def _run_store(given: Vector) -> Vector:
    behavior = Behavior(_rules(given["up"]), _rules(given["down"]))
    history = History((), _events(given["upEvents"]), _events(given["downEvents"]))
    got = record_scale(behavior, given["prev"], given["new"], history, 0.0)
    return {
        "downEvents": [[-event.time_s, event.change] for event in got.scale_downs] or None,
        "upEvents": [[-event.time_s, event.change] for event in got.scale_ups] or None,
    }


@pytest.mark.parametrize(
    ("kind", "run", "count"),
    [
        ("value", _run_value, 614),
        ("average", _run_average, 584),
        ("normalize", _run_normalize, 384),
        ("behavior", _run_normalize, 389),
        ("store", _run_store, 429),
    ],
)
def test_vectors(kind: str, run: Any, count: int) -> None:
    """Every piece of the algorithm gives, field by field, what the Go code gave."""
    vectors = _vectors(kind)
    assert len(vectors) == count
    wrong = [(vector, got) for vector in vectors if (got := run(vector["in"])) != vector["out"]]
    assert wrong == []


@pytest.mark.parametrize(
    ("number", "int32", "int64"),
    [
        (2147483647.9, MAX_INT32, 2147483647),
        (2147483648.0, MIN_INT32, 2147483648),
        (-2147483648.9, MIN_INT32, -2147483648),
        (-1.5, -1, -1),
        (2.0**63, MIN_INT32, MIN_INT64),
        (-(2.0**63), MIN_INT32, MIN_INT64),
        (float("inf"), MIN_INT32, MIN_INT64),
        (float("nan"), MIN_INT32, MIN_INT64),
    ],
)
def test_float_conversion(number: float, int32: int, int64: int) -> None:
    """A float becomes an integer as on amd64: towards zero, and the minimum if it does not fit."""
    assert (to_int32(number), to_int64(number)) == (int32, int64)


def test_integer_overflow() -> None:
    """Integer sums wrap around, as in Go."""
    assert (wrap_int32(MAX_INT32 + 1), wrap_int32(MIN_INT32 - 1)) == (MIN_INT32, MAX_INT32)
    assert (wrap_int64(MAX_INT64 + 1), wrap_int64(MIN_INT64 - 1)) == (MIN_INT64, MAX_INT64)


@pytest.mark.parametrize(
    ("values", "replicas", "usage"),
    [
        ([22_000], 2, 11_000),
        ([22_001], 3, 11_001),
        ([18_000], 2, 9_000),
        ([17_000], 2, 8_500),
        ([0], 0, 0),
        ([10_000, 5_500, 1], 2, 7_751),
        ([-1_000, 50_000], MAX_INT32, MAX_INT64),
        ([50_000, -1_000], 5, 24_500),
    ],
)
def test_average_value(values: list[int], replicas: int, usage: int) -> None:
    """For 10 a replica and 2 pods: the bounds of tolerance hold, and a sum below zero asks for everything."""
    assert average_value_replicas(values, 10_000, 2, Tolerance()) == Proposal(replicas, usage)


def test_average_value_without_pods() -> None:
    """At zero pods any load at all asks for one, and the average reported is the smallest int64."""
    assert average_value_replicas([1], 10_000, 0, Tolerance()) == Proposal(1, MIN_INT64)
    assert average_value_replicas([0], 10_000, 0, Tolerance()) == Proposal(0, MIN_INT64)


def test_value() -> None:
    """A Value target multiplies by ready pods, holds the count asked for, and from zero uses the ratio alone."""
    tolerance = Tolerance()
    assert value_replicas([22_000], 10_000, 2, 2, 2, tolerance) == Proposal(5, 22_000)
    assert value_replicas([11_000], 10_000, 7, 0, 0, tolerance) == Proposal(7, 11_000)
    assert value_replicas([22_000], 10_000, 2, 2, 0, tolerance) == Proposal(0, 22_000)
    assert value_replicas([11_000], 10_000, 0, 0, 0, tolerance) == Proposal(2, 11_000)
    assert value_replicas([MAX_INT64], 1, 0, 0, 0, tolerance) == Proposal(MIN_INT32, MAX_INT64)


def test_tolerance_of_each_direction() -> None:
    """A direction with a tolerance of its own has it, the other keeps the controller's."""
    behavior = Behavior(scale_up=replace(SCALE_UP_DEFAULTS, tolerance=0.0))
    spec = HpaSpec(10, (BACKLOG,), behavior=behavior)
    assert tolerance_of(spec, Controller(tolerance=0.2)) == Tolerance(down=0.2, up=0.0)
    assert tolerance_of(replace(spec, behavior=None)) == Tolerance(down=0.1, up=0.1)


# Whole syncs.


def _state(replicas: int, conditions: tuple[Condition, ...] = ()) -> State:
    return State(replicas, replicas, replicas, replicas, conditions)


def _run(
    spec: HpaSpec, replicas: int, loads_milli: Sequence[int], controller: Controller | None = None
) -> list[Decision]:
    """Sync every 15 s with a workload that starts and stops at once; the controller starts with the first load."""
    decisions: list[Decision] = []
    state, history = _state(replicas), History()
    for sync, load_milli in enumerate(loads_milli):
        decision = decide(spec, state, [[load_milli]], history, 15.0 * sync, controller or Controller())
        decisions.append(decision)
        state, history = _state(decision.replicas, decision.conditions), decision.history
    return decisions


def _condition(decision: Decision, kind: str) -> tuple[bool, str, str]:
    return next((each.status, each.reason, each.message) for each in decision.conditions if each.type == kind)


def test_a_sync_that_scales() -> None:
    """A scale-up sets every condition the controller sets, in its order, and tells why."""
    (decision,) = _run(HpaSpec(10, (BACKLOG,)), 2, [39_000])
    assert (decision.replicas, decision.reason, decision.error) == (4, "external metric backlog(nil) above target", "")
    assert _shown(decision.conditions) == [
        ["AbleToScale", "True", "SucceededRescale"],
        ["ScalingActive", "True", "ValidMetricFound"],
        ["ScalingLimited", "False", "DesiredWithinRange"],
    ]
    messages = [each.message for each in decision.conditions]
    assert messages[:2] == [
        "the HPA controller was able to update the target scale to 4",
        "the HPA was able to successfully calculate a replica count from external metric backlog(nil)",
    ]
    assert [(event.reason, event.message) for event in decision.events] == [
        ("SuccessfulRescale", "New size: 4; reason: external metric backlog(nil) above target")
    ]
    assert decision.proposals == (Proposal(4, 19_500),)


def test_without_behavior() -> None:
    """Without behavior the count doubles at most, rests 300 s at its highest, then falls as far as it likes."""
    decisions = _run(HpaSpec(20, (BACKLOG,)), 1, [200_000] * 4 + [10_000] * 22)
    replicas = [decision.replicas for decision in decisions]
    assert replicas[:4] == [4, 8, 16, 20]
    # The last high recommendation is of 45 s and counts up to and including 345 s.
    assert replicas[4:24] == [20] * 20
    assert replicas[24:] == [1, 1]
    assert _condition(decisions[0], "ScalingLimited")[:2] == (True, "ScaleUpLimit")
    assert _condition(decisions[10], "AbleToScale")[:2] == (True, "ScaleDownStabilized")


def test_default_behavior() -> None:
    """An empty behavior adds 4 pods or doubles in 15 s; a sync exactly 15 s later has the whole rate again."""
    decisions = _run(HpaSpec(100, (BACKLOG,), behavior=Behavior()), 1, [1_000_000] * 6)
    assert [decision.replicas for decision in decisions] == [5, 10, 20, 40, 80, 100]
    assert _condition(decisions[-1], "ScalingLimited")[:2] == (False, "DesiredWithinRange")
    assert [event.change for event in decisions[-1].history.scale_ups] == [40, 20]


def test_restart_blocks_scale_down() -> None:
    """A controller that has just started takes the present count as a recommendation of now."""
    decision = decide(HpaSpec(10, (BACKLOG,)), _state(5), [[0]], History(), 1_000.0)
    assert decision.replicas == 5
    assert decision.history.recommendations == (Recommendation(1_000.0, 5), Recommendation(1_000.0, 0))


def test_negative_metric_scales_to_the_maximum() -> None:
    """One value below zero drives an AverageValue target to maxReplicas."""
    assert [decision.replicas for decision in _run(HpaSpec(10, (BACKLOG,)), 3, [-1_000] * 3)] == [6, 10, 10]


@pytest.mark.parametrize(("replicas", "expected"), [(12, 10), (1, 2)])
def test_out_of_bounds_reads_no_metric(replicas: int, expected: int) -> None:
    """Outside its bounds the HPA sets the bound at once, reads nothing, and forgets no rate."""
    spec = HpaSpec(10, (BACKLOG,), min_replicas=2, behavior=Behavior())
    assert not reads_metrics(spec, _state(replicas))
    decision = decide(spec, _state(replicas), [], History(), 0.0)
    assert (decision.replicas, decision.proposals) == (expected, ())
    assert [each.type for each in decision.conditions] == ["AbleToScale"]
    changes = [event.change for event in decision.history.scale_ups + decision.history.scale_downs]
    assert changes == [abs(expected - replicas)]


def test_all_metrics_failed() -> None:
    """With every metric failed the count stays, nothing is remembered, and the events name the first failure."""
    spec = HpaSpec(10, (BACKLOG, replace(RATE, average_value_milli=None, value_milli=1)), namespace="shop")
    history = History((Recommendation(0.0, 4),))
    decision = decide(spec, _state(4), [MetricError("redis: timeout"), []], history, 15.0)
    assert (decision.replicas, decision.reason, decision.history) == (4, "", history)
    first = (
        "unable to get external metric shop/backlog/nil: unable to fetch metrics from external metrics API: "
        "redis: timeout"
    )
    assert _condition(decision, "ScalingActive") == (
        False,
        "FailedGetExternalMetric",
        f"the HPA was unable to compute the replica count: {first}",
    )
    assert [(event.warning, event.reason, event.message) for event in decision.events] == [
        (True, "FailedGetExternalMetric", first),
        (
            True,
            "FailedGetExternalMetric",
            "unable to get external metric shop/rate/nil: no metrics returned from external metrics API",
        ),
        (
            True,
            "FailedComputeMetricsReplicas",
            (
                "invalid metrics (2 invalid out of 2), first error is: failed to get backlog external metric value: "
                f"failed to get backlog external metric: {first}"
            ),
        ),
    ]


def test_value_target_without_pods() -> None:
    """A Value target whose selector matches no pod is a failure, with the message Go wraps round it."""
    spec = HpaSpec(10, (ExternalMetric("rate", value_milli=10_000),))
    decision = decide(spec, State(2, 0, 0, 0), [[50_000]], History(), 0.0)
    no_pods = "unable to calculate ready pods: no pods returned by selector while calculating replica count"
    assert decision.error == (
        "invalid metrics (1 invalid out of 1), first error is: failed to get rate external metric value: "
        f"failed to get external metric rate: {no_pods}"
    )
    assert decision.proposals == (MetricError(no_pods, 50_000),)


def test_metric_without_target() -> None:
    """A metric without any target fails with the controller's own words."""
    decision = decide(HpaSpec(10, (ExternalMetric("rate"),)), _state(2), [[1]], History(), 0.0)
    assert decision.error.endswith(
        "first error is: failed to get rate external metric value: "
        "invalid external metric source: neither a value target nor an average value target was set"
    )


def test_partial_failure_scales_up() -> None:
    """With one metric failed the other may still raise the count; the failure keeps its event."""
    decision = decide(HpaSpec(10, (RATE, BACKLOG)), _state(2), [MetricError("x"), [40_000]], History(), 0.0)
    assert decision.replicas == 4
    assert _condition(decision, "ScalingActive")[:2] == (True, "ValidMetricFound")
    assert [event.reason for event in decision.events] == ["FailedGetExternalMetric", "SuccessfulRescale"]
    assert decision.error.startswith("invalid metrics (1 invalid out of 2)")


def test_readings_match_metrics() -> None:
    """A reading too few or too many is a caller's error, not a failed metric."""
    with pytest.raises(ValueError, match="shorter"):
        decide(HpaSpec(10, (RATE, BACKLOG)), _state(2), [[1]], History(), 0.0)
    with pytest.raises(ValueError, match=r"spec\.metrics"):
        HpaSpec(10, ())


def test_zero_gives_way_to_negative() -> None:
    """A proposal of 0 is overwritten by whatever follows, as in Go."""
    metrics = (ExternalMetric("a", value_milli=1_000), ExternalMetric("b", value_milli=1_000))
    combined = combine(HpaSpec(10, metrics), _state(2), [[0], [-5_000]], Tolerance())
    assert (combined.replicas, combined.metric) == (-10, "external metric b(nil)")


def test_condition_age() -> None:
    """A condition is as old as its status, whatever its reason and message."""
    history, state = History(), _state(2)
    since = []
    readings: list[list[int] | MetricError] = [[20_000], MetricError("x"), MetricError("y"), [20_000]]
    for sync, reading in enumerate(readings):
        decision = decide(HpaSpec(10, (BACKLOG,)), state, [reading], history, 15.0 * sync)
        history, state = decision.history, _state(2, decision.conditions)
        since.append({each.type: each.since_s for each in decision.conditions}["ScalingActive"])
    assert since == [0.0, 15.0, 15.0, 45.0]


# Scale to zero.

TO_ZERO = HpaSpec(10, (BACKLOG,), min_replicas=0)
GATE_ON = Controller(downscale_stabilization_s=0, scale_to_zero=True)


def test_to_zero_and_back() -> None:
    """The HPA that scaled to zero itself reads on there, and any load above zero wakes one replica."""
    down, sleeping, up = _run(TO_ZERO, 2, [0, 0, 0, 1], GATE_ON)[-3:]
    assert (down.replicas, sleeping.replicas, up.replicas) == (0, 0, 1)
    assert _condition(down, "ScaledToZero") == (True, "ScaledToZero", "the HPA controller scaled the workload to zero")
    assert _condition(sleeping, "ScalingActive")[:2] == (True, "ValidMetricFound")
    assert _condition(up, "ScaledToZero") == (
        False,
        "NotScaledToZero",
        "the HPA controller did not scale the workload to zero",
    )


@pytest.mark.parametrize("controller", [GATE_ON, Controller()])
def test_zero_by_hand_disables(controller: Controller) -> None:
    """A workload that someone set to zero is left alone and its metrics are not read, whatever minReplicas is."""
    for spec in (TO_ZERO, replace(TO_ZERO, min_replicas=1)):
        decision = decide(spec, _state(0), [[1_000_000]], History(), 0.0, controller)
        assert (decision.replicas, decision.proposals, decision.events) == (0, (), ())
        assert _condition(decision, "ScalingActive") == (
            False,
            "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero",
        )


def test_zero_without_the_gate() -> None:
    """Without the feature gate the condition ScaledToZero wakes nothing."""
    asleep = _state(0, (Condition("ScaledToZero", status=True, reason="ScaledToZero", message=""),))
    assert reads_metrics(TO_ZERO, asleep, GATE_ON)
    assert not reads_metrics(TO_ZERO, asleep)


def test_min_replicas_raised_while_asleep() -> None:
    """A minReplicas raised at zero wakes the workload without any load and past any rate."""
    asleep = _state(0, (Condition("ScaledToZero", status=True, reason="ScaledToZero", message=""),))
    percent = replace(SCALE_UP_DEFAULTS, policies=(Policy(PolicyType.PERCENT, 100, 15),))
    for behavior, reason in (
        (None, ""),
        (Behavior(scale_up=percent), "Current number of replicas below Spec.MinReplicas"),
    ):
        spec = replace(TO_ZERO, min_replicas=3, behavior=behavior)
        decision = decide(spec, asleep, [[0]], History(), 0.0, GATE_ON)
        assert (decision.replicas, decision.reason) == (3, reason)


# Policies and history.


def test_policies_of_both_directions_share_a_start() -> None:
    """What was removed in the period is added back to the count the scale-up policy starts from, and the reverse."""
    history = History((), (ScaleEvent(-10.0, 4),), (ScaleEvent(-5.0, 1), ScaleEvent(-15.0, 100)))
    rules = replace(SCALE_UP_DEFAULTS, policies=(Policy(PolicyType.PODS, 2, 15),))
    assert scale_up_limit(10, rules, history, 0.0) == 10 - 4 + 1 + 2
    assert scale_down_limit(10, rules, history, 0.0) == 10 - 4 + 1 - 2


def test_percent_rounds_towards_more_pods_up_and_down() -> None:
    """Percent rounds up when it adds; when it removes the limit is cut off, which removes one more."""
    rules = replace(SCALE_UP_DEFAULTS, policies=(Policy(PolicyType.PERCENT, 50, 60),))
    assert scale_up_limit(3, rules, History(), 0.0) == 5
    assert scale_down_limit(3, rules, History(), 0.0) == 1


def test_disabled_direction_holds() -> None:
    """A direction whose selectPolicy is Disabled never moves."""
    off = replace(SCALE_DOWN_DEFAULTS, select_policy=SelectPolicy.DISABLED, stabilization_window_s=0)
    decisions = _run(HpaSpec(10, (BACKLOG,), behavior=Behavior(scale_down=off)), 5, [0] * 3)
    assert [decision.replicas for decision in decisions] == [5, 5, 5]
    assert _condition(decisions[2], "ScalingLimited")[:2] == (True, "ScaleDownLimit")


def test_outdated_stays_outdated() -> None:
    """An event once outdated may be overwritten even after its policy's period was made longer."""
    short, long = (
        Behavior(scale_up=replace(SCALE_UP_DEFAULTS, policies=(Policy(PolicyType.PODS, 4, period_s),)))
        for period_s in (15, 600)
    )
    history = History((), (ScaleEvent(0.0, 1), ScaleEvent(1.0, 2)))
    history = record_scale(short, 1, 4, history, 30.0)
    assert history.scale_ups == (ScaleEvent(0.0, 1, outdated=True), ScaleEvent(30.0, 3))
    assert record_scale(long, 1, 6, history, 40.0).scale_ups == (ScaleEvent(40.0, 5), ScaleEvent(30.0, 3))


def test_no_behavior_remembers_no_event() -> None:
    """Scale events are remembered only for an HPA with behavior."""
    assert record_scale(None, 1, 5, History(), 0.0) == History()


# Truths that hold for every HPA.

int64s = st.integers(MIN_INT64, MAX_INT64) | st.integers(0, 200_000)
answers = st.lists(int64s, max_size=3) | st.just(MetricError("down"))
policies = st.builds(Policy, st.sampled_from(PolicyType), st.integers(1, 200), st.integers(1, 120))
rules = st.builds(
    ScalingRules,
    st.integers(0, 120),
    st.sampled_from(SelectPolicy),
    st.lists(policies, min_size=1, max_size=3).map(tuple),
    st.none() | st.floats(0, 1),
)
behaviors = st.none() | st.builds(Behavior, rules, rules)
targets = st.builds(ExternalMetric, st.just("m"), st.integers(1, 50_000)) | st.builds(
    ExternalMetric, st.just("m"), st.none(), st.integers(1, 50_000)
)


Sync = tuple[HpaSpec, State, list[list[int] | MetricError], History]


@st.composite
def syncs(draw: st.DrawFn) -> Sync:
    """An HPA, a state and readings for it, and a past of up to three minutes."""
    metrics = tuple(draw(st.lists(targets, min_size=1, max_size=3)))
    low, high = sorted(draw(st.tuples(st.integers(1, 30), st.integers(1, 30))))
    spec = HpaSpec(high, metrics, min_replicas=low, behavior=draw(behaviors))
    counts = st.integers(0, 40)
    state = State(draw(st.integers(1, 40)), draw(counts), draw(counts), draw(counts))
    ages = st.floats(-180, 0)
    history = History(
        tuple(draw(st.lists(st.builds(Recommendation, ages, st.integers(0, 40)), min_size=1, max_size=5))),
        tuple(draw(st.lists(st.builds(ScaleEvent, ages, st.integers(0, 20)), max_size=3))),
        tuple(draw(st.lists(st.builds(ScaleEvent, ages, st.integers(0, 20)), max_size=3))),
    )
    return spec, state, [draw(answers) for _ in metrics], history


@given(syncs())
@settings(max_examples=300, deadline=None)
def test_within_bounds(sync: Sync) -> None:
    """Whatever the metrics say, a count that changes lands within minReplicas and maxReplicas."""
    spec, state, metrics, history = sync
    decision = decide(spec, state, metrics, history, 0.0)
    assert spec.min_replicas <= decision.replicas <= spec.max_replicas


@given(syncs(), st.integers(0, 2))
@settings(max_examples=300, deadline=None)
def test_partial_failure_never_scales_down(sync: Sync, failed: int) -> None:
    """With one metric unknown the proposal of the others is not followed downwards; with all unknown nothing moves."""
    spec, state, metrics, history = sync
    metrics[failed % len(metrics)] = MetricError("down")
    combined = combine(spec, state, metrics, tolerance_of(spec))
    assert combined.replicas is None or combined.replicas >= state.spec_replicas
    if reads_metrics(spec, state):
        decision = decide(spec, state, [MetricError("down") for _ in metrics], history, 0.0)
        assert (decision.replicas, decision.history) == (state.spec_replicas, history)


@given(st.integers(1, 1_000), st.integers(1, 10_000_000), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_tolerance_is_inclusive(replicas: int, target_milli: int, down: float, up: float) -> None:
    """A ratio of exactly 1 holds; the bounds themselves are within, the next float beyond is not."""
    tolerance = Tolerance(down=down, up=up)
    assert average_value_replicas([target_milli * replicas], target_milli, replicas, tolerance).replicas == replicas
    assert tolerance.within(1.0 - down)
    assert tolerance.within(1.0 + up)
    assert not tolerance.within((1.0 + up) * (1 + 1e-15))


@given(syncs(), st.lists(st.integers(0, 400_000), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_memory_is_bounded(sync: Sync, loads: list[int]) -> None:
    """However long it runs, the history holds no more than its windows and periods can."""
    spec, state, _, history = sync
    for number, load_milli in enumerate(loads):
        metrics = [[load_milli] for _ in spec.metrics]
        decision = decide(spec, state, metrics, history, 15.0 * (number + 1))
        state, history = _state(decision.replicas), decision.history
    window_syncs = 300 // 15 + 2
    assert len(history.recommendations) <= window_syncs + 5
    assert len(history.scale_ups) <= 120 // 15 + 2 + 3
    assert len(history.scale_downs) <= 120 // 15 + 2 + 3
