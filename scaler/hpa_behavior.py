"""From the replicas the metrics ask for to those the HPA may set: stabilization, policies, limits.

An HPA without `spec.behavior` takes an older way than one with it: they are not the same with default values.

What is exactly as old as a window counts without `behavior` and not with it. Real clocks never show that, simulated
ones do at every sync.

Source: pkg/controller/podautoscaler/horizontal.go, Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from scaler.hpa_model import (
    DEFAULT_CONTROLLER,
    Behavior,
    Condition,
    Controller,
    History,
    HpaSpec,
    PolicyType,
    Recommendation,
    ScaleEvent,
    ScalingRules,
    SelectPolicy,
)
from scaler.hpa_replicas import MAX_INT32, MIN_INT32, ceil, to_int32, wrap_int32

SCALE_UP_FACTOR, SCALE_UP_MINIMUM = 2.0, 4.0
"""Without `behavior` one sync may double the replicas, or bring them to 4 (scaleUpLimitFactor, scaleUpLimitMinimum)."""


class Outcome(NamedTuple):
    """A replica count, and the reason and message of the condition that goes with it."""

    replicas: int
    reason: str
    message: str


WITHIN_RANGE = "DesiredWithinRange", "the desired count is within the acceptable range"
TOO_MANY = "TooManyReplicas", "the desired replica count is more than the maximum replica count"
TOO_FEW = "TooFewReplicas", "the desired replica count is less than the minimum replica count"
UP_LIMIT = "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
DOWN_LIMIT = "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
READY = "ReadyForNewScale", "recommended size matches current size"
UP_STABILIZED = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
DOWN_STABILIZED = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)


@dataclass(frozen=True, slots=True)
class Normalized:
    """What may be set, the conditions AbleToScale and ScalingLimited, and the recommendations with this one in them."""

    replicas: int
    conditions: tuple[Condition, Condition]
    recommendations: tuple[Recommendation, ...]


def normalize(
    spec: HpaSpec,
    current: int,
    desired: int,
    history: History,
    now_s: float,
    controller: Controller = DEFAULT_CONTROLLER,
) -> Normalized:
    """Bring the desired replicas into what stabilization, rates and bounds allow.

    First the recent recommendations pull at `desired`, then the result is limited: so a limit is measured against
    the stabilized count. `desired` itself is what is remembered.

    Args:
        spec: Its bounds and behavior.
        current: `spec.replicas` of the scale.
        desired: What the metrics ask for.
        history: The recommendations; with `behavior` also the scale events.
        now_s: The present moment.
        controller: Its window, for an HPA that does not name one.

    Source: normalizeDesiredReplicas, normalizeDesiredReplicasWithBehaviors.
    """
    behavior = spec.behavior
    if behavior is None:
        window_s = controller.downscale_stabilization_s
        stable, recommendations = stabilize(desired, history.recommendations, window_s, now_s)
        limited = limit(current, stable.replicas, spec.min_replicas, spec.max_replicas)
    else:
        behavior = _with_window(behavior, controller)
        stable, recommendations = stabilize_with_behavior(current, desired, behavior, history.recommendations, now_s)
        bounds = (spec.min_replicas, spec.max_replicas)
        limited = limit_with_behavior(current, stable.replicas, *bounds, behavior, history, now_s)
    is_limited = limited.replicas != stable.replicas
    conditions = (
        Condition("AbleToScale", status=True, reason=stable.reason, message=stable.message),
        Condition("ScalingLimited", status=is_limited, reason=limited.reason, message=limited.message),
    )
    return Normalized(limited.replicas, conditions, recommendations)


def _with_window(behavior: Behavior, controller: Controller) -> Behavior:
    """Fill in the scaleDown window (maybeInitScaleDownStabilizationWindow)."""
    if behavior.scale_down.stabilization_window_s is not None:
        return behavior
    window_s = int(controller.downscale_stabilization_s)
    return replace(behavior, scale_down=replace(behavior.scale_down, stabilization_window_s=window_s))


def stabilize(
    desired: int, recommendations: tuple[Recommendation, ...], window_s: float, now_s: float
) -> tuple[Outcome, tuple[Recommendation, ...]]:
    """Without `behavior`: take the highest recommendation of the window, this one included. Only scaling down waits.

    Returns: The outcome, and the recommendations with `desired` in them.

    Source: stabilizeRecommendation.
    """
    cutoff_s = now_s - window_s
    stable = max([desired, *(past.replicas for past in recommendations if past.time_s >= cutoff_s)])
    kept = _remember(recommendations, desired, now_s, oldest_s=cutoff_s)
    return Outcome(stable, *(READY if stable == desired else DOWN_STABILIZED)), kept


def stabilize_with_behavior(
    current: int, desired: int, behavior: Behavior, recommendations: tuple[Recommendation, ...], now_s: float
) -> tuple[Outcome, tuple[Recommendation, ...]]:
    """With `behavior`: move only as far as every recommendation of the direction's window agrees.

    The lowest of the scaleUp window bounds the count from below, the highest of the scaleDown window from above, and
    the count moves from `current` no further than into these bounds. Both windows are known here.

    Returns: The outcome, and the recommendations with `desired` in them.

    Source: stabilizeRecommendationWithBehaviors.
    """
    up_cutoff_s = now_s - (behavior.scale_up.stabilization_window_s or 0)
    down_cutoff_s = now_s - (behavior.scale_down.stabilization_window_s or 0)
    lowest = min([desired, *(past.replicas for past in recommendations if past.time_s > up_cutoff_s)])
    highest = max([desired, *(past.replicas for past in recommendations if past.time_s > down_cutoff_s)])
    stable = min(max(current, lowest), highest)

    kept = _remember(recommendations, desired, now_s, oldest_s=min(up_cutoff_s, down_cutoff_s))
    if stable == desired:
        return Outcome(stable, *READY), kept
    return Outcome(stable, *(UP_STABILIZED if desired >= current else DOWN_STABILIZED)), kept


def _remember(
    recommendations: tuple[Recommendation, ...], desired: int, now_s: float, oldest_s: float
) -> tuple[Recommendation, ...]:
    """Put the recommendation in the place of the last one older than `oldest_s`, else at the end."""
    new = Recommendation(now_s, desired)
    expired = [index for index, past in enumerate(recommendations) if past.time_s < oldest_s]
    place = expired[-1] if expired else len(recommendations)
    return (*recommendations[:place], new, *recommendations[place + 1 :])


def limit(current: int, desired: int, min_replicas: int, max_replicas: int) -> Outcome:
    """Without `behavior`: at most twice the current replicas, or 4 if that is more; then the HPA's bounds.

    From 2**30 replicas on, twice that overflows int32 and the limit becomes MIN_INT32.

    Source: convertDesiredReplicasWithRules, calculateScaleUpLimit.
    """
    rate_limit = to_int32(max(SCALE_UP_FACTOR * float(current), SCALE_UP_MINIMUM))
    if desired < min_replicas:
        return Outcome(min_replicas, *TOO_FEW)
    if desired > min(max_replicas, rate_limit):
        return Outcome(rate_limit, *UP_LIMIT) if rate_limit < max_replicas else Outcome(max_replicas, *TOO_MANY)
    return Outcome(desired, *WITHIN_RANGE)


def limit_with_behavior(
    current: int, desired: int, min_replicas: int, max_replicas: int, behavior: Behavior, history: History, now_s: float
) -> Outcome:
    """With `behavior`: the policies of the direction taken, and the HPA's bound of that direction.

    A rate that is used up (or Disabled) holds the current replicas; it never turns the direction round.

    Source: convertDesiredReplicasWithBehaviorRate.
    """
    if desired > current:
        rate_limit = max(current, scale_up_limit(current, behavior.scale_up, history, now_s))
        if desired > min(max_replicas, rate_limit):
            return Outcome(rate_limit, *UP_LIMIT) if rate_limit < max_replicas else Outcome(max_replicas, *TOO_MANY)
    elif desired < current:
        rate_limit = min(current, scale_down_limit(current, behavior.scale_down, history, now_s))
        if desired < max(min_replicas, rate_limit):
            return Outcome(rate_limit, *DOWN_LIMIT) if rate_limit > min_replicas else Outcome(min_replicas, *TOO_FEW)
    return Outcome(desired, *WITHIN_RANGE)


def scale_up_limit(current: int, rules: ScalingRules, history: History, now_s: float) -> int:
    """Return how high the policies let the replicas go now.

    Pods: start + value. Percent: start × (1 + value/100), rounded up so that one replica can grow (zero cannot).
    `start` is the count at the start of the policy's period: changes of both directions are taken back.

    Source: calculateScaleUpLimitWithScalingRules.
    """
    if rules.select_policy is SelectPolicy.DISABLED:
        return current
    limits = []
    for policy in rules.policies:
        start = _at_period_start(current, policy.period_s, history, now_s)
        if policy.type is PolicyType.PODS:
            limits.append(wrap_int32(start + policy.value))
        else:
            limits.append(to_int32(ceil(float(start) * (1 + float(policy.value) / 100))))
    if rules.select_policy is SelectPolicy.MIN:
        return min(limits, default=MAX_INT32)
    return max(limits, default=MIN_INT32)


def scale_down_limit(current: int, rules: ScalingRules, history: History, now_s: float) -> int:
    """Return how low the policies let the replicas go now.

    Pods: start - value. Percent: start × (1 - value/100), towards zero. The largest change (Max) is the lowest count.

    Source: calculateScaleDownLimitWithBehaviors.
    """
    if rules.select_policy is SelectPolicy.DISABLED:
        return current
    limits = []
    for policy in rules.policies:
        start = _at_period_start(current, policy.period_s, history, now_s)
        if policy.type is PolicyType.PODS:
            limits.append(wrap_int32(start - policy.value))
        else:
            limits.append(to_int32(float(start) * (1 - float(policy.value) / 100)))
    if rules.select_policy is SelectPolicy.MIN:
        return max(limits, default=MIN_INT32)
    return min(limits, default=MAX_INT32)


def _at_period_start(current: int, period_s: int, history: History, now_s: float) -> int:
    added = _change_since(history.scale_ups, now_s - period_s)
    removed = _change_since(history.scale_downs, now_s - period_s)
    return wrap_int32(current - added + removed)


def _change_since(events: Iterable[ScaleEvent], cutoff_s: float) -> int:
    """Source: getReplicasChangePerPeriod."""
    return wrap_int32(sum(event.change for event in events if event.time_s > cutoff_s))


def record_scale(behavior: Behavior | None, previous: int, new: int, history: History, now_s: float) -> History:
    """Remember a change of the replicas, for the policies of later syncs. Without `behavior` nobody would read it.

    The new event takes the place of the last one that is older than the direction's longest policy period, else it
    goes to the end. An event once found outdated stays so, even if a new spec has a longer period.

    Source: storeScaleEvent, markScaleEventsOutdated, getLongestPolicyPeriod.
    """
    if behavior is None:
        return history
    if new > previous:
        scale_ups = _with_event(history.scale_ups, new - previous, behavior.scale_up, now_s)
        return replace(history, scale_ups=scale_ups)
    scale_downs = _with_event(history.scale_downs, previous - new, behavior.scale_down, now_s)
    return replace(history, scale_downs=scale_downs)


def _with_event(
    events: tuple[ScaleEvent, ...], change: int, rules: ScalingRules, now_s: float
) -> tuple[ScaleEvent, ...]:
    cutoff_s = now_s - max((policy.period_s for policy in rules.policies), default=0)
    marked = tuple(replace(event, outdated=True) if event.time_s < cutoff_s else event for event in events)
    outdated = [index for index, event in enumerate(marked) if event.outdated]
    place = outdated[-1] if outdated else len(marked)
    return (*marked[:place], ScaleEvent(now_s, wrap_int32(change)), *marked[place + 1 :])
