"""From series to items: one each, or one a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from scaler import kernels as k
from scaler import kernels_histogram, quantity
from scaler.histograms import groups_of
from scaler.members import Members
from scaler.model import F64, I32, I64, U8, ExternalMetricValue, Labels, Reason, Unknown, UnknownItem
from scaler.rules import TWO_SAMPLES, AggregateOp, Function, MetricRule
from scaler.store import Table

FOLD = {
    AggregateOp.SUM: k.SUM,
    AggregateOp.AVG: k.AVG,
    AggregateOp.MIN: k.MIN,
    AggregateOp.MAX: k.MAX,
    AggregateOp.COUNT: k.COUNT_OF,
}
Item: TypeAlias = ExternalMetricValue | UnknownItem


def items_of(table: Table, rule: MetricRule, members: Members) -> list[Item]:
    """Return the items of a metric, in no order."""
    return list(_histogram_items(table, rule, members) if table.spec.buckets else _items(table, rule, members))


def adds_histograms(rule: MetricRule) -> bool:
    """Tell whether histograms are added bucket by bucket before the quantile is taken."""
    return rule.aggregate is not None and rule.aggregate.op is AggregateOp.SUM


@dataclass(frozen=True, slots=True)
class _Points:
    """Numbers with labels, each a series or a histogram, as the kernels leave them; `why` is asked of unknown ones."""

    labels: Sequence[Labels | None]
    value: F64
    state: U8
    newest_ms: I64
    oldest_ms: I64
    why: Callable[[int], Unknown]


def _items(table: Table, rule: MetricRule, members: Members) -> Iterator[Item]:
    """Yield the items of series: one each, or one a group."""
    why = partial(_why, rule, members)
    points = _Points(members.labels(), members.value, members.state, members.newest_ms, members.newest_ms, why)
    if rule.aggregate is None:
        return _single_items(rule, points)
    return _groups(rule, rule.aggregate.op, points, members.groups, table.group_index)


def _histogram_items(table: Table, rule: MetricRule, members: Members) -> Iterator[Item]:
    """Yield the items of histograms whose buckets are the members: one each, or one a group."""
    histograms, cells = table.histograms(), len(table.group_index)
    total, count, unknown = np.empty(cells, np.float64), np.empty(cells, np.int64), np.empty(cells, np.int64)
    k.fold(members.value, members.state, members.groups, k.SUM, total, count, unknown)
    found = histograms.quantiles(rule.signal.quantile or 0.0, total, count, unknown)
    state = np.where(found.first_unknown >= 0, np.uint8(k.READ_FAILED), found.state)
    newest_ms, oldest_ms = _times(members, histograms.of_cell[members.groups], len(histograms.labels))

    def why(i: int) -> Unknown:
        if found.first_unknown[i] >= 0:
            return _why(rule, members, int(found.first_unknown[i]))
        where = "" if rule.aggregate is None or adds_histograms(rule) else _text(histograms.labels[i])
        return replace(_NO_QUANTILE[state[i]], detail=where + _NO_QUANTILE[state[i]].detail)

    points = _Points(histograms.labels, found.value, state, newest_ms, oldest_ms, why)
    if rule.aggregate is None or adds_histograms(rule):
        return _single_items(rule, points)
    index, groups = groups_of(histograms.labels, rule.aggregate.by)
    return _groups(rule, rule.aggregate.op, points, np.array(groups, np.int32), index)


_NO_QUANTILE = {
    kernels_histogram.NO_OBSERVATIONS: Unknown(Reason.NO_DATA, "no observations in the window"),
    kernels_histogram.NO_HISTOGRAM: Unknown(
        Reason.WRONG_TYPE, 'not a histogram: it needs a bucket with le="+Inf" and another one'
    ),
}


def _single_items(rule: MetricRule, points: _Points) -> Iterator[Item]:
    """Yield one item a point."""
    states, values = points.state.tolist(), points.value.tolist()
    newest_ms, oldest_ms = points.newest_ms.tolist(), points.oldest_ms.tolist()
    for i, labels in enumerate(points.labels):
        if states[i] == k.GONE or labels is None:
            continue
        if states[i] == k.OK:
            yield _item(rule, labels, values[i], newest_ms[i], oldest_ms[i])
        else:
            yield UnknownItem(labels, points.why(i))


def _groups(
    rule: MetricRule, op: AggregateOp, points: _Points, groups: I32, index: Mapping[Labels, int]
) -> Iterator[Item]:
    """Yield one item a group that has members. One unknown member makes its group unknown."""
    n = len(index)
    out, count, unknown = np.empty(n, np.float64), np.empty(n, np.int64), np.empty(n, np.int64)
    k.fold(points.value, points.state, groups, FOLD[op], out, count, unknown)
    newest_ms, oldest_ms = _times(points, groups, n)
    for labels, g in index.items():
        if unknown[g] >= 0:
            yield UnknownItem(labels, points.why(int(unknown[g])))
        elif count[g] > 0:
            yield _item(rule, labels, float(out[g]), int(newest_ms[g]), int(oldest_ms[g]))


def _times(points: Members | _Points, groups: I32 | I64, count: int) -> tuple[I64, I64]:
    """Return the newest and the oldest time of the known members of each group."""
    newest_ms, oldest_ms = np.full(count, k.NEVER, np.int64), np.full(count, k.FOREVER, np.int64)
    known = points.state == k.OK
    np.maximum.at(newest_ms, groups[known], points.newest_ms[known])
    np.minimum.at(oldest_ms, groups[known], points.oldest_ms[known])
    return newest_ms, oldest_ms


def _item(rule: MetricRule, labels: Labels, value: float, newest_ms: int, oldest_ms: int) -> Item:
    """Return the item, or why its value cannot be served."""
    if not np.isfinite(value):
        return UnknownItem(labels, Unknown(Reason.NOT_FINITE, "the result is not finite"))
    if rule.guard.min is not None:
        value = max(value, rule.guard.min)
    if rule.guard.max is not None:
        value = min(value, rule.guard.max)
    if value < 0:
        detail = "the value is below zero, which an HPA reads as overflow; spec.guard.min: 0 clamps it"
        return UnknownItem(labels, Unknown(Reason.NEGATIVE, detail))
    window_s = None if rule.signal.window_ms is None else -(-rule.signal.window_ms // 1000)
    return ExternalMetricValue(labels, newest_ms, window_s, quantity.milli(value), oldest_ms + rule.max_age_ms + 1)


def _why(rule: MetricRule, members: Members, i: int) -> Unknown:
    """Say why a member is unknown."""
    target, block, slot = members.locate(i)
    where = f"{target}: "
    labels = block.labels[slot]
    if labels and (rule.aggregate is not None or rule.signal.function is Function.HISTOGRAM_QUANTILE):
        where += _text(labels)
    problem = block.problems.get(slot)
    if problem is not None:
        return replace(problem, detail=where + problem.detail)
    state = members.state[i]
    if state == k.TOO_FEW:
        needs = "two samples" if rule.signal.function in TWO_SAMPLES else "a sample"
        return Unknown(Reason.TOO_FEW_SAMPLES, f"{where}{rule.signal.function} needs {needs} in its window")
    if state == k.NOT_FINITE:
        return Unknown(Reason.NOT_FINITE, f"{where}a NaN or Inf in the window")
    return Unknown(Reason.STALE, f"{where}no good read", block.last_good_ms)


def _text(labels: Labels) -> str:
    return ",".join(f"{name}={value}" for name, value in labels) + ": "
