"""Many runs: on all cores, with a progress bar, and the point that is recommended."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adapter.simulate.axes import Axis
from scaler.model import I64
from scaler.simulate import Mode, run, run_chunk
from scaler.simulate_loop import Run
from scaler.simulate_model import Scenario
from scaler.simulate_objective import Objective, front, ranked
from scaler.simulate_pack import pack
from scaler.simulate_state import RESULT, Records, records
from scaler.simulate_vary import Setting

_MOST_CHECKED = 12


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Every combination, and what came of it as a fluid.

    Args:
        axes: What was turned.
        settings: The combinations.
        scenarios: The same, ready to run.
        results: A RESULT each.
        met: Whether each meets the objective.
        front: The combinations that none beats in both p95 wait and pod-hours, the cheapest first.
    """

    axes: tuple[Axis, ...]
    settings: Sequence[Setting]
    scenarios: Sequence[Scenario]
    results: Records
    met: npt.NDArray[np.bool_]
    front: I64


@dataclass(frozen=True, slots=True, eq=False)
class Recommended:
    """The cheapest combination that meets the objective, its run, and whether that run meets it too."""

    index: int
    run: Run
    mode: Mode
    holds: bool


def cores() -> int:
    """Return how many cores we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(scenarios: Sequence[Scenario], progress: Callable[[int], object] = lambda _: None) -> Records:
    """Run scenarios of one load as fluids, on all cores. `progress` is told how many more are done."""
    packed = pack(scenarios)
    results = records(RESULT, len(packed))
    chunk = max(1, min(64, len(packed) // (cores() * 8)))

    def some(first: int) -> int:
        last = min(first + chunk, len(packed))
        results[first:last] = run_chunk(packed, first, last)
        return last - first

    # The kernel lets go of the GIL, so threads are enough and nothing is copied.
    with ThreadPoolExecutor(cores()) as pool:
        for done in pool.map(some, range(0, len(packed), chunk)):
            progress(done)
    return results


def sweep_of(
    axes: tuple[Axis, ...],
    settings: Sequence[Setting],
    scenarios: Sequence[Scenario],
    objective: Objective,
    progress: Callable[[int], object],
) -> Sweep:
    """Run every combination."""
    results = run_all(scenarios, progress)
    met = np.asarray(objective.met(results), np.bool_) if objective.clauses else np.zeros(len(results), np.bool_)
    return Sweep(axes, settings, scenarios, results, met, front(results["pod_s"], results["wait_p95"]))


def recommend(sweep: Sweep, objective: Objective, mode: Mode, seed: int) -> Recommended | None:
    """Return the cheapest combination that meets the objective; None if none does.

    A fluid knows no chance, so what meets the objective there may not do so job by job. Where the mode is event by
    event, the cheapest ones are tried that way, in growing steps, until one holds.
    """
    order = ranked(sweep.results, objective)
    if not order:
        return None
    best: Recommended | None = None
    for turn in range(_MOST_CHECKED):
        place = 0 if turn == 0 else 2 ** (turn - 1)
        if place >= len(order):
            break
        found = run(sweep.scenarios[order[place]], mode, seed)
        holds = bool(objective.met(found.result))
        if best is None or holds:
            best = Recommended(order[place], found, mode, holds)
        if holds or mode is Mode.FLUID:
            break
    return best
