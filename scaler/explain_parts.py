"""What a function made of one series, part by part, as JSON types: for a person who asks why.

The arithmetic is that of the kernels, written so that every step has a name. It decides nothing: what is served is what
the kernels computed, and tests hold both together. Times are ages, in milliseconds before `now_ms`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from scaler import kernels as k
from scaler.arena import Arena
from scaler.model import F64, I64
from scaler.rules import COUNTER, EXTRAPOLATED, TWO_SAMPLES, CounterStart, Function, Signal

_RESETS = 10
"""How many resets are named."""


class Reads(NamedTuple):
    """A series' columns, oldest first. `missing` is the word for a sample that is none: absent, failed, or ""."""

    time_ms: I64
    value: F64
    missing: tuple[str, ...]

    def numbers(self) -> tuple[I64, F64]:
        """Return time and value of the samples there are."""
        there = np.array([not word for word in self.missing], np.bool_)
        return self.time_ms[there], self.value[there]


def reads_of(arena: Arena, row: int, slot: int) -> Reads:
    """Return everything that is kept of a series."""
    r = arena.rows[row]
    count, capacity = int(r[k.COUNT]), int(r[k.CAPACITY])
    columns = (int(r[k.HEAD]) - count + 1 + np.arange(count)) % max(capacity, 1)
    at = int(r[k.OFFSET]) + columns * int(r[k.WIDTH]) + slot
    words = {k.ABSENT_BITS: "absent", k.FAILED_BITS: "failed"}
    missing = tuple(words.get(bits, "") for bits in arena.bits[at].tolist())
    return Reads(arena.times[int(r[k.TIMES]) + columns], arena.values[at], missing)


def parts(signal: Signal, reads: Reads, end_ms: int, now_ms: int) -> dict[str, Any] | None:
    """Return the parts of a function's result for one series.

    Args:
        signal: The function and what it needs.
        reads: What is kept of the series.
        end_ms: Where the window ends.
        now_ms: What ages count from.

    Returns: None for `value`, which has no parts; else `kind` and `samples`, how many the window holds, and the rest
        only if they are enough and finite.
    """
    if signal.function is Function.VALUE or signal.window_ms is None:
        return None
    time_ms, value = reads.numbers()
    inside = (time_ms > end_ms - signal.window_ms) & (time_ms <= end_ms)
    earlier = bool((time_ms <= end_ms - signal.window_ms).any())
    time_ms, value = time_ms[inside], value[inside]
    kind = _kind(signal.function)
    needs = 2 if signal.function in TWO_SAMPLES else 1
    found: dict[str, Any] = {"kind": kind, "samples": len(value), "needs": needs, "windowMs": signal.window_ms}
    if len(value) < needs or not np.isfinite(value).all():
        return found
    found["first"], found["last"] = _sample(time_ms[0], value[0], now_ms), _sample(time_ms[-1], value[-1], now_ms)
    if kind == "extrapolated":
        zero = signal.counter_start is CounterStart.ZERO and not earlier and float(value[0]) == 0
        return found | {"countedFromZero": zero} | _extrapolated(signal, time_ms, value, end_ms, now_ms)
    if kind == "lastTwo":
        return found | _last_two(signal.function, time_ms, value, now_ms)
    if kind == "line":
        return found | _line(signal, time_ms, value, end_ms)
    if signal.function is Function.QUANTILE_OVER_TIME:
        return found | _quantile(signal.quantile or 0.0, value)
    return found | {"least": float(value.min()), "greatest": float(value.max())}


def _kind(function: Function) -> str:
    if function in EXTRAPOLATED:
        return "extrapolated"
    if function in (Function.IRATE, Function.IDELTA):
        return "lastTwo"
    return "line" if function in (Function.DERIV, Function.PREDICT_LINEAR) else "fold"


def _sample(time_ms: int, value: float, now_ms: int) -> dict[str, Any]:
    return {"ageMs": now_ms - int(time_ms), "value": float(value)}


def _extrapolated(signal: Signal, time_ms: I64, value: F64, end_ms: int, now_ms: int) -> dict[str, Any]:
    """Name the parts of rate, increase and delta. Source: Prometheus promql/functions.go, extrapolatedRate."""
    counter, window_ms = signal.function in COUNTER, signal.window_ms or 0
    drops = (np.flatnonzero(value[1:] < value[:-1]) + 1).tolist() if counter else []
    added = float(sum(value[i - 1] for i in drops))
    difference = float(value[-1] - value[0])
    total = difference + added
    span_s = int(time_ms[-1] - time_ms[0]) / 1000
    spacing_s = span_s / (len(value) - 1)
    start = _edge(int(time_ms[0]) - (end_ms - window_ms), spacing_s)
    end = _edge(end_ms - int(time_ms[-1]), spacing_s)
    if counter and total > 0 and value[0] >= 0:
        to_zero_s = span_s * float(value[0]) / total
        if to_zero_s < start["extendedS"]:
            start |= {"extendedS": to_zero_s, "why": "zero"}
    factor = (span_s + start["extendedS"] + end["extendedS"]) / span_s
    per_second = signal.function in (Function.RATE, Function.HISTOGRAM_QUANTILE)
    return {
        "difference": difference,
        "resets": [
            {"ageMs": now_ms - int(time_ms[i]), "from": float(value[i - 1]), "to": float(value[i])}
            for i in drops[:_RESETS]
        ],
        "resetsInAll": len(drops),
        "added": added,
        "change": total,
        "spanS": span_s,
        "spacingS": spacing_s,
        "start": start,
        "end": end,
        "factor": factor,
        "dividedByS": window_ms / 1000 if per_second else None,
        "result": total * factor / (window_ms / 1000 if per_second else 1.0),
    }


def _edge(distance_ms: int, spacing_s: float) -> dict[str, Any]:
    """Say how far the samples are extended towards an edge of the window: up to it, or half a spacing if it is far."""
    distance_s = distance_ms / 1000
    near = distance_s < spacing_s * 1.1
    return {
        "distanceS": distance_s,
        "extendedS": distance_s if near else spacing_s / 2,
        "why": "edge" if near else "far",
    }


def _last_two(function: Function, time_ms: I64, value: F64, now_ms: int) -> dict[str, Any]:
    apart_s = int(time_ms[-1] - time_ms[-2]) / 1000
    change = float(value[-1] - value[-2])
    if function is Function.IDELTA:
        return {"before": _sample(time_ms[-2], value[-2], now_ms), "change": change, "result": change}
    reset = bool(value[-1] < value[-2])
    change = float(value[-1]) if reset else change
    return {
        "before": _sample(time_ms[-2], value[-2], now_ms),
        "reset": reset,
        "change": change,
        "dividedByS": apart_s,
        "result": change / apart_s,
    }


def _line(signal: Signal, time_ms: I64, value: F64, end_ms: int) -> dict[str, Any]:
    """Fit the line as the kernels do, about the mean: the same line, without their compensated sums."""
    x = (time_ms - end_ms) / 1000
    spread = x - x.mean()
    slope = float((spread * (value - value.mean())).sum() / (spread * spread).sum())
    at_end = float(value.mean() - slope * x.mean())
    if signal.function is Function.DERIV:
        return {"slope": slope, "result": slope}
    ahead_s = (signal.ahead_ms or 0) / 1000
    return {"slope": slope, "atEnd": at_end, "aheadS": ahead_s, "result": at_end + slope * ahead_s}


def _quantile(q: float, value: F64) -> dict[str, Any]:
    """Name the two samples that the quantile lies between. Source: Prometheus promql/quantile.go, quantile."""
    ordered = np.sort(value)
    rank = q * (len(ordered) - 1)
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    weight = rank - below
    return {
        "quantile": q,
        "rank": rank,
        "below": float(ordered[below]),
        "above": float(ordered[above]),
        "weight": weight,
        "result": float(ordered[below] * (1 - weight) + ordered[above] * weight),
    }
