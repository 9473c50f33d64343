"""The workload as its author writes it in YAML: a pod, its nodes, what the metrics measure, how the HPA is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from adapter.schema.durations import DAY_MS, HOUR_MS, SECOND_MS, Duration
from adapter.schema.strict import Lax, Path, Strict
from adapter.schema.text import Text
from scaler.hpa_model import Controller
from scaler.rules import Function, duration_text
from scaler.simulate_model import COUNTED, COUNTERS, Arrivals, Measure, Nodes, Pods, Sizes, Takes, Workload
from scaler.simulate_pack import FUNCTIONS

Wait = Annotated[int, Duration(0, HOUR_MS)]
Count = Annotated[int, Field(ge=0, le=100_000)]
Some = Annotated[int, Field(ge=1, le=100_000)]


class PodsModel(Strict):
    """One pod."""

    service_time: Annotated[int, Duration(1, DAY_MS)]
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 1
    startup: Wait = 0
    readiness_delay: Wait = 0
    takes_jobs: Annotated[Takes, Lax] = Takes.READY
    termination_grace: Wait = 30 * SECOND_MS
    distribution: Annotated[Sizes, Lax] = Sizes.EXPONENTIAL
    variation: Annotated[float, Field(gt=0, le=100)] | None = None

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Only one distribution has a variation of its own."""
        if self.variation is not None and self.distribution is not Sizes.LOGNORMAL and not unread:
            yield ("variation",), "is for distribution lognormal: fixed has 0, and exponential 1"

    def pods(self) -> Pods:
        """Return the pod in words of the core."""
        return Pods(
            service_s=self.service_time / 1_000,
            concurrency=self.concurrency,
            startup_s=self.startup / 1_000,
            readiness_s=self.readiness_delay / 1_000,
            takes=self.takes_jobs,
            grace_s=self.termination_grace / 1_000,
            sizes=self.distribution,
            variation=1.0 if self.variation is None else self.variation,
        )


class NodesModel(Strict):
    """The nodes and their autoscaler."""

    pods_per_node: Some
    min: Count = 0
    max: Some = 1_000
    provision: Wait = 3 * 60_000
    cooldown: Wait = 10 * 60_000

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """The bounds are in order."""
        if not unread & {"min", "max"} and self.max < self.min:
            yield ("max",), f"must be at least min ({self.min}), got {self.max}"

    def nodes(self) -> Nodes:
        """Return them in words of the core."""
        return Nodes(self.pods_per_node, self.min, self.max, self.provision / 1_000, self.cooldown / 1_000)


class SignalModel(Strict):
    """What a metric measures, and how it is read."""

    measures: Annotated[Measure, Lax] | None = None
    series: Annotated[str, Text("must be the path of a file", max_chars=4_096)] | None = None
    metric: Annotated[str, Text("must not be empty")] | None = None
    interval: Annotated[int, Duration(SECOND_MS, HOUR_MS)] | None = None
    delay: Annotated[int, Duration(0, 10 * 60_000)] = SECOND_MS
    function: Annotated[Function, Lax] | None = None
    window: Annotated[int, Duration(SECOND_MS, DAY_MS)] | None = None

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Its function can be modelled, and has its window."""
        if self.function is not None and self.function not in FUNCTIONS:
            yield ("function",), f"{self.function} cannot be simulated: {', '.join(sorted(FUNCTIONS))} can"
        if self.series is not None and self.measures not in (None, Measure.SERIES):
            yield ("series",), f"must not be set beside measures: {self.measures}"
        if self.measures is Measure.SERIES and self.series is None and "series" not in unread:
            yield ("series",), "is required: the file that holds it"


class StartModel(Strict):
    """How things stand at the start."""

    replicas: Count | None = None
    backlog: Annotated[float, Field(ge=0, le=1e9)] = 0.0


class ControllerModel(Strict):
    """How the kube-controller-manager was started."""

    sync_period: Annotated[int, Duration(SECOND_MS, HOUR_MS)] = 15 * SECOND_MS
    tolerance: Annotated[float, Field(ge=0, le=10)] = 0.1
    downscale_stabilization: Wait = 5 * 60_000
    scale_to_zero: bool = False

    def controller(self) -> Controller:
        """Return it in words of the core."""
        return Controller(self.tolerance, self.downscale_stabilization / 1_000, self.scale_to_zero)


class WorkloadModel(Strict):
    """The whole file."""

    pods: PodsModel | None = None
    nodes: NodesModel | None = None
    timeout: Annotated[int, Duration(1, DAY_MS)] | None = None
    arrivals: Annotated[Arrivals, Lax] = Arrivals.POISSON
    start: StartModel = StartModel()
    metrics: dict[str, SignalModel] = Field(default_factory=dict)
    controller: ControllerModel = ControllerModel()

    def workload(self, replicas: int) -> Workload:
        """Return it in words of the core. `replicas`: at the start, where it does not say.

        Without pods there is nothing to work off: they are some, and what they do does not count.
        """
        return Workload(
            pods=self.pods.pods() if self.pods else Pods(1.0),
            nodes=self.nodes.nodes() if self.nodes else None,
            timeout_s=float("inf") if self.timeout is None else self.timeout / 1_000,
            replicas=replicas if self.start.replicas is None else self.start.replicas,
            backlog=self.start.backlog,
            arrivals=self.arrivals,
        )


def signal_problem(measure: Measure, function: Function, window_ms: int, interval_ms: int) -> str:
    """Return why a function cannot be had of a measure, or "" if it can."""
    if function not in FUNCTIONS:
        return f"function {function} cannot be simulated: {', '.join(sorted(FUNCTIONS))} can"
    if measure is Measure.SERIES:
        return (
            "" if function is Function.VALUE else f"a series is what the HPA reads: function {function} is not for it"
        )
    if measure in COUNTERS and function not in COUNTED:
        return f"{measure} is a counter: function {function} is for gauges; use rate or increase"
    if measure not in COUNTERS and function in COUNTED:
        return f"{measure} is a gauge: function {function} is for counters"
    if function is Function.VALUE:
        return ""
    if window_ms < 3 * interval_ms:
        least = duration_text(3 * interval_ms)
        return f"function {function} needs a window of at least 3 × interval ({least}), got {duration_text(window_ms)}"
    return ""
