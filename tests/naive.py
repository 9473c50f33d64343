"""Slow, obvious twins of the kernels: one series at a time, over lists of (time_ms, value).

Written from Prometheus' documentation and promql/functions.go of 3.x, not from our kernels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

ABSENT = "absent"
FAILED = "failed"
Sample = tuple[int, float | str]
"""A read: its time and the value, or ABSENT (not in the page), or FAILED (could not be read)."""


def in_window(samples: Sequence[Sample], end_ms: int, window_ms: int) -> list[Sample]:
    """Return the reads in the left-open range (end - window, end]."""
    return [(t, v) for t, v in samples if end_ms - window_ms < t <= end_ms]


def verdict(reads: Sequence[Sample], least: int) -> str | list[tuple[int, float]]:
    """Return the numbers of a window, or what became of the series: gone, too few, not finite, failed."""
    numbers = [(t, v) for t, v in reads if not isinstance(v, str)]
    if any(not math.isfinite(v) for _, v in numbers):
        return "not finite"
    if reads and reads[-1][1] == FAILED:
        return "failed"
    if len(numbers) < least:
        return "gone" if not reads or reads[-1][1] == ABSENT else "too few"
    return numbers


def extrapolated(
    samples: Sequence[Sample], end_ms: int, window_ms: int, *, counter: bool, per_second: bool
) -> float | str:
    """rate, increase or delta of one series."""
    numbers = verdict(in_window(samples, end_ms, window_ms), 2)
    if isinstance(numbers, str):
        return numbers
    result = numbers[-1][1] - numbers[0][1]
    if counter:
        for (_, before), (_, after) in itertools.pairwise(numbers):
            if after < before:
                result += before
    sampled_s = (numbers[-1][0] - numbers[0][0]) / 1000
    average_s = sampled_s / (len(numbers) - 1)
    to_start_s = (numbers[0][0] - (end_ms - window_ms)) / 1000
    to_end_s = (end_ms - numbers[-1][0]) / 1000
    if to_start_s >= average_s * 1.1:
        to_start_s = average_s / 2
    if counter and result > 0 and numbers[0][1] >= 0:
        to_zero_s = sampled_s * (numbers[0][1] / result)
        to_start_s = min(to_start_s, to_zero_s)
    if to_end_s >= average_s * 1.1:
        to_end_s = average_s / 2
    factor = (sampled_s + to_start_s + to_end_s) / sampled_s
    if per_second:
        factor /= window_ms / 1000
    return result * factor


def over_time(samples: Sequence[Sample], end_ms: int, window_ms: int, op: str) -> float | str:
    """sum, avg, min, max or last of one series."""
    numbers = verdict(in_window(samples, end_ms, window_ms), 1)
    if isinstance(numbers, str):
        return numbers
    values = [v for _, v in numbers]
    if op == "sum":
        return math.fsum(values)
    if op == "avg":
        return math.fsum(v / len(values) for v in values)
    if op == "last":
        return values[-1]
    return min(values) if op == "min" else max(values)


def newest(samples: Sequence[Sample]) -> float | str:
    """The newest sample."""
    if not samples or samples[-1][1] == FAILED:
        return "failed"
    value = samples[-1][1]
    if isinstance(value, str):
        return "gone"
    return value if math.isfinite(value) else "not finite"


def fold(members: Sequence[float | str], op: str) -> float | str | None:
    """Fold the members of one group; None: it has none. One that is unknown makes the group unknown."""
    alive = [m for m in members if m != "gone"]
    for member in alive:
        if isinstance(member, str):
            return member
    values = [m for m in alive if not isinstance(m, str)]
    if not values:
        return None
    if op == "sum":
        return math.fsum(values)
    if op == "avg":
        return math.fsum(values) / len(values)
    if op == "count":
        return float(len(values))
    return min(values) if op == "min" else max(values)
