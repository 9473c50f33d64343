"""From samples and rules to a Snapshot. The only file that knows both the store and the rules.

Windows end with the newest good reads, not at now: between reads and during a failure nothing new is known, and
extrapolating over the silence would make a number up. So a result stays what it is until something new was read,
or until its oldest member is older than maxAge.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import TypeAlias

import numpy as np

from scaler import kernels as k
from scaler import kernels_histogram, quantity, signals
from scaler.histograms import BOUND, groups_of
from scaler.model import (
    F64,
    I32,
    I64,
    U8,
    ExternalMetricValue,
    Labels,
    MetricRef,
    MetricResult,
    Reason,
    Snapshot,
    Unknown,
    UnknownItem,
)
from scaler.rules import COUNTER, TWO_SAMPLES, AggregateOp, CounterStart, Function, MetricRule
from scaler.store import Block, SeriesStore, Table, TableSpec, since

_FOLD = {
    AggregateOp.SUM: k.SUM,
    AggregateOp.AVG: k.AVG,
    AggregateOp.MIN: k.MIN,
    AggregateOp.MAX: k.MAX,
    AggregateOp.COUNT: k.COUNT_OF,
}
Item: TypeAlias = ExternalMetricValue | UnknownItem
_by_labels = attrgetter("labels")
_SKEW_MS = 5_000
_LATE = 1.1
"""Intervals since a target's newest read after which it has missed one: as late as Prometheus takes to be regular."""
_NAMED = 3
"""How many unknown targets a detail names."""


def table_spec(rule: MetricRule) -> TableSpec:
    """Return what the store must remember for a rule.

    The groups of a histogram's buckets are cells: sum adds histograms bucket by bucket before the quantile is taken, as
    in histogram_quantile(q, sum by (le, …) (rate(…))); the other aggregations are of the quantiles.
    """
    by = None if rule.aggregate is None else rule.aggregate.by
    buckets = rule.signal.function is Function.HISTOGRAM_QUANTILE
    if buckets and by is not None:
        by = (*by, BOUND) if _adds_histograms(rule) else None
    return TableSpec(
        window_ms=rule.signal.window_ms or 0,
        interval_ms=rule.interval_ms,
        counter=rule.signal.function in COUNTER,
        from_zero=rule.signal.counter_start is CounterStart.ZERO,
        by=by,
        buckets=buckets,
    )


def _adds_histograms(rule: MetricRule) -> bool:
    return rule.aggregate is not None and rule.aggregate.op is AggregateOp.SUM


def evaluate(
    store: SeriesStore,
    rules: Mapping[MetricRef, MetricRule],
    previous: Snapshot,
    due: Collection[MetricRef],
    now_ms: int,
) -> Snapshot:
    """Compute the metrics that are due; the others carry over by reference. A due metric without a rule goes."""
    results = dict(previous.results)
    for ref in due:
        rule = rules.get(ref)
        if rule is None:
            results.pop(ref, None)
        else:
            result = _result(store, rule, results.get(ref), now_ms)
            results[ref] = result if _all_read(store, rule) else replace(result, all_read=False)
    return Snapshot(results, now_ms)


def _all_read(store: SeriesStore, rule: MetricRule) -> bool:
    table = store.tables.get(rule.ref)
    return table is not None and rule.listed and all(target in table.blocks for target in rule.targets)


def _result(store: SeriesStore, rule: MetricRule, before: MetricResult | None, now_ms: int) -> MetricResult:
    """Compute one metric."""
    table = store.tables.get(rule.ref)
    targets = _coverage(table, rule, now_ms)
    if isinstance(targets, Unknown) or table is None:
        unknown = targets if isinstance(targets, Unknown) else Unknown(Reason.NO_DATA, "not read yet")
        current = _still_current(before, now_ms)
        return _built(rule, current, now_ms) if current else _all_unknown(rule, unknown, before, now_ms)
    gone = [(name, block) for name, block in table.blocks.items() if block.departed] if table.departed else []
    members = _members(store, rule, targets, gone, now_ms)
    items = list(_histogram_items(table, rule, members) if table.spec.buckets else _items(table, rule, members))
    if not items:
        nothing = Unknown(Reason.NO_DATA, f"{_names([t for t, _ in targets])}: read, but it has no such series")
        return _all_unknown(rule, nothing, before, now_ms)
    return _built(rule, _settled(items, before, now_ms), now_ms)


def _still_current(before: MetricResult | None, now_ms: int) -> Sequence[Item]:
    """Return the earlier items if every one of them is still current, else none of them: never a part."""
    items = () if before is None else before.items
    return items if all(_is_current(i, now_ms) for i in items) else ()


def _is_current(item: Item, now_ms: int) -> bool:
    """Tell whether an item computed earlier still counts. One from the future is from before a clock was set back."""
    return (
        isinstance(item, ExternalMetricValue)
        and item.timestamp_ms <= now_ms + _SKEW_MS < item.valid_until_ms + _SKEW_MS
    )


def _all_unknown(rule: MetricRule, unknown: Unknown, before: MetricResult | None, now_ms: int) -> MetricResult:
    unknown = since(unknown, before.unknown if before is not None else None, now_ms)
    return MetricResult(rule.metric_name, (), unknown, now_ms, None)


def _settled(items: Sequence[Item], before: MetricResult | None, now_ms: int) -> Iterator[Item]:
    """Let an earlier item that is still current stand in for an unknown one; unknowns keep the time they began."""
    earlier = {item.labels: item for item in before.items} if before is not None else {}
    for item in items:
        was = earlier.get(item.labels)
        if not isinstance(item, UnknownItem):
            yield item
        elif was is not None and _is_current(was, now_ms):
            yield was
        else:
            seen = was.unknown if isinstance(was, UnknownItem) else None
            yield replace(item, unknown=since(item.unknown, seen, now_ms))


def _built(rule: MetricRule, items: Iterable[Item], now_ms: int) -> MetricResult:
    """Return the result: items sorted by labels, so that every replica answers alike."""
    ordered = tuple(sorted(items, key=_by_labels))
    ends = [item.valid_until_ms for item in ordered if isinstance(item, ExternalMetricValue)]
    return MetricResult(rule.metric_name, ordered, None, now_ms, min(ends) if ends else None)


def _coverage(table: Table | None, rule: MetricRule, now_ms: int) -> list[tuple[str, Block]] | Unknown:
    """Return the targets that count, or why too few of them do.

    A target whose series are known by configuration counts even when it cannot be read: its series are then unknown
    one by one.
    """
    if not rule.targets:
        return Unknown(Reason.NO_DATA, rule.waiting or "there are no targets")
    good: list[tuple[str, Block]] = []
    bad: list[tuple[str, Unknown]] = []
    for target in rule.targets:
        block = table.blocks.get(target) if table is not None else None
        if block is None:
            bad.append((target, Unknown(Reason.NO_DATA, "not read yet")))
        elif block.failure is None and block.problems:
            good.append((target, block))
        elif block.last_good_ms is None or block.last_good_ms + rule.max_age_ms < now_ms:
            bad.append((target, block.failure or _stale(block)))
        else:
            good.append((target, block))
    if sum(len(block.index) - len(block.ended) for _, block in good) > rule.max_series:
        return Unknown(Reason.TOO_MANY_SERIES, f"more than {rule.max_series} series (spec.maxSeries)")
    if not bad or len(good) >= max(rule.min_coverage * len(rule.targets), 1):
        return good
    _, first = bad[0]
    if len(good) and rule.min_coverage < 1:
        share = f"fewer targets are current than minCoverage {rule.min_coverage:g} asks for; "
        return Unknown(Reason.LOW_COVERAGE, f"{share}{_names([t for t, _ in bad])}: {first.detail}", first.since_ms)
    return Unknown(first.reason, f"{_names([t for t, _ in bad])}: {first.detail}", first.since_ms)


def _stale(block: Block) -> Unknown:
    return Unknown(Reason.STALE, "no read has ended", block.last_good_ms)


def _names(targets: Sequence[str]) -> str:
    more = " and others" if len(targets) > _NAMED else ""
    return ", ".join(targets[:_NAMED]) + more


@dataclass(frozen=True, slots=True)
class _Members:
    """Every series slot of the targets that count: its number, and from when it is."""

    targets: Sequence[tuple[str, Block]]
    value: F64
    state: U8
    newest_ms: I64
    groups: I32

    def locate(self, i: int) -> tuple[str, Block, int]:
        """Return the target, block and slot of a member."""
        for target, block in self.targets:
            if i < len(block.labels):
                return target, block, i
            i -= len(block.labels)
        raise IndexError(i)

    def labels(self) -> list[Labels | None]:
        """Return each slot's labels; None for a free slot."""
        return [labels for _, block in self.targets for labels in block.labels]

    @property
    def oldest_ms(self) -> I64:
        """A series has one time."""
        return self.newest_ms


def _members(
    store: SeriesStore,
    rule: MetricRule,
    targets: Sequence[tuple[str, Block]],
    gone: Sequence[tuple[str, Block]],
    now_ms: int,
) -> _Members:
    """Run the rule's function over every series of some targets, and of those that left within the window.

    The window of a target that is gone ends with the newest of the others': its past slides out, as time goes on.
    """
    targets = [*targets, *gone]
    blocks = [block for _, block in targets]
    sizes = [len(block.labels) for block in blocks]
    ids = np.array([block.row for block in blocks], np.int64)
    last_good_ms = np.array([-1 if b.last_good_ms is None else b.last_good_ms for b in blocks], np.int64)
    if gone:
        last_good_ms[-len(gone) :] = last_good_ms.max()
    end_ms = _ends(last_good_ms, rule.interval_ms)
    value = np.zeros(sum(sizes), np.float64)
    state = np.empty(sum(sizes), np.uint8)
    signals.run(store.arena, rule.signal, ids, end_ms, value, state)
    newest_ms = np.repeat(last_good_ms, sizes)
    groups = np.concatenate([block.groups for block in blocks]) if blocks else np.empty(0, np.int32)
    if gone:
        last = state[-sum(sizes[-len(gone) :]) or len(state) :]
        last[last == k.TOO_FEW] = k.GONE  # it will never have more
    members = _Members(targets, value, state, newest_ms, groups)
    if any(block.problems for block in blocks):
        _admit_failing(members)
        if rule.signal.function is Function.VALUE:
            _hold(members)
        state[(state == k.OK) & (newest_ms + rule.max_age_ms < now_ms)] = k.READ_FAILED
    return members


def _ends(last_good_ms: I64, interval_ms: int) -> I64:
    """Return where each target's window ends.

    Targets are read at different moments of an interval. All that were read within the last one are looked at from the
    newest of these moments, as Prometheus looks at all from one; a target that has missed a read is looked at from its
    own newest, or its window would drain.
    """
    if not last_good_ms.size:
        return last_good_ms
    moment_ms = last_good_ms.max()
    return np.where(moment_ms - last_good_ms <= interval_ms * _LATE, moment_ms, last_good_ms)


def _admit_failing(members: _Members) -> None:
    """A series whose every read has failed has no sample, but it exists: it is unknown, not gone."""
    start = 0
    for _, block in members.targets:
        for slot in block.problems:
            if members.state[start + slot] == k.GONE:
                members.state[start + slot] = k.READ_FAILED
        start += len(block.labels)


def _hold(members: _Members) -> None:
    """Put the newest good sample of a series in the place of a failed or non-finite one."""
    start = 0
    for _, block in members.targets:
        for slot, (held, time_ms) in block.held.items():
            members.value[start + slot] = held
            members.state[start + slot] = k.OK
            members.newest_ms[start + slot] = time_ms
        start += len(block.labels)


@dataclass(frozen=True, slots=True)
class _Points:
    """Numbers with labels, each a series or a histogram, as the kernels leave them; `why` is asked of unknown ones."""

    labels: Sequence[Labels | None]
    value: F64
    state: U8
    newest_ms: I64
    oldest_ms: I64
    why: Callable[[int], Unknown]


def _items(table: Table, rule: MetricRule, members: _Members) -> Iterator[Item]:
    """Yield the items of series: one each, or one a group."""
    why = partial(_why, rule, members)
    points = _Points(members.labels(), members.value, members.state, members.newest_ms, members.newest_ms, why)
    if rule.aggregate is None:
        return _single_items(rule, points)
    return _groups(rule, rule.aggregate.op, points, members.groups, table.group_index)


def _histogram_items(table: Table, rule: MetricRule, members: _Members) -> Iterator[Item]:
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
        where = "" if rule.aggregate is None or _adds_histograms(rule) else _text(histograms.labels[i])
        return replace(_NO_QUANTILE[state[i]], detail=where + _NO_QUANTILE[state[i]].detail)

    points = _Points(histograms.labels, found.value, state, newest_ms, oldest_ms, why)
    if rule.aggregate is None or _adds_histograms(rule):
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
    k.fold(points.value, points.state, groups, _FOLD[op], out, count, unknown)
    newest_ms, oldest_ms = _times(points, groups, n)
    for labels, g in index.items():
        if unknown[g] >= 0:
            yield UnknownItem(labels, points.why(int(unknown[g])))
        elif count[g] > 0:
            yield _item(rule, labels, float(out[g]), int(newest_ms[g]), int(oldest_ms[g]))


def _times(points: _Members | _Points, groups: I32 | I64, count: int) -> tuple[I64, I64]:
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


def _why(rule: MetricRule, members: _Members, i: int) -> Unknown:
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
