"""What a run is judged by: an objective such as `p95_wait<30s`, and which of many runs is best under it."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaler.model import F64, I64
from scaler.simulate_state import Record, Records

_HOUR_S = 3_600.0

FIGURES: Mapping[str, tuple[str, float]] = {
    "mean_wait": ("wait_mean", 1.0),
    "p50_wait": ("wait_p50", 1.0),
    "p95_wait": ("wait_p95", 1.0),
    "p99_wait": ("wait_p99", 1.0),
    "max_wait": ("wait_max", 1.0),
    "time_over": ("over_s", 1.0),
    "max_backlog": ("backlog_max", 1.0),
    "end_backlog": ("backlog_end", 1.0),
    "lost": ("lost", 1.0),
    "pod_hours": ("pod_s", _HOUR_S),
    "node_hours": ("node_s", _HOUR_S),
    "scale_ups": ("scale_ups", 1.0),
    "scale_downs": ("scale_downs", 1.0),
    "flaps": ("flaps", 1.0),
    "max_replicas": ("replicas_max", 1.0),
}
"""Name → field of a RESULT, and what it is divided by. Waits and times are seconds."""

DURATIONS = frozenset({"mean_wait", "p50_wait", "p95_wait", "p99_wait", "max_wait", "time_over"})
WAITS = DURATIONS - {"time_over"}

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CLAUSE = re.compile(r"\s*([a-z0-9_]+)\s*(<=|>=|<|>)\s*([0-9.]+)\s*(ms|s|m|h|)\s*")
_UNIT_S = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": _HOUR_S}


@dataclass(frozen=True, slots=True)
class Clause:
    """One demand: a figure, how it compares, and with what; durations in seconds."""

    figure: str
    operator: str
    bound: float


@dataclass(frozen=True, slots=True)
class Objective:
    """Demands that must all hold. A figure that is not known (NaN) meets none."""

    clauses: tuple[Clause, ...]
    text: str = ""

    @property
    def wait_s(self) -> float:
        """The waiting time that is too long: the least bound from above of a wait; inf if there is none."""
        bounds = [each.bound for each in self.clauses if each.figure in WAITS and each.operator.startswith("<")]
        return min(bounds, default=math.inf)

    def met(self, result: Record | Records) -> Any:
        """Tell whether a run meets it; of many, an array."""
        holds: Any = np.ones(np.shape(result["pod_s"]), np.bool_)
        for clause in self.clauses:
            holds = np.logical_and(holds, _OPERATORS[clause.operator](figure(result, clause.figure), clause.bound))
        return holds


def figure(result: Record | Records, name: str) -> float | F64:
    """Return a figure of a run, or of many, by its name."""
    field, unit = FIGURES[name]
    found: float | F64 = result[field] / unit
    return found


def parse_objective(text: str) -> Objective:
    """Read an objective: demands separated by commas.

    Raises:
        ValueError: It is none; the message says what it must be.
    """
    clauses = []
    for part in text.split(","):
        found = _CLAUSE.fullmatch(part)
        if found is None or found[3].count(".") > 1 or found[3] == ".":
            demand = "must be a figure, <, <=, > or >=, and a number, such as p95_wait<30s"
            raise ValueError(f'{demand}, got "{part.strip()}"')
        name, sign, number, unit = found.groups()
        if name not in FIGURES:
            raise ValueError(f'"{name}" is no figure of a run; there are {", ".join(FIGURES)}')
        if unit and name not in DURATIONS:
            raise ValueError(f'"{name}" is no duration: write {number} without {unit}')
        clauses.append(Clause(name, sign, float(number) * _UNIT_S[unit]))
    return Objective(tuple(clauses), text.strip())


def ranked(results: Records, objective: Objective) -> list[int]:
    """Return the runs that meet the objective, the cheapest first: by pod-hours, then flaps, changes, p95 wait."""
    met = np.nonzero(np.atleast_1d(np.asarray(objective.met(results))))[0]
    found = results[met]
    changes = found["scale_ups"] + found["scale_downs"]
    return [int(index) for index in met[np.lexsort((found["wait_p95"], changes, found["flaps"], found["pod_s"]))]]


def front(cost: Sequence[float] | F64, badness: Sequence[float] | F64) -> I64:
    """Return the indices of the points that no other one beats in both, the cheapest first. NaN is beaten by all."""
    costs, bads = np.asarray(cost, np.float64), np.asarray(badness, np.float64)
    found, least = [], math.inf
    for index in np.lexsort((bads, costs)):
        if bads[index] < least:
            found.append(int(index))
            least = float(bads[index])
    return np.array(found, np.int64)
