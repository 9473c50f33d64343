"""The figures of a run, for people and for machines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adapter.simulate.findings import Outcome, duration
from adapter.simulate.manifest import target_text
from scaler.simulate_objective import FIGURES, Objective, figure
from scaler.simulate_state import LIMIT, STABLE, TRACE, Record, Records

SCHEMA = "spillway.dev/simulate/v1"

Rows = Sequence[tuple[str, Sequence[str]]]
"""A label, and a cell an outcome."""


def table(outcomes: Sequence[Outcome]) -> list[tuple[str, list[str]]]:
    """Return the figures of outcomes side by side, what matters most first."""
    first = outcomes[0]
    rows: list[tuple[str, list[str]]] = []

    def add(label: str, cells: Sequence[str]) -> None:
        rows.append((label, list(cells)))

    results = [each.run.result for each in outcomes]
    add("target", [", ".join(map(target_text, each.scenario.hpa.metrics)) for each in outcomes])
    if first.closed:
        for share in ("p50", "p95", "p99", "max"):
            add(f"wait {share}", [duration(float(each[f"wait_{share}"])) for each in results])
        if not math.isinf(first.scenario.objective_s):
            over = [f"{duration(float(each.over_s))}" for each in results]
            add(f"time over {duration(first.scenario.objective_s)}", over)
        add("backlog max", [f"{each.backlog_max:,.0f}" for each in results])
        if any(each.lost >= 1 for each in results):
            add("gave up", [f"{each.lost:,.0f}" for each in results])
    add("replicas mean / max", [f"{_mean(each):,.1f} / {each.run.result.replicas_max:,}" for each in outcomes])
    add("changes up / down", [f"{each.scale_ups:,} / {each.scale_downs:,}" for each in results])
    add("flaps", [f"{each.flaps:,}" for each in results])
    if first.closed:
        add("pod-hours", [f"{each.pod_s / 3600:,.1f}" for each in results])
        if any(each.scenario.workload.nodes for each in outcomes):
            add("node-hours", [f"{each.node_s / 3600:,.1f}" for each in results])
        add("pods at work", [f"{each.busy:.0%}" for each in outcomes])
    return rows


def _mean(outcome: Outcome) -> float:
    trace = outcome.run.trace
    return float(trace["replicas"].mean()) if len(trace) else float(outcome.run.result.replicas_end)


def known(value: float) -> float | None:
    """Return a number for JSON, which has no NaN and no Inf."""
    return float(value) if math.isfinite(value) else None


def figures(result: Record) -> dict[str, float | None]:
    """Return every figure of a run by its name in objectives; durations in seconds."""
    return {name: known(float(figure(result, name))) for name in FIGURES}


def trace_columns(trace: Records, most: int | None = None) -> dict[str, list[Any]]:
    """Return a trace as columns; `stable` and `limit` as words. With `most`, fewer rows: of each part its worst one."""
    rows = trace if most is None else trace[thinned(trace, most)]
    columns: dict[str, list[Any]] = {name: rows[name].tolist() for name in TRACE.names or ()}
    columns["stable"] = [STABLE[index] for index in columns["stable"]]
    columns["limit"] = [LIMIT[index] for index in columns["limit"]]
    return columns


def thinned(trace: Records, most: int) -> Any:
    """Return the indices of at most about so many rows: of equal parts the first row and that of the longest wait."""
    if len(trace) <= most:
        return np.arange(len(trace))
    parts = np.array_split(np.arange(len(trace)), most // 2)
    picked = {int(part[0]) for part in parts} | {int(part[np.argmax(trace["age_s"][part])]) for part in parts}
    return np.array(sorted(picked | {len(trace) - 1}))


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome for machines."""
    hpa = outcome.scenario.hpa
    return {
        "name": outcome.name,
        "setting": outcome.setting,
        "mode": str(outcome.mode),
        "met": outcome.met,
        "minReplicas": hpa.min_replicas,
        "maxReplicas": hpa.max_replicas,
        "targets": [target_text(metric) for metric in hpa.metrics],
        "figures": figures(outcome.run.result) | {"busy": known(outcome.busy)},
        "findings": [{"level": each.level, "text": each.text} for each in outcome.findings],
    }


def load_json(outcome: Outcome) -> Mapping[str, Any]:
    """Return what all runs have in common."""
    load = outcome.scenario.load
    return {"seconds": load.end_s, "jobs": load.jobs, "peakRate": float(load.rates.max())}


def objective_json(objective: Objective) -> dict[str, Any] | None:
    """Return the objective, or None if there is none."""
    if not objective.clauses:
        return None
    return {"text": objective.text, "waitSeconds": known(objective.wait_s)}
