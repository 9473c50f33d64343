"""What the HorizontalPodAutoscaler's algorithm reads and writes. Frozen; the algorithm itself is in hpa.py.

Replicas are int32 counts, metric values and targets int64 milli-units (`_milli`), windows and periods seconds (`_s`).
Moments (`time_s`, `now_s`, `since_s`) are seconds on any one clock: only their differences count.

Source: staging/src/k8s.io/api/autoscaling/v2/types.go and pkg/controller/podautoscaler/horizontal.go, Kubernetes 1.36.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PolicyType(StrEnum):
    """What a policy counts its change in: pods, or percent of the replicas at the start of its period."""

    PODS = "Pods"
    PERCENT = "Percent"


class SelectPolicy(StrEnum):
    """Which policy of a direction rules: the largest change, the smallest, or no change at all."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class Policy:
    """At most `value` pods, or percent, of change in any `period_s` seconds (HPAScalingPolicy)."""

    type: PolicyType
    value: int
    period_s: int


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """How one direction may move (HPAScalingRules, after the API server filled it in).

    Args:
        stabilization_window_s: How long past recommendations count. None, in scaleDown only: the controller's window.
        select_policy: Which of the policies rules.
        policies: At least one, even if `select_policy` is Disabled.
        tolerance: Ratio of usage to target that is near enough to 1 in this direction; None: the controller's own.
    """

    stabilization_window_s: int | None
    select_policy: SelectPolicy
    policies: tuple[Policy, ...]
    tolerance: float | None = None


SCALE_UP_DEFAULTS = ScalingRules(
    stabilization_window_s=0,
    select_policy=SelectPolicy.MAX,
    policies=(Policy(PolicyType.PODS, 4, 15), Policy(PolicyType.PERCENT, 100, 15)),
)
"""What the API server fills in. A manifest's own fields go over it with `dataclasses.replace`.

Source: pkg/apis/autoscaling/v2/defaults.go, GenerateHPAScaleUpRules.
"""

SCALE_DOWN_DEFAULTS = ScalingRules(
    stabilization_window_s=None,
    select_policy=SelectPolicy.MAX,
    policies=(Policy(PolicyType.PERCENT, 100, 15),),
)
"""What the API server fills in for scaleDown: GenerateHPAScaleDownRules in the same file."""


@dataclass(frozen=True, slots=True)
class Behavior:
    """`spec.behavior`. As soon as it is there at all, the direction it does not name has the defaults."""

    scale_up: ScalingRules = SCALE_UP_DEFAULTS
    scale_down: ScalingRules = SCALE_DOWN_DEFAULTS


@dataclass(frozen=True, slots=True)
class ExternalMetric:
    """One metric of type External, and its target.

    Args:
        name: As the HPA has it; on the wire it is lower-cased.
        average_value_milli: Target a replica, > 0. It wins if both targets are set, which validation forbids.
        value_milli: Target of the whole, > 0.
        selector: The label selector as Go prints it, for messages only; "nil" if the HPA has none.
    """

    name: str
    average_value_milli: int | None = None
    value_milli: int | None = None
    selector: str = "nil"


@dataclass(frozen=True, slots=True)
class HpaSpec:
    """An HPA whose metrics are all External, as the API server stored it: valid and with its defaults filled in.

    Raises:
        ValueError: No metric. (The API server would put CPU at 80 % there, which is no External metric.)
    """

    max_replicas: int
    metrics: tuple[ExternalMetric, ...]
    min_replicas: int = 1
    behavior: Behavior | None = None
    namespace: str = "default"

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("spec.metrics: must hold at least one External metric, got none")


@dataclass(frozen=True, slots=True)
class Controller:
    """What the kube-controller-manager was started with.

    Args:
        tolerance: --horizontal-pod-autoscaler-tolerance, both directions.
        downscale_stabilization_s: --horizontal-pod-autoscaler-downscale-stabilization.
        scale_to_zero: The feature gate HPAScaleToZero: alpha and off in 1.36.

    Source: pkg/controller/podautoscaler/config/v1alpha1/defaults.go, pkg/features/kube_features.go.
    """

    tolerance: float = 0.1
    downscale_stabilization_s: float = 300
    scale_to_zero: bool = False


DEFAULT_CONTROLLER = Controller()


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of the HPA's status. `since_s` is when its status last changed (lastTransitionTime)."""

    type: str
    status: bool
    reason: str
    message: str
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What the cluster says at the start of a sync.

    Args:
        spec_replicas: `spec.replicas` of the target's scale: what is asked for.
        status_replicas: `status.replicas` of it: the pods there are, ready or not.
        pods: Pods that match the scale's selector. None of them makes a Value target fail.
        ready_pods: Those of them that are Running and Ready.
        conditions: The HPA's conditions as the last sync left them. They outlive the controller; History does not.
    """

    spec_replicas: int
    status_replicas: int
    pods: int
    ready_pods: int
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What the metrics asked for at one sync, before stabilization and limits."""

    time_s: float
    replicas: int


@dataclass(frozen=True, slots=True)
class ScaleEvent:
    """One change of the replica count, as a size without sign. `outdated`: its place may be taken by a new one."""

    time_s: float
    change: int
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """What the controller remembers of one HPA, in memory only: a restart begins with an empty one.

    The order is the controller's: a new entry takes the place of the last expired one, else it goes to the end.
    """

    recommendations: tuple[Recommendation, ...] = ()
    scale_ups: tuple[ScaleEvent, ...] = ()
    scale_downs: tuple[ScaleEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one metric asks for.

    Args:
        replicas: May be anything an int32 holds: limits come later.
        usage_milli: What the HPA's status reports: the sum for a Value target, the average for AverageValue.
    """

    replicas: int
    usage_milli: int


@dataclass(frozen=True, slots=True)
class MetricError:
    """A metric that could not be read or computed: never a number of replicas.

    As a reading, `message` is what the adapter's answer said; as a result, what the controller makes of it.
    `usage_milli` is the sum, where the reading was good and only the pods were missing.
    """

    message: str
    usage_milli: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """An event on the HPA, as `kubectl describe` shows it."""

    warning: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The end of one sync, if the write of the scale succeeds.

    Args:
        replicas: What `spec.replicas` is to be; the present count if there is nothing to change.
        reason: Why it changes; empty if it does not, and when only a raised `minReplicas` wakes it from zero.
        proposals: One a metric, in the spec's order; empty if the metrics were not used in this sync.
        error: What the controller logs when metrics failed, empty if none did. With the condition ScalingActive
            False no count was computed and the HPA's `status.desiredReplicas` stays what it was.
        conditions: For the next sync's State.
        events: In the order they are sent.
        history: For the next sync.
    """

    replicas: int
    reason: str
    proposals: tuple[Proposal | MetricError, ...]
    error: str
    conditions: tuple[Condition, ...]
    events: tuple[Event, ...]
    history: History
