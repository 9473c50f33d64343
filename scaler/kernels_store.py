"""What writes samples and moves them about, as `scaler.kernels` says they lie."""

from __future__ import annotations

import numpy as np
from numba import types

from scaler.jit import inner, kernel
from scaler.kernels import (
    CAPACITY,
    COUNT,
    EVENT_WORDS,
    EVENTS,
    HEAD,
    IRREGULAR,
    NEWEST,
    OFFSET,
    RESETS,
    ROOM,
    SERIES,
    SIZE,
    TIMES,
    WIDTH,
    column_of,
)
from scaler.model import F64, I32, I64

_F64 = types.float64[::1]
_I64 = types.int64[::1]
_I32 = types.int32[::1]
_ROWS = types.int64[:, ::1]


@kernel(_F64, _I64, _ROWS, types.int64, types.int64, types.int64, types.boolean, _F64)
def write_column(
    values: F64, times: I64, rows: I64, row: int, time_ms: int, window_ms: int, counter: bool, column: F64
) -> int:
    """Begin a column of a block and fill it.

    The oldest column makes room once it has left the window (time - window, time].

    Args:
        column: A sample a series, shape (SIZE,).

    Returns: How many series `mark` must look at: a sample here or before that is missing or not finite, or, of a
        counter, is below the one before; of a first column only the former. -1, and nothing is done: the ring is full.
    """
    r = rows[row]
    if r[COUNT] == r[CAPACITY]:
        if times[r[TIMES] + column_of(r, 0)] > time_ms - window_ms:
            return -1
        r[COUNT] -= 1
    before = r[HEAD]
    r[HEAD] = (before + 1) % r[CAPACITY] if r[COUNT] else 0
    r[COUNT] += 1
    r[NEWEST] = time_ms
    times[r[TIMES] + r[HEAD]] = time_ms
    at = r[OFFSET] + r[HEAD] * r[WIDTH]
    now = values[at : at + r[SIZE]]
    if r[COUNT] > 1:
        at = r[OFFSET] + before * r[WIDTH]
    previous = values[at : at + r[SIZE]]
    odd = 0
    for s in range(now.size):
        v = column[s]
        now[s] = v
        p = previous[s]
        odd += not ((np.abs(v) < np.inf) & (np.abs(p) < np.inf) & ((v >= p) | (not counter)))
    return odd


@kernel(_F64, _I64, _I64, _F64, _ROWS, types.int64, types.boolean)
def mark(values: F64, irregular: I64, events: I64, dropped: F64, rows: I64, row: int, counter: bool) -> int:
    """Note the resets of the newest column of a block, and the series that are irregular by it.

    Returns: How many resets there was no room for: these series count as irregular.
    """
    r = rows[row]
    time_ms = r[NEWEST]
    at = r[OFFSET] + r[HEAD] * r[WIDTH]
    now = values[at : at + r[SIZE]]
    if r[COUNT] > 1:
        at = r[OFFSET] + column_of(r, r[COUNT] - 2) * r[WIDTH]
    previous = values[at : at + r[SIZE]]
    left = 0
    for s in range(now.size):
        v = now[s]
        p = previous[s]
        if np.isfinite(v) and np.isfinite(p):
            if not counter or v >= p:
                continue
            if r[RESETS] < r[ROOM]:
                event = r[EVENTS] + r[RESETS] * EVENT_WORDS
                events[event] = time_ms
                events[event + 1] = s
                dropped[event + 2] = p
                r[RESETS] += 1
                continue
            left += 1
        irregular[r[SERIES] + s] = time_ms
        r[IRREGULAR] = time_ms
    return left


@inner
def _move(array: I64, to: int, since: int, count: int) -> None:
    """Copy words of an array to another place in it; where both overlap, downwards only."""
    if to != since:
        for i in range(count):
            array[to + i] = array[since + i]


@kernel(_I64, _I64, _I64, _I32, _I64, _I64)
def move_block(bits: I64, times: I64, irregular: I64, groups: I32, old: I64, new: I64) -> None:
    """Copy a block's columns, oldest first, and its per-series facts from one row's segments to another's."""
    for ordinal in range(old[COUNT]):
        column = column_of(old, ordinal)
        _move(bits, new[OFFSET] + ordinal * new[WIDTH], old[OFFSET] + column * old[WIDTH], old[SIZE])
        times[new[TIMES] + ordinal] = times[old[TIMES] + column]
    _move(irregular, new[SERIES], old[SERIES], old[SIZE])
    for s in range(old[SIZE]):
        groups[new[SERIES] + s] = groups[old[SERIES] + s]


@kernel(_I64, _I64, _I64, _I32, _I64, _ROWS, _I64, _I64, _I64)
def compact(
    bits: I64, times: I64, irregular: I64, groups: I32, events: I64, rows: I64, placed: I64, noted: I64, used: I64
) -> None:
    """Move the segments of all blocks down, so that nothing lies fallow between them.

    Args:
        placed: The rows in use in the order of their segments of samples, times and facts, which is one order.
        noted: The rows with room for events, in the order of these.
        used: Filled: how much of samples, times, facts and events is in use then, shape (4,).
    """
    used[:] = 0
    for i in range(placed.size):
        r = rows[placed[i]]
        size = r[CAPACITY] * r[WIDTH]
        _move(bits, used[0], r[OFFSET], size)
        _move(times, used[1], r[TIMES], r[CAPACITY])
        _move(irregular, used[2], r[SERIES], r[WIDTH])
        for s in range(r[WIDTH]):
            groups[used[2] + s] = groups[r[SERIES] + s]
        r[OFFSET] = used[0]
        r[TIMES] = used[1]
        r[SERIES] = used[2]
        used[0] += size
        used[1] += r[CAPACITY]
        used[2] += r[WIDTH]
    for i in range(noted.size):
        r = rows[noted[i]]
        _move(events, used[3], r[EVENTS], r[RESETS] * EVENT_WORDS)
        r[EVENTS] = used[3]
        used[3] += r[ROOM] * EVENT_WORDS
