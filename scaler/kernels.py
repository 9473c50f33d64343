"""Extrapolated rates, the newest sample and group folds, and how samples lie in memory: loops over columns, compiled.

The other range functions are in `scaler.kernels_over_time`, quantiles of histograms in `scaler.kernels_histogram`,
rates that are folded at once in `scaler.kernels_groups`, and what writes samples in `scaler.kernels_store`.

A block is the samples of one target: a ring of columns, one a read, each holding one float64 a series
("time-major", so that a loop over series runs along memory). Its numbers stand in a row of `rows`, see `Row`.
Columns are addressed by age: ordinal 0 is the oldest kept, count - 1 the newest.

A missing sample is one of two NaNs told apart by their bits: ABSENT, the series was not in the page (Prometheus' stale
marker: the series has ended), and FAILED, the series exists but this read of it failed. Any other NaN, and Inf, came
from the source.

A window of samples is not read: its first and last column are, and what is known of those between. Prometheus takes
last - first and adds the value before each reset, in their order; so does the fast path, to which a reset is an event
noted when it was written: three words of `events`, its column's time, its series, and the bits of the value before
(`dropped` is the same memory as floats). Those of a block stand together in the order of time, see EVENTS and RESETS.

`irregular` holds, for each series, the newest time at which that would not do: a missing or non-finite sample, the
first sample of a late series, a reset there was no room for. With one in the window a series is computed sample by
sample.

Semantics are those of Prometheus 3: ranges are left-open, (end - window, end]; source: promql/functions.go
(extrapolatedRate, kahanSumInc) and promql/engine.go (aggregation).
"""

from __future__ import annotations

import numpy as np
from numba import types

from scaler.jit import kernel, leaf
from scaler.model import F64, I32, I64, U8

# Columns of `rows`: where a block's samples, times, per-series facts and events stand in the arenas, what there is of
# them, and the newest column's time.
OFFSET, WIDTH, SIZE, CAPACITY, HEAD, COUNT, TIMES, SERIES, IRREGULAR, EVENTS, ROOM, RESETS, NEWEST = range(13)
ROW_FIELDS = 13
EVENT_WORDS = 3

ABSENT_BITS = 0x7FF0000000000002
FAILED_BITS = 0x7FF8000000000F0D
ABSENT = np.array([ABSENT_BITS], np.int64).view(np.float64)[0]
FAILED = np.array([FAILED_BITS], np.int64).view(np.float64)[0]

# What became of a series.
OK, GONE, TOO_FEW, NOT_FINITE, READ_FAILED = range(5)

SUM, AVG, MIN, MAX, COUNT_OF = range(5)

NEVER = np.iinfo(np.int64).min
FOREVER = np.iinfo(np.int64).max

_F64 = types.float64[::1]
_I64 = types.int64[::1]
_I32 = types.int32[::1]
_U8 = types.uint8[::1]
_ROWS = types.int64[:, ::1]


@leaf
def column_of(row: I64, ordinal: int) -> int:
    """Return the ring position of a column by age. Without a division: it is asked for every sample."""
    position = row[HEAD] - row[COUNT] + 1 + ordinal
    return int(position + row[CAPACITY] if position < 0 else position)


@leaf
def _columns_until(times: I64, row: I64, time_ms: int) -> int:
    """Count the columns that are not newer than a time."""
    low, high = 0, row[COUNT]
    while low < high:
        middle = (low + high) // 2
        if times[row[TIMES] + column_of(row, middle)] <= time_ms:
            low = middle + 1
        else:
            high = middle
    return int(low)


@leaf
def window_of(times: I64, row: I64, end_ms: int, window_ms: int) -> tuple[int, int]:
    """Return the ordinals of the first and last column in (end - window, end]; first > last: there is none."""
    return _columns_until(times, row, end_ms - window_ms), _columns_until(times, row, end_ms) - 1


@leaf
def edges(first_ms: int, last_ms: int, n: int, end_ms: int, window_ms: int) -> tuple[float, float, float]:
    """Return seconds: the span of the samples, and how far it is extrapolated to the start and to the end."""
    span = (last_ms - first_ms) / 1000.0
    average = span / (n - 1)
    threshold = average * 1.1
    to_start = (first_ms - (end_ms - window_ms)) / 1000.0
    to_end = (end_ms - last_ms) / 1000.0
    if to_start >= threshold:
        to_start = average / 2
    if to_end >= threshold:
        to_end = average / 2
    return span, to_start, to_end


@leaf
def newest_state(bits: I64, row: I64, s: int, last: int) -> int:
    """Say whether the newest sample of a series was read, failed, or the series has ended."""
    b = bits[row[OFFSET] + column_of(row, last) * row[WIDTH] + s]
    if b == FAILED_BITS:
        return READ_FAILED
    if b == ABSENT_BITS:
        return GONE
    return OK


@leaf
def _last_value(values: F64, bits: I64, row: I64, s: int, last: int) -> float:
    """Return the newest sample that a series has up to a column. It must have one."""
    ordinal = last
    while True:
        at = row[OFFSET] + column_of(row, ordinal) * row[WIDTH] + s
        if bits[at] not in (ABSENT_BITS, FAILED_BITS):
            return float(values[at])
        ordinal -= 1


@leaf
def extrapolated_series(
    values: F64,
    bits: I64,
    times: I64,
    row: I64,
    s: int,
    first: int,
    last: int,
    end_ms: int,
    window_ms: int,
    counter: bool,
    per_second: bool,
) -> tuple[float, int]:
    """Compute one series sample by sample: gaps, a late start, an early end, resets."""
    newest = GONE if last < first else newest_state(bits, row, s, last)
    n = 0
    first_ms = 0
    last_ms = 0
    first_value = 0.0
    previous = 0.0
    delta = 0.0
    for ordinal in range(first, last + 1):
        c = column_of(row, ordinal)
        b = bits[row[OFFSET] + c * row[WIDTH] + s]
        if b in (ABSENT_BITS, FAILED_BITS):
            continue
        v = values[row[OFFSET] + c * row[WIDTH] + s]
        if not np.isfinite(v):
            return 0.0, NOT_FINITE
        last_ms = times[row[TIMES] + c]
        if n == 0:
            first_ms = last_ms
            first_value = v
            # The difference first, then what was before each reset: in this order the sum is Prometheus' to the bit.
            delta = _last_value(values, bits, row, s, last) - v
        elif counter and v < previous:
            delta += previous
        previous = v
        n += 1
    if newest == READ_FAILED:
        return 0.0, READ_FAILED
    if n < 2:
        return 0.0, GONE if newest == GONE else TOO_FEW
    span, to_start, to_end = edges(first_ms, last_ms, n, end_ms, window_ms)
    if counter and delta > 0 and first_value >= 0:
        to_start = min(to_start, span * (first_value / delta))
    factor = (span + to_start + to_end) / span
    if per_second:
        factor /= window_ms / 1000.0
    return delta * factor, OK


@leaf
def resets_between(events: I64, row: I64, first_ms: int, last_ms: int) -> tuple[int, int]:
    """Return the range of a block's resets in (first, last], in words of `events`."""
    begin = row[EVENTS]
    end = begin + row[RESETS] * EVENT_WORDS
    while end > begin and events[end - EVENT_WORDS] > last_ms:
        end -= EVENT_WORDS
    at = end
    while at > begin and events[at - EVENT_WORDS] > first_ms:
        at -= EVENT_WORDS
    return at, end


@leaf
def differences(
    a: F64, b: F64, events: I64, dropped: F64, resets_at: int, resets_end: int, since: int, out: F64
) -> None:
    """Take last - first of some series, of which `since` is the first, and add the value before each reset."""
    for s in range(out.size):
        out[s] = b[s] - a[s]
    for at in range(resets_at, resets_end, EVENT_WORDS):
        s = events[at + 1] - since
        if 0 <= s < out.size:
            out[s] += dropped[at + 2]


@leaf
def extend(a: F64, span: float, to_start: float, to_end: float, scale: float, counter: bool, out: F64) -> None:
    """Extrapolate differences in place. No division in the loop, so that it vectorises."""
    plain = (span + to_start + to_end) / span * scale
    capped = (span + to_end) / span * scale
    for s in range(out.size):
        first = a[s]
        delta = out[s]
        # Extrapolation stops where the counter would have been zero: to_start = span * first / delta.
        if counter and delta > 0 and first >= 0 and span * first < to_start * delta:
            out[s] = delta * capped + first * scale
        else:
            out[s] = delta * plain


@kernel(
    _F64, _I64, _I64, _I64, _I64, _F64, _ROWS, _I64, _I64, types.int64, types.boolean, types.boolean, _F64, _U8
)  # fmt: skip
def extrapolated(
    values: F64,
    bits: I64,
    times: I64,
    irregular: I64,
    events: I64,
    dropped: F64,
    rows: I64,
    ids: I64,
    end_ms: I64,
    window_ms: int,
    counter: bool,
    per_second: bool,
    out: F64,
    state: U8,
) -> None:
    """rate (counter, per_second), increase (counter) or delta (neither) of every series of some blocks.

    Args:
        values: The sample arena; `bits` is the same memory as int64.
        times: Column times, ms.
        irregular: See the module; indexed like the series of a row.
        events: See the module; `dropped` is the same memory as float64.
        rows: One row a block, shape (b, ROW_FIELDS).
        ids: The rows to compute, shape (k,).
        end_ms: Where each block's window ends, shape (k,).
        window_ms: Its length; the window is left-open.
        out: Filled: per second if `per_second`, else in the metric's unit; shape (sum of the blocks' SIZE,).
        state: Filled: OK, GONE (no sample in the window and the series has ended), TOO_FEW (one sample),
            NOT_FINITE (a NaN or Inf in the window), READ_FAILED (the newest read of this series failed); same shape.
    """
    at = 0
    for k in range(ids.size):
        row = rows[ids[k]]
        size = row[SIZE]
        first, last = window_of(times, row, end_ms[k], window_ms)
        check_from = NEVER
        if last > first:
            a = row[OFFSET] + column_of(row, first) * row[WIDTH]
            b = row[OFFSET] + column_of(row, last) * row[WIDTH]
            first_ms = times[row[TIMES] + column_of(row, first)]
            last_ms = times[row[TIMES] + column_of(row, last)]
            span, to_start, to_end = edges(first_ms, last_ms, last - first + 1, end_ms[k], window_ms)
            scale = 1000.0 / window_ms if per_second else 1.0
            resets_at, resets_end = resets_between(events, row, first_ms, last_ms)
            part = out[at : at + size]
            differences(values[a : a + size], values[b : b + size], events, dropped, resets_at, resets_end, 0, part)
            extend(values[a : a + size], span, to_start, to_end, scale, counter, part)
            state[at : at + size] = OK
            check_from = first_ms
        if row[IRREGULAR] >= check_from:
            for s in range(size):
                if irregular[row[SERIES] + s] >= check_from:
                    out[at + s], state[at + s] = extrapolated_series(
                        values, bits, times, row, s, first, last, end_ms[k], window_ms, counter, per_second
                    )
        at += size


@kernel(_F64, _I64, _ROWS, _I64, _F64, _U8)
def newest(values: F64, bits: I64, rows: I64, ids: I64, out: F64, state: U8) -> None:
    """Return the newest sample of every series of some blocks; arguments and states as in `extrapolated`."""
    at = 0
    for k in range(ids.size):
        row = rows[ids[k]]
        base = row[OFFSET] + row[HEAD] * row[WIDTH]
        for s in range(row[SIZE]):
            if row[COUNT] == 0 or bits[base + s] == FAILED_BITS:
                state[at] = READ_FAILED
            elif bits[base + s] == ABSENT_BITS:
                state[at] = GONE
            elif np.isfinite(values[base + s]):
                out[at] = values[base + s]
                state[at] = OK
            else:
                state[at] = NOT_FINITE
            at += 1


@kernel(_F64, _U8, _I32, types.int64, _F64, _I64, _I64)
def fold(value: F64, state: U8, group: I32, op: int, out: F64, members: I64, unknown: I64) -> None:
    """Fold series into groups.

    Args:
        value: One number a series, shape (n,), used where `state` is OK.
        state: As the range functions leave it, shape (n,). GONE series are no members.
        group: The group of each series, shape (n,).
        op: SUM, AVG, MIN, MAX or COUNT_OF.
        out: Filled, shape (groups,). Meaningless where `members` is 0 or `unknown` is not -1.
        members: Filled: how many series were folded, shape (groups,).
        unknown: Filled: the index of the first series that is neither OK nor GONE, or -1; shape (groups,).
    """
    lost = np.zeros(out.size)
    for g in range(out.size):
        out[g] = np.inf if op == MIN else (-np.inf if op == MAX else 0.0)
        members[g] = 0
        unknown[g] = -1
    for i in range(value.size):
        if state[i] == GONE:
            continue
        g = group[i]
        if state[i] != OK:
            if unknown[g] < 0:
                unknown[g] = i
            continue
        members[g] += 1
        if op == MIN:
            out[g] = min(out[g], value[i])
        elif op == MAX:
            out[g] = max(out[g], value[i])
        else:
            # Kahan's sum without a branch (Knuth's two-sum): the error of an addition, exactly.
            total = out[g] + value[i]
            added = total - out[g]
            lost[g] += (out[g] - (total - added)) + (value[i] - added)
            out[g] = total
    for g in range(out.size):
        if op == SUM:
            out[g] += lost[g]
        elif op == AVG and members[g] > 0:
            out[g] = out[g] / members[g] + lost[g] / members[g]
        elif op == COUNT_OF:
            out[g] = members[g]
