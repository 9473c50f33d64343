"""A day of an HPA, and a thousand: the compiled loop beside the readable one and beside its workload alone.

With `--full` a week, and ten thousand days.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from adapter.simulate.sweep import cores, run_all
from bench.measure import timed
from bench.report import Curve, Result, Row, row
from bench.script import Options, main, require
from scaler.hpa_model import Behavior, ExternalMetric, HpaSpec
from scaler.simulate import Mode, run_chunk
from scaler.simulate import run as run_one
from scaler.simulate_loop import run_loop
from scaler.simulate_model import Measure, Pods, Scenario, Signal, Workload
from scaler.simulate_objective import parse_objective, ranked
from scaler.simulate_pack import pack
from scaler.simulate_plant import FluidPlant
from scaler.simulate_shapes import DAY_S, Description, Noise, Wave, build
from scaler.simulate_state import RESULT, TRACE
from scaler.simulate_vary import grid, vary

READABLE = "the readable loop"
FLOOR = "the workload alone"
_HPA = HpaSpec(60, (ExternalMetric("backlog", average_value_milli=30_000),), min_replicas=2)
_WITH_BEHAVIOR = replace(_HPA, behavior=Behavior())


def run(options: Options) -> Result:
    """Measure one long run, many short ones, and the cost against the length."""
    days = 0.05 if options.quick else 7.0 if options.full else 1.0
    rows = [
        _long(f"{_days(days)} at 15 s, {name}", _scenario(hpa, days), options)
        for name, hpa in (("no behavior", _HPA), ("behavior", _WITH_BEHAVIOR))
    ]
    many, checked = _many(options)
    return Result(
        title="An HPA in closed loop with its workload, as a fluid",
        about="A day with a peak, noise that changes every minute, pods that take 30 s to start; the metric is read "
        f"and the HPA synced every 15 s. Many runs: all of {cores()} cores, no trace kept.",
        rows=(*rows, many),
        curves=(_curve(options),),
        checked=("every sync of the compiled run is that of the readable one, bit by bit", checked),
    )


def _days(count: float) -> str:
    return f"{count:g} day{'' if count == 1 else 's'}"


def _scenario(hpa: HpaSpec, days: float) -> Scenario:
    shapes = [Wave(5, 40, 15 * 3_600)]
    load = build(Description(days * DAY_S, shapes, noise=Noise(0.1)), seed=1)
    return Scenario(hpa, (Signal(Measure.WAITING),), Workload(Pods(1.0, startup_s=30), replicas=2), load)


def _long(what: str, scenario: Scenario, options: Options) -> Row:
    fast, (plain, _) = run_one(scenario, Mode.FLUID), run_loop(scenario, FluidPlant(scenario))
    same = all(np.array_equal(fast.trace[name], plain.trace[name]) for name in TRACE.names or ())
    same = same and all(
        np.array_equal(fast.result[name], plain.result[name], equal_nan=True) for name in RESULT.names or ()
    )
    require(same, "the compiled run is the readable one")
    packed = pack([scenario])
    still = pack([replace(scenario, hpa=replace(scenario.hpa, min_replicas=30, max_replicas=30), sync_ms=3_600_000,
                          workload=replace(scenario.workload, replicas=30))])  # fmt: skip
    cases: dict[str, Callable[[], object]] = {
        "ours": lambda: run_chunk(packed, 0, 1),
        READABLE: lambda: run_loop(scenario, FluidPlant(scenario)),
        FLOOR: lambda: run_chunk(still, 0, 1),
    }
    found = timed(cases, options.rounds, options.budget_s, units=1e3)
    return row(what, "ms", found["ours"], peers={READABLE: found[READABLE]}, floors={FLOOR: found[FLOOR]})


def _many(options: Options) -> tuple[Row, str]:
    """Measure a sweep: seconds for all of it, beside the readable loop's time for one run times their number."""
    base = _scenario(_WITH_BEHAVIOR, 0.05 if options.quick else 1.0)
    targets, windows = (3, 2) if options.quick else (200, 50) if options.full else (40, 25)
    settings = grid(
        [
            ("target", [1_000 + 100_000 // targets * step for step in range(targets)]),
            ("scaleDown.stabilizationWindowSeconds", [600 // windows * step for step in range(windows)]),
        ]
    )
    scenarios = [vary(base, setting) for setting in settings]
    started = time.perf_counter()
    run_loop(base, FluidPlant(base))
    one_s = time.perf_counter() - started
    figures, results = [], None
    for _ in range(1 if options.quick else min(options.rounds, 3)):
        started = time.perf_counter()
        results = run_all(scenarios)
        figures.append(time.perf_counter() - started)
    require(results is not None and (results["pod_s"] > 0).all(), "every run ran")
    found = [] if results is None else ranked(results, parse_objective("p95_wait<60s"))
    what = f"{len(settings):,} runs of {_days(base.load.end_s / DAY_S)}"
    best = dict(settings[found[0]]) if found else None
    return (
        row(
            what,
            "s",
            figures,
            peers={f"{READABLE}, one run × {len(settings):,}": [one_s * len(settings)] * len(figures)},
        ),
        f"the sweep recommends {best} for p95_wait<60s",
    )


def _curve(options: Options) -> Curve:
    lines: dict[str, list[tuple[float, float]]] = {"Spillway": []}
    for days in (0.02, 0.05) if options.quick else (0.25, 1.0, 7.0, 28.0):
        scenario = _scenario(_WITH_BEHAVIOR, days)
        packed = pack([scenario])
        found = timed({"ours": partial(run_chunk, packed, 0, 1)}, 1, options.budget_s / 5, units=1e9 / scenario.syncs)
        lines["Spillway"].append((float(scenario.syncs), math.fsum(found["ours"]) / len(found["ours"])))
    return Curve("a fluid run with behavior, one thread", "syncs", "ns a sync", lines)


if __name__ == "__main__":
    main("simulate", run)
