"""What led to a metric's result, as JSON types: readings with age and outcome, series, items.

Computed on request by whoever owns the store. Bounded: a metric with many series shows the first ones and says so.
"""

from __future__ import annotations

from typing import Any

from scaler import kernels as k
from scaler.model import ExternalMetricValue, MetricResult, Unknown, UnknownItem
from scaler.rules import MetricRule, duration_text
from scaler.store import Block, SeriesStore

_SHOWN = 100
"""How many targets, series of a target, samples of a series and items are shown."""


def explain(store: SeriesStore, rule: MetricRule, result: MetricResult | None, now_ms: int) -> dict[str, Any]:
    """Return the explanation of one metric."""
    table = store.tables.get(rule.ref)
    blocks = {} if table is None else table.blocks
    targets = [_target(store, rule, name, blocks.get(name), now_ms) for name in rule.targets[:_SHOWN]]
    items = () if result is None else result.items
    return {
        "namespace": rule.ref.namespace,
        "metric": rule.metric_name,
        "now": now_ms,
        "rule": _rule(rule),
        "state": _state(result),
        "evaluatedAgeMs": None if result is None else now_ms - result.evaluated_ms,
        "items": [_item(item, now_ms) for item in items[:_SHOWN]],
        "itemsInAll": len(items),
        "targets": targets,
        "targetsInAll": len(rule.targets),
    }


def _rule(rule: MetricRule) -> dict[str, Any]:
    signal, aggregate = rule.signal, rule.aggregate
    return {
        "function": signal.function.value,
        "window": None if signal.window_ms is None else duration_text(signal.window_ms),
        "counterStart": signal.counter_start.value,
        "aggregate": None if aggregate is None else {"by": list(aggregate.by), "with": aggregate.op.value},
        "guard": {"min": rule.guard.min, "max": rule.guard.max},
        "interval": duration_text(rule.interval_ms),
        "maxAge": duration_text(rule.max_age_ms),
        "minCoverage": rule.min_coverage,
    }


def _state(result: MetricResult | None) -> dict[str, Any]:
    if result is None:
        return {"known": False, "unknown": None}
    items = [item for item in result.items if isinstance(item, UnknownItem)]
    unknown = result.unknown or (items[0].unknown if items else None)
    return {"known": unknown is None, "unknown": None if unknown is None else _unknown(unknown)}


def _unknown(unknown: Unknown) -> dict[str, Any]:
    return {"reason": unknown.reason.value, "detail": unknown.detail, "sinceMs": unknown.since_ms}


def _item(item: ExternalMetricValue | UnknownItem, now_ms: int) -> dict[str, Any]:
    if isinstance(item, UnknownItem):
        return {"labels": dict(item.labels), "unknown": _unknown(item.unknown)}
    return {
        "labels": dict(item.labels),
        "value": item.milli / 1000,
        "ageMs": now_ms - item.timestamp_ms,
        "validForMs": item.valid_until_ms - now_ms,
        "windowSeconds": item.window_s,
    }


def _target(store: SeriesStore, rule: MetricRule, name: str, block: Block | None, now_ms: int) -> dict[str, Any]:
    if block is None:
        return {"target": name, "lastGoodAgeMs": None, "failure": None, "series": [], "seriesInAll": 0}
    age_ms = None if block.last_good_ms is None else now_ms - block.last_good_ms
    slots = list(block.index.items())
    return {
        "target": name,
        "lastGoodAgeMs": age_ms,
        "failure": None if block.failure is None else _unknown(block.failure),
        "series": [
            {
                "labels": dict(labels),
                "problem": _unknown(block.problems[slot]) if slot in block.problems else None,
                "samples": _samples(store, block, slot, now_ms),
            }
            for labels, slot in slots[:_SHOWN]
        ],
        "seriesInAll": len(slots),
    }


def _samples(store: SeriesStore, block: Block, slot: int, now_ms: int) -> list[dict[str, Any]]:
    """Return a series' samples, the newest last; a missing one says why it is missing."""
    arena, row = store.arena, store.arena.rows[block.row]
    samples = []
    for ordinal in range(max(0, int(row[k.COUNT]) - _SHOWN), int(row[k.COUNT])):
        column = (int(row[k.HEAD]) - int(row[k.COUNT]) + 1 + ordinal) % int(row[k.CAPACITY])
        at = int(row[k.OFFSET]) + column * int(row[k.WIDTH]) + slot
        missing = {k.ABSENT_BITS: "absent", k.FAILED_BITS: "failed"}.get(int(arena.bits[at]))
        value = missing or float(arena.values[at])
        shown = value if isinstance(value, str) or value - value == 0 else str(value)  # JSON has no NaN
        samples.append({"ageMs": now_ms - int(arena.times[row[k.TIMES] + column]), "value": shown})
    return samples
