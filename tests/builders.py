"""Small builders that tests share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scaler.evaluate import evaluate, table_spec
from scaler.model import (
    EMPTY_LAYOUT,
    EMPTY_SNAPSHOT,
    EXTERNAL_METRICS_GROUP,
    Batch,
    ExternalMetricValue,
    Labels,
    Layout,
    MetricRef,
    MetricResult,
    Snapshot,
    Unknown,
    labels_of,
)
from scaler.rules import MetricRule
from scaler.store import SeriesStore

REF = MetricRef(EXTERNAL_METRICS_GROUP, "shop", "m")
_layouts: dict[tuple[Labels, ...], Layout] = {}


def layout(series: Sequence[Labels]) -> Layout:
    """Return the one Layout of these series."""
    return _layouts.setdefault(tuple(series), Layout(tuple(series)))


def queue(name: str) -> Labels:
    """Return the labels of one queue."""
    return labels_of({"queue": name})


def batch(
    time_s: float,
    readings: Mapping[Labels, float | Unknown],
    *,
    target: str = "t",
    start_s: float | None = None,
    ref: MetricRef = REF,
) -> Batch:
    """Return a batch; a reading that is an Unknown is a problem of its series."""
    problems = {i: v for i, v in enumerate(readings.values()) if isinstance(v, Unknown)}
    values = np.array([np.nan if isinstance(v, Unknown) else v for v in readings.values()], np.float64)
    start_ms = None if start_s is None else round(start_s * 1000)
    return Batch(ref, target, round(time_s * 1000), layout(tuple(readings)), values, problems, start_ms=start_ms)


def failure(time_s: float, unknown: Unknown, target: str = "t") -> Batch:
    """Return the batch of a read that failed as a whole."""
    return Batch(REF, target, round(time_s * 1000), EMPTY_LAYOUT, np.empty(0), failure=unknown)


class Bench:
    """A store, a rule and the latest snapshot, driven by hand."""

    def __init__(self, rule: MetricRule, start_s: float = 0) -> None:
        self.store = SeriesStore()
        self.rule = rule
        self.snapshot: Snapshot = EMPTY_SNAPSHOT
        self.store.configure(rule.ref, table_spec(rule), round(start_s * 1000))

    def at(self, now_s: float, *batches: Batch) -> MetricResult:
        """Append, evaluate, and return the metric's result."""
        for each in batches:
            self.store.append(each)
        rules = {self.rule.ref: self.rule}
        self.snapshot = evaluate(self.store, rules, self.snapshot, {self.rule.ref}, round(now_s * 1000))
        return self.snapshot.results[self.rule.ref]


def milli(result: MetricResult) -> dict[Labels, int]:
    """Return the known items of a result that has no unknown one."""
    assert result.unknown is None
    assert all(isinstance(item, ExternalMetricValue) for item in result.items), result.items
    return {item.labels: item.milli for item in result.items if isinstance(item, ExternalMetricValue)}


def reasons(result: MetricResult) -> dict[Labels, str]:
    """Return why each unknown item is unknown."""
    return {
        item.labels: item.unknown.reason.value for item in result.items if not isinstance(item, ExternalMetricValue)
    }
