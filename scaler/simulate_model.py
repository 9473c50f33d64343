"""What a simulation is given: a load, pods that work it off, nodes they run on, and signals that an HPA reads.

Moments and durations are float64 seconds (`_s`) since the start of the run, clocks that tick evenly are whole
milliseconds (`_ms`); work is jobs, and rates are jobs a second. Frozen, and imports nothing but the HPA's own words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from scaler.hpa_model import DEFAULT_CONTROLLER, Controller, HpaSpec
from scaler.model import F64
from scaler.rules import Function

FLAP_S = 600.0
"""A change that turns the one before it round within so many seconds is a flap."""

SCAN_MS = 10_000
"""How often the cluster autoscaler looks (--scan-interval)."""

COUNTED = frozenset({Function.RATE, Function.INCREASE})
"""Functions of a counter; all others are of a gauge."""


class Measure(StrEnum):
    """What a metric of the HPA measures."""

    WAITING = "waiting"
    """Jobs in the queue: LLEN, a stream's lag."""
    IN_FLIGHT = "inFlight"
    """Jobs being worked on: a stream's pending entries."""
    OPEN = "open"
    """Both: what has come in and is not done."""
    ARRIVALS = "arrivals"
    """A counter of the jobs that came in."""
    COMPLETIONS = "completions"
    """A counter of the jobs done."""
    SERIES = "series"
    """Nothing of the model: a series given beforehand, which the HPA cannot influence."""


COUNTERS = frozenset({Measure.ARRIVALS, Measure.COMPLETIONS})


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Values that hold from their time to the next one's; NaN is unknown, and so is the time before the first.

    Args:
        time_s: Ascending, shape (n,), seconds since the start of the run; the first may be below 0.
        values: In the metric's unit, shape (n,).
    """

    time_s: F64
    values: F64


@dataclass(frozen=True, slots=True)
class Signal:
    """How a metric becomes what the HPA reads.

    Args:
        measure: What it measures.
        interval_ms: Time from one read of the source to the next; reads are at its multiples.
        delay_ms: From a read's start to its value being served. Reads and syncs tick together, so any delay at all
            means that a sync sees the read before: the longest wait that real, unaligned clocks can bring.
        function: What is computed from the reads.
        window_ms: What the function looks back on; 0 for `value`.
        guard_min: Least value served.
        guard_max: Greatest value served.
        series: The values, for Measure.SERIES.
        max_age_ms: How long a known value of a series stands in for an unknown one.
    """

    measure: Measure
    interval_ms: int = 15_000
    delay_ms: int = 1_000
    function: Function = Function.VALUE
    window_ms: int = 0
    guard_min: float = 0.0
    guard_max: float = math.inf
    series: Series | None = None
    max_age_ms: int = 60_000

    @property
    def samples(self) -> int:
        """How many reads lie in the window, which is left-open; 1 for `value`."""
        return max(1, -(-self.window_ms // self.interval_ms))


class Takes(StrEnum):
    """From when a pod takes jobs: since its process started, as a worker does, or since it is Ready, as a server."""

    STARTED = "started"
    READY = "ready"


class Sizes(StrEnum):
    """How the time that a job takes is distributed. The fluid mode knows only its mean."""

    FIXED = "fixed"
    EXPONENTIAL = "exponential"
    LOGNORMAL = "lognormal"


class Arrivals(StrEnum):
    """How jobs come, at a given rate: at random, independent of each other, or evenly spaced."""

    POISSON = "poisson"
    EVEN = "even"


@dataclass(frozen=True, slots=True)
class Pods:
    """One pod of the workload.

    Args:
        service_s: Mean time that one job takes, > 0.
        concurrency: Jobs a pod works on at a time.
        startup_s: From the pod being on a node to its process running.
        readiness_s: From there to Ready.
        takes: From when it takes jobs.
        grace_s: How long a pod that is told to stop may still work on the jobs it has; then they go back to the queue.
        sizes: Distribution of a job's time.
        variation: Standard deviation over mean, of lognormal.
    """

    service_s: float
    concurrency: int = 1
    startup_s: float = 0.0
    readiness_s: float = 0.0
    takes: Takes = Takes.READY
    grace_s: float = 30.0
    sizes: Sizes = Sizes.EXPONENTIAL
    variation: float = 1.0

    @property
    def rate(self) -> float:
        """Jobs a second that one pod can do."""
        return self.concurrency / self.service_s


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes that a cluster autoscaler adds and removes. Pods fill the oldest node first.

    A node that the pods there are would not need is removed once that has been so for `cooldown_s`, and as long after
    the last node that was added.

    Args:
        pods_per_node: Pods of this workload that fit a node.
        min_nodes: Never fewer; the run starts with these, or with what the first pods need.
        max_nodes: Never more: further pods stay pending.
        provision_s: From the decision to a node that takes pods.
        cooldown_s: --scale-down-unneeded-time and --scale-down-delay-after-add.
    """

    pods_per_node: int
    min_nodes: int = 0
    max_nodes: int = 1_000
    provision_s: float = 180.0
    cooldown_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What works the load off.

    Args:
        pods: One pod.
        nodes: None: there is always room.
        timeout_s: A job that has waited so long gives up; inf: never.
        replicas: At the start, all of them ready.
        backlog: Jobs waiting at the start; they count as come in then.
        arrivals: How jobs come, event by event.
    """

    pods: Pods
    nodes: Nodes | None = None
    timeout_s: float = math.inf
    replicas: int = 1
    backlog: float = 0.0
    arrivals: Arrivals = Arrivals.POISSON


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """Jobs a second, constant between edges.

    Args:
        edges_s: Ascending from 0, the last is the end of the run; shape (n + 1,).
        rates: Between edge i and edge i + 1, finite, at least 0; shape (n,).

    Raises:
        ValueError: Not so.
    """

    edges_s: F64
    rates: F64

    def __post_init__(self) -> None:
        edges, rates = self.edges_s, self.rates
        if not (len(rates) >= 1 and len(edges) == len(rates) + 1 and edges[0] == 0 and (np.diff(edges) > 0).all()):
            raise ValueError("edges: must ascend from 0, one more than rates")
        if not (np.isfinite(rates).all() and (rates >= 0).all()):
            raise ValueError("rates: must be finite and at least 0")

    @property
    def end_s(self) -> float:
        """How long it lasts."""
        return float(self.edges_s[-1])

    @property
    def jobs(self) -> float:
        """How many jobs come in."""
        return float(np.dot(self.rates, np.diff(self.edges_s)))


@dataclass(frozen=True, slots=True)
class Scenario:
    """One HPA in front of one workload under one load.

    Args:
        hpa: The HPA.
        signals: One for each of `hpa.metrics`.
        workload: What works the load off.
        load: The load.
        sync_ms: --horizontal-pod-autoscaler-sync-period; the first sync is one period after the start.
        controller: How else the controller was started.
        objective_s: The waiting time that is too long; inf: none is.

    Raises:
        ValueError: There are not as many signals as metrics.
    """

    hpa: HpaSpec
    signals: tuple[Signal, ...]
    workload: Workload
    load: Load
    sync_ms: int = 15_000
    controller: Controller = field(default=DEFAULT_CONTROLLER)
    objective_s: float = math.inf

    def __post_init__(self) -> None:
        if len(self.signals) != len(self.hpa.metrics):
            raise ValueError(f"signals: one a metric, got {len(self.signals)} for {len(self.hpa.metrics)}")

    @property
    def syncs(self) -> int:
        """How many syncs there are: the last one may be at the very end."""
        return round(self.load.end_s * 1_000) // self.sync_ms
