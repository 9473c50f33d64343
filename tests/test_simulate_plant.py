"""The workload against closed forms: queues whose course and waiting times are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scaler.hpa_model import ExternalMetric, HpaSpec
from scaler.simulate import MAX_EVENTS, Mode, run
from scaler.simulate_loop import Run, run_loop
from scaler.simulate_model import Arrivals, Load, Measure, Nodes, Pods, Scenario, Signal, Sizes, Takes, Workload
from scaler.simulate_plant import FluidPlant, JobPlant, draw_arrivals, draw_sizes

NEVER = HpaSpec(1_000, (ExternalMetric("m", average_value_milli=10**15),), min_replicas=1)


def _fixed(replicas: int) -> HpaSpec:
    return HpaSpec(replicas, (ExternalMetric("m", average_value_milli=1),), min_replicas=replicas)


def _load(*segments: tuple[float, float]) -> Load:
    """Return a load of (seconds, jobs a second) segments."""
    lengths, rates = zip(*segments, strict=True)
    return Load(np.cumsum([0.0, *lengths]), np.array(rates, np.float64))


def _run(
    workload: Workload,
    load: Load,
    mode: Mode,
    hpa: HpaSpec | None = None,
    objective_s: float = math.inf,
    sync_ms: int = 15_000,
) -> Run:
    hpa = hpa or _fixed(workload.replicas)
    return run(
        Scenario(hpa, (Signal(Measure.WAITING, delay_ms=0),), workload, load, objective_s=objective_s, sync_ms=sync_ms),
        mode,
        seed=7,
    )


EVENLY = Pods(1.0, sizes=Sizes.FIXED)


def test_dd1_backlog() -> None:
    """D/D/1: while more comes than is done the backlog grows in a straight line, then falls in one."""
    load = _load((100, 5.0), (200, 1.0))
    result, trace = _run(Workload(EVENLY, replicas=2), load, Mode.FLUID)
    expected = np.where(trace["time_s"] <= 100, 3 * trace["time_s"], np.maximum(300 - (trace["time_s"] - 100), 0))
    assert trace["backlog"] == pytest.approx(expected, abs=1e-9)
    assert result.backlog_max == pytest.approx(300)
    assert (result.served, result.backlog_end) == (pytest.approx(600), pytest.approx(100))


def test_dd1_waits() -> None:
    """D/D/1: a job that comes after t seconds waits (λ/μ - 1)·t, so the waits of a ramp are spread evenly."""
    load = _load((100, 5.0), (400, 0.0))
    result, _ = _run(Workload(EVENLY, replicas=2), load, Mode.FLUID, objective_s=75.0)
    assert result.wait_max == pytest.approx(150)
    assert result.wait_mean == pytest.approx(75)
    assert result.wait_p50 == pytest.approx(75, rel=1e-3)
    assert result.wait_p95 == pytest.approx(142.5, rel=1e-3)
    # The head of the queue at t came 2t/5 after the start, so it has waited 3t/5: longer than 75 s from t = 125 on.
    assert result.over_s == pytest.approx(125)


@pytest.mark.parametrize("mode", list(Mode))
def test_both_modes_of_an_even_queue(mode: Mode) -> None:
    """Jobs that come evenly and take all as long: event by event it is what the fluid says, to within a job."""
    load = _load((300, 3.0), (600, 0.5))
    workload = Workload(EVENLY, replicas=2, arrivals=Arrivals.EVEN)
    result, trace = _run(workload, load, mode)
    assert result.backlog_max == pytest.approx(300, abs=3)
    assert result.wait_max == pytest.approx(150, abs=2)
    # 200 of the 1,200 jobs do not wait; the waits of the others are spread evenly up to 150 s.
    assert result.wait_p50 == pytest.approx(60, abs=1)
    assert trace["backlog"][19] == pytest.approx(300, abs=3)
    assert trace["backlog"][-1] == pytest.approx(0, abs=1)


def _erlang_c(servers: int, offered: float) -> float:
    """Return the probability that a job of an M/M/c queue waits."""
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


@pytest.mark.parametrize(("servers", "concurrency", "rate"), [(1, 1, 0.7), (4, 1, 3.2), (5, 4, 17.0)])
def test_mmc_waits(servers: int, concurrency: int, rate: float) -> None:
    """M/M/c: the mean and the 95th percentile of the wait are those of Erlang's formula."""
    slots = servers * concurrency
    load = _load((600_000 / rate, rate))
    workload = Workload(Pods(1.0, concurrency=concurrency), replicas=servers)
    result, _ = _run(workload, load, Mode.EVENTS, sync_ms=3_600_000)
    waits = _erlang_c(slots, rate)
    assert result.wait_mean == pytest.approx(waits / (slots - rate), rel=0.05)
    assert result.wait_p95 == pytest.approx(math.log(waits / 0.05) / (slots - rate), rel=0.05)


def test_md1_wait() -> None:
    """M/D/1: jobs that all take as long wait half as long as exponential ones (Pollaczek and Khinchine)."""
    result, _ = _run(Workload(EVENLY), _load((400_000, 0.8)), Mode.EVENTS, sync_ms=3_600_000)
    assert result.wait_mean == pytest.approx(0.8 / (2 * 0.2), rel=0.05)


def test_mg1_wait() -> None:
    """M/G/1: with lognormal jobs the mean wait is λ·E[S²] / 2(1 - ρ)."""
    pods = Pods(1.0, sizes=Sizes.LOGNORMAL, variation=1.5)
    result, _ = _run(Workload(pods), _load((1_500_000, 0.6)), Mode.EVENTS, sync_ms=3_600_000)
    assert result.wait_mean == pytest.approx(0.6 * (1 + 1.5**2) / (2 * 0.4), rel=0.08)


@pytest.mark.parametrize("mode", list(Mode))
def test_jobs_give_up(mode: Mode) -> None:
    """With a timeout nobody waits longer; what is more than can be done gives up, and only that."""
    workload = Workload(EVENLY, replicas=2, timeout_s=20.0, arrivals=Arrivals.EVEN)
    result, trace = _run(workload, _load((300, 5.0), (100, 0.0)), mode)
    # Two a second are done until the last job has come and 20 s more; all others give up.
    assert result.served == pytest.approx(2 * 320, abs=8)
    assert result.served + result.lost == pytest.approx(1_500, abs=2)
    assert result.wait_max == pytest.approx(20, abs=0.5)
    assert trace["backlog"].max() == pytest.approx(100, abs=3)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_backlog_at_the_start(mode: Mode) -> None:
    """What waits at the start has come then, and is worked off first."""
    workload = Workload(EVENLY, replicas=4, backlog=200, arrivals=Arrivals.EVEN)
    result, trace = _run(workload, _load((100, 1.0)), mode)
    assert result.arrived == pytest.approx(300, abs=1)
    # The fluid does not part the jobs being worked on, four at most, from those waiting.
    assert trace["backlog"][1] == pytest.approx(200 - 3 * 30, abs=5)
    assert result.wait_max == pytest.approx(50, abs=1.5)


def _doubling(pods: Pods, mode: Mode, nodes: Nodes | None = None, seconds: float = 600) -> Run:
    """Return a run in which the HPA asks for all 10 replicas at its first sync, at 15 s."""
    hpa = HpaSpec(10, (ExternalMetric("m", average_value_milli=1),), min_replicas=5)
    workload = Workload(pods, nodes=nodes, replicas=5, arrivals=Arrivals.EVEN)
    return _run(workload, _load((seconds, 20.0)), mode, hpa)


@pytest.mark.parametrize("mode", list(Mode))
def test_pods_start(mode: Mode) -> None:
    """A new pod works once it has started and Ready once its probe has passed; by choice it works only then."""
    pods = Pods(1.0, startup_s=40, readiness_s=20, takes=Takes.STARTED, sizes=Sizes.FIXED)
    _, trace = _doubling(pods, mode)
    at = {int(row.time_s): row for row in trace}
    assert [at[s].replicas for s in (15, 30)] == [10, 10]
    assert [(at[s].working, at[s].ready) for s in (45, 60, 75)] == [(5, 5), (10, 5), (10, 10)]
    later = Pods(1.0, startup_s=40, readiness_s=20, takes=Takes.READY, sizes=Sizes.FIXED)
    assert _doubling(later, mode).trace["working"][3] == 5


@pytest.mark.parametrize("mode", list(Mode))
def test_pods_wait_for_nodes(mode: Mode) -> None:
    """Without room a pod waits for the scan that orders a node, and for the node; no more nodes than allowed."""
    nodes = Nodes(pods_per_node=2, min_nodes=1, max_nodes=4, provision_s=100, cooldown_s=600)
    result, trace = _doubling(Pods(1.0, sizes=Sizes.FIXED), mode, nodes)
    running = {int(row.time_s): int(row.running) for row in trace}
    # Three nodes at the start hold 6 of the 10. The scan at 20 s orders one more, the last one allowed.
    assert [running[s] for s in (15, 105, 120, 600)] == [6, 6, 8, 8]
    assert result.nodes_max == 4
    assert result.node_s == pytest.approx(3 * 600 + 580)


@pytest.mark.parametrize("mode", list(Mode))
def test_nodes_go_after_the_cooldown(mode: Mode) -> None:
    """A node is removed when its pods have not been needed for the cool-down, and not before."""
    nodes = Nodes(pods_per_node=2, min_nodes=0, max_nodes=9, provision_s=60, cooldown_s=600)
    hpa = HpaSpec(8, (ExternalMetric("m", average_value_milli=5_000),), min_replicas=2)
    workload = Workload(Pods(1.0, sizes=Sizes.FIXED), nodes=nodes, replicas=2, arrivals=Arrivals.EVEN)
    result, trace = _run(workload, _load((300, 6.0), (2_400, 0.5)), mode, hpa)
    assert result.nodes_max == 4
    assert trace["nodes"][-1] == 1
    shrunk = trace["time_s"][np.nonzero((trace["nodes"] == 1) & (trace["time_s"] > 300))[0][0]]
    last_needed = trace["time_s"][np.nonzero(trace["running"] > 2)[0][-1]]
    assert 600 <= shrunk - last_needed <= 640


def test_a_stopped_pod_ends_its_jobs() -> None:
    """A pod told to stop works on for its grace; what is not done then goes back, and nothing is lost."""
    hpa = HpaSpec(8, (ExternalMetric("m", value_milli=10**12),), min_replicas=1)
    load = _load((15.0, 8.0), (600, 0.0))
    for grace_s in (0.0, 300.0):
        pods = Pods(100.0, sizes=Sizes.FIXED, grace_s=grace_s)
        scenario = Scenario(hpa, (Signal(Measure.WAITING),), Workload(pods, replicas=8, backlog=8), load)
        plant = JobPlant(scenario, np.zeros(8), np.full(8, 100.0))
        plant.advance(15.0)
        plant.rescale(1)
        assert (int(plant.world.pods), int(plant.world.working)) == (1, 1)
        plant.advance(16.0)
        assert int(plant.world.ending) == (0 if grace_s == 0 else 7)
        assert plant.measure(Measure.WAITING) == (7 if grace_s == 0 else 0)
        plant.advance(10_000.0)
        assert plant.world.served == 8
        assert plant.waits_s()[4] == 0, "a job's wait ends when it is begun first"


def test_arrivals_are_drawn_once() -> None:
    """With one seed the jobs are the same whatever the HPA, so two of them can be compared; another seed differs."""
    load = _load((1_000, 3.0), (1_000, 0.0), (1_000, 5.0))
    first, again, other = (draw_arrivals(load, Arrivals.POISSON, 4, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:100], other[:100])
    assert (first[:4] == 0).all()
    assert (np.diff(first) >= 0).all()
    assert not ((first > 1_000) & (first < 2_000)).any()
    assert len(first) == pytest.approx(8_000, rel=0.05)


def test_even_arrivals() -> None:
    """Evenly spaced, the n-th job comes when n are expected, and none while the rate is 0."""
    times = draw_arrivals(_load((2, 1.0), (10, 0.0), (1, 2.0)), Arrivals.EVEN, 0, 0)
    assert times.tolist() == [1.0, 2.0, 12.5, 13.0]


@pytest.mark.parametrize("sizes", list(Sizes))
def test_sizes_have_their_mean(sizes: Sizes) -> None:
    """Whatever the distribution, a job takes as long as was said on average."""
    assert draw_sizes(Pods(2.5, sizes=sizes, variation=0.7), 200_000, 1).mean() == pytest.approx(2.5, rel=0.02)


def test_too_many_jobs() -> None:
    """More jobs than can be followed are refused, with what to do instead."""
    with pytest.raises(ValueError, match="use the fluid mode"):
        _run(Workload(EVENLY), _load((MAX_EVENTS, 2.0)), Mode.EVENTS)


def test_a_week_is_no_longer_than_its_changes() -> None:
    """The fluid has a closed form between changes: a plant advanced in one step is one advanced in many."""
    load = _load((100, 5.0), (50, 0.0), (300, 1.0), (200, 4.0))
    scenario = Scenario(NEVER, (Signal(Measure.WAITING),), Workload(EVENLY, replicas=2, timeout_s=40), load)
    one, many = FluidPlant(scenario), FluidPlant(scenario)
    one.advance(650.0)
    for step in range(1, 6_501):
        many.advance(step / 10)
    for name in ("backlog", "served", "lost", "wait_max", "pod_s"):
        assert one.world[name] == pytest.approx(many.world[name], rel=1e-6, abs=1e-6), name
    assert one.waits_s() == pytest.approx(many.waits_s(), rel=1e-2)


def test_a_change_knows_its_decision() -> None:
    """The readable loop keeps the whole decision behind each change, with conditions and events."""
    scenario = Scenario(
        HpaSpec(10, (ExternalMetric("m", average_value_milli=1_000),)),
        (Signal(Measure.WAITING),),
        Workload(EVENLY),
        _load((120, 3.0)),
    )
    _, changes = run_loop(scenario, FluidPlant(scenario))
    assert changes[0].before == 1
    assert changes[0].decision.events[-1].reason == "SuccessfulRescale"
