"""Counters of many targets, as a store holds them and as plain arrays: the same samples for us and for our peers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scaler.evaluate import table_spec
from scaler.model import EXTERNAL_METRICS_GROUP, F64, I32, I64, Batch, Labels, Layout, MetricRef, labels_of
from scaler.rules import Aggregate, Function, MetricRule, Signal
from scaler.store import SeriesStore
from scaler.tables import Block

GROUPS = 1000
INTERVAL_MS = 15_000
REF = MetricRef(EXTERNAL_METRICS_GROUP, "bench", "requests")
_BEGIN_MS = 1_700_000_000_000
_EXTRA_COLUMNS = 2  # read before the window, so that the rings have turned


@dataclass(frozen=True, slots=True)
class Shape:
    """How many targets and series, and what happens to them.

    Args:
        targets: Each is read at times of its own.
        series: A target.
        columns: Samples in the window.
        resets: The share of samples that are lower than the one before.
        gaps: A tenth of the series lack a sample in the middle, a twentieth begins late, a twentieth vanishes.
    """

    targets: int
    series: int
    columns: int
    resets: float = 0.001
    gaps: bool = False

    @property
    def count(self) -> int:
        """All series."""
        return self.targets * self.series

    @property
    def window_ms(self) -> int:
        """The window's length."""
        return self.columns * INTERVAL_MS


@dataclass(frozen=True, slots=True)
class Data:
    """The samples of a shape.

    Args:
        values: Shape (columns, targets, series), those in the window, oldest first; NaN where there is none.
        times_ms: Shape (columns, targets).
        groups: Shape (targets, series).
        store: The same in our store.
        rule: sum by (group) (rate(x[window])).
    """

    shape: Shape
    values: F64
    times_ms: I64
    groups: I32
    store: SeriesStore
    rule: MetricRule

    @property
    def now_ms(self) -> int:
        """Just after the last read."""
        return int(self.times_ms.max()) + 1

    def blocks(self) -> list[Block]:
        """Return the store's blocks in the order of the rule's targets."""
        table = self.store.tables[REF]
        return [table.blocks[target] for target in self.rule.targets]


def build(shape: Shape, seed: int = 1) -> Data:
    """Return a shape filled with counters, one in twenty of them young (its zero lies in the window's reach)."""
    rng = np.random.default_rng(seed)
    columns = shape.columns + _EXTRA_COLUMNS
    values = _counters(rng, shape, columns)
    offsets = rng.integers(0, INTERVAL_MS, shape.targets)
    # Scrapes are never quite on time. The last one is the latest, so that no sample of before slips into the window.
    jitter = rng.integers(-50, 1, (columns, shape.targets))
    jitter[-1] = 0
    times_ms = _BEGIN_MS + np.arange(columns)[:, None] * INTERVAL_MS + offsets + jitter
    if shape.gaps:
        _tear(rng, values)
    layouts, layout_groups = _layouts(rng, shape.series)
    store, rule = _store(shape), _rule(shape)
    for target, name in enumerate(rule.targets):
        _fill(store, name, layouts[target % len(layouts)], times_ms[:, target], values[:, target])
    groups = layout_groups[np.arange(shape.targets) % len(layouts)]
    kept = slice(columns - shape.columns, None)
    return Data(shape, np.ascontiguousarray(values[kept]), times_ms[kept], groups, store, rule)


def _counters(rng: np.random.Generator, shape: Shape, columns: int) -> F64:
    size = (shape.targets, shape.series)
    values = np.empty((columns, *size))
    speed = rng.uniform(0.1, 50.0, size)
    young = rng.random(size) < 0.05
    values[0] = np.where(young, rng.uniform(0, 20, size), rng.uniform(1e3, 1e7, size)).round()
    for column in range(1, columns):
        values[column] = values[column - 1] + rng.poisson(speed * INTERVAL_MS / 1000, size)
        again = rng.random(size) < shape.resets
        values[column][again] = rng.integers(0, 10, int(again.sum()))
    return values


def _tear(rng: np.random.Generator, values: F64) -> None:
    """Put NaN where a sample is to be missing. Each target changes what it exposes at a few moments of its own."""
    columns, targets, series = values.shape
    fate = rng.random((targets, series))
    moment = rng.integers(3, columns - 2, (3, targets))
    for target in range(targets):
        lacking, late, vanishing = fate[target] < 0.1, fate[target] > 0.95, (fate[target] > 0.9) & (fate[target] < 0.95)
        values[moment[0, target], target, lacking] = np.nan
        values[: moment[1, target], target, late] = np.nan
        values[moment[2, target] :, target, vanishing] = np.nan


def _layouts(rng: np.random.Generator, series: int) -> tuple[list[Layout], I32]:
    """Return ten ways in which pages are laid out, and the groups of each, shape (10, series), in no order."""
    turns = -(-10 * series // GROUPS)
    drawn = np.concatenate([rng.permutation(GROUPS) for _ in range(turns)])[: 10 * series]
    groups = drawn.astype(np.int32).reshape(10, series)
    layouts = []
    for row in groups.tolist():
        labels = (labels_of({"group": f"g{group:03}", "series": str(i)}) for i, group in enumerate(row))
        layouts.append(Layout(tuple(labels)))
    return layouts, groups


def _rule(shape: Shape) -> MetricRule:
    return MetricRule(
        ref=REF,
        metric_name="requests",
        source_id="bench",
        interval_ms=INTERVAL_MS,
        targets=tuple(f"http://10.0.{n // 256}.{n % 256}:8080/metrics" for n in range(shape.targets)),
        signal=Signal(Function.RATE, shape.window_ms),
        aggregate=Aggregate(("group",)),
        max_series=shape.count,
    )


def _store(shape: Shape) -> SeriesStore:
    store = SeriesStore()
    store.configure(REF, table_spec(_rule(shape)), _BEGIN_MS - 1)
    return store


def _fill(store: SeriesStore, target: str, layout: Layout, times_ms: I64, values: F64) -> None:
    """Append one target's reads. Where series come or go the layout is another one."""
    present, current = np.ones(len(layout), np.bool_), layout
    for time_ms, column in zip(times_ms.tolist(), values, strict=True):
        now = np.isfinite(column)
        if (now != present).any():
            present = now
            chosen: tuple[Labels, ...] = tuple(layout.series[i] for i in np.flatnonzero(now))
            current = layout if now.all() else Layout(chosen)
        store.append(Batch(REF, target, time_ms, current, column[present]))


def with_window(data: Data, columns: int) -> Data:
    """Return the same samples, looked at through a shorter window."""
    shape = replace(data.shape, columns=columns)
    values, times_ms = np.ascontiguousarray(data.values[-columns:]), data.times_ms[-columns:]
    return replace(data, shape=shape, values=values, times_ms=times_ms, rule=_rule(shape))
