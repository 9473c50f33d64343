"""What a run keeps while it runs, and what it is told: records and arrays that compiled code reads and writes.

A record is a row of one field array (`numpy.recarray`), so that compiled and plain code read alike: `world.backlog`.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from scaler.model import F64

Record: TypeAlias = Any
"""One row of a recarray: NumPy cannot type its fields."""
Records: TypeAlias = Any
"""A recarray: likewise."""

_F8 = ("now_s", "head_s", "backlog", "lump", "arrived", "served", "lost", "pod_s", "wait_sum", "wait_max", "over_s")
_I8 = ("edge", "head_edge", "pods", "unscheduled", "working", "ready", "ending")
_AT = ("work_at", "ready_at", "batch_end", "ending_at", "ending_end")

WORLD = np.dtype([(name, np.float64) for name in (*_F8, "backlog_max", "zero")] + [(n, np.int64) for n in _I8 + _AT])
"""Load, queue and pods at one moment, and what has been summed up so far.

now_s: the moment. edge: the segment of the load. head_s: when the job at the head of the queue came; `now_s` if none
waits. head_edge: its segment. backlog: jobs waiting that came since the start; lump: of those there at the start.
arrived, served, lost: jobs so far; lost ones gave up. pods: those asked for and there, without the ending ones.
unscheduled: those of them without a node. working, ready: those of them that take jobs, that are Ready. ending: pods
told to stop that still run. pod_s: pod-seconds on nodes. wait_sum, wait_max: of waiting times, in job-seconds and
seconds. over_s: seconds in which the job at the head was over the objective. zero: jobs that did not wait.
work_at, ready_at: the first batch that does not yet work, is not yet Ready; batch_end: one past the last. ending_at,
ending_end: likewise for ending pods.
"""

BATCH = np.dtype([("work_s", np.float64), ("ready_s", np.float64), ("count", np.int64)])
"""Pods that started together: when they take jobs, when they are Ready, and how many are left. Times ascend."""

ENDING = np.dtype([("gone_s", np.float64), ("count", np.int64)])
"""Pods told to stop together: when they are gone. Times ascend."""

PLANT = np.dtype(
    [(name, np.float64) for name in ("rate", "work_s", "ready_s", "linger_s", "timeout_s", "objective_s", "job_s")]
    + [(name, np.int64) for name in ("has_nodes", "pods_per_node", "min_nodes", "max_nodes")]
    + [("provision_s", np.float64), ("cooldown_s", np.float64)]
)
"""The workload. rate: jobs a second a pod. work_s, ready_s: from being on a node to taking jobs, to Ready. linger_s:
from being told to stop to gone. job_s: seconds a job, so that as many are in flight for each one done a second."""

NODES = np.dtype(
    [(name, np.int64) for name in ("count", "ordered", "order_at", "order_end", "most")]
    + [(name, np.float64) for name in ("node_s", "added_s", "now_s")]
)
"""Nodes that take pods, and those ordered. order_at, order_end: the orders that have not arrived. most: the highest
count so far. node_s: node-seconds, from the order on. added_s: when the last one arrived."""

ORDER = np.dtype([("ready_s", np.float64), ("count", np.int64)])
"""Nodes ordered together."""

RULE = np.dtype(
    [
        (name, np.int64)
        for name in ("min_replicas", "max_replicas", "behavior", "up_select", "down_select", "up_count", "down_count")
    ]
    + [("scale_to_zero", np.int64)]
    + [(name, np.float64) for name in ("up_window_s", "down_window_s", "up_tolerance", "down_tolerance")]
    + [(name, np.float64) for name in ("up_longest_s", "down_longest_s")]
)
"""An HPA and its controller, all defaults filled in. up_count, down_count: how many of its policies there are."""

TARGET = np.dtype([("per_replica", np.int64), ("milli", np.int64)])
"""A metric's target: AverageValue or Value."""

MEMORY = np.dtype(
    [(name, np.int64) for name in ("recommendation_at", "recommendation_end", "up_end", "down_end", "scaled_to_zero")]
)
"""What the controller remembers. recommendation_at: the first one that may still count."""

EVENT = np.dtype([("time_s", np.float64), ("change", np.int64), ("outdated", np.int64)])
"""A change of the replica count."""

SIGNAL = np.dtype(
    [(name, np.int64) for name in ("measure", "function", "samples", "interval_ms", "delay_ms", "max_age_ms")]
    + [(name, np.float64) for name in ("window_s", "guard_min", "guard_max")]
    + [("first", np.int64), ("last", np.int64)]
)
"""A signal. first, last: the rows of the given series that are this one's, for a measure that is given."""

RESULT = np.dtype(
    [
        (name, np.float64)
        for name in (
            "arrived",
            "served",
            "lost",
            "backlog_max",
            "backlog_end",
            "wait_mean",
            "wait_p50",
            "wait_p95",
            "wait_p99",
            "wait_max",
            "over_s",
            "pod_s",
            "node_s",
            "saturated_s",
        )
    ]
    + [(name, np.int64) for name in ("scale_ups", "scale_downs", "flaps", "replicas_max", "replicas_end", "nodes_max")]
)
"""What came of a run. Waiting times are NaN if no job came. saturated_s: seconds at maxReplicas."""

TRACE = np.dtype(
    [(name, np.float64) for name in ("time_s", "rate", "backlog", "in_flight", "age_s", "served", "lost")]
    + [(name, np.int64) for name in ("replicas", "ready", "working", "running", "nodes", "desired", "stable", "limit")]
)
"""A run at each sync, after it. age_s: of the job at the head of the queue. served, lost: so far. running: pods on
nodes. desired: what the metrics asked for, -1 where there was no answer. stable, limit: why it became another count, as
indices of STABLE and LIMIT."""

STABLE = ("ReadyForNewScale", "ScaleUpStabilized", "ScaleDownStabilized")
LIMIT = (
    "DesiredWithinRange",
    "TooManyReplicas",
    "TooFewReplicas",
    "ScaleUpLimit",
    "ScaleDownLimit",
    "OutOfBounds",
    "ScalingDisabled",
    "FailedGetExternalMetric",
)

BIN_BASE_S = 1e-3
"""A wait below this is none."""
BIN_GROWTH = 1.01
BINS = math.ceil(math.log(1e8 / BIN_BASE_S) / math.log(BIN_GROWTH)) + 1
"""Waiting times up to three years, each bin 1 % wider than the one before."""
BIN_EDGES_S: F64 = np.array([BIN_BASE_S * BIN_GROWTH**index for index in range(BINS + 1)], np.float64)


def records(dtype: np.dtype[Any], count: int) -> Records:
    """Return so many records of zeros."""
    return np.zeros(count, dtype).view(np.recarray)
