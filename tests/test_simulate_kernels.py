"""The compiled loop decides as the readable algorithm does: single syncs, and whole runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler import quantity
from scaler.hpa import decide
from scaler.hpa_model import (
    SCALE_DOWN_DEFAULTS,
    Behavior,
    Condition,
    Controller,
    ExternalMetric,
    History,
    HpaSpec,
    MetricError,
    Policy,
    PolicyType,
    ScalingRules,
    SelectPolicy,
    State,
)
from scaler.rules import Function
from scaler.simulate import Mode, run
from scaler.simulate_kernel_hpa import milli_of, sync_hpa
from scaler.simulate_loop import run_loop
from scaler.simulate_model import Load, Measure, Nodes, Pods, Scenario, Series, Signal, Takes, Workload
from scaler.simulate_pack import pack
from scaler.simulate_plant import FluidPlant, JobPlant, draw_arrivals, draw_sizes
from scaler.simulate_state import EVENT, MEMORY, RESULT, TRACE, records

windows = st.sampled_from([0, 15, 30, 60, 300, 900])
policies = st.lists(
    st.builds(
        Policy,
        st.sampled_from(list(PolicyType)),
        st.sampled_from([1, 2, 4, 10, 50, 100, 300]),
        st.sampled_from([15, 30, 60, 600]),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
selects = st.sampled_from([SelectPolicy.MAX, SelectPolicy.MIN, SelectPolicy.MAX, SelectPolicy.DISABLED])
tolerances = st.none() | st.sampled_from([0.0, 0.05, 0.3])
ups = st.builds(ScalingRules, windows, selects, policies, tolerances)
downs = st.builds(ScalingRules, st.none() | windows, selects, policies, tolerances)
behaviors = st.none() | st.builds(Behavior, ups, downs)
targets = st.integers(1, 40_000)
metrics = st.lists(
    st.one_of(
        st.builds(lambda milli: ExternalMetric("m", average_value_milli=milli), targets),
        st.builds(lambda milli: ExternalMetric("m", value_milli=milli), targets),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
controllers = st.builds(Controller, st.sampled_from([0.0, 0.1]), st.sampled_from([0.0, 60.0, 300.0]), st.booleans())


@st.composite
def hpas(draw: st.DrawFn) -> HpaSpec:
    low = draw(st.integers(0, 5))
    return HpaSpec(low + draw(st.integers(1, 60)), draw(metrics), min_replicas=low, behavior=draw(behaviors))


def _scenario(hpa: HpaSpec, controller: Controller = Controller()) -> Scenario:  # noqa: B008 - it is frozen
    load = Load(np.array([0.0, 60.0]), np.array([1.0]))
    signals = tuple(Signal(Measure.WAITING) for _ in hpa.metrics)
    return Scenario(hpa, signals, Workload(Pods(1.0)), load, controller=controller)


readings = st.one_of(st.none(), st.integers(0, 200_000), st.sampled_from([0, quantity.MAX_MILLI]))


@settings(max_examples=300)
@given(
    hpas(),
    controllers,
    st.lists(
        st.tuples(st.tuples(readings, readings, readings), st.integers(0, 70), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    ),
)
def test_single_syncs(hpa: HpaSpec, controller: Controller, syncs: list[tuple[Any, int, int]]) -> None:
    """A sync gives the same count compiled and not, whatever was read, remembered, or done to the scale by hand."""
    packed = pack([_scenario(hpa, controller)])
    memory, room = records(MEMORY, 1), len(syncs) + 2
    times, counts = np.zeros(room), np.zeros(room, np.int64)
    ups, downs = records(EVENT, room), records(EVENT, room)
    replicas, history = hpa.min_replicas, History()
    conditions: tuple[Condition, ...] = ()
    for turn, (values, by_hand, ready) in enumerate(syncs, start=1):
        if by_hand > 62:
            replicas = by_hand - 62  # someone else scaled it
        now_s, used = turn * 15.0, values[: len(hpa.metrics)]
        given_ = [MetricError("none") if value is None else (value,) for value in used]
        pods, status = replicas + ready, replicas
        state = State(replicas, status, pods, min(ready, pods), conditions)
        decision = decide(hpa, state, given_, history, now_s, controller)
        milli = np.array([-1 if value is None else value for value in used], np.int64)
        places = (packed.rules, packed.policies, packed.targets, memory, times, counts, ups, downs, milli)
        got = sync_hpa(*places, replicas, status, pods, min(ready, pods), now_s)
        assert got[0] == decision.replicas
        history, conditions, replicas = decision.history, decision.conditions, decision.replicas


@given(st.floats(0, 1e17, allow_nan=False) | st.integers(0, 10**13).map(lambda milli: milli / 1_000))
def test_milli_units(value: float) -> None:
    """A value becomes the same milli-units compiled and not."""
    assert milli_of(value) == quantity.milli(value)


gauges = st.builds(
    lambda measure, function, reads: Signal(
        measure, 15_000, 1_000, function, 0 if function is Function.VALUE else reads * 15_000
    ),
    st.sampled_from([Measure.WAITING, Measure.IN_FLIGHT, Measure.OPEN]),
    st.sampled_from([Function.VALUE, Function.AVG_OVER_TIME, Function.MAX_OVER_TIME, Function.MIN_OVER_TIME,
                     Function.SUM_OVER_TIME, Function.LAST_OVER_TIME, Function.DELTA]),
    st.integers(3, 8),
)  # fmt: skip
counters = st.builds(
    lambda measure, function, interval_ms, reads: Signal(
        measure, interval_ms, interval_ms // 2, function, reads * interval_ms - 500
    ),
    st.sampled_from([Measure.ARRIVALS, Measure.COMPLETIONS]),
    st.sampled_from([Function.RATE, Function.INCREASE]),
    st.sampled_from([5_000, 7_000, 30_000]),
    st.integers(3, 8),
)
series = st.lists(st.floats(0, 50) | st.just(math.nan), min_size=1, max_size=30).map(
    lambda values: Signal(
        Measure.SERIES,
        10_000,
        0,
        series=Series(np.arange(0.0, 40.0 * len(values), 40.0), np.array(values, np.float64)),
        max_age_ms=30_000,
    )
)
guarded = st.builds(
    lambda signal, low: Signal(signal.measure, signal.interval_ms, 0, guard_min=low, guard_max=low + 40),
    gauges,
    st.floats(0, 5),
)


clusters = st.builds(
    Nodes, st.integers(1, 5), st.just(0), st.integers(20, 60), st.sampled_from([45.0, 181.0]), st.just(120.0)
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    hpa = draw(hpas())
    signals = tuple(draw(st.one_of(gauges, counters, series, guarded)) for _ in hpa.metrics)
    pods = Pods(
        draw(st.sampled_from([0.2, 1.0, 3.3])),
        concurrency=draw(st.integers(1, 4)),
        startup_s=draw(st.sampled_from([0.0, 7.0, 20.5, 95.0])),
        readiness_s=draw(st.sampled_from([0.0, 11.0])),
        takes=draw(st.sampled_from(list(Takes))),
        grace_s=draw(st.sampled_from([0.0, 30.0])),
    )
    nodes = draw(st.none() | clusters)
    edges = np.cumsum([0.0, *draw(st.lists(st.sampled_from([5.0, 13.5, 60.0, 240.0]), min_size=3, max_size=12))])
    levels = st.sampled_from([0.0, 0.5, 3.0, 11.0, 40.0])
    rates = np.array(draw(st.lists(levels, min_size=len(edges) - 1, max_size=len(edges) - 1)))
    workload = Workload(
        pods,
        nodes,
        timeout_s=draw(st.sampled_from([math.inf, 20.0])),
        replicas=min(max(hpa.min_replicas, 1), hpa.max_replicas),
        backlog=draw(st.sampled_from([0.0, 37.0])),
    )
    controller = draw(controllers)
    return Scenario(
        hpa, signals, workload, Load(edges, rates), draw(st.sampled_from([15_000, 4_000])), controller, 10.0
    )


@settings(max_examples=120)
@given(scenarios())
def test_whole_runs(scenario: Scenario) -> None:
    """A run is the same, to the last bit, compiled and in plain Python around the readable algorithm."""
    fast = run(scenario, Mode.FLUID)
    plain, changes = run_loop(scenario, FluidPlant(scenario))
    for name in TRACE.names or ():
        assert np.array_equal(fast.trace[name], plain.trace[name]), name
    for name in RESULT.names or ():
        assert np.array_equal(fast.result[name], plain.result[name], equal_nan=True), name
    assert len(changes) == fast.result.scale_ups + fast.result.scale_downs


@settings(max_examples=120)
@given(scenarios())
def test_nothing_is_lost(scenario: Scenario) -> None:
    """What came was done, gave up, or waits; and no count leaves its bounds."""
    result, trace = run(scenario, Mode.FLUID)
    whole = result.served + result.lost + result.backlog_end
    assert whole == pytest.approx(result.arrived, abs=1e-6 * max(result.arrived, 1))
    assert (trace["ready"] <= trace["running"]).all()
    assert (trace["running"] >= 0).all()
    assert (trace["backlog"] >= 0).all()
    assert np.isnan(result.wait_max) or result.wait_max <= scenario.workload.timeout_s + 1e-6


@settings(max_examples=80)
@given(scenarios(), st.integers(0, 3))
def test_no_job_is_lost(scenario: Scenario, seed: int) -> None:
    """Event by event, every job that came was done, gave up, is being worked on, or waits; and none waits too long."""
    workload = scenario.workload
    come = draw_arrivals(scenario.load, workload.arrivals, round(workload.backlog), seed)
    plant = JobPlant(scenario, come, draw_sizes(workload.pods, len(come), seed))
    (result, trace), _ = run_loop(scenario, plant)
    running = plant.measure(Measure.IN_FLIGHT)
    assert result.served + result.lost + result.backlog_end + running == result.arrived == len(come)
    waits = plant.each_wait_s()
    assert (waits >= 0).all()
    assert (waits <= workload.timeout_s + 1e-6).all()
    assert (trace["ready"] <= trace["running"]).all()


def test_defaults_are_packed() -> None:
    """Without `behavior` the controller's window rules; with it, its own, where it names none."""
    plain = pack([_scenario(HpaSpec(9, (ExternalMetric("m", value_milli=1),)), Controller(0.2, 77))])
    assert (plain.rules[0].behavior, plain.rules[0].down_window_s, plain.rules[0].up_tolerance) == (0, 77, 0.2)
    rules = ScalingRules(None, SelectPolicy.MAX, SCALE_DOWN_DEFAULTS.policies, 0.5)
    own = pack([_scenario(HpaSpec(9, (ExternalMetric("m", value_milli=1),), behavior=Behavior(scale_down=rules)))])
    assert (own.rules[0].behavior, own.rules[0].down_window_s, own.rules[0].down_tolerance) == (1, 300, 0.5)
