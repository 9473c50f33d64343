"""The HorizontalPodAutoscaler's algorithm for External metrics, exactly as Kubernetes 1.36 runs it.

Every 15 seconds, for one HPA, `decide`:

1. Below `minReplicas` or above `maxReplicas`, set the bound and read no metric. At zero replicas, do nothing, unless
   the HPA itself went there (scale to zero).
2. Else ask every metric for a proposal (hpa_replicas.py). The largest wins. A metric that failed proposes nothing, and
   without its word the count does not go down: unknown is never a reason to scale down.
3. Let recent recommendations calm the result, and rates and bounds limit it (hpa_behavior.py).
4. Set the new count if it is another one, and remember the change.

Nothing here reads a clock or does I/O: time is an argument, and what the controller remembers goes in as a History and
comes back as a new one. Not modelled: metrics of other types, a scale whose selector is missing or shared with another
HPA, and a write of the scale that fails.

Source: pkg/controller/podautoscaler/horizontal.go, reconcileAutoscaler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scaler.hpa_behavior import normalize, record_scale
from scaler.hpa_model import (
    DEFAULT_CONTROLLER,
    Behavior,
    Condition,
    Controller,
    Decision,
    Event,
    ExternalMetric,
    History,
    HpaSpec,
    MetricError,
    Proposal,
    Recommendation,
    State,
)
from scaler.hpa_replicas import Tolerance, average_value_replicas, value_replicas

ABOVE_MAX = "Current number of replicas above Spec.MaxReplicas"
BELOW_MIN = "Current number of replicas below Spec.MinReplicas"
NO_ITEMS = "no metrics returned from external metrics API"


def decide(
    spec: HpaSpec,
    state: State,
    metrics: Sequence[Sequence[int] | MetricError],
    history: History,
    now_s: float,
    controller: Controller = DEFAULT_CONTROLLER,
) -> Decision:
    """Run one sync of one HPA.

    Args:
        spec: The HPA.
        state: The scale, its pods, and the HPA's conditions after the last sync.
        metrics: One reading for each of `spec.metrics`: the values of the items answered, in int64 milli-units, or the
            message of an answer that was an error. No items at all is an error too. Not looked at if `reads_metrics`
            is False.
        history: What the last sync returned; History() when the controller has just started.
        now_s: The present moment, in seconds; never before the last sync's.
        controller: How the controller was started.

    Returns: What to set and to remember, if the write of it succeeds.

    Raises:
        ValueError: There are not as many readings as metrics.
    """
    current = state.spec_replicas
    if not history.recommendations:
        # A controller that has just started takes the present count for a recommendation: nothing goes down for a
        # whole window (recordInitialRecommendation).
        history = replace(history, recommendations=(Recommendation(now_s, current),))
    decision = Decision(current, "", (), "", state.conditions, (), history)
    decision = _condition(
        decision,
        "AbleToScale",
        now_s,
        "SucceededGetScale",
        "the HPA controller was able to get the target's current scale",
    )
    if reads_metrics(spec, state, controller):
        decision = _follow_metrics(spec, state, metrics, decision, now_s, controller)
    elif current == 0:
        message = "scaling is disabled since the replica count of the target is zero"
        decision = _condition(decision, "ScalingActive", now_s, "ScalingDisabled", message, status=False)
    elif current > spec.max_replicas:
        decision = replace(decision, replicas=spec.max_replicas, reason=ABOVE_MAX)
    else:
        decision = replace(decision, replicas=spec.min_replicas, reason=BELOW_MIN)
    if decision.replicas == current:
        return replace(decision, reason="")
    return _rescale(spec, current, decision, now_s, controller)


def reads_metrics(spec: HpaSpec, state: State, controller: Controller = DEFAULT_CONTROLLER) -> bool:
    """Tell whether a sync reads the metrics at all.

    Not outside the bounds: the bound is set first. Not at zero either, whatever `minReplicas` is: someone switched the
    workload off. The exception is the HPA's own doing: the feature gate is on and the condition ScaledToZero is True.

    Source: shouldComputeMetricsForZeroReplicas. Its further demand, an Object or External metric, is met by every
    HpaSpec.
    """
    if state.spec_replicas == 0:
        scaled_to_zero = any(old.type == "ScaledToZero" and old.status for old in state.conditions)
        return controller.scale_to_zero and scaled_to_zero
    return spec.min_replicas <= state.spec_replicas <= spec.max_replicas


def _follow_metrics(
    spec: HpaSpec,
    state: State,
    metrics: Sequence[Sequence[int] | MetricError],
    decision: Decision,
    now_s: float,
    controller: Controller,
) -> Decision:
    current = state.spec_replicas
    combined = combine(spec, state, metrics, tolerance_of(spec, controller))
    decision = replace(decision, proposals=combined.proposals, error=combined.error, events=combined.events)
    if combined.replicas is None:
        decision = _condition(
            decision, "ScalingActive", now_s, "FailedGetExternalMetric", combined.message, status=False
        )
        failed = Event(warning=True, reason="FailedComputeMetricsReplicas", message=combined.error)
        return replace(decision, events=(*decision.events, failed))
    decision = _condition(decision, "ScalingActive", now_s, "ValidMetricFound", combined.message)

    desired = max(combined.replicas, 0)
    reason = ""
    if desired > current:
        reason = f"{combined.metric} above target"
    elif desired < current:
        reason = "All metrics below target"
    normalized = normalize(spec, current, desired, decision.history, now_s, controller)
    desired = normalized.replicas
    if current == 0 and desired < spec.min_replicas:
        # minReplicas was raised while the workload slept: the rates do not hold it down.
        desired = spec.min_replicas
        reason = reason or BELOW_MIN
    for new in normalized.conditions:
        decision = _condition(decision, new.type, now_s, new.reason, new.message, status=new.status)
    kept = replace(decision.history, recommendations=normalized.recommendations)
    return replace(decision, replicas=desired, reason=reason, history=kept)


@dataclass(frozen=True, slots=True)
class Combined:
    """What all metrics together ask for.

    Args:
        replicas: None if that cannot be said.
        metric: The metric that won, as messages name it.
        message: Of the condition ScalingActive.
        error: The failures, if there were any.
        proposals: One a metric.
        events: One a failed metric.
    """

    replicas: int | None
    metric: str
    message: str
    error: str
    proposals: tuple[Proposal | MetricError, ...]
    events: tuple[Event, ...]


def combine(
    spec: HpaSpec, state: State, metrics: Sequence[Sequence[int] | MetricError], tolerance: Tolerance
) -> Combined:
    """Ask every metric and take the largest proposal.

    If some metrics failed, the others may raise the count or hold it. If they would lower it, or if all failed, there
    is no result: the failed one might have asked for more.

    A proposal of 0 gives way to any that follows, even to a negative one; neither ends above 0.

    Raises:
        ValueError: There are not as many readings as metrics.

    Source: computeReplicasForMetrics.
    """
    proposals = tuple(
        propose(metric, spec.namespace, reading, state, tolerance)
        for metric, reading in zip(spec.metrics, metrics, strict=True)
    )
    failed = [
        (metric, result)
        for metric, result in zip(spec.metrics, proposals, strict=True)
        if isinstance(result, MetricError)
    ]
    events = tuple(Event(warning=True, reason="FailedGetExternalMetric", message=error.message) for _, error in failed)
    replicas, winner = 0, ""
    for metric, result in zip(spec.metrics, proposals, strict=True):
        if isinstance(result, Proposal) and (replicas == 0 or result.replicas > replicas):
            replicas, winner = result.replicas, f"external metric {metric.name}({metric.selector})"
    error = ""
    if failed:
        error = (
            f"invalid metrics ({len(failed)} invalid out of {len(proposals)}), first error is: {_wrapped(*failed[0])}"
        )
        if len(failed) == len(proposals) or replicas < state.spec_replicas:
            message = f"the HPA was unable to compute the replica count: {failed[0][1].message}"
            return Combined(None, "", message, error, proposals, events)
    message = f"the HPA was able to successfully calculate a replica count from {winner}"
    return Combined(replicas, winner, message, error, proposals, events)


def propose(
    metric: ExternalMetric, namespace: str, reading: Sequence[int] | MetricError, state: State, tolerance: Tolerance
) -> Proposal | MetricError:
    """Ask one metric for its proposal.

    AverageValue starts from the pods there are (`status_replicas`), Value from those asked for (`spec_replicas`).

    Source: computeStatusForExternalMetric; for the messages of readings metrics/client.go, GetExternalMetric.
    """
    per_replica = metric.average_value_milli is not None
    target_milli = metric.average_value_milli if per_replica else metric.value_milli
    if target_milli is None:
        return MetricError("invalid external metric source: neither a value target nor an average value target was set")
    read = f"unable to get external metric {namespace}/{metric.name}/{metric.selector}: "
    if isinstance(reading, MetricError):
        return MetricError(f"{read}unable to fetch metrics from external metrics API: {reading.message}")
    if not reading:
        return MetricError(read + NO_ITEMS)
    if per_replica:
        return average_value_replicas(reading, target_milli, state.status_replicas, tolerance)
    return value_replicas(reading, target_milli, state.spec_replicas, state.pods, state.ready_pods, tolerance)


def _wrapped(metric: ExternalMetric, error: MetricError) -> str:
    outer = f"failed to get {metric.name} external metric value: "
    if metric.average_value_milli is not None:
        return f"{outer}failed to get {metric.name} external metric: {error.message}"
    if metric.value_milli is not None:
        return f"{outer}failed to get external metric {metric.name}: {error.message}"
    return outer + error.message


def tolerance_of(spec: HpaSpec, controller: Controller = DEFAULT_CONTROLLER) -> Tolerance:
    """Return the tolerances in force: a direction that names none has the controller's.

    Source: tolerancesForHpa (feature gate HPAConfigurableTolerance, on since 1.35).
    """
    behavior = spec.behavior or Behavior()
    down, up = behavior.scale_down.tolerance, behavior.scale_up.tolerance
    return Tolerance(down=controller.tolerance if down is None else down, up=controller.tolerance if up is None else up)


def _rescale(spec: HpaSpec, current: int, decision: Decision, now_s: float, controller: Controller) -> Decision:
    """Add what follows a successful change of the scale."""
    new = decision.replicas
    message = f"the HPA controller was able to update the target scale to {new}"
    decision = _condition(decision, "AbleToScale", now_s, "SucceededRescale", message)
    event = Event(warning=False, reason="SuccessfulRescale", message=f"New size: {new}; reason: {decision.reason}")
    decision = replace(
        decision,
        events=(*decision.events, event),
        history=record_scale(spec.behavior, current, new, decision.history, now_s),
    )
    if not controller.scale_to_zero:
        return decision
    if new == 0 and spec.min_replicas == 0:
        return _condition(
            decision, "ScaledToZero", now_s, "ScaledToZero", "the HPA controller scaled the workload to zero"
        )
    message = "the HPA controller did not scale the workload to zero"
    return _condition(decision, "ScaledToZero", now_s, "NotScaledToZero", message, status=False)


def _condition(
    decision: Decision, kind: str, now_s: float, reason: str, message: str, *, status: bool = True
) -> Decision:
    """Set a condition in its place, or at the end (setConditionInList). Its age begins anew if the status changes."""
    old = next((each for each in decision.conditions if each.type == kind), None)
    since_s = old.since_s if old is not None and old.status == status else now_s
    new = Condition(kind, status, reason, message, since_s)
    if old is None:
        return replace(decision, conditions=(*decision.conditions, new))
    return replace(decision, conditions=tuple(new if each is old else each for each in decision.conditions))
