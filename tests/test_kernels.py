"""Kernels against their slow twins, on what a store really holds."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler import kernels as k
from scaler.jit import compile_all
from scaler.model import EXTERNAL_METRICS_GROUP, Batch, Labels, Layout, MetricRef, Reason, Unknown
from scaler.store import SeriesStore, TableSpec
from tests import naive

REF = MetricRef(EXTERNAL_METRICS_GROUP, "shop", "m")
STATES = {k.GONE: "gone", k.TOO_FEW: "too few", k.NOT_FINITE: "not finite", k.READ_FAILED: "failed"}
WINDOW_MS = 60_000
SERIES: list[Labels] = [(("queue", name),) for name in "abcdef"]

counter_values = st.one_of(
    st.integers(0, 1000).map(float),
    st.floats(0, 1e9),
    st.sampled_from([0.0, 1.0, 1e15, float("nan"), float("inf")]),
)
readings = st.one_of(counter_values, counter_values, counter_values, st.just(naive.ABSENT), st.just(naive.FAILED))


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], dict[Labels, list[naive.Sample]]]:
    """Draw the reads of one target: irregular times, series that come, go, fail, reset."""
    columns = draw(st.integers(1, 9))
    regular = draw(st.booleans())
    steps = (
        [10_000] * columns if regular else draw(st.lists(st.integers(1, 40_000), min_size=columns, max_size=columns))
    )
    times = list(itertools.accumulate(steps, initial=1_000_000))[1:]
    history: dict[Labels, list[naive.Sample]] = {}
    for labels in SERIES[: draw(st.integers(1, len(SERIES)))]:
        if draw(st.booleans()):
            increments = draw(st.lists(st.integers(0, 50), min_size=columns, max_size=columns))
            values: list[float | str] = [float(v) for v in itertools.accumulate(increments)]
        else:
            values = draw(st.lists(readings, min_size=columns, max_size=columns))
        history[labels] = list(zip(times, values, strict=True))
    return times, history


def feed(times: list[int], history: dict[Labels, list[naive.Sample]], *, counter: bool) -> SeriesStore:
    """Append a history to a new store, column by column, and keep only what makes a column."""
    store = SeriesStore()
    store.configure(REF, TableSpec(WINDOW_MS, 10_000, counter=counter, from_zero=False, by=None), 0)
    layouts: dict[tuple[Labels, ...], Layout] = {}
    for column, time_ms in enumerate(times):
        present = tuple(labels for labels in history if history[labels][column][1] != naive.ABSENT)
        layout = layouts.setdefault(present, Layout(present))
        row = [history[labels][column][1] for labels in present]
        problems = {i: Unknown(Reason.WRONG_TYPE, "x") for i, v in enumerate(row) if v == naive.FAILED}
        values = np.array([0.0 if isinstance(v, str) else v for v in row], np.float64)
        assert store.append(Batch(REF, "t", time_ms, layout, values, problems))
    return store


def as_columns(times: list[int], history: dict[Labels, list[naive.Sample]]) -> dict[Labels, list[naive.Sample]]:
    """Drop the reads in which every series present failed: they make no column."""
    keep = []
    for column in range(len(times)):
        read = [history[labels][column][1] for labels in history]
        present = [v for v in read if v != naive.ABSENT]
        keep.append(not present or any(v != naive.FAILED for v in present))
    return {labels: [s for s, kept in zip(samples, keep, strict=True) if kept] for labels, samples in history.items()}


def by_labels(store: SeriesStore, value: np.ndarray, state: np.ndarray) -> dict[Labels, float | str]:
    """Return what a kernel said of each series that still has a slot."""
    block = store.tables[REF].blocks["t"]
    return {labels: float(value[s]) if state[s] == k.OK else STATES[state[s]] for labels, s in block.index.items()}


def run(store: SeriesStore, end_ms: int, window_ms: int, op: str) -> dict[Labels, float | str]:
    """Call a kernel by its PromQL name."""
    arena, block = store.arena, store.tables[REF].blocks["t"]
    size = len(block.labels)
    value, state = np.zeros(size), np.zeros(size, np.uint8)
    ids, end = np.array([block.row], np.int64), np.array([end_ms], np.int64)
    if op == "value":
        k.newest(arena.values, arena.bits, arena.rows, ids, value, state)
    elif op in ("rate", "increase", "delta"):
        k.extrapolated(
            arena.values,
            arena.bits,
            arena.times,
            arena.irregular,
            arena.rows,
            ids,
            end,
            window_ms,
            op != "delta",
            op == "rate",
            value,
            state,
        )
    else:
        code = {"sum": k.SUM, "avg": k.AVG, "min": k.MIN, "max": k.MAX, "last": k.LAST}[op]
        k.over_time(arena.values, arena.bits, arena.times, arena.rows, ids, end, window_ms, code, value, state)
    return by_labels(store, value, state)


def same(got: float | str, want: float | str, samples: list[naive.Sample]) -> bool:
    """Compare to 1e-12 of the largest sample: a difference of large samples cannot be better than they are."""
    if isinstance(got, str) or isinstance(want, str):
        return got == want
    scale = max(abs(v) for _, v in samples if not isinstance(v, str) and np.isfinite(v))
    return abs(got - want) <= 1e-12 * max(scale, abs(want))


@pytest.mark.parametrize("op", ["value", "rate", "increase", "delta", "sum", "avg", "min", "max", "last"])
@settings(max_examples=150, deadline=None)
@given(reads=histories(), back_ms=st.integers(0, 15_000))
def test_a_kernel_says_what_its_slow_twin_says(
    op: str, reads: tuple[list[int], dict[Labels, list[naive.Sample]]], back_ms: int
) -> None:
    """Every function gives the same number or the same reason on gaps, late series, ends, resets, failures."""
    times, history = reads
    store = feed(times, history, counter=op in ("rate", "increase"))
    columns = as_columns(times, history)
    end_ms = times[-1] + (0 if op == "value" else back_ms)
    window_ms = WINDOW_MS if op == "value" else WINDOW_MS - 15_000  # what lies further back may have been overwritten
    for labels, got in run(store, end_ms, window_ms, op).items():
        samples = columns[labels]
        if op == "value":
            want = naive.newest(samples)
        elif op in ("rate", "increase", "delta"):
            want = naive.extrapolated(samples, end_ms, window_ms, counter=op != "delta", per_second=op == "rate")
        else:
            want = naive.over_time(samples, end_ms, window_ms, op)
        assert same(got, want, samples), (labels, samples)


@settings(max_examples=150, deadline=None)
@given(
    members=st.lists(
        st.tuples(st.integers(0, 3), st.one_of(st.floats(0, 1e6), st.sampled_from(list(STATES.values()))))
    ),
    op=st.sampled_from(["sum", "avg", "min", "max", "count"]),
)
def test_a_group_is_its_members_or_unknown(members: list[tuple[int, float | str]], op: str) -> None:
    """A fold equals its slow twin, and one unknown member makes the whole group unknown."""
    code = {v: s for s, v in STATES.items()}
    value = np.array([0.0 if isinstance(v, str) else v for _, v in members], np.float64)
    state = np.array([code[v] if isinstance(v, str) else k.OK for _, v in members], np.uint8)
    group = np.array([g for g, _ in members], np.int32)
    out, count, unknown = np.empty(4), np.empty(4, np.int64), np.empty(4, np.int64)
    kind = {"sum": k.SUM, "avg": k.AVG, "min": k.MIN, "max": k.MAX, "count": k.COUNT_OF}[op]
    k.fold(value, state, group, kind, out, count, unknown)
    for g in range(4):
        want = naive.fold([v for h, v in members if h == g], op)
        if isinstance(want, str):
            assert members[int(unknown[g])][0] == g
            assert STATES[state[int(unknown[g])]] == want
        elif want is None:
            assert count[g] == 0
            assert unknown[g] == -1
        else:
            assert unknown[g] == -1
            assert out[g] == pytest.approx(want, rel=1e-12)


def test_the_zero_point_rule_applies_after_the_threshold() -> None:
    """A young counter that begins late in the window is extrapolated to its zero, not by half a step.

    Prometheus up to 2.50 capped first; 2.51 and later cap after the threshold, which this number shows.
    """
    times = [40_000, 50_000, 60_000]
    store = feed(times, {SERIES[0]: [(40_000, 1.0), (50_000, 11.0), (60_000, 21.0)]}, counter=True)
    # span 20 s, delta 20; to the start 40 s >= 11 s: 5 s; zero lies 20 × 1/20 = 1 s before the first sample.
    assert run(store, 60_000, 60_000, "increase") == {SERIES[0]: pytest.approx(20 * 21 / 20)}


def test_a_sample_on_the_left_edge_is_outside() -> None:
    """A range is left-open: the sample exactly one window ago is not in it."""
    store = feed([10_000, 40_000, 70_000], {SERIES[0]: [(10_000, 5.0), (40_000, 7.0), (70_000, 9.0)]}, counter=False)
    assert run(store, 70_000, 60_000, "sum") == {SERIES[0]: 16.0}


def test_after_warm_up_another_dtype_is_an_error_not_a_second_version() -> None:
    """A kernel compiled by compile_all refuses arguments it was not compiled for."""
    if not hasattr(k.fold, "signatures"):
        pytest.skip("runs as plain Python")
    assert compile_all() >= 5
    one = np.zeros(1, np.int64)
    with pytest.raises(TypeError, match="No matching definition"):
        k.fold(np.zeros((1, 1)), np.zeros(1, np.uint8), np.zeros(1, np.int32), 0, np.zeros(1), one, one)


def test_bounds_are_checked_when_that_is_asked_for() -> None:
    """With NUMBA_BOUNDSCHECK=1 a read out of bounds is an error: a run with it proves something."""
    if os.environ.get("NUMBA_BOUNDSCHECK") != "1":
        pytest.skip("NUMBA_BOUNDSCHECK is not set; make check sets it")
    rows = np.zeros((1, k.ROW_FIELDS), np.int64)
    rows[0, [k.OFFSET, k.WIDTH, k.SIZE, k.CAPACITY, k.COUNT]] = (1_000_000, 1, 1, 1, 1)
    nothing = np.zeros(1)
    with pytest.raises(IndexError):
        k.newest(nothing, nothing.view(np.int64), rows, np.zeros(1, np.int64), np.zeros(1), np.zeros(1, np.uint8))
