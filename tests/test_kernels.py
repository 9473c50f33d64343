"""Kernels against their slow twins, on what a store really holds."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler import kernels as k
from scaler.jit import compile_all
from scaler.model import Batch, Labels, Layout, Reason, Unknown
from scaler.rules import QUANTILES, Function, Signal
from tests import naive
from tests.range_functions import REF, STATES, History, feed, run

WINDOW_MS = 60_000
SERIES: list[Labels] = [(("queue", name),) for name in "abcdef"]

counter_values = st.one_of(
    st.integers(0, 1000).map(float),
    st.floats(0, 1e9),
    st.sampled_from([0.0, 1.0, 1e15, float("nan"), float("inf")]),
)
readings = st.one_of(counter_values, counter_values, counter_values, st.just(naive.ABSENT), st.just(naive.FAILED))


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], History]:
    """Draw the reads of one target: irregular times, series that come, go, fail, reset."""
    columns = draw(st.integers(1, 9))
    regular = draw(st.booleans())
    steps = (
        [10_000] * columns if regular else draw(st.lists(st.integers(1, 40_000), min_size=columns, max_size=columns))
    )
    times = list(itertools.accumulate(steps, initial=1_000_000))[1:]
    history: History = {}
    for labels in SERIES[: draw(st.integers(1, len(SERIES)))]:
        kind = draw(st.sampled_from(["counter", "often reset", "torn"]))
        if kind == "counter":
            increments = draw(st.lists(st.integers(0, 50), min_size=columns, max_size=columns))
            values: list[float | str] = [float(v) for v in itertools.accumulate(increments)]
        elif kind == "often reset":
            values = [float(v) for v in draw(st.lists(st.integers(0, 9), min_size=columns, max_size=columns))]
        else:
            values = draw(st.lists(readings, min_size=columns, max_size=columns))
        history[labels] = list(zip(times, values, strict=True))
    return times, history


def as_columns(times: list[int], history: History) -> History:
    """Drop the reads in which every series present failed: they make no column."""
    keep = []
    for column in range(len(times)):
        read = [history[labels][column][1] for labels in history]
        present = [v for v in read if v != naive.ABSENT]
        keep.append(not present or any(v != naive.FAILED for v in present))
    return {labels: [s for s, kept in zip(samples, keep, strict=True) if kept] for labels, samples in history.items()}


def same(got: float | str, want: float | str, tolerance: float) -> bool:
    """Compare to 1e-12, or to what the size of the samples allows."""
    if isinstance(got, str) or isinstance(want, str):
        return got == want
    return abs(got - want) <= max(tolerance, 1e-12 * abs(want))


def tolerance(signal: Signal, samples: list[naive.Sample], end_ms: int) -> float:
    """Return what the rounding of the samples themselves may cost: a difference cannot be better than they are."""
    numbers = [(t, v) for t, v in samples if not isinstance(v, str) and np.isfinite(v)]
    if len(numbers) < 2:
        return 0.0
    scale = 1e-12 * max(1e-280, *(abs(v) for _, v in numbers))  # below it numbers lose their last bits
    if signal.function in (Function.DERIV, Function.PREDICT_LINEAR):
        gap_s = min(b - a for (a, _), (b, _) in itertools.pairwise(numbers)) / 1000
        off_s = (end_ms - numbers[0][0]) / 1000
        reach_s = off_s + (signal.ahead_ms or 0) / 1000
        # Samples close together and far from zero time cancel each other out; Prometheus loses the same digits.
        return scale * max(off_s / gap_s, 1.0) ** 2 * max(reach_s, 1.0) / gap_s
    if signal.function in (Function.RATE, Function.IRATE):
        return scale * 1000
    return scale


SIGNALS = [
    Signal(function, None if function is Function.VALUE else WINDOW_MS, quantile=quantile, ahead_ms=ahead_ms)
    for function, quantile, ahead_ms in [
        *((function, None, None) for function in Function if function not in (*QUANTILES, Function.PREDICT_LINEAR)),
        *((Function.QUANTILE_OVER_TIME, q, None) for q in (0.0, 0.5, 0.9, 1.0)),
        (Function.PREDICT_LINEAR, None, 90_000),
    ]
]


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda s: f"{s.function}{s.quantile or ''}")
@settings(max_examples=100, deadline=None)
@given(reads=histories(), past_ms=st.integers(-15_000, 15_000))
def test_a_kernel_says_what_its_slow_twin_says(signal: Signal, reads: tuple[list[int], History], past_ms: int) -> None:
    """Every function gives the same number or the same reason on gaps, late series, ends, resets, failures."""
    times, history = reads
    store = feed(times, history, signal)
    columns = as_columns(times, history)
    if signal.function is not Function.VALUE:
        # What lies further back than the window that the store was told of may have been overwritten.
        signal = replace(signal, window_ms=WINDOW_MS - 15_000)
    end_ms = times[-1] + (0 if signal.function is Function.VALUE else past_ms)
    for labels, got in run(store, end_ms, signal).items():
        samples = columns[labels]
        assert same(got, twin(samples, end_ms, signal), tolerance(signal, samples, end_ms)), (labels, samples)


def twin(samples: list[naive.Sample], end_ms: int, signal: Signal) -> float | str:
    """Return what the slow twin says."""
    function, window_ms = signal.function, signal.window_ms or 0
    if function is Function.VALUE:
        return naive.newest(samples)
    if function in (Function.RATE, Function.INCREASE, Function.DELTA):
        counter, per_second = function is not Function.DELTA, function is Function.RATE
        return naive.extrapolated(samples, end_ms, window_ms, counter=counter, per_second=per_second)
    parameter = (signal.ahead_ms or 0) / 1000 if signal.quantile is None else signal.quantile
    return naive.over_time(samples, end_ms, window_ms, function.value, parameter)


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
    increase = Signal(Function.INCREASE, WINDOW_MS)
    store = feed(times, {SERIES[0]: [(40_000, 1.0), (50_000, 11.0), (60_000, 21.0)]}, increase)
    # span 20 s, delta 20; to the start 40 s >= 11 s: 5 s; zero lies 20 × 1/20 = 1 s before the first sample.
    assert run(store, 60_000, increase) == {SERIES[0]: pytest.approx(20 * 21 / 20)}


def test_a_series_that_only_ever_failed_has_no_rate() -> None:
    """A series that comes with a read that failed has no sample in the columns before it, not even one of zero."""
    a, b, rate = SERIES[0], SERIES[1], Signal(Function.RATE, WINDOW_MS)
    reads: History = {a: [(t, 1.0) for t in (1_000, 2_000)], b: [(t, naive.ABSENT) for t in (1_000, 2_000)]}
    store = feed([1_000, 2_000], reads, rate)
    everything = Layout((a, b))
    failed = dict.fromkeys((0, 1), Unknown(Reason.WRONG_TYPE, "x"))
    assert store.append(Batch(REF, "t", 3_000, everything, np.zeros(2), failed))
    assert run(store, 2_000, rate) == {a: 0.0, b: "gone"}


def test_a_sample_on_the_left_edge_is_outside() -> None:
    """A range is left-open: the sample exactly one window ago is not in it."""
    total = Signal(Function.SUM_OVER_TIME, WINDOW_MS)
    store = feed([10_000, 40_000, 70_000], {SERIES[0]: [(10_000, 5.0), (40_000, 7.0), (70_000, 9.0)]}, total)
    assert run(store, 70_000, total) == {SERIES[0]: 16.0}


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
