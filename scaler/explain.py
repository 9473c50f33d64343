"""What led to a metric's result, as JSON types: readings with age and outcome, series, function, aggregation, guard.

Computed on request by whoever owns the store. Bounded: a metric with many series shows some of them, first those that
are in trouble, and says how many there are in all. Times are ages in milliseconds before `now`, itself since the epoch;
`sinceMs` is since the epoch too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from scaler import quantity
from scaler.answer import UnknownAnswer, answer
from scaler.explain_items import Series, finite, made, series_of, unknown_json
from scaler.explain_parts import Reads, parts, reads_of
from scaler.model import ExternalMetricValue, MetricResult, Past, Reason, Then, UnknownItem
from scaler.policy import FOREVER_MS, identities, lost_item, stand_in, stand_ins
from scaler.rules import MetricRule, duration_text
from scaler.selector import EVERYTHING
from scaler.store import SeriesStore
from scaler.tables import Block

_SHOWN = 100
"""How many targets, series (of all targets) and items are shown."""

_SAMPLES = 2_000
"""How many samples are shown, of all series; of one, between 5 and 100."""

JsonObject = dict[str, Any]


def explain(store: SeriesStore, rule: MetricRule, result: MetricResult | None, now_ms: int) -> JsonObject:
    """Return the explanation of one metric."""
    table = store.tables.get(rule.ref)
    series = None if table is None else series_of(store, rule, table, now_ms)
    blocks = {} if table is None else table.blocks
    every = _shown(result, now_ms)
    identity = list(identities(one.item for one in every))
    shown = every[:_SHOWN]
    steps = {} if series is None else made(series, {one.item.labels for one in shown})
    past = (None if result is None else result.past) or {}
    return {
        **values(rule, result, now_ms, at_most=0),
        "rule": _rule(rule),
        "evaluatedAgeMs": None if result is None else now_ms - result.evaluated_ms,
        "items": [
            _item(one, now_ms)
            | _made(rule, one, steps.get(one.item.labels, []))
            | {"guard": _guard(past.get(identity[at]), now_ms)}
            for at, one in enumerate(shown)
        ],
        "targets": _targets(store, rule, blocks, series, now_ms),
        "targetsInAll": len(rule.targets),
        "targetsDeparted": sum(bool(block.departed) for block in blocks.values()),
        "targetsFailing": sum(block.failure is not None for block in blocks.values()),
        "seriesInAll": sum(block.used for block in blocks.values()),
        "seriesFailing": sum(len(block.problems) for block in blocks.values()),
        "waiting": rule.waiting,
    }


def values(rule: MetricRule, result: MetricResult | None, now_ms: int, at_most: int | None = None) -> JsonObject:
    """Return what a reader of the whole metric would get now: every item, or only why there is no answer."""
    shown = _shown(result, now_ms)
    return {
        "namespace": rule.ref.namespace,
        "metric": rule.metric_name,
        "now": now_ms,
        "state": _state(result, now_ms),
        "items": [_item(one, now_ms) for one in shown[:at_most]],
        "itemsInAll": len(shown),
        "itemsUnknown": sum(isinstance(one.item, UnknownItem) for one in shown),
    }


class _Shown(NamedTuple):
    """An item as a reader gets it; `instead_of`: the unknown one that it stands in for."""

    item: ExternalMetricValue | UnknownItem
    instead_of: UnknownItem | None = None


def _shown(result: MetricResult | None, now_ms: int) -> list[_Shown]:
    """Return the items as a reader gets them now, with what a policy serves of unknown ones."""
    if result is None:
        return []
    if result.unknown is not None:
        return [_Shown(served, lost) for lost, served in stand_ins(result, now_ms) if served is not None]
    found = []
    for item in result.items:
        current = not isinstance(item, UnknownItem) and now_ms < item.valid_until_ms
        lost = None if current else lost_item(item, None)
        served = None if lost is None else stand_in(result.when_unknown, lost, now_ms)
        found.append(_Shown(item) if served is None else _Shown(served, lost))
    return found


def _rule(rule: MetricRule) -> JsonObject:
    signal, aggregate, policy, half_life_ms = (
        rule.signal,
        rule.aggregate,
        rule.when_unknown,
        rule.guard.fall_half_life_ms,
    )
    return {
        "function": signal.function.value,
        "window": None if signal.window_ms is None else duration_text(signal.window_ms),
        "counterStart": signal.counter_start.value,
        "fullWindow": signal.full_window,
        "quantile": signal.quantile,
        "ahead": None if signal.ahead_ms is None else duration_text(signal.ahead_ms),
        "aggregate": None if aggregate is None else {"by": list(aggregate.by), "with": aggregate.op.value},
        "guard": {
            "min": rule.guard.min,
            "max": rule.guard.max,
            "maxStep": rule.guard.max_step,
            "fallHalfLife": None if half_life_ms is None else duration_text(half_life_ms),
        },
        "whenUnknown": {
            "then": policy.then.value,
            "holdFor": duration_text(policy.hold_for_ms) if policy.then is Then.HOLD else None,
            "floorMilli": policy.floor_milli if policy.then is Then.FLOOR else None,
        },
        "interval": duration_text(rule.interval_ms),
        "intervalMs": rule.interval_ms,
        "maxAge": duration_text(rule.max_age_ms),
        "maxAgeMs": rule.max_age_ms,
        "minCoverage": rule.min_coverage,
    }


def _state(result: MetricResult | None, now_ms: int) -> JsonObject:
    """Say what a reader gets: an answer, and how long it counts if nothing more is read; or an error, and its words.

    `policy` names what serves something of what is unknown, and `unknown` is then why it is. `setUnknown` says that
    there may be items that are not known of. `floor` tells of a floor for which there is no item: the milli-units of
    it, and how long until it is served.
    """
    state: JsonObject = {
        "known": False,
        "unknown": None,
        "message": None,
        "validForMs": None,
        "policy": None,
        "setUnknown": result is not None and result.unknown is not None,
        "floor": None,
    }
    if result is None:
        return state
    state["floor"] = _floor(result, now_ms)
    found = answer(result, EVERYTHING, now_ms)
    lost = next((item.unknown for item, served in stand_ins(result, now_ms) if served is not None), None)
    if not isinstance(found, UnknownAnswer):
        end_ms = min((item.valid_until_ms for item in found), default=FOREVER_MS)
        return state | {
            "known": True,
            "unknown": None if lost is None else unknown_json(lost),
            "validForMs": _until(end_ms, now_ms),
            "policy": None if lost is None else result.when_unknown.then.value,
        }
    items = [item.unknown for item in result.items if isinstance(item, UnknownItem)]
    unknown = result.unknown or (items[0] if items else None)
    told = {"reason": found.reason.value, "detail": found.detail, "sinceMs": None}
    return state | {"unknown": told if unknown is None else unknown_json(unknown), "message": found.detail}


def _floor(result: MetricResult, now_ms: int) -> JsonObject | None:
    policy, unknown = result.when_unknown, result.unknown
    if policy.then is not Then.FLOOR or unknown is None or unknown.since_ms is None:
        return None
    begins_ms = unknown.since_ms + policy.floor_after_ms + 1
    return {"milli": policy.floor_milli, "inMs": max(0, begins_ms - now_ms)}


def _until(end_ms: int, now_ms: int) -> int | None:
    """Return for how long something counts; None: until something new is known."""
    return None if end_ms >= FOREVER_MS else end_ms - now_ms


def _item(one: _Shown, now_ms: int) -> JsonObject:
    item, lost = one
    if isinstance(item, UnknownItem):
        last = None if item.last is None else {"milli": item.last.milli, "ageMs": now_ms - item.last.timestamp_ms}
        return {"labels": dict(item.labels), "unknown": unknown_json(item.unknown), "last": last}
    told: JsonObject = {
        "labels": dict(item.labels),
        "value": item.milli / 1000,
        "quantity": quantity.text(item.milli),
        "milli": item.milli,
        "ageMs": now_ms - item.timestamp_ms,
        "validForMs": _until(item.valid_until_ms, now_ms),
        "windowSeconds": item.window_s,
        "policy": None,
    }
    if lost is not None:
        last_milli = None if lost.last is None else lost.last.milli
        told["policy"] = {"unknown": unknown_json(lost.unknown), "lastMilli": last_milli}
    return told


def _guard(past: Past | None, now_ms: int) -> JsonObject | None:
    """Say what the steps that remember made of an item; None: there are none, or there is no value."""
    if past is None:
        return None
    return {
        "rawMilli": past.raw.milli,
        "believedMilli": past.believed.milli,
        "servedMilli": past.served.milli,
        "jumpAgeMs": None if past.jump_ms is None else now_ms - past.jump_ms,
    }


def _made(rule: MetricRule, one: _Shown, steps: list[JsonObject]) -> JsonObject:
    """Say how an item came about, and whether it is an earlier one that stands in because now there is none.

    `steps` are those of all items with these labels, in their order; the first is taken.
    """
    known = isinstance(one.item, ExternalMetricValue) and one.instead_of is None
    if not steps:
        return {"standsIn": known, "instead": None, "made": None}
    step = steps.pop(0)
    folded, low, high, guarded = step["folded"], rule.guard.min, rule.guard.max, None
    if isinstance(folded, float):
        if low is not None and folded < low:
            guarded = "min"
        if high is not None and folded > high:
            guarded = "max"
    instead = _none(step, guarded)
    return {
        "standsIn": known and instead is not None,
        "instead": instead if known else None,
        "made": step | {"guarded": guarded},
    }


def _none(step: JsonObject, guarded: str | None) -> JsonObject | None:
    """Return why the steps lead to no value, if they do."""
    if step["folded"] is None:
        unknown = [member["unknown"] for member in step["shown"] if "unknown" in member]
        return unknown[0] if unknown else {"reason": Reason.NO_DATA.value, "detail": "", "sinceMs": None}
    if isinstance(step["folded"], str):
        return {"reason": Reason.NOT_FINITE.value, "detail": "the result is not finite", "sinceMs": None}
    if step["folded"] < 0 and guarded != "min":
        return {"reason": Reason.NEGATIVE.value, "detail": "the value is below zero", "sinceMs": None}
    return None


def _targets(
    store: SeriesStore, rule: MetricRule, blocks: dict[str, Block], series: Series | None, now_ms: int
) -> list[JsonObject]:
    """Return the targets in their order: if not all can be shown, first those in trouble."""

    def trouble(name: str) -> bool:
        block = blocks.get(name)
        return block is None or block.failure is not None or bool(block.problems)

    chosen = set(sorted(rule.targets, key=lambda name: not trouble(name))[:_SHOWN])
    names = [name for name in rule.targets if name in chosen]
    slots = _slots({name: blocks[name] for name in names if name in blocks})
    each = min(100, max(5, _SAMPLES // max(sum(map(len, slots.values())), 1)))
    found: list[JsonObject] = []
    for name in names:
        block = blocks.get(name)
        if block is None or series is None:
            found.append({"target": name, "lastGoodAgeMs": None, "failure": None, "series": [], "seriesInAll": 0})
            continue
        place = series.place(name)
        results = {slot: None if place is None else series.result(place + slot) for slot in slots[name]}
        end_ms = series.end_ms.get(name, block.last_good_ms or -1)
        shown = [
            _series(store, rule, block, slot, end_ms, now_ms, each) | {"result": result}
            for slot, result in results.items()
        ]
        found.append(
            {
                "target": name,
                "lastGoodAgeMs": None if block.last_good_ms is None else now_ms - block.last_good_ms,
                "failure": None if block.failure is None else unknown_json(block.failure),
                "series": shown,
                "seriesInAll": block.used,
                "seriesFailing": len(block.problems),
            }
        )
    return found


def _slots(blocks: dict[str, Block]) -> dict[str, list[int]]:
    """Choose which series are shown: first those that fail, then as many of each target as there is room for."""
    chosen: dict[str, list[int]] = {name: [] for name in blocks}
    left = _SHOWN
    share = max(1, _SHOWN // max(len(blocks), 1))
    for failing, at_most in ((True, _SHOWN), (False, share), (False, _SHOWN)):
        for name, block in blocks.items():
            have = chosen[name]
            more = [s for s in block.index().values() if s not in have and (s in block.problems) == failing]
            more = more[: max(0, min(left, at_most - len(have)))]
            have += more
            left -= len(more)
    return chosen


def _series(
    store: SeriesStore, rule: MetricRule, block: Block, slot: int, end_ms: int, now_ms: int, at_most: int
) -> JsonObject:
    reads = reads_of(store.arena, block.row, slot)
    held = block.held.get(slot)
    return {
        "labels": dict(block.labels[slot] or ()),
        "problem": unknown_json(block.problems[slot]) if slot in block.problems else None,
        "held": None if held is None else {"value": held[0], "ageMs": now_ms - held[1]},
        "ended": slot in block.ended,
        "samples": _samples(reads, now_ms, at_most),
        "samplesInAll": len(reads.missing),
        "parts": parts(rule.signal, reads, end_ms, now_ms),
    }


def _samples(reads: Reads, now_ms: int, at_most: int) -> list[JsonObject]:
    """Return the newest samples of a series, the newest last; a missing one says why it is missing."""
    pairs = zip(reads.time_ms.tolist(), reads.value.tolist(), reads.missing, strict=True)
    return [
        {"ageMs": now_ms - time_ms, "value": missing or finite(value)}
        for time_ms, value, missing in list(pairs)[-at_most:]
    ]
