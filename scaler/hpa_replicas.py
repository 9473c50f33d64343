"""How many replicas one External metric asks for.

The numbers are Go's on amd64, traps included: integers wrap around, divisions are float64 and give Inf or NaN rather
than an error, and a float that does not fit an integer becomes its minimum, whatever the sign.

Source: pkg/controller/podautoscaler/replica_calculator.go, Kubernetes 1.36.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scaler.hpa_model import MetricError, Proposal

MIN_INT32, MAX_INT32 = -(2**31), 2**31 - 1
MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1

NO_PODS = "unable to calculate ready pods: no pods returned by selector while calculating replica count"


def wrap_int32(number: int) -> int:
    """Return the number as int32 addition leaves it: modulo 2**32."""
    return (number - MIN_INT32) % 2**32 + MIN_INT32


def wrap_int64(number: int) -> int:
    """Return the number as int64 addition leaves it: modulo 2**64."""
    return (number - MIN_INT64) % 2**64 + MIN_INT64


def to_int32(number: float) -> int:
    """Convert as Go's int32(): towards zero; NaN, Inf and what does not fit are MIN_INT32 (amd64: CVTTSD2SL)."""
    return int(number) if MIN_INT32 - 1 < number < MAX_INT32 + 1 else MIN_INT32


def to_int64(number: float) -> int:
    """Convert as Go's int64(): towards zero; NaN, Inf and what does not fit are MIN_INT64 (amd64: CVTTSD2SQ)."""
    return int(number) if -(2.0**63) <= number < 2.0**63 else MIN_INT64


def ceil(number: float) -> float:
    """Round up; Inf and NaN stay what they are."""
    return float(math.ceil(number)) if math.isfinite(number) else number


def divide(numerator: float, denominator: float) -> float:
    """Divide as IEEE 754 does: x/0 is Inf with the sign of both, 0/0 is NaN."""
    if denominator != 0:
        return numerator / denominator
    if numerator == 0 or math.isnan(numerator):
        return math.nan
    return math.copysign(math.inf, numerator) * math.copysign(1.0, denominator)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the ratio of usage to target may be from 1 in each direction without any scaling."""

    down: float = 0.1
    up: float = 0.1

    def within(self, ratio: float) -> bool:
        """Tell whether the ratio is near enough. Both bounds are inclusive, in float64: 22/20 is within 0.1."""
        return (1.0 - self.down) <= ratio <= (1.0 + self.up)


def value_replicas(
    values_milli: Sequence[int], target_milli: int, spec_replicas: int, pods: int, ready_pods: int, tolerance: Tolerance
) -> Proposal | MetricError:
    """Compute the proposal for a Value target: ratio of the sum to the target, times the ready pods.

    Within tolerance it is `spec_replicas`, which the ready pods do not enter. From zero replicas there are no pods to
    multiply by: the ratio alone counts, and no tolerance.

    Args:
        values_milli: The items' values, int64 milli-units. Their sum stops at MAX_INT64, but wraps below MIN_INT64.
        target_milli: Target of the sum, > 0, milli-units.
        spec_replicas: What is asked for at present.
        pods: Pods that match the scale's selector; none is an error, though not within tolerance or from zero.
        ready_pods: Those Running and Ready. None makes the proposal 0, whatever the load.
        tolerance: The tolerance of each direction.

    Returns: Capped at MAX_INT32, except from zero: a ratio that large becomes MIN_INT32 and wakes nothing.

    Source: GetExternalMetricReplicas, getUsageRatioReplicaCount, getReadyPodsCount.
    """
    usage_milli = 0
    for value_milli in values_milli:
        if value_milli > 0 and usage_milli > MAX_INT64 - value_milli:
            usage_milli = MAX_INT64
            break
        usage_milli = wrap_int64(usage_milli + value_milli)

    ratio = divide(float(usage_milli), float(target_milli))
    if spec_replicas == 0:
        return Proposal(to_int32(ceil(ratio)), usage_milli)
    if tolerance.within(ratio):
        return Proposal(spec_replicas, usage_milli)
    if pods == 0:
        return MetricError(NO_PODS, usage_milli)
    replicas = ratio * float(ready_pods)
    return Proposal(MAX_INT32 if replicas > MAX_INT32 else to_int32(ceil(replicas)), usage_milli)


def average_value_replicas(
    values_milli: Sequence[int], target_milli: int, status_replicas: int, tolerance: Tolerance
) -> Proposal:
    """Compute the proposal for an AverageValue target: the sum over the target, rounded up.

    The pods there are decide only whether that is worth it: within tolerance the proposal is `status_replicas`. So it
    is not `spec_replicas`: while pods start or stop, "hold" means the count that is there.

    Args:
        values_milli: The items' values, int64 milli-units; they are summed. A sum below zero, after any item, is taken
            for an overflow and becomes MAX_INT64: one negative value scales to the maximum.
        target_milli: Target a replica, > 0, milli-units.
        status_replicas: The pods there are. With 0 the ratio is Inf or NaN, never within tolerance, and the usage
            reported is MIN_INT64.
        tolerance: The tolerance of each direction.

    Returns: Capped at MAX_INT32. The usage is the sum over `status_replicas`, rounded up; MAX_INT64 if the sum is.

    Source: GetExternalPerPodMetricReplicas.
    """
    sum_milli = 0
    for value_milli in values_milli:
        sum_milli = wrap_int64(sum_milli + value_milli)
        if sum_milli < 0:
            sum_milli = MAX_INT64
            break
    usage = float(sum_milli)

    replicas = status_replicas
    if not tolerance.within(divide(usage, float(target_milli) * float(status_replicas))):
        wanted = ceil(divide(usage, float(target_milli)))
        replicas = MAX_INT32 if wanted > MAX_INT32 else to_int32(wanted)
    # As a float64 MAX_INT64 is 2**63, and so is every sum from 2**63 - 512 on.
    usage_milli = MAX_INT64 if usage >= 2.0**63 else to_int64(ceil(divide(usage, float(status_replicas))))
    return Proposal(replicas, usage_milli)
