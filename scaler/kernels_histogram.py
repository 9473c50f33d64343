"""Quantiles of classic histograms: cumulative buckets, each with its upper bound.

Semantics are those of Prometheus 3: promql/quantile.go (BucketQuantile, coalesceBuckets,
ensureMonotonicAndIgnoreSmallDeltas) and util/almost (Equal).
"""

from __future__ import annotations

import numpy as np
from numba import types

from scaler.jit import inner, kernel
from scaler.kernels import GONE, OK
from scaler.model import F64, I64, U8

# What became of a histogram, beside kernels.OK and kernels.GONE.
NO_OBSERVATIONS, NO_HISTOGRAM = 16, 17

_TOLERANCE = 1e-12  # a difference of two counts below this share of their sum is a rounding error
_MIN_NORMAL = 2.2250738585072014e-308
_MAX = 1.7976931348623157e308

_F64 = types.float64[::1]
_I64 = types.int64[::1]
_U8 = types.uint8[::1]


@inner
def _almost_equal(a: float, b: float) -> bool:
    if a == b:
        return True
    both = abs(a) + abs(b)
    apart = abs(a - b)
    if a == 0 or b == 0 or both < _MIN_NORMAL:
        return apart < _TOLERANCE * _MIN_NORMAL
    return apart / min(both, _MAX) < _TOLERANCE


@inner
def _monotonic(count: F64) -> None:
    """Undo rounding errors and decreases: a cumulative count never falls."""
    previous = count[0]
    for i in range(1, count.size):
        if count[i] < previous or _almost_equal(previous, count[i]):
            count[i] = previous
        else:
            previous = count[i]


@inner
def bucket_quantile(q: float, upper: F64, count: F64) -> tuple[float, int]:
    """Estimate a quantile from cumulative counts, taking observations to lie evenly within a bucket.

    Args:
        q: In [0, 1].
        upper: Upper bounds, ascending, each once; shape (b,), in the metric's unit.
        count: Cumulative counts, shape (b,); made monotonic in place.

    Returns: The quantile and OK. The second-highest bound where it falls into the last bucket; the lowest bound where
        it falls into the first one and that ends at or below zero. NO_HISTOGRAM with fewer than two buckets or without
        one up to +Inf, NO_OBSERVATIONS where the counts are zero; the number means nothing then. NaN where Prometheus
        says NaN too: the 0-quantile of a histogram whose first bucket is empty and ends above zero.
    """
    last = upper.size - 1
    if last < 1 or upper[last] != np.inf:
        return 0.0, NO_HISTOGRAM
    _monotonic(count)
    if count[last] == 0:
        return 0.0, NO_OBSERVATIONS
    rank = q * count[last]
    b = 0
    while b < last and count[b] < rank:
        b += 1
    if b == last:
        return upper[last - 1], OK
    if b == 0 and upper[0] <= 0:
        return upper[0], OK
    if b == 0:
        return upper[0] * (rank / count[0]), OK
    below = count[b - 1]
    return upper[b - 1] + (upper[b] - upper[b - 1]) * ((rank - below) / (count[b] - below)), OK


@kernel(types.float64, _I64, _I64, _F64, _F64, _I64, _I64, _F64, _U8, _I64)
def quantiles(
    q: float,
    begin: I64,
    cell: I64,
    upper: F64,
    total: F64,
    members: I64,
    unknown: I64,
    out: F64,
    state: U8,
    first_unknown: I64,
) -> None:
    """Estimate a quantile of each of some histograms.

    Args:
        q: In [0, 1].
        begin: Where each histogram's buckets begin, and the last one's end; shape (h + 1,).
        cell: Which cell a bucket is, shape (b,): the buckets of a histogram by their bounds, ascending.
        upper: Its upper bound, shape (b,); NaN: what it says is no bound.
        total: The count of each cell, shape (c,), cumulative within a histogram; a rate does as well.
        members: How many series are in a cell, shape (c,). A cell without any is no bucket.
        unknown: The first unknown series of a cell, or -1; shape (c,).
        out: Filled, shape (h,); meaningless where `state` is not OK or `first_unknown` not -1.
        state: Filled: OK, GONE (no buckets), NO_OBSERVATIONS, NO_HISTOGRAM; shape (h,).
        first_unknown: Filled: the first unknown series of a histogram, or -1; shape (h,).
    """
    bounds = np.empty(cell.size)
    counts = np.empty(cell.size)
    for h in range(begin.size - 1):
        n = 0
        first_unknown[h] = -1
        broken = False
        for b in range(begin[h], begin[h + 1]):
            c = cell[b]
            if unknown[c] >= 0 and (first_unknown[h] < 0 or unknown[c] < first_unknown[h]):
                first_unknown[h] = unknown[c]
            if members[c] == 0:
                continue
            broken = broken or np.isnan(upper[b])
            if n > 0 and bounds[n - 1] == upper[b]:
                counts[n - 1] += total[c]
            else:
                bounds[n] = upper[b]
                counts[n] = total[c]
                n += 1
        if n == 0:
            state[h] = GONE
        elif broken:
            state[h] = NO_HISTOGRAM
        else:
            out[h], state[h] = bucket_quantile(q, bounds[:n], counts[:n])
