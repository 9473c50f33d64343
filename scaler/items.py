"""From series to items: one each, or one a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from operator import attrgetter
from typing import TypeAlias

import numpy as np

from scaler import kernels as k
from scaler import kernels_histogram, quantity
from scaler.histograms import Histograms, groups_of
from scaler.members import Folded, Members, times_of
from scaler.model import F64, I64, U8, ExternalMetricValue, Labels, Reason, Unknown, UnknownItem
from scaler.rules import TWO_SAMPLES, AggregateOp, Function, MetricRule
from scaler.tables import Table

FOLD = {
    AggregateOp.SUM: k.SUM,
    AggregateOp.AVG: k.AVG,
    AggregateOp.MIN: k.MIN,
    AggregateOp.MAX: k.MAX,
    AggregateOp.COUNT: k.COUNT_OF,
}
Item: TypeAlias = ExternalMetricValue | UnknownItem
_by_labels = attrgetter("labels")


def items_of(table: Table, rule: MetricRule, members: Members) -> list[Item]:
    """Return the items of a metric, sorted by labels, so that every replica answers alike."""
    return _histogram_items(table, rule, members) if table.spec.buckets else _items(table, rule, members)


def adds_histograms(rule: MetricRule) -> bool:
    """Tell whether histograms are added bucket by bucket before the quantile is taken."""
    return rule.aggregate is not None and rule.aggregate.op is AggregateOp.SUM


@dataclass(frozen=True, slots=True)
class _Points:
    """Numbers with labels, each a series, a histogram or a group. `value` counts where `state` is OK, and `why` is
    asked where it is neither that nor GONE.
    """

    labels: Sequence[Labels | None]
    value: F64
    state: U8
    newest_ms: I64
    oldest_ms: I64
    why: Callable[[int], Unknown]


def _items(table: Table, rule: MetricRule, members: Members) -> list[Item]:
    """Return the items of series: one each, or one a group."""
    if rule.aggregate is None:
        value, state, newest_ms = members.each
        why = partial(_why, rule, members)
        return sorted(_made(rule, _Points(members.labels(), value, state, newest_ms, newest_ms, why)), key=_by_labels)
    groups = members.fold(FOLD[rule.aggregate.op])
    return _group_items(rule, groups, table.ordered_groups(), partial(_why, rule, members))


def _histogram_items(table: Table, rule: MetricRule, members: Members) -> list[Item]:
    """Return the items of histograms whose buckets are the members: one each, or one a group."""
    histograms, cells = table.histograms(), members.fold(k.SUM)
    found = histograms.quantiles(rule.signal.quantile or 0.0, cells.value, cells.members, cells.unknown)
    state = np.where(found.first_unknown >= 0, np.uint8(k.READ_FAILED), found.state)
    newest_ms, oldest_ms = _times_of_histograms(histograms, cells)

    def why(i: int) -> Unknown:
        if found.first_unknown[i] >= 0:
            return _why(rule, members, int(found.first_unknown[i]))
        where = "" if rule.aggregate is None or adds_histograms(rule) else _text(histograms.labels[i])
        return replace(_NO_QUANTILE[state[i]], detail=where + _NO_QUANTILE[state[i]].detail)

    points = _Points(histograms.labels, found.value, state, newest_ms, oldest_ms, why)
    if rule.aggregate is None or adds_histograms(rule):
        return sorted(_made(rule, points), key=_by_labels)
    index, of = groups_of(histograms.labels, rule.aggregate.by)
    n, group = len(index), np.array(of, np.int32)
    value, count, unknown = np.empty(n, np.float64), np.empty(n, np.int64), np.empty(n, np.int64)
    k.fold(points.value, points.state, group, FOLD[rule.aggregate.op], value, count, unknown)
    folded = Folded(value, count, unknown, *times_of(points.state, group, n, newest_ms, oldest_ms))
    return sorted(_group_items(rule, folded, (tuple(index), np.arange(n)), why), key=_by_labels)


def _times_of_histograms(histograms: Histograms, cells: Folded) -> tuple[I64, I64]:
    """Return the newest and the oldest time of what is known in each histogram."""
    count = len(histograms.labels)
    newest_ms, oldest_ms = np.full(count, k.NEVER, np.int64), np.full(count, k.FOREVER, np.int64)
    np.maximum.at(newest_ms, histograms.of_cell, cells.newest_ms)
    np.minimum.at(oldest_ms, histograms.of_cell, cells.oldest_ms)
    return newest_ms, oldest_ms


_NO_QUANTILE = {
    kernels_histogram.NO_OBSERVATIONS: Unknown(Reason.NO_DATA, "no observations in the window"),
    kernels_histogram.NO_HISTOGRAM: Unknown(
        Reason.WRONG_TYPE, 'not a histogram: it needs a bucket with le="+Inf" and another one'
    ),
}


def _group_items(
    rule: MetricRule, groups: Folded, order: tuple[Sequence[Labels], I64], why: Callable[[int], Unknown]
) -> list[Item]:
    """Return one item a group that has members. One unknown member makes its group unknown."""
    labels, number = order
    unknown = groups.unknown[number]
    state = np.where(unknown >= 0, k.READ_FAILED, np.where(groups.members[number] > 0, k.OK, k.GONE)).astype(np.uint8)
    newest_ms, oldest_ms = groups.newest_ms[number], groups.oldest_ms[number]
    points = _Points(labels, groups.value[number], state, newest_ms, oldest_ms, lambda i: why(int(unknown[i])))
    return _made(rule, points)


def _made(rule: MetricRule, points: _Points) -> list[Item]:
    """Return one item a point that is not gone, or why its value is unknown or cannot be served."""
    known = points.state == k.OK
    value, finite = points.value, np.isfinite(points.value)
    if rule.guard.min is not None:
        value = np.maximum(value, rule.guard.min)
    if rule.guard.max is not None:
        value = np.minimum(value, rule.guard.max)
    served = known & finite & (value >= 0)
    milli = quantity.millis(np.where(served, value, 0.0))
    window_s = None if rule.signal.window_ms is None else -(-rule.signal.window_ms // 1000)
    valid_until_ms = np.where(known, points.oldest_ms, 0) + (rule.max_age_ms + 1)
    columns = (points.labels, points.newest_ms.tolist(), repeat(window_s), milli.tolist(), valid_until_ms.tolist())
    items: list[Item] = list(map(ExternalMetricValue._make, zip(*columns, strict=False)))
    if served.all():
        return items
    found: list[Item] = []
    for i in np.flatnonzero(points.state != k.GONE).tolist():
        labels = points.labels[i]
        if labels is None:
            continue
        if served[i]:
            found.append(items[i])
        elif not known[i]:
            found.append(UnknownItem(labels, points.why(i)))
        else:
            found.append(UnknownItem(labels, _NOT_SERVED[bool(finite[i])]))
    return found


_NOT_SERVED = {
    False: Unknown(Reason.NOT_FINITE, "the result is not finite"),
    True: Unknown(
        Reason.NEGATIVE, "the value is below zero, which an HPA reads as overflow; spec.guard.min: 0 clamps it"
    ),
}
"""By whether it is finite: why a value that is known is not served."""


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
    state = members.each.state[i]
    if state == k.TOO_FEW:
        needs = "two samples" if rule.signal.function in TWO_SAMPLES else "a sample"
        return Unknown(Reason.TOO_FEW_SAMPLES, f"{where}{rule.signal.function} needs {needs} in its window")
    if state == k.NOT_FINITE:
        return Unknown(Reason.NOT_FINITE, f"{where}a NaN or Inf in the window")
    return Unknown(Reason.STALE, f"{where}no good read", block.last_good_ms)


def _text(labels: Labels) -> str:
    return ",".join(f"{name}={value}" for name, value in labels) + ": "
