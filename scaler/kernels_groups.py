"""Rates folded into groups as they are computed: what a tile of series comes to never leaves the first-level cache.

Blocks, rows, states and rates are those of `scaler.kernels`.
"""

from __future__ import annotations

import numpy as np
from numba import types

from scaler.jit import kernel, leaf
from scaler.kernels import (
    AVG,
    COUNT_OF,
    GONE,
    IRREGULAR,
    MAX,
    MIN,
    NEVER,
    OFFSET,
    OK,
    SERIES,
    SIZE,
    SUM,
    TIMES,
    TOO_FEW,
    WIDTH,
    column_of,
    differences,
    edges,
    extend,
    extrapolated_series,
    resets_between,
    window_of,
)
from scaler.model import F64, I32, I64, U8

TILE = 1024

_F64 = types.float64[::1]
_I64 = types.int64[::1]
_I32 = types.int32[::1]
_U8 = types.uint8[::1]
_ROWS = types.int64[:, ::1]


@leaf
def _add(value: float, compensation: float, g: int, total: F64, lost: F64) -> None:
    """Add a number to a group. Kahan's sum without a branch (Knuth's two-sum): the error of an addition, exactly."""
    before = total[g]
    after = before + value
    added = after - before
    lost[g] += (before - (after - added)) + (value - added) + compensation
    total[g] = after


@leaf
def _fold_tile(
    value: F64, state: U8, group: I32, op: int, since: int, total: F64, lost: F64, members: I64, unknown: I64
) -> None:
    """Fold the series of a tile, of which `since` is the first. As `kernels.fold`, but `members` is counted down."""
    for s in range(value.size):
        g = group[s]
        if state[s] != OK:
            members[g] -= 1
            if state[s] != GONE and unknown[g] < 0:
                unknown[g] = since + s
        elif op == MIN:
            total[g] = min(total[g], value[s])
        elif op == MAX:
            total[g] = max(total[g], value[s])
        else:
            _add(value[s], 0.0, g, total, lost)


@leaf
def _sum_run(value: F64, g: int, total: F64, lost: F64) -> None:
    """Add series that are all of one group, in four sums: each addition to a single one waits for the one before."""
    t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
    l0, l1, l2, l3 = 0.0, 0.0, 0.0, 0.0
    whole = value.size - value.size % 4
    for s in range(0, whole, 4):
        v0, v1, v2, v3 = value[s], value[s + 1], value[s + 2], value[s + 3]
        n0, n1, n2, n3 = t0 + v0, t1 + v1, t2 + v2, t3 + v3
        a0, a1, a2, a3 = n0 - t0, n1 - t1, n2 - t2, n3 - t3
        l0 += (t0 - (n0 - a0)) + (v0 - a0)
        l1 += (t1 - (n1 - a1)) + (v1 - a1)
        l2 += (t2 - (n2 - a2)) + (v2 - a2)
        l3 += (t3 - (n3 - a3)) + (v3 - a3)
        t0, t1, t2, t3 = n0, n1, n2, n3
    _add(t0, l0, g, total, lost)
    _add(t1, l1, g, total, lost)
    _add(t2, l2, g, total, lost)
    _add(t3, l3, g, total, lost)
    for s in range(whole, value.size):
        _add(value[s], 0.0, g, total, lost)


@leaf
def _sum_tile(value: F64, group: I32, total: F64, lost: F64) -> None:
    """Add the series of a tile, every one of which is known."""
    others = 0
    if value.size > 8 and group[0] == group[-1]:
        for s in range(group.size):
            others += group[s] != group[0]
        if others == 0:
            _sum_run(value, group[0], total, lost)
            return
    for s in range(value.size):
        _add(value[s], 0.0, group[s], total, lost)


@leaf
def _fold_blocks(
    values: F64,
    bits: I64,
    times: I64,
    irregular: I64,
    groups: I32,
    events: I64,
    dropped: F64,
    rows: I64,
    ids: I64,
    end_ms: I64,
    gone_from: int,
    window_ms: int,
    counter: bool,
    per_second: bool,
    op: int,
    tile: F64,
    state: U8,
    out: F64,
    lost: F64,
    members: I64,
    unknown: I64,
) -> None:
    """Fold all blocks, tile by tile. A function of its own, so that no tile counts references."""
    scale = 1000.0 / window_ms if per_second else 1.0
    begin = 0
    for k in range(ids.size):
        row = rows[ids[k]]
        size = row[SIZE]
        first, last = window_of(times, row, end_ms[k], window_ms)
        check_from = NEVER
        a, b, span, to_start, to_end, resets_at, resets_end = 0, 0, 1.0, 0.0, 0.0, 0, 0
        if last > first:
            a = row[OFFSET] + column_of(row, first) * row[WIDTH]
            b = row[OFFSET] + column_of(row, last) * row[WIDTH]
            check_from = times[row[TIMES] + column_of(row, first)]
            last_ms = times[row[TIMES] + column_of(row, last)]
            span, to_start, to_end = edges(check_from, last_ms, last - first + 1, end_ms[k], window_ms)
            resets_at, resets_end = resets_between(events, row, check_from, last_ms)
        state[begin : begin + size] = OK
        for since in range(0, size, tile.size):
            n = min(tile.size, size - since)
            value = tile[:n]
            group = groups[row[SERIES] + since : row[SERIES] + since + n]
            if last > first:
                of_first = values[a + since : a + since + n]
                differences(
                    of_first, values[b + since : b + since + n], events, dropped, resets_at, resets_end, since, value
                )
                extend(of_first, span, to_start, to_end, scale, counter, value)
            at = begin + since
            if row[IRREGULAR] >= check_from:
                for s in range(n):
                    if irregular[row[SERIES] + since + s] >= check_from:
                        value[s], state[at + s] = extrapolated_series(
                            values, bits, times, row, since + s, first, last, end_ms[k], window_ms, counter, per_second
                        )
                        if state[at + s] == TOO_FEW and k >= gone_from:
                            state[at + s] = GONE
                _fold_tile(value, state[at : at + n], group, op, at, out, lost, members, unknown)
            elif op in (MIN, MAX):
                _fold_tile(value, state[at : at + n], group, op, at, out, lost, members, unknown)
            else:
                _sum_tile(value, group, out, lost)
        begin += size


@kernel(
    _F64, _I64, _I64, _I64, _I32, _I64, _F64, _ROWS, _I64, _I64, types.int64, types.int64, types.boolean,
    types.boolean, types.int64, _U8, _F64, _I64, _I64,
)  # fmt: skip
def extrapolated_groups(
    values: F64,
    bits: I64,
    times: I64,
    irregular: I64,
    groups: I32,
    events: I64,
    dropped: F64,
    rows: I64,
    ids: I64,
    end_ms: I64,
    gone_from: int,
    window_ms: int,
    counter: bool,
    per_second: bool,
    op: int,
    state: U8,
    out: F64,
    members: I64,
    unknown: I64,
) -> None:
    """Fold the rates (increases, differences) of every series of some blocks into groups.

    `kernels.extrapolated` and then `kernels.fold`, in one pass and with the same results.

    Args:
        groups: The group of each series, indexed like `irregular`.
        gone_from: From this one of `ids` on, targets are gone: a series with one sample will never have more, and is
            GONE.
        state: Filled, as by `extrapolated`.
        op, out, unknown: As in `fold`.
        members: On entry how many series slots each group has; on return how many were folded. Shape (groups,).
        values, bits, times, irregular, events, dropped, rows, ids, end_ms, window_ms, counter, per_second: As in
            `extrapolated`.
    """
    lost = np.zeros(out.size)
    tile = np.empty(TILE)
    for g in range(out.size):
        out[g] = np.inf if op == MIN else (-np.inf if op == MAX else 0.0)
        unknown[g] = -1
    _fold_blocks(
        values, bits, times, irregular, groups, events, dropped, rows, ids, end_ms, gone_from, window_ms, counter,
        per_second, op, tile, state, out, lost, members, unknown
    )  # fmt: skip
    for g in range(out.size):
        if op == SUM:
            out[g] += lost[g]
        elif op == AVG and members[g] > 0:
            out[g] = out[g] / members[g] + lost[g] / members[g]
        elif op == COUNT_OF:
            out[g] = members[g]


@kernel(_U8, _I32, _I64, _I64, _I64, _I64, _I64)
def times_of_groups(
    state: U8, group: I32, begin: I64, newest_ms: I64, oldest_ms: I64, newest: I64, oldest: I64
) -> None:
    """Return the newest and the oldest time of the known members of each group.

    Args:
        state, group: Of each series, shape (n,).
        begin: Where runs of series that share their times begin, and the last one's end; shape (k + 1,).
        newest_ms, oldest_ms: The times of each run, shape (k,).
        newest, oldest: Updated, shape (groups,).
    """
    for k in range(newest_ms.size):
        for i in range(begin[k], begin[k + 1]):
            if state[i] == OK:
                g = group[i]
                newest[g] = max(newest[g], newest_ms[k])
                oldest[g] = min(oldest[g], oldest_ms[k])
