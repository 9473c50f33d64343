"""From series to items once more, for a person: who is a member of what, and what each step made of it.

`scaler.evaluate` decides what is served and says what each series is; this names the steps from there on, and tests
hold both together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaler import kernels as k
from scaler.coverage import current_targets
from scaler.histograms import Histograms, groups_of
from scaler.items import FOLD
from scaler.members import members_of
from scaler.model import F64, I32, I64, U8, Labels, Reason, Unknown
from scaler.rules import TWO_SAMPLES, AggregateOp, MetricRule
from scaler.store import SeriesStore
from scaler.tables import Block, Table

_SHOWN = 100
"""How many members and buckets of an item are shown."""

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Series:
    """Every series slot of some targets, and what the function makes of it. Arrays have shape (slots,).

    `end_ms` is where each target's window ends. `counts` says that these are the targets that items are made of; else
    too few of them are current, and these are all that were ever read.
    """

    rule: MetricRule
    table: Table
    targets: Sequence[tuple[str, Block]]
    end_ms: Mapping[str, int]
    value: F64
    state: U8
    groups: I32
    counts: bool

    def place(self, target: str) -> int | None:
        """Return where a target's slots begin; None: it is none of these."""
        start = 0
        for name, block in self.targets:
            if name == target:
                return start
            start += len(block.labels)
        return None

    def locate(self, i: int) -> tuple[str, Block, int]:
        """Return the target, block and slot of a series."""
        for target, block in self.targets:
            if i < len(block.labels):
                return target, block, i
            i -= len(block.labels)
        raise IndexError(i)

    def result(self, i: int) -> JsonObject | None:
        """Return a series' number or why it has none; None: it has ended."""
        if self.state[i] == k.GONE:
            return None
        if self.state[i] == k.OK:
            return {"value": finite(float(self.value[i]))}
        return {"unknown": unknown_json(self._why(i))}

    def member(self, i: int) -> JsonObject:
        """Return a series as the member of an item."""
        target, block, slot = self.locate(i)
        return {"target": target, "labels": dict(block.labels[slot] or ()), **(self.result(i) or {})}

    def _why(self, i: int) -> Unknown:
        _, block, slot = self.locate(i)
        if slot in block.problems:
            return block.problems[slot]
        if self.state[i] == k.TOO_FEW:
            least = "two samples" if self.rule.signal.function in TWO_SAMPLES else "a sample"
            return Unknown(Reason.TOO_FEW_SAMPLES, f"{self.rule.signal.function} needs {least} in its window")
        if self.state[i] == k.NOT_FINITE:
            return Unknown(Reason.NOT_FINITE, "a NaN or Inf in the window")
        return block.failure or Unknown(Reason.STALE, "no good read", block.last_good_ms)


def series_of(store: SeriesStore, rule: MetricRule, table: Table, now_ms: int) -> Series:
    """Run the function over every series of a metric, as the last evaluation did."""
    found = current_targets(table, rule, now_ms)
    counts = not isinstance(found, Unknown)
    read = tuple(name for name in rule.targets if name in table.blocks)
    roster = table.roster(read) if isinstance(found, Unknown) else found
    members = members_of(store, table, rule, roster, now_ms, gone=counts)
    end_ms = {name: end for (name, _), end in zip(members.targets, members.end_ms.tolist(), strict=True)}
    value, state, _ = members.each
    return Series(rule, table, members.targets, end_ms, value, state, members.groups, counts)


def made(series: Series, wanted: Collection[Labels]) -> dict[Labels, list[JsonObject]]:
    """Return how items come about, by their labels; of several items with the same ones, in their order.

    `members` counts series (of a histogram: buckets; of histograms: those), `unknownMembers` those without a number,
    `shown` are the first, unknown ones before others. `folded` is the number before the guard; None: there is none.
    """
    if not series.counts:
        return {}
    if series.table.spec.buckets:
        items = _histograms(series, wanted)
    elif series.rule.aggregate is None:
        items = _single(series, wanted)
    else:
        points = _Points(series.value, series.state, series.groups, series.member)
        items = _folded(points, series.rule.aggregate.op, series.table.group_index, wanted)
    found: dict[Labels, list[JsonObject]] = {}
    for labels, item in items:
        found.setdefault(labels, []).append(item)
    return found


@dataclass(frozen=True, slots=True)
class _Points:
    """Numbers with a state and a group, each a series or a histogram."""

    value: F64
    state: U8
    group: I32
    member: Callable[[int], JsonObject]


def _single(series: Series, wanted: Collection[Labels]) -> Iterator[tuple[Labels, JsonObject]]:
    """One item a series."""
    named = [labels for _, block in series.targets for labels in block.labels]
    for i in np.flatnonzero(series.state != k.GONE).tolist():
        labels, known = named[i], series.state[i] == k.OK
        if labels is None or labels not in wanted:
            continue
        yield (
            labels,
            {
                "members": 1,
                "unknownMembers": int(not known),
                "shown": [series.member(i)],
                "folded": finite(float(series.value[i])) if known else None,
            },
        )


def _folded(
    points: _Points, op: AggregateOp, index: dict[Labels, int], wanted: Collection[Labels]
) -> Iterator[tuple[Labels, JsonObject]]:
    """One item a group."""
    n = len(index)
    out, count, unknown = np.empty(n, np.float64), np.empty(n, np.int64), np.empty(n, np.int64)
    k.fold(points.value, points.state, points.group, FOLD[op], out, count, unknown)
    for labels, g in index.items():
        mine = np.flatnonzero((points.group == g) & (points.state != k.GONE)) if labels in wanted else ()
        if not len(mine):
            continue
        lost = mine[points.state[mine] != k.OK]
        shown = [*lost.tolist(), *mine[points.state[mine] == k.OK].tolist()][:_SHOWN]
        yield (
            labels,
            {
                "members": len(mine),
                "unknownMembers": len(lost),
                "shown": [points.member(i) for i in shown],
                "folded": None if len(lost) else finite(float(out[g])),
            },
        )


def _histograms(series: Series, wanted: Collection[Labels]) -> Iterator[tuple[Labels, JsonObject]]:
    """One item a histogram, or a group of them."""
    rule, histograms, cells = series.rule, series.table.histograms(), len(series.table.group_index)
    state = series.state
    total, count, unknown = np.empty(cells, np.float64), np.empty(cells, np.int64), np.empty(cells, np.int64)
    k.fold(series.value, state, series.groups, k.SUM, total, count, unknown)
    q = rule.signal.quantile or 0.0
    found = histograms.quantiles(q, total, count, unknown)
    known = (found.state == k.OK) & (found.first_unknown < 0)

    def item(h: int) -> JsonObject:
        buckets = _buckets(histograms, h, total, count)
        lost = [i for i in np.flatnonzero(state != k.GONE).tolist() if state[i] != k.OK]
        lost = [i for i in lost if histograms.of_cell[series.groups[i]] == h]
        return {
            "members": len(buckets),
            "unknownMembers": len(lost),
            "shown": [series.member(i) for i in lost[:_SHOWN]],
            "folded": finite(float(found.value[h])) if known[h] else None,
            "histogram": {
                "quantile": q,
                "bucketsInAll": len(buckets),
                **_place(q, buckets if known[h] else []),
                "buckets": _short(buckets),
            },
        }

    if rule.aggregate is None or rule.aggregate.op is AggregateOp.SUM:
        for h, labels in enumerate(histograms.labels):
            if labels in wanted and (found.state[h] != k.GONE or found.first_unknown[h] >= 0):
                yield labels, item(h)
        return
    index, groups = groups_of(histograms.labels, rule.aggregate.by)
    states = np.where(known, np.uint8(k.OK), np.where(found.first_unknown >= 0, np.uint8(k.READ_FAILED), found.state))

    def member(h: int) -> JsonObject:
        of = {"labels": dict(histograms.labels[h])}
        return of | ({"value": finite(float(found.value[h]))} if known[h] else {"unknown": _NO_QUANTILE})

    points = _Points(found.value, states.astype(np.uint8), np.array(groups, np.int32), member)
    yield from _folded(points, rule.aggregate.op, index, wanted)


_NO_QUANTILE = {"reason": Reason.NO_DATA.value, "detail": "no quantile can be told from its buckets", "sinceMs": None}


def _buckets(histograms: Histograms, h: int, total: F64, count: I64) -> list[tuple[float, float]]:
    """Return the buckets of a histogram as (upper bound, cumulative rate): each bound once, never falling."""
    found: dict[float, float] = {}
    for b in range(int(histograms.begin[h]), int(histograms.begin[h + 1])):
        cell = histograms.cell[b]
        if count[cell]:
            bound = float(histograms.upper[b])
            found[bound] = found.get(bound, 0.0) + float(total[cell])
    rates = np.maximum.accumulate(np.array(list(found.values()))) if found else np.empty(0)
    return list(zip(found, rates.tolist(), strict=True))


def _place(q: float, buckets: Sequence[tuple[float, float]]) -> JsonObject:
    """Say which bucket a quantile falls into: `rank` is how much of the rate lies below it."""
    if len(buckets) < 2 or not buckets[-1][1] > 0:
        return {"rank": None, "from": None, "to": None}
    rank = q * buckets[-1][1]
    b = next(b for b, (_, rate) in enumerate(buckets) if rate >= rank or b == len(buckets) - 1)
    return {"rank": rank, "from": _bound(buckets[b - 1][0]) if b else None, "to": _bound(buckets[b][0])}


def _short(buckets: Sequence[tuple[float, float]]) -> list[JsonObject]:
    return [{"le": _bound(bound), "rate": finite(rate)} for bound, rate in buckets[:_SHOWN]]


def _bound(bound: float) -> str:
    return "+Inf" if bound == np.inf else f"{bound:g}"


def finite(value: float) -> float | str:
    """Return a number, or its name where JSON has none: "nan", "inf"."""
    return value if value - value == 0 else str(value)


def unknown_json(unknown: Unknown) -> JsonObject:
    """Return an unknown as JSON types."""
    return {"reason": unknown.reason.value, "detail": unknown.detail, "sinceMs": unknown.since_ms}
