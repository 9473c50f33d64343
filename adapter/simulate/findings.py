"""What a run says about its HPA, in sentences: what is good, what is not, and what to try."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from scaler.simulate import Mode
from scaler.simulate_loop import Run
from scaler.simulate_model import FLAP_S, Scenario
from scaler.simulate_objective import DURATIONS, Objective, figure
from scaler.simulate_state import LIMIT

Level: TypeAlias = Literal["good", "note", "bad"]

_DAY_S = 86_400.0
_MANY_FLAPS_A_DAY = 6
_LONG_SHARE = 0.02
_IDLE_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence. `level`: good, worth knowing, or bad."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run, what was run, and what it says. `setting`: what was turned, where a sweep did."""

    name: str
    scenario: Scenario
    mode: Mode
    run: Run
    closed: bool
    findings: tuple[Finding, ...] = ()
    met: bool | None = None
    setting: str = ""

    @property
    def busy(self) -> float:
        """The share of its slots' time that the workload worked; NaN without pods."""
        pods, result = self.scenario.workload.pods, self.run.result
        slots_s = float(result.pod_s) * pods.concurrency
        return float(result.served) * pods.service_s / slots_s if slots_s > 0 else math.nan


def judged(name: str, scenario: Scenario, mode: Mode, run: Run, objective: Objective, *, closed: bool) -> Outcome:
    """Return a run with what it says."""
    met = bool(objective.met(run.result)) if objective.clauses else None
    bare = Outcome(name, scenario, mode, run, closed, (), met)
    found = (*_objective(bare, objective), *(_waiting(bare) if closed else ()), *_scaling(bare, objective))
    return Outcome(name, scenario, mode, run, closed, found, met)


def _objective(outcome: Outcome, objective: Objective) -> Iterator[Finding]:
    result = outcome.run.result
    for clause in objective.clauses:
        one = Objective((clause,))
        holds = bool(one.met(result))
        value = float(figure(result, clause.figure))
        shown = (
            (duration(value), duration(clause.bound))
            if clause.figure in DURATIONS
            else (f"{value:,.4g}", f"{clause.bound:,.4g}")
        )
        text = f"{clause.figure} is {shown[0]}; the objective is {clause.operator} {shown[1]}"
        yield Finding("good" if holds else "bad", text)


def _waiting(outcome: Outcome) -> Iterator[Finding]:
    scenario, result = outcome.scenario, outcome.run.result
    length_s = scenario.load.end_s
    if result.lost >= 1:
        share = result.lost / result.arrived
        patience = duration(scenario.workload.timeout_s)
        yield Finding("bad", f"{result.lost:,.0f} jobs ({share:.1%}) gave up after {patience}")
    capacity = scenario.hpa.max_replicas * scenario.workload.pods.rate
    mean_rate = scenario.load.jobs / length_s
    if capacity < mean_rate:
        yield Finding(
            "bad",
            f"maxReplicas {scenario.hpa.max_replicas} does {capacity:,.4g} jobs/s at most, and {mean_rate:,.4g} come "
            "on average: no rule can keep up",
        )
    elif result.saturated_s > _LONG_SHARE * length_s and scenario.hpa.max_replicas > scenario.hpa.min_replicas:
        text = f"at maxReplicas ({scenario.hpa.max_replicas}) for {duration(result.saturated_s)}"
        waiting = _backlog_when_full(outcome)
        if waiting:
            yield Finding("bad", f"{text}, with jobs waiting {waiting:.0%} of that time: raise maxReplicas")
        else:
            yield Finding("note", text)
    if result.backlog_end > max(outcome.run.trace["rate"][-1] * 60, 10) if len(outcome.run.trace) else False:
        yield Finding("note", f"{result.backlog_end:,.0f} jobs still wait at the end; they count with their age then")
    if result.over_s > 0:
        share = result.over_s / length_s
        yield Finding(
            "note" if outcome.met else "bad",
            f"the next job had waited longer than {duration(scenario.objective_s)} for {duration(result.over_s)} "
            f"({share:.1%}) of the time",
        )
    unplaced = (outcome.run.trace["replicas"] > outcome.run.trace["running"]).mean() if len(outcome.run.trace) else 0
    if unplaced > _LONG_SHARE:
        yield Finding("note", f"pods waited for a node {unplaced:.0%} of the time")
    if outcome.busy < _IDLE_SHARE:
        share = f"{outcome.busy:.0%}"
        yield Finding("note", f"pods worked {share} of their time: a higher target, or fewer minReplicas, is cheaper")


def _backlog_when_full(outcome: Outcome) -> float:
    trace = outcome.run.trace
    full = trace["replicas"] >= outcome.scenario.hpa.max_replicas
    return float((trace["backlog"][full] >= 1).mean()) if full.any() else 0.0


def _scaling(outcome: Outcome, objective: Objective) -> Iterator[Finding]:
    result, trace, scenario = outcome.run.result, outcome.run.trace, outcome.scenario
    changes = int(result.scale_ups + result.scale_downs)
    days = max(scenario.load.end_s / _DAY_S, 1.0)
    if changes == 0:
        yield Finding("note", f"it never changed the count: {int(result.replicas_end)} replicas all the time")
    judged_already = any(clause.figure == "flaps" for clause in objective.clauses)
    if result.flaps / days > _MANY_FLAPS_A_DAY and not (judged_already and outcome.met):
        yield Finding(
            "bad",
            f"{int(result.flaps)} flaps: changes that turned the one before round within {duration(FLAP_S)}; a longer "
            "scaleDown.stabilizationWindowSeconds calms them",
        )
    elif changes and not result.flaps:
        yield Finding(
            "good", f"{changes} changes, and none of them turned the one before round within {duration(FLAP_S)}"
        )
    failed = float((trace["limit"] == LIMIT.index("FailedGetExternalMetric")).mean()) if len(trace) else 0.0
    if failed:
        yield Finding("note", f"a metric was unknown at {failed:.1%} of the syncs: the HPA went no lower meanwhile")
    held = np.isin(trace["limit"], [LIMIT.index("ScaleUpLimit")]) & (trace["backlog"] >= 1)
    if len(trace) and held.mean() > _LONG_SHARE:
        yield Finding("note", f"scaleUp policies held it back at {held.mean():.0%} of the syncs while jobs waited")


def duration(seconds: float) -> str:
    """Write a duration for people: "850 ms", "4.2 s", "2 m 5 s", "12 m", "3 h 20 m"."""
    if math.isnan(seconds):
        return "–"
    if math.isinf(seconds):
        return "∞"
    if seconds < 0.0005:
        return "0 s"
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 119.5:
        return f"{seconds:.3g} s"
    if seconds < 599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} m {rest} s" if rest else f"{minutes} m"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} m"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} m" if rest and hours < 48 else f"{round(minutes / 60)} h"
