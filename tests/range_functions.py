"""Range functions on what a store really holds, for tests."""

from __future__ import annotations

import numpy as np

from scaler import kernels as k
from scaler import signals
from scaler.evaluate import table_spec
from scaler.kernels_histogram import NO_HISTOGRAM, NO_OBSERVATIONS
from scaler.model import EXTERNAL_METRICS_GROUP, F64, I64, U8, Batch, Labels, Layout, MetricRef, Reason, Unknown
from scaler.rules import Aggregate, AggregateOp, MetricRule, Signal
from scaler.store import SeriesStore
from tests import naive

REF = MetricRef(EXTERNAL_METRICS_GROUP, "shop", "m")
STATES = {k.GONE: "gone", k.TOO_FEW: "too few", k.NOT_FINITE: "not finite", k.READ_FAILED: "failed"}
NO_QUANTILE = {k.GONE: "gone", NO_OBSERVATIONS: "no observations", NO_HISTOGRAM: "no histogram"}
_FOLD = {
    AggregateOp.SUM: k.SUM,
    AggregateOp.AVG: k.AVG,
    AggregateOp.MIN: k.MIN,
    AggregateOp.MAX: k.MAX,
    AggregateOp.COUNT: k.COUNT_OF,
}
History = dict[Labels, list[naive.Sample]]


def feed(times: list[int], history: History, signal: Signal, aggregate: Aggregate | None = None) -> SeriesStore:
    """Append the reads of one target to a new store, column by column, as the table of a rule."""
    store = SeriesStore()
    rule = MetricRule(REF, "m", "s", interval_ms=10_000, targets=("t",), signal=signal, aggregate=aggregate)
    store.configure(REF, table_spec(rule), 0)
    layouts: dict[tuple[Labels, ...], Layout] = {}
    for column, time_ms in enumerate(times):
        present = tuple(labels for labels in history if history[labels][column][1] != naive.ABSENT)
        layout = layouts.setdefault(present, Layout(present))
        row = [history[labels][column][1] for labels in present]
        problems = {i: Unknown(Reason.WRONG_TYPE, "x") for i, v in enumerate(row) if v == naive.FAILED}
        values = np.array([0.0 if isinstance(v, str) else v for v in row], np.float64)
        assert store.append(Batch(REF, "t", time_ms, layout, values, problems))
    return store


def run(store: SeriesStore, end_ms: int, signal: Signal) -> dict[Labels, float | str]:
    """Return what the signal's kernel says of each series that still has a slot: its number, or what became of it."""
    value, state = _series(store, end_ms, signal)
    index = store.tables[REF].blocks["t"].index()
    return {labels: float(value[s]) if state[s] == k.OK else STATES[state[s]] for labels, s in index.items()}


def run_groups(store: SeriesStore, end_ms: int, signal: Signal, op: AggregateOp) -> dict[Labels, float | str]:
    """Return what the kernels say of each group that has members: its number, or "unknown"."""
    value, state = _series(store, end_ms, signal)
    out, members, unknown = _fold(store, value, state, _FOLD[op])
    index = store.tables[REF].group_index
    return {
        labels: "unknown" if unknown[g] >= 0 else float(out[g])
        for labels, g in index.items()
        if unknown[g] >= 0 or members[g]
    }


def run_histograms(store: SeriesStore, end_ms: int, signal: Signal) -> dict[Labels, float | str]:
    """Return what the kernels say of each histogram, of which the groups are the cells."""
    value, state = _series(store, end_ms, signal)
    histograms = store.tables[REF].histograms()
    found = histograms.quantiles(signal.quantile or 0.0, *_fold(store, value, state, k.SUM))
    said: dict[Labels, float | str] = {}
    for at, labels in enumerate(histograms.labels):
        if found.first_unknown[at] >= 0:
            said[labels] = "unknown"
        else:
            code = found.state[at]
            said[labels] = float(found.value[at]) if code == k.OK else NO_QUANTILE[code]
    return said


def _series(store: SeriesStore, end_ms: int, signal: Signal) -> tuple[F64, U8]:
    block = store.tables[REF].blocks["t"]
    value, state = np.zeros(len(block.labels)), np.zeros(len(block.labels), np.uint8)
    signals.run(store.arena, signal, np.array([block.row]), np.array([end_ms]), value, state)
    return value, state


def _fold(store: SeriesStore, value: F64, state: U8, op: int) -> tuple[F64, I64, I64]:
    table = store.tables[REF]
    n = len(table.group_index)
    out, members, unknown = np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64)
    k.fold(value, state, store.arena.groups_of(table.blocks["t"].row), op, out, members, unknown)
    return out, members, unknown
