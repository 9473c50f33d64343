"""The closed loop in plain Python: a workload, what is measured of it, and the HPA's algorithm as hpa.py has it.

This is the text to read. `simulate_kernel_loop.py` does the same for fluid runs, some hundred times as fast, and a test
holds the two together: same moments, same readings, same decisions.

The order of what happens at one moment: pods and nodes become ready, sources are read, the HPA syncs, the cluster
autoscaler looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from scaler import quantity
from scaler.hpa import combine, decide, reads_metrics, tolerance_of
from scaler.hpa_behavior import normalize
from scaler.hpa_model import Condition, Decision, History, MetricError, Recommendation, State
from scaler.model import F64
from scaler.rules import Function
from scaler.simulate_model import FLAP_S, SCAN_MS, Measure, Scenario, Signal
from scaler.simulate_plant import FluidPlant, JobPlant
from scaler.simulate_state import LIMIT, RESULT, STABLE, TRACE, Record, Records, records

NO_VALUE = MetricError("the recorded series has no value here")
NOT_ASKED = -1


class Run(NamedTuple):
    """What came of a run: a RESULT, and a TRACE with a row a sync."""

    result: Record
    trace: Records


class Change(NamedTuple):
    """A change of the replica count and the decision behind it."""

    time_s: float
    before: int
    after: int
    decision: Decision


class Reader:
    """A metric: reads the source at each interval, and serves what the signal makes of the readings.

    Before the start everything stood as at the start: gauges still, counters rising as they do then. So the first
    windows are full.
    """

    def __init__(self, signal: Signal, first: float, slope_s: float) -> None:
        """`first`: the reading at the start; `slope_s`: how a counter rose before, a second."""
        self.signal = signal
        self._first, self._per_read = first, slope_s * signal.interval_ms / 1_000
        self._reads: list[float] = []

    @property
    def next_ms(self) -> int:
        """When the next read is due."""
        return len(self._reads) * self.signal.interval_ms

    def take(self, reading: float) -> None:
        """Note a reading; NaN is unknown."""
        self._reads.append(reading)

    def serve(self, now_ms: int) -> tuple[int] | MetricError:
        """Return what the HPA gets: one item in milli-units, or an error."""
        signal = self.signal
        at = max((now_ms - signal.delay_ms) // signal.interval_ms, 0)
        if signal.measure is Measure.SERIES:
            oldest = at - signal.max_age_ms // signal.interval_ms
            while at > max(oldest, 0) and math.isnan(self._reads[at]):
                at -= 1
            if math.isnan(self._reads[at]):
                return NO_VALUE
        value = max(self._value([self._read(at - back) for back in reversed(range(signal.samples))]), 0.0)
        return (quantity.milli(max(min(value, signal.guard_max), signal.guard_min)),)

    def _read(self, index: int) -> float:
        return self._reads[index] if index >= 0 else self._first + index * self._per_read

    def _value(self, samples: Sequence[float]) -> float:
        """Apply the function to the samples of the window, the oldest first."""
        signal = self.signal
        match signal.function:
            case Function.RATE | Function.INCREASE | Function.DELTA:
                # Reads tick evenly, so the extrapolation to the window's edges is this slope.
                slope = (samples[-1] - samples[0]) / ((len(samples) - 1) * (signal.interval_ms / 1_000))
                return slope if signal.function is Function.RATE else slope * (signal.window_ms / 1_000)
            case Function.AVG_OVER_TIME:
                return self._sum(samples) / len(samples)
            case Function.SUM_OVER_TIME:
                return self._sum(samples)
            case Function.MAX_OVER_TIME:
                return max(samples)
            case Function.MIN_OVER_TIME:
                return min(samples)
            case _:
                return samples[-1]

    @staticmethod
    def _sum(samples: Sequence[float]) -> float:
        total = samples[-1]
        for sample in samples[:-1]:
            total += sample
        return total


def run_loop(scenario: Scenario, plant: FluidPlant | JobPlant) -> tuple[Run, tuple[Change, ...]]:
    """Run once.

    Args:
        scenario: What is run.
        plant: Its workload, new.

    Returns: The result and the trace, and each change with the decision behind it.
    """
    loop = _Loop(scenario, plant)
    while loop.step():
        pass
    return loop.ended(), tuple(loop.changes)


class _Loop:
    """One run under way."""

    def __init__(self, scenario: Scenario, plant: FluidPlant | JobPlant) -> None:
        self._scenario, self._plant = scenario, plant
        self._end_ms = round(scenario.load.end_s * 1_000)
        self._replicas, self._syncs, self._scans = scenario.workload.replicas, 0, 0
        self._conditions: tuple[Condition, ...] = ()
        self._history = History()
        self._readers = [Reader(signal, self._reading(signal), self._slope_s(signal)) for signal in scenario.signals]
        self._result, self._trace = records(RESULT, 1)[0], records(TRACE, scenario.syncs)
        self._result.replicas_max = self._replicas
        self.changes: list[Change] = []

    def step(self) -> bool:
        """Go on to the next moment at which something ticks. Returns: whether the run goes on."""
        plant, world = self._plant, self._plant.world
        now_ms = self._next_ms()
        now_s = now_ms / 1_000
        if plant.next_node_s() < now_s:
            now_s, now_ms = plant.next_node_s(), -1
        if self._has_nodes:
            plant.nodes.node_s += (plant.nodes.count + plant.nodes.ordered) * (now_s - plant.nodes.now_s)
            plant.nodes.now_s = now_s
        if self._replicas >= self._scenario.hpa.max_replicas:
            self._result.saturated_s += now_s - world.now_s
        plant.advance(now_s)
        if self._has_nodes:
            plant.arrive()
        for reader in self._readers:
            if reader.next_ms == now_ms:
                reader.take(self._reading(reader.signal))
        if now_ms == (self._syncs + 1) * self._scenario.sync_ms and self._syncs < self._scenario.syncs:
            self._sync(now_ms)
            self._syncs += 1
        if self._has_nodes and now_ms == (self._scans + 1) * SCAN_MS:
            plant.scan()
            self._scans += 1
        return now_ms != self._end_ms

    @property
    def _has_nodes(self) -> bool:
        return self._scenario.workload.nodes is not None

    def _next_ms(self) -> int:
        due = [self._end_ms, *(reader.next_ms for reader in self._readers)]
        if self._syncs < self._scenario.syncs:
            due.append((self._syncs + 1) * self._scenario.sync_ms)
        if self._has_nodes:
            due.append((self._scans + 1) * SCAN_MS)
        return min(due)

    def _reading(self, signal: Signal) -> float:
        if signal.series is None:
            return self._plant.measure(signal.measure)
        found = int(np.searchsorted(signal.series.time_s, self._plant.world.now_s, side="right")) - 1
        return float(signal.series.values[found]) if found >= 0 else math.nan

    def _slope_s(self, signal: Signal) -> float:
        rate, workload = float(self._scenario.load.rates[0]), self._scenario.workload
        match signal.measure:
            case Measure.ARRIVALS:
                return rate
            case Measure.COMPLETIONS:
                return min(rate, workload.replicas * workload.pods.rate)
            case _:
                return 0.0

    def _sync(self, now_ms: int) -> None:
        scenario, ending = self._scenario, int(self._plant.world.ending)
        # Pods that end still match the selector and are Ready, but their Deployment no longer counts them.
        pods, ready = self._replicas + ending, int(self._plant.world.ready) + ending
        state = State(self._replicas, self._replicas, pods, ready, self._conditions)
        readings = [reader.serve(now_ms) for reader in self._readers]
        now_s = now_ms / 1_000
        decision = decide(scenario.hpa, state, readings, self._history, now_s, scenario.controller)
        why = _why(scenario, state, readings, self._history, now_s)
        self._conditions, self._history = decision.conditions, decision.history
        if decision.replicas != self._replicas:
            self._change(Change(now_s, self._replicas, decision.replicas, decision))
        self._note(now_s, why)

    def _change(self, change: Change) -> None:
        result, up = self._result, change.after > change.before
        result.scale_ups += up
        result.scale_downs += not up
        if self.changes:
            before = self.changes[-1]
            turned = (before.after > before.before) != up
            result.flaps += turned and change.time_s - before.time_s <= FLAP_S
        self.changes.append(change)
        self._replicas = change.after
        result.replicas_max = max(result.replicas_max, change.after)
        self._plant.rescale(change.after)

    def _note(self, now_s: float, why: tuple[int, int, int]) -> None:
        plant, world, row = self._plant, self._plant.world, self._trace[self._syncs]
        load = self._scenario.load
        row.time_s, row.rate = now_s, load.rates[_edge(load.edges_s, now_s)]
        row.backlog, row.in_flight = plant.measure(Measure.WAITING), plant.measure(Measure.IN_FLIGHT)
        row.age_s, row.served, row.lost = plant.age_s(), world.served, world.lost
        row.replicas, row.ready, row.working = self._replicas, world.ready, world.working
        row.running = world.pods - world.unscheduled + world.ending
        row.nodes = plant.nodes.count + plant.nodes.ordered
        row.desired, row.stable, row.limit = why

    def ended(self) -> Run:
        """Return what came of it."""
        plant, world, result = self._plant, self._plant.world, self._result
        backlog = plant.measure(Measure.WAITING)
        waits = plant.waits_s()
        result.wait_mean, result.wait_p50, result.wait_p95, result.wait_p99, result.wait_max = waits
        result.arrived, result.served, result.lost = world.arrived, world.served, world.lost
        result.backlog_max, result.backlog_end = world.backlog_max, backlog
        result.over_s, result.pod_s, result.node_s = world.over_s, world.pod_s, plant.nodes.node_s
        result.replicas_end, result.nodes_max = self._replicas, plant.nodes.most
        return Run(result, self._trace)


def _edge(edges_s: F64, now_s: float) -> int:
    return min(int(np.searchsorted(edges_s, now_s, side="right")), len(edges_s) - 1) - 1


def _why(
    scenario: Scenario,
    state: State,
    readings: Sequence[tuple[int] | MetricError],
    history: History,
    now_s: float,
) -> tuple[int, int, int]:
    """Return what the metrics ask for, and why it became another count: indices in STABLE and LIMIT."""
    hpa, controller = scenario.hpa, scenario.controller
    if not reads_metrics(hpa, state, controller):
        return NOT_ASKED, 0, LIMIT.index("OutOfBounds" if state.spec_replicas else "ScalingDisabled")
    combined = combine(hpa, state, readings, tolerance_of(hpa, controller))
    if combined.replicas is None:
        return NOT_ASKED, 0, LIMIT.index("FailedGetExternalMetric")
    desired = max(combined.replicas, 0)
    if not history.recommendations:
        history = replace(history, recommendations=(Recommendation(now_s, state.spec_replicas),))
    stable, limit = normalize(hpa, state.spec_replicas, desired, history, now_s, controller).conditions
    return desired, STABLE.index(stable.reason), LIMIT.index(limit.reason)
