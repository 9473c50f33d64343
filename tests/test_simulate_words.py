"""What loads, objectives and knobs mean."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.hpa_model import Behavior, ExternalMetric, HpaSpec, Policy, PolicyType, SelectPolicy
from scaler.simulate_model import Load, Measure, Pods, Scenario, Signal, Workload
from scaler.simulate_objective import FIGURES, front, parse_objective, ranked
from scaler.simulate_shapes import Description, Noise, Ramp, Recorded, Shape, Spike, Steps, Wave, build
from scaler.simulate_state import RESULT, records
from scaler.simulate_vary import KNOBS, grid, vary

HOUR_S = 3_600.0


def _rates(end_s: float, *shapes: Shape, **more: object) -> tuple[list[float], list[float]]:
    load = build(replace(Description(end_s, shapes), **more))  # type: ignore[arg-type]  # fields by name
    return load.edges_s.tolist(), load.rates.tolist()


def test_shapes_add_up() -> None:
    """Steps hold from their moment on, before the first nothing comes, and shapes add up."""
    edges, rates = _rates(100, Steps((0.0,), (2.0,)), Steps((20.0, 60.0), (5.0, 0.0)))
    assert (edges, rates) == ([0, 20, 60, 100], [2, 7, 2])


def test_a_ramp_is_cut_into_steps() -> None:
    """What is not constant has in each step the rate of its middle, so that no job is gained or lost."""
    load = build(Description(100, [Ramp(20, 80, 0, 6)], step_s=5))
    assert load.jobs == pytest.approx(60 * 3 + 20 * 6)
    assert load.rates.max() == 6


@pytest.mark.parametrize(("moment_s", "rate"), [(0, 2), (6 * HOUR_S, 11), (12 * HOUR_S, 20), (36 * HOUR_S, 20)])
def test_a_day(moment_s: float, rate: float) -> None:
    """A day goes from low to high at its peak and back, every day."""
    assert Wave(2, 20, 12 * HOUR_S).at(np.array([moment_s]))[0] == pytest.approx(rate)


def test_a_week() -> None:
    """Each weekday has its factor, from midnight to midnight, whatever day it begins on."""
    edges, rates = _rates(
        3 * 86_400, Steps((0.0,), (10.0,)), weekdays=(1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.25), first_day=4
    )
    assert (edges, rates) == ([0, 86_400, 172_800, 259_200], [10, 5, 2.5])


def test_a_spike() -> None:
    """A spike rises, stays and falls in straight lines, and comes again."""
    spike = Spike(100, 60, 30, rise_s=10, fall_s=20, every_s=1_000)
    moments = np.array([99.0, 105, 110, 169, 180, 191, 1_130, 2_199])
    assert spike.at(moments).tolist() == pytest.approx([0, 15, 30, 30, 15, 0, 30, 0])
    sharp = build(Description(300, [Spike(100, 60, 30)], step_s=15))
    assert sharp.jobs == pytest.approx(1_800)
    assert sharp.edges_s.tolist() == [0, 100, 160, 300]


def test_a_recording_ends() -> None:
    """After a recording nothing comes: its last value is not held for ever."""
    shape = Recorded(np.array([0.0, 10]), np.array([4.0, 6]), 20)
    assert _rates(40, shape) == ([0, 10, 20, 40], [4, 6, 0])


def test_noise() -> None:
    """Noise has mean 1 and the deviation asked for, is the same for a seed, and leaves no rate below 0."""
    factors = Noise(0.3, memory_s=300, every_s=60).factors(200_000, 5)
    assert factors.mean() == pytest.approx(1, rel=0.02)
    assert factors.std() == pytest.approx(0.3, rel=0.05)
    assert np.corrcoef(factors[:-1], factors[1:])[0, 1] == pytest.approx(math.exp(-0.2), abs=0.03)
    description = Description(HOUR_S, [Steps((0.0,), (1.0,))], noise=Noise(0.3))
    assert np.array_equal(build(description, 3).rates, build(description, 3).rates)
    assert not np.array_equal(build(description, 3).rates, build(description, 4).rates)


def test_a_load_is_checked() -> None:
    """Edges ascend from 0 and rates are finite and not negative."""
    with pytest.raises(ValueError, match="edges"):
        Load(np.array([0.0, 5, 5]), np.array([1.0, 1]))
    with pytest.raises(ValueError, match="rates"):
        Load(np.array([0.0, 5]), np.array([math.nan]))


def test_objectives() -> None:
    """An objective holds if all its demands do; a figure that is not known meets none."""
    objective = parse_objective(" p95_wait < 1m, flaps<=2")
    assert [(each.figure, each.operator, each.bound) for each in objective.clauses] == [
        ("p95_wait", "<", 60),
        ("flaps", "<=", 2),
    ]
    results = records(RESULT, 3)
    results["wait_p95"], results["flaps"] = [59, 60, math.nan], [2, 0, 0]
    assert objective.met(results).tolist() == [True, False, False]
    assert objective.wait_s == 60
    assert parse_objective("flaps<1").wait_s == math.inf


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p95<30s", '"p95" is no figure of a run; there are mean_wait, p50_wait'),
        ("p95_wait=30s", "must be a figure, <, <=, > or >=, and a number"),
        ("p95_wait<", "must be a figure"),
        ("p95_wait<1.2.3s", "must be a figure"),
        ("flaps<3s", '"flaps" is no duration: write 3 without s'),
        ("", "must be a figure"),
    ],
)
def test_bad_objectives(text: str, message: str) -> None:
    """What is no objective is refused with what it must be."""
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_objective(text)


def test_every_figure_is_one_of_a_run() -> None:
    """Each name in objectives is a field of a result."""
    assert {field for field, _ in FIGURES.values()} <= set(RESULT.names or ())


def test_the_cheapest_is_recommended() -> None:
    """Of those that meet the objective the cheapest comes first, then the one with fewer flaps."""
    results = records(RESULT, 4)
    results["pod_s"], results["wait_p95"], results["flaps"] = [10, 5, 10, 1], [1, 2, 1, 99], [3, 0, 1, 0]
    assert ranked(results, parse_objective("p95_wait<10s")) == [1, 2, 0]
    assert ranked(results, parse_objective("p95_wait<1s")) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9) | st.just(math.nan)), max_size=30))
def test_front(points: list[tuple[int, float]]) -> None:
    """The front holds no point that another beats in both, and every other point is matched or beaten by one of it."""
    found = front([cost for cost, _ in points], [bad for _, bad in points]).tolist()
    assert found == sorted(found, key=lambda index: points[index][0])
    for index, (cost, bad) in enumerate(points):
        beaten = any(points[each][0] <= cost and points[each][1] <= bad for each in found if each != index)
        assert index in found or beaten or math.isnan(bad)
        if index in found:
            assert not any(c <= cost and b <= bad and (c, b) != (cost, bad) for c, b in points)


SCENARIO = Scenario(
    HpaSpec(10, (ExternalMetric("m", average_value_milli=5_000),)),
    (Signal(Measure.WAITING),),
    Workload(Pods(1.0)),
    Load(np.array([0.0, 60]), np.array([1.0])),
)


def test_knobs() -> None:
    """A knob turns its field and nothing else; one of `behavior` brings the defaults of the rest with it."""
    turned = vary(SCENARIO, (("target", 7_000), ("maxReplicas", 3), ("scaleDown.stabilizationWindowSeconds", 60)))
    assert turned.hpa.metrics[0].average_value_milli == 7_000
    assert turned.hpa.max_replicas == 3
    assert turned.hpa.behavior is not None
    assert turned.hpa.behavior.scale_up == Behavior().scale_up
    assert turned.hpa.behavior.scale_down == replace(Behavior().scale_down, stabilization_window_s=60)
    total = replace(SCENARIO, hpa=HpaSpec(10, (ExternalMetric("m", value_milli=1),)))
    assert vary(total, (("target", 9),)).hpa.metrics[0].value_milli == 9
    assert vary(SCENARIO, (("interval", 30),)).signals[0].interval_ms == 30_000


def test_policy_knobs() -> None:
    """`scaleUp.pods` sets the policies of that type, and adds one where there is none."""
    behavior = vary(SCENARIO, (("scaleUp.pods", 9), ("scaleUp.selectPolicy", "Min"))).hpa.behavior
    assert behavior is not None
    assert behavior.scale_up.policies == (Policy(PolicyType.PODS, 9, 15), Policy(PolicyType.PERCENT, 100, 15))
    assert behavior.scale_up.select_policy is SelectPolicy.MIN
    behavior = vary(SCENARIO, (("scaleDown.pods", 2), ("scaleDown.periodSeconds", 90))).hpa.behavior
    assert behavior is not None
    assert behavior.scale_down.policies == (Policy(PolicyType.PERCENT, 100, 90), Policy(PolicyType.PODS, 2, 90))


def test_grid() -> None:
    """Every combination is there once, the last axis turning fastest."""
    assert grid([("a", (1, 2)), ("b", (3, 4))]) == [
        (("a", 1), ("b", 3)),
        (("a", 1), ("b", 4)),
        (("a", 2), ("b", 3)),
        (("a", 2), ("b", 4)),
    ]
    assert {"target", "minReplicas", "scaleUp.tolerance", "window"} <= set(KNOBS)
