"""Range functions that look at every sample of a series in its window.

Blocks, rows and missing samples are those of `scaler.kernels`. The samples of a series are brought together first, so
that each function is a plain loop over (t_ms, v). Semantics, and the order of every sum, are those of Prometheus 3:
promql/functions.go (instantValue, aggrOverTime, varianceOverTime, linearRegression, kahanSumInc) and promql/quantile.go
(quantile).
"""

from __future__ import annotations

import numpy as np
from numba import types

from scaler.jit import inner, kernel
from scaler.kernels import (
    ABSENT_BITS,
    COUNT,
    FAILED_BITS,
    GONE,
    NEVER,
    NOT_FINITE,
    OFFSET,
    OK,
    READ_FAILED,
    SERIES,
    SIZE,
    TIMES,
    TOO_FEW,
    WIDTH,
    column_of,
    window_of,
)
from scaler.model import F64, I64, U8

SUM, AVG, MIN, MAX, LAST, PRESENT, STDDEV, QUANTILE, CHANGES, RESETS = range(10)
IDELTA, IRATE, DERIV, PREDICT = range(10, 14)
_FIRST_OF_TWO = IDELTA  # from here on a function needs two samples

_F64 = types.float64[::1]
_I64 = types.int64[::1]
_U8 = types.uint8[::1]
_ROWS = types.int64[:, ::1]


@inner
def _kahan(x: float, total: float, lost: float) -> tuple[float, float]:
    """Add x to a sum with its running compensation (Neumaier)."""
    t = total + x
    if np.isinf(t):
        lost = 0.0
    elif abs(total) >= abs(x):
        lost += (total - t) + x
    else:
        lost += (x - t) + total
    return t, lost


@inner
def _sum(v: F64) -> float:
    total, lost = 0.0, 0.0
    for x in v:
        total, lost = _kahan(x, total, lost)
    return total + lost


@inner
def _mean(v: F64) -> float:
    """Divide the sum; from the sample on at which it would overflow, carry the mean itself."""
    total, lost, mean = v[0], 0.0, 0.0
    overflown = False
    for i in range(1, v.size):
        n = i + 1.0
        if not overflown:
            next_total, next_lost = _kahan(v[i], total, lost)
            if not np.isinf(next_total):
                total, lost = next_total, next_lost
                continue
            overflown = True
            mean = total / (n - 1)
            lost /= n - 1
        q = (n - 1) / n
        mean, lost = _kahan(v[i] / n, q * mean, q * lost)
    return mean + lost if overflown else total / v.size + lost / v.size


@inner
def _stddev(v: F64) -> float:
    """Return the standard deviation of the population (Welford)."""
    mean, mean_lost = 0.0, 0.0
    squares, squares_lost = 0.0, 0.0
    for i in range(v.size):
        delta = v[i] - (mean + mean_lost)
        mean, mean_lost = _kahan(delta / (i + 1.0), mean, mean_lost)
        squares, squares_lost = _kahan(delta * (v[i] - (mean + mean_lost)), squares, squares_lost)
    return float(np.sqrt((squares + squares_lost) / v.size))


@inner
def _quantile(q: float, v: F64) -> float:
    """Return the q-quantile, 0 <= q <= 1, weighted between its two neighbours. Sorts `v` in place."""
    if v.size > 64:
        v.sort()
    else:
        for i in range(1, v.size):
            x = v[i]
            j = i - 1
            while j >= 0 and v[j] > x:
                v[j + 1] = v[j]
                j -= 1
            v[j + 1] = x
    rank = q * (v.size - 1)
    below = int(rank)
    above = min(below + 1, v.size - 1)
    weight = rank - below
    return float(v[below] * (1.0 - weight) + v[above] * weight)


@inner
def _steps(v: F64, only_down: bool) -> float:
    """Count how often a sample differs from the one before, or is below it."""
    n = 0
    for i in range(1, v.size):
        n += v[i] < v[i - 1] if only_down else v[i] != v[i - 1]
    return float(n)


@inner
def _instant(t_ms: I64, v: F64, per_second: bool) -> float:
    """Return the difference of the last two samples; `per_second`: of a counter, divided by the time between them."""
    before, last = v[-2], v[-1]
    if not per_second:
        return float(last - before)
    increase = last if last < before else last - before
    return float(increase / ((t_ms[-1] - t_ms[-2]) / 1000.0))


@inner
def _regression(t_ms: I64, v: F64, zero_ms: int) -> tuple[float, float]:
    """Fit a line by least squares; return its slope a second and its value at `zero_ms`."""
    x_sum, x_lost, y_sum, y_lost = 0.0, 0.0, 0.0, 0.0
    xy_sum, xy_lost, xx_sum, xx_lost = 0.0, 0.0, 0.0, 0.0
    constant = True
    for i in range(v.size):
        constant = constant and v[i] == v[0]
        x = (t_ms[i] - zero_ms) / 1000.0
        x_sum, x_lost = _kahan(x, x_sum, x_lost)
        y_sum, y_lost = _kahan(v[i], y_sum, y_lost)
        xy_sum, xy_lost = _kahan(x * v[i], xy_sum, xy_lost)
        xx_sum, xx_lost = _kahan(x * x, xx_sum, xx_lost)
    if constant:
        return 0.0, v[0]
    n = float(v.size)
    x_sum += x_lost
    y_sum += y_lost
    covariance = (xy_sum + xy_lost) - x_sum * y_sum / n
    variance = (xx_sum + xx_lost) - x_sum * x_sum / n
    slope = covariance / variance
    return slope, y_sum / n - slope * x_sum / n


@inner
def _of_samples(op: int, parameter: float, t_ms: I64, v: F64, end_ms: int) -> float:
    """Apply a function to the samples of one series, at least as many as it needs. May reorder `v`."""
    if op == SUM:
        return _sum(v)
    if op == AVG:
        return _mean(v)
    if op == MIN:
        return float(v.min())
    if op == MAX:
        return float(v.max())
    if op == LAST:
        return float(v[-1])
    if op == PRESENT:
        return 1.0
    if op == STDDEV:
        return _stddev(v)
    if op == QUANTILE:
        return _quantile(parameter, v)
    if op in (CHANGES, RESETS):
        return _steps(v, op == RESETS)
    if op in (IDELTA, IRATE):
        return _instant(t_ms, v, op == IRATE)
    if op == DERIV:
        # The time of the first sample, so that the numbers stay small.
        return _regression(t_ms, v, t_ms[0])[0]
    slope, now = _regression(t_ms, v, end_ms)
    return slope * parameter + now


@inner
def _present(
    values: F64, bits: I64, column_at: I64, column_ms: I64, s: int, t_ms: I64, v: F64
) -> tuple[int, bool, int]:
    """Bring the samples of a series together, without the missing ones.

    Returns: How many there are, whether all are finite, and what is known of the newest: OK, GONE or READ_FAILED.
    """
    n = 0
    finite = True
    newest = GONE
    for c in range(column_at.size):
        b = bits[column_at[c] + s]
        newest = GONE if b == ABSENT_BITS else (READ_FAILED if b == FAILED_BITS else OK)
        if newest == OK:
            v[n] = values[column_at[c] + s]
            t_ms[n] = column_ms[c]
            finite = finite and np.isfinite(v[n])
            n += 1
    return n, finite, newest


@kernel(_F64, _I64, _I64, _I64, _ROWS, _I64, _I64, types.int64, types.int64, types.float64, _F64, _U8)
def over_time(
    values: F64,
    bits: I64,
    times: I64,
    irregular: I64,
    rows: I64,
    ids: I64,
    end_ms: I64,
    window_ms: int,
    op: int,
    parameter: float,
    out: F64,
    state: U8,
) -> None:
    """Apply a function to the samples in the window, of every series of some blocks.

    Args:
        values, bits, times, irregular, rows, ids, end_ms, window_ms, out, state: As in `kernels.extrapolated`.
        op: SUM to PREDICT. From IDELTA on two samples are needed, else one.
        parameter: The quantile of QUANTILE, in [0, 1]; for PREDICT the seconds after `end_ms`; else not looked at.
    """
    longest = 1
    for i in range(ids.size):
        longest = max(longest, rows[ids[i], COUNT])
    all_at = np.empty(longest, np.int64)
    all_ms = np.empty(longest, np.int64)
    all_v = np.empty(longest)
    t_ms = np.empty(longest, np.int64)
    least = 2 if op >= _FIRST_OF_TWO else 1
    at = 0
    for i in range(ids.size):
        row = rows[ids[i]]
        first, last = window_of(times, row, end_ms[i], window_ms)
        columns = max(last - first + 1, 0)
        column_at, column_ms, v = all_at[:columns], all_ms[:columns], all_v[:columns]
        for c in range(columns):
            position = column_of(row, first + c)
            column_at[c] = row[OFFSET] + position * row[WIDTH]
            column_ms[c] = times[row[TIMES] + position]
        check_from = column_ms[0] if columns >= least else NEVER
        for s in range(row[SIZE]):
            if irregular[row[SERIES] + s] < check_from:
                for c in range(columns):
                    v[c] = values[column_at[c] + s]
                state[at] = OK
                out[at] = _of_samples(op, parameter, column_ms, v, end_ms[i])
            else:
                n, finite, newest = _present(values, bits, column_at, column_ms, s, t_ms, v)
                if not finite:
                    state[at] = NOT_FINITE
                elif newest == READ_FAILED:
                    state[at] = READ_FAILED
                elif n < least:
                    state[at] = GONE if newest == GONE else TOO_FEW
                else:
                    state[at] = OK
                    out[at] = _of_samples(op, parameter, t_ms[:n], v[:n], end_ms[i])
            at += 1
