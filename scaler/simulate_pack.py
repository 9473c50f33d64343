"""Scenarios as the arrays that compiled code reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaler.hpa import tolerance_of
from scaler.hpa_model import Behavior, Policy, PolicyType, ScalingRules, SelectPolicy
from scaler.model import F64, I64
from scaler.rules import Function
from scaler.simulate_model import Measure, Scenario, Series, Signal, Takes
from scaler.simulate_state import PLANT, RULE, SIGNAL, TARGET, Records, records

_MEASURES = tuple(Measure)
_FUNCTIONS = {
    Function.VALUE: 0,
    Function.LAST_OVER_TIME: 0,
    Function.RATE: 1,
    Function.INCREASE: 2,
    Function.DELTA: 3,
    Function.AVG_OVER_TIME: 4,
    Function.MAX_OVER_TIME: 5,
    Function.MIN_OVER_TIME: 6,
    Function.SUM_OVER_TIME: 7,
}
FUNCTIONS = frozenset(_FUNCTIONS)
"""What a signal may compute here."""

_SELECT = {SelectPolicy.MAX: 0, SelectPolicy.MIN: 1, SelectPolicy.DISABLED: 2}


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Scenarios under one load, as `run_fluid` takes them. A slice of the runs costs nothing."""

    rules: Records
    policies: I64
    targets: Records
    signals: Records
    plants: Records
    edges: F64
    rates: F64
    times: F64
    given: F64
    begins: F64
    sync_ms: int
    syncs: int

    def __len__(self) -> int:
        return len(self.rules)


def pack(scenarios: Sequence[Scenario]) -> Packed:
    """Return the scenarios as arrays. All have the load, the sync period and the number of metrics of the first.

    Raises:
        ValueError: They do not.
    """
    first, count = scenarios[0], len(scenarios)
    metrics = len(first.signals)
    if any(
        each.load is not first.load or each.sync_ms != first.sync_ms or len(each.signals) != metrics
        for each in scenarios
    ):
        raise ValueError("scenarios: must share the load, the sync period and the number of metrics")
    most = max(len(rules.policies) for each in scenarios for rules in _rules(each))
    policies = np.zeros((2 * count, most, 3), np.int64)
    rules, plants = records(RULE, count), records(PLANT, count)
    targets, signals = records(TARGET, count * metrics), records(SIGNAL, count * metrics)
    begins = np.zeros((count, 2))
    shelf = _Shelf()
    for index, each in enumerate(scenarios):
        _put_rule(rules, policies, index, each)
        plants[index] = plant_of(each)
        begins[index] = each.workload.replicas, each.workload.backlog
        for metric, signal in enumerate(each.signals):
            row = index * metrics + metric
            targets[row] = target_of(each, metric)
            signals[row] = _signal(signal, shelf.rows(signal.series))
    times, given = shelf.columns()
    edges, rates = np.ascontiguousarray(first.load.edges_s), np.ascontiguousarray(first.load.rates)
    return Packed(
        rules, policies, targets, signals, plants, edges, rates, times, given, begins, first.sync_ms, first.syncs
    )


class _Shelf:
    """The given series behind each other, each once."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[int, int]] = {}
        self._series: list[Series] = []
        self._end = 0

    def rows(self, series: Series | None) -> tuple[int, int]:
        """Return the first row of a series, and one past its last."""
        if series is None:
            return 0, 0
        if id(series) not in self._found:
            self._found[id(series)] = self._end, self._end + len(series.time_s)
            self._series.append(series)
            self._end += len(series.time_s)
        return self._found[id(series)]

    def columns(self) -> tuple[F64, F64]:
        """Return all times and all values."""
        if not self._series:
            return np.zeros(0), np.zeros(0)
        return (
            np.concatenate([each.time_s for each in self._series]),
            np.concatenate([each.values for each in self._series]),
        )


def _rules(scenario: Scenario) -> tuple[ScalingRules, ScalingRules]:
    behavior = scenario.hpa.behavior or Behavior()
    return behavior.scale_up, behavior.scale_down


def _window_s(scenario: Scenario) -> float:
    """Return the window of scaling down, as the controller fills it in."""
    window_s = scenario.controller.downscale_stabilization_s
    if scenario.hpa.behavior is None:
        return window_s
    own_s = scenario.hpa.behavior.scale_down.stabilization_window_s
    return int(window_s) if own_s is None else own_s


def _put_rule(rules: Records, policies: I64, index: int, scenario: Scenario) -> None:
    hpa, tolerance = scenario.hpa, tolerance_of(scenario.hpa, scenario.controller)
    up, down = _rules(scenario)
    rules[index] = (
        hpa.min_replicas,
        hpa.max_replicas,
        hpa.behavior is not None,
        _SELECT[up.select_policy],
        _SELECT[down.select_policy],
        len(up.policies),
        len(down.policies),
        scenario.controller.scale_to_zero,
        up.stabilization_window_s or 0,
        _window_s(scenario),
        tolerance.up,
        tolerance.down,
        _longest_s(up.policies),
        _longest_s(down.policies),
    )
    for side, direction in enumerate((up, down)):
        for place, policy in enumerate(direction.policies):
            kind = int(policy.type is PolicyType.PERCENT)
            policies[2 * index + side, place] = kind, policy.value, policy.period_s


def _longest_s(policies: Sequence[Policy]) -> int:
    return max((policy.period_s for policy in policies), default=0)


def target_of(scenario: Scenario, metric: int) -> tuple[bool, int]:
    """Return whether a metric has a target a replica, and the target in milli-units."""
    found = scenario.hpa.metrics[metric]
    if found.average_value_milli is not None:
        return True, found.average_value_milli
    if found.value_milli is None:
        raise ValueError(f"{found.name}: neither a value target nor an average value target was set")
    return False, found.value_milli


def plant_of(scenario: Scenario) -> tuple[float, ...]:
    """Return the workload as a PLANT."""
    pods, nodes = scenario.workload.pods, scenario.workload.nodes
    ready_s = pods.startup_s + pods.readiness_s
    return (
        pods.rate,
        pods.startup_s if pods.takes is Takes.STARTED else ready_s,
        ready_s,
        min(pods.grace_s, pods.service_s),
        scenario.workload.timeout_s,
        scenario.objective_s,
        pods.service_s,
        nodes is not None,
        nodes.pods_per_node if nodes else 1,
        nodes.min_nodes if nodes else 0,
        nodes.max_nodes if nodes else 0,
        nodes.provision_s if nodes else 0.0,
        nodes.cooldown_s if nodes else 0.0,
    )


def _signal(signal: Signal, rows: tuple[int, int]) -> tuple[float, ...]:
    return (
        _MEASURES.index(signal.measure),
        _FUNCTIONS[signal.function],
        signal.samples,
        signal.interval_ms,
        signal.delay_ms,
        signal.max_age_ms,
        signal.window_ms / 1_000,
        signal.guard_min,
        signal.guard_max,
        *rows,
    )
