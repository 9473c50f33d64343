"""Slow, obvious twins of the kernels: one series at a time, over lists of (time_ms, value).

Written from Prometheus' documentation and promql/functions.go of 3.x, not from our kernels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

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


def over_time(
    samples: Sequence[Sample], end_ms: int, window_ms: int, function: str, parameter: float = 0.0
) -> float | str:
    """A function of all samples of one series, by its PromQL name; `parameter`: the quantile, or the seconds ahead."""
    numbers = verdict(in_window(samples, end_ms, window_ms), 2 if function in _OF_TWO else 1)
    if isinstance(numbers, str):
        return numbers
    values = [v for _, v in numbers]
    if function == "quantile_over_time":
        return quantile(parameter, values)
    if function in ("deriv", "predict_linear"):
        slope, value = line(numbers, end_ms)
        return slope if function == "deriv" else value + slope * parameter
    if function in ("idelta", "irate"):
        return last_step(numbers, counter=function == "irate")
    return _FOLDS[function](values)


_OF_TWO = ("deriv", "predict_linear", "idelta", "irate")
_FOLDS: dict[str, Callable[[list[float]], float]] = {
    "sum_over_time": math.fsum,
    "avg_over_time": lambda values: float(sum(map(Fraction, values), Fraction(0)) / len(values)),
    "min_over_time": min,
    "max_over_time": max,
    "last_over_time": lambda values: values[-1],
    "present_over_time": lambda values: 1.0,
    "stddev_over_time": lambda values: float(math.sqrt(_variance(values))),
    "changes": lambda values: float(sum(a != b for a, b in itertools.pairwise(values))),
    "resets": lambda values: float(sum(b < a for a, b in itertools.pairwise(values))),
}


def _variance(values: Sequence[float]) -> Fraction:
    exact = [Fraction(v) for v in values]
    mean = sum(exact, Fraction(0)) / len(exact)
    return sum(((v - mean) ** 2 for v in exact), Fraction(0)) / len(exact)


def quantile(q: float, values: Sequence[float]) -> float:
    """The q-quantile; between two samples, weighted."""
    ordered = sorted(values)
    rank = q * (len(ordered) - 1)
    weight = rank - math.floor(rank)
    return ordered[math.floor(rank)] * (1 - weight) + ordered[math.ceil(rank)] * weight


def line(numbers: Sequence[tuple[int, float]], zero_ms: int) -> tuple[float, float]:
    """The least-squares line: slope a second, and value at a time; exactly, then rounded."""
    xs = [Fraction(t - zero_ms, 1000) for t, _ in numbers]
    ys = [Fraction(v) for _, v in numbers]
    n = len(numbers)
    x_mean, y_mean = sum(xs, Fraction(0)) / n, sum(ys, Fraction(0)) / n
    slope = sum(((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)), Fraction(0)) / sum(
        ((x - x_mean) ** 2 for x in xs), Fraction(0)
    )
    return float(slope), float(y_mean - slope * x_mean)


def last_step(numbers: Sequence[tuple[int, float]], *, counter: bool) -> float:
    """The difference of the last two samples; of a counter: a second, and from zero after a reset."""
    (t, before), (u, last) = numbers[-2:]
    if not counter:
        return last - before
    return (last if last < before else last - before) / ((u - t) / 1000)


def bucket_quantile(q: float, buckets: Sequence[tuple[float, float]]) -> float | str:
    """The q-quantile of a histogram: (upper bound, cumulative count) in any order."""
    merged: dict[float, float] = {}
    for upper, count in buckets:
        merged[upper] = merged.get(upper, 0.0) + count
    bounds = sorted(merged)
    if len(bounds) < 2 or bounds[-1] != math.inf:
        return "no histogram"
    counts = [merged[bounds[0]]]
    for upper in bounds[1:]:
        before, count = counts[-1], merged[upper]
        near = before != 0 != count and abs(count - before) / (abs(count) + abs(before)) < 1e-12
        counts.append(before if near or count < before else count)
    if counts[-1] == 0:
        return "no observations"
    rank = q * counts[-1]
    at = next(i for i, count in enumerate(counts) if count >= rank)
    if at == len(bounds) - 1:
        return bounds[-2]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    start, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    if counts[at] == below:
        return math.nan
    return start + (bounds[at] - start) * ((rank - below) / (counts[at] - below))


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
