"""From samples and rules to a Snapshot. The only file that knows both the store and the rules.

Every target's window ends at its newest good read, not at now: between reads and during a failure nothing new is known,
and extrapolating over the silence would make a number up. So a result stays what it is until something new was read,
or until its oldest member is older than maxAge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeAlias

import numpy as np

from scaler import kernels as k
from scaler import quantity
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
from scaler.rules import COUNTER, EXTRAPOLATED, AggregateOp, CounterStart, Function, MetricRule
from scaler.store import Block, SeriesStore, Table, TableSpec, since

_OVER_TIME = {
    Function.SUM_OVER_TIME: k.SUM,
    Function.AVG_OVER_TIME: k.AVG,
    Function.MIN_OVER_TIME: k.MIN,
    Function.MAX_OVER_TIME: k.MAX,
    Function.LAST_OVER_TIME: k.LAST,
}
_FOLD = {
    AggregateOp.SUM: k.SUM,
    AggregateOp.AVG: k.AVG,
    AggregateOp.MIN: k.MIN,
    AggregateOp.MAX: k.MAX,
    AggregateOp.COUNT: k.COUNT_OF,
}
Item: TypeAlias = ExternalMetricValue | UnknownItem
_by_labels = attrgetter("labels")
_NAMED = 3
"""How many unknown targets a detail names."""


def table_spec(rule: MetricRule) -> TableSpec:
    """Return what the store must remember for a rule."""
    return TableSpec(
        window_ms=rule.signal.window_ms or 0,
        interval_ms=rule.interval_ms,
        counter=rule.signal.function in COUNTER,
        from_zero=rule.signal.counter_start is CounterStart.ZERO,
        by=None if rule.aggregate is None else rule.aggregate.by,
    )


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
    return table is not None and all(target in table.blocks for target in rule.targets)


def _result(store: SeriesStore, rule: MetricRule, before: MetricResult | None, now_ms: int) -> MetricResult:
    """Compute one metric."""
    table = store.tables.get(rule.ref)
    targets = _coverage(table, rule, now_ms)
    if isinstance(targets, Unknown) or table is None:
        unknown = targets if isinstance(targets, Unknown) else Unknown(Reason.NO_DATA, "not read yet")
        current = _still_current(before, now_ms)
        return _built(rule, current, now_ms) if current else _all_unknown(rule, unknown, before, now_ms)
    members = _members(store, rule, targets, now_ms)
    if rule.aggregate is None:
        items = list(_single_items(rule, members))
    else:
        items = list(_groups(table, rule, rule.aggregate.op, members))
    if not items:
        nothing = Unknown(Reason.NO_DATA, f"{_names([t for t, _ in targets])}: read, but it has no such series")
        return _all_unknown(rule, nothing, before, now_ms)
    return _built(rule, _settled(items, before, now_ms), now_ms)


def _still_current(before: MetricResult | None, now_ms: int) -> Sequence[Item]:
    """Return the earlier items if every one of them is still current, else none of them: never a part."""
    items = () if before is None else before.items
    return items if all(isinstance(i, ExternalMetricValue) and i.valid_until_ms > now_ms for i in items) else ()


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
        elif isinstance(was, ExternalMetricValue) and was.valid_until_ms > now_ms:
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
        return Unknown(Reason.NO_DATA, "there are no targets")
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
    if sum(len(block.index) for _, block in good) > rule.max_series:
        return Unknown(Reason.TOO_MANY_SERIES, f"more than {rule.max_series} series (spec.maxSeries)")
    if not bad or len(good) >= max(rule.min_coverage * len(rule.targets), 1):
        return good
    _, first = bad[0]
    if len(good) and rule.min_coverage < 1:
        share = f"{len(good)} of {len(rule.targets)} targets are current, minCoverage is {rule.min_coverage:g}; "
        return Unknown(Reason.LOW_COVERAGE, f"{share}{_names([t for t, _ in bad])}: {first.detail}", first.since_ms)
    return Unknown(first.reason, f"{_names([t for t, _ in bad])}: {first.detail}", first.since_ms)


def _stale(block: Block) -> Unknown:
    return Unknown(Reason.STALE, "no read has ended", block.last_good_ms)


def _names(targets: Sequence[str]) -> str:
    more = f" and {len(targets) - _NAMED} more" if len(targets) > _NAMED else ""
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

    def labels(self) -> Iterator[Labels | None]:
        """Yield each slot's labels; None for a free slot."""
        for _, block in self.targets:
            yield from block.labels


def _members(store: SeriesStore, rule: MetricRule, targets: Sequence[tuple[str, Block]], now_ms: int) -> _Members:
    """Run the rule's function over every series of some targets."""
    blocks = [block for _, block in targets]
    sizes = [len(block.labels) for block in blocks]
    ids = np.array([block.row for block in blocks], np.int64)
    last_good_ms = np.array([-1 if b.last_good_ms is None else b.last_good_ms for b in blocks], np.int64)
    value = np.zeros(sum(sizes), np.float64)
    state = np.empty(sum(sizes), np.uint8)
    _run(store, rule, ids, last_good_ms, value, state)
    newest_ms = np.repeat(last_good_ms, sizes)
    groups = np.concatenate([block.groups for block in blocks]) if blocks else np.empty(0, np.int32)
    members = _Members(targets, value, state, newest_ms, groups)
    if any(block.problems for block in blocks):
        _admit_failing(members)
        if rule.signal.function is Function.VALUE:
            _hold(members)
        state[(state == k.OK) & (newest_ms + rule.max_age_ms < now_ms)] = k.READ_FAILED
    return members


def _run(store: SeriesStore, rule: MetricRule, ids: I64, end_ms: I64, value: F64, state: U8) -> None:
    arena, function, window_ms = store.arena, rule.signal.function, rule.signal.window_ms or 0
    if function is Function.VALUE:
        k.newest(arena.values, arena.bits, arena.rows, ids, value, state)
    elif function in EXTRAPOLATED:
        k.extrapolated(
            arena.values,
            arena.bits,
            arena.times,
            arena.irregular,
            arena.rows,
            ids,
            end_ms,
            window_ms,
            function in COUNTER,
            function is Function.RATE,
            value,
            state,
        )
    else:
        op = _OVER_TIME[function]
        k.over_time(arena.values, arena.bits, arena.times, arena.rows, ids, end_ms, window_ms, op, value, state)


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


def _single_items(rule: MetricRule, members: _Members) -> Iterator[Item]:
    """Yield one item a series."""
    states, values, times = members.state.tolist(), members.value.tolist(), members.newest_ms.tolist()
    for i, labels in enumerate(members.labels()):
        if states[i] == k.GONE or labels is None:
            continue
        if states[i] == k.OK:
            yield _item(rule, labels, values[i], times[i], times[i])
        else:
            yield UnknownItem(labels, _why(rule, members, i))


def _groups(table: Table, rule: MetricRule, op: AggregateOp, members: _Members) -> Iterator[Item]:
    """Yield one item a group that has members. One unknown member makes its group unknown."""
    n = len(table.group_index)
    out, count, unknown = np.empty(n, np.float64), np.empty(n, np.int64), np.empty(n, np.int64)
    k.fold(members.value, members.state, members.groups, _FOLD[op], out, count, unknown)
    newest_ms, oldest_ms = np.full(n, k.NEVER, np.int64), np.full(n, k.FOREVER, np.int64)
    known = members.state == k.OK
    np.maximum.at(newest_ms, members.groups[known], members.newest_ms[known])
    np.minimum.at(oldest_ms, members.groups[known], members.newest_ms[known])
    for labels, g in table.group_index.items():
        if unknown[g] >= 0:
            yield UnknownItem(labels, _why(rule, members, int(unknown[g])))
        elif count[g] > 0:
            yield _item(rule, labels, float(out[g]), int(newest_ms[g]), int(oldest_ms[g]))


def _item(rule: MetricRule, labels: Labels, value: float, newest_ms: int, oldest_ms: int) -> Item:
    """Return the item, or why its value cannot be served."""
    if not np.isfinite(value):
        return UnknownItem(labels, Unknown(Reason.NOT_FINITE, "the aggregate is not finite"))
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
    if rule.aggregate is not None and labels:
        where += ",".join(f"{name}={value}" for name, value in labels) + ": "
    problem = block.problems.get(slot)
    if problem is not None:
        return replace(problem, detail=where + problem.detail)
    state = members.state[i]
    if state == k.TOO_FEW:
        return Unknown(Reason.TOO_FEW_SAMPLES, f"{where}{rule.signal.function} needs two samples in its window")
    if state == k.NOT_FINITE:
        return Unknown(Reason.NOT_FINITE, f"{where}a NaN or Inf in the window")
    return Unknown(Reason.STALE, f"{where}no good read", block.last_good_ms)
