"""`sum by (group) (rate(x[w]))` four times: our kernels, NumPy, polars, and merely reading the samples.

The NumPy and polars forms are what one would write with them, vectorised, from the same documentation of the rule:
left-open range, extrapolation to the window's edges, resets, the zero point after the threshold.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from bench.shapes import GROUPS, Data
from scaler import kernels as k
from scaler import signals
from scaler.model import F64, I32, I64, U8


@dataclass(frozen=True, slots=True)
class Kernels:
    """Our kernels on a shape, with everything they need at hand, as `evaluate` calls them."""

    data: Data
    ids: I64
    end_ms: I64
    slots: I64
    state: U8
    out: F64
    members: I64
    unknown: I64

    @classmethod
    def of(cls, data: Data) -> Kernels:
        """Return the kernels for a shape."""
        table = data.store.tables[data.rule.ref]
        roster = table.roster(data.rule.targets)
        count = len(table.group_index)
        return cls(
            data,
            ids=roster.ids,
            end_ms=roster.last_good_ms(),
            slots=roster.slots,
            state=np.empty(len(roster.groups), np.uint8),
            out=np.empty(count),
            members=np.empty(count, np.int64),
            unknown=np.empty(count, np.int64),
        )

    def __call__(self) -> None:
        """Compute each group."""
        self.members[:] = self.slots
        found = signals.fold(
            self.data.store.arena,
            self.data.rule.signal,
            k.SUM,
            self.ids,
            self.end_ms,
            len(self.ids),
            self.state,
            self.out,
            self.members,
            self.unknown,
        )
        assert found

    def read(self) -> float:
        """Only read the samples in the window."""
        arena = self.data.store.arena
        return _read_window(arena.values, arena.rows, self.ids, self.data.shape.columns)

    def sums(self) -> F64:
        """Return the sum of each group by its number in the data; a group with an unknown member is NaN."""
        found = np.full(GROUPS, np.nan)
        for labels, at in self.data.store.tables[self.data.rule.ref].group_index.items():
            if self.unknown[at] < 0 and self.members[at]:
                found[int(labels[0][1][1:])] = self.out[at]
        return found


def _read(values: F64, rows: I64, ids: I64, columns: int) -> float:
    total = 0.0
    for i in range(ids.size):
        row = rows[ids[i]]
        for back in range(columns):
            column = (row[k.HEAD] - back) % row[k.CAPACITY]
            at = row[k.OFFSET] + column * row[k.WIDTH]
            part = values[at : at + row[k.SIZE]]
            for s in range(part.size):
                total += part[s]
    return total


_read_window: Callable[[F64, I64, I64, int], float] = numba.njit(nogil=True, fastmath=True)(_read)


def _to_edges(first_ms: Any, last_ms: Any, n: Any, end_ms: I64, window_ms: int) -> tuple[Any, Any, Any]:
    """Return span, and how far it reaches to the window's start and end, in seconds."""
    span = (last_ms - first_ms) / 1000
    threshold = span / (n - 1) * 1.1
    to_start = (first_ms - (end_ms - window_ms)) / 1000
    to_end = (end_ms - last_ms) / 1000
    half = span / (n - 1) / 2
    return span, np.where(to_start >= threshold, half, to_start), np.where(to_end >= threshold, half, to_end)


def _extrapolate(delta: F64, first: F64, span: Any, to_start: Any, to_end: Any, window_ms: int) -> F64:
    counts = (delta > 0) & (first >= 0)
    to_zero = np.where(counts, span * first / np.where(counts, delta, 1.0), np.inf)
    rate: F64 = delta * ((span + np.minimum(to_start, to_zero) + to_end) / span) / (window_ms / 1000)
    return rate


def numpy_rates(data: Data) -> F64:
    """Return the rates, shape (targets, series), where no sample is missing."""
    values, times_ms = data.values, data.times_ms
    delta = values[-1] - values[0]
    before, after = values[:-1], values[1:]
    delta += np.where(after < before, before, 0.0).sum(axis=0)
    end_ms = times_ms[-1]
    span, to_start, to_end = _to_edges(times_ms[0], times_ms[-1], len(values), end_ms, data.shape.window_ms)
    return _extrapolate(delta, values[0], span[:, None], to_start[:, None], to_end[:, None], data.shape.window_ms)


def numpy_torn_rates(data: Data, end_ms: I64 | None = None) -> F64:
    """Return the rates, shape (targets, series), where samples are missing; NaN for a series with fewer than two.

    Windows end at each target's newest read, or at `end_ms`, shape (targets,).
    """
    end_ms = data.times_ms[-1] if end_ms is None else end_ms
    size = data.values.shape[1:]
    n, delta = np.zeros(size, np.int64), np.zeros(size)
    first, last = np.zeros(size), np.zeros(size)
    first_ms, last_ms = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for values, times_ms in zip(data.values, data.times_ms, strict=True):
        there = np.isfinite(values) & (times_ms > end_ms - data.shape.window_ms)[:, None]
        fresh = there & (n == 0)
        first = np.where(fresh, values, first)
        first_ms = np.where(fresh, times_ms[:, None], first_ms)
        delta += np.where(there & ~fresh & (values < last), last, 0.0)
        last = np.where(there, values, last)
        last_ms = np.where(there, times_ms[:, None], last_ms)
        n += there
    delta += last - first
    with np.errstate(divide="ignore", invalid="ignore"):
        edges = _to_edges(first_ms, last_ms, n, end_ms[:, None], data.shape.window_ms)
        rate = _extrapolate(delta, first, *edges, data.shape.window_ms)
    return np.where(n >= 2, rate, np.nan)


def numpy_moment_sums(data: Data) -> F64:
    """Return the sum of each group, all targets looked at from the newest of their reads, as a result is computed."""
    moment_ms = np.full(data.times_ms.shape[1], data.times_ms[-1].max())
    rate = numpy_torn_rates(data, moment_ms).ravel()
    return np.asarray(np.bincount(data.groups.ravel(), weights=rate, minlength=GROUPS), np.float64)


def numpy_sums(data: Data) -> F64:
    """Return the sum of each group."""
    rate: F64 = (numpy_torn_rates if data.shape.gaps else numpy_rates)(data).ravel()
    groups: I32 = data.groups.ravel()
    if data.shape.gaps:
        there = np.isfinite(rate)
        rate, groups = np.compress(there, rate), np.compress(there, groups)
    # Sums of floats, which its type does not know.
    return np.asarray(np.bincount(groups, weights=rate, minlength=GROUPS), np.float64)


def polars_sums(data: Data) -> Callable[[], F64] | None:
    """Return a call for the sum of each group with polars on one thread, on a long table; None: it is not there."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    try:
        pl: Any = importlib.import_module("polars")
    except ImportError:
        return None
    columns, count = data.shape.columns, data.shape.count
    table = pl.DataFrame(
        {
            "series": np.repeat(np.arange(count, dtype=np.uint32), columns),
            "group": np.repeat(data.groups.ravel().astype(np.uint16), columns),
            "t": np.repeat(data.times_ms.T, data.shape.series, axis=0).ravel(),
            "v": data.values.reshape(columns, count).T.ravel(),
        }
    )
    return lambda: _polars(pl, table, data.shape.window_ms)


def _polars(pl: Any, table: Any, window_ms: int) -> F64:
    v, before, col = pl.col("v"), pl.col("v").shift(1), pl.col
    drop = pl.when((v < before) & (col("series") == col("series").shift(1))).then(before).otherwise(0.0)
    half = col("span") / (col("n") - 1) / 2
    to_start = pl.when(col("to_start") >= half * 2.2).then(half).otherwise(col("to_start"))
    counts = (col("delta") > 0) & (col("first") >= 0)
    to_zero = pl.when(counts).then(col("span") * col("first") / col("delta")).otherwise(float("inf"))
    found = (
        table.lazy()
        .with_columns(drop=drop)
        .group_by("series")
        .agg(
            group=col("group").first(),
            first=v.first(),
            delta=v.last() - v.first() + col("drop").sum(),
            # The window ends at the newest sample, so that nothing is extrapolated to its end.
            span=(col("t").last() - col("t").first()) / 1000,
            to_start=(window_ms - (col("t").last() - col("t").first())) / 1000,
            n=pl.len().cast(pl.Int64),
        )
        .with_columns(edge=pl.min_horizontal(to_start, to_zero))
        .with_columns(rate=col("delta") * ((col("span") + col("edge")) / col("span")) / (window_ms / 1000))
        .group_by("group")
        .agg(col("rate").sum())
        .collect()
    )
    sums = np.full(GROUPS, np.nan)
    sums[found["group"].to_numpy()] = found["rate"].to_numpy()
    return sums
