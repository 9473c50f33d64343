"""Try an autoscaling rule: a workload in closed loop with the HPA's algorithm.

`run` runs one scenario, as a fluid or job by job; `run_chunk` runs a part of many, so that a caller can spread them
over cores and tell how far it is: the kernel beneath lets go of the GIL.
"""

from __future__ import annotations

from enum import StrEnum

from scaler.simulate_kernel_loop import run_fluid
from scaler.simulate_loop import Run, run_loop
from scaler.simulate_model import Scenario
from scaler.simulate_pack import Packed, pack
from scaler.simulate_plant import JobPlant, draw_arrivals, draw_sizes
from scaler.simulate_state import RESULT, TRACE, Records, records

MAX_EVENTS = 20_000_000
"""Jobs of a run, event by event: 16 bytes each, and about a microsecond."""


class Mode(StrEnum):
    """How the workload is taken: as a fluid, or event by event."""

    FLUID = "fluid"
    EVENTS = "events"


def run(scenario: Scenario, mode: Mode, seed: int = 0) -> Run:
    """Run a scenario. With the same seed two scenarios meet the same jobs; a fluid has no chance in it.

    Raises:
        ValueError: There are more than MAX_EVENTS jobs to follow.
    """
    if mode is Mode.FLUID:
        packed = pack([scenario])
        trace = records(TRACE, packed.syncs)
        return Run(run_chunk(packed, 0, 1, trace)[0], trace)
    workload = scenario.workload
    if scenario.load.jobs + workload.backlog > MAX_EVENTS:
        raise ValueError(
            f"{scenario.load.jobs:,.0f} jobs are too many to follow one by one (at most {MAX_EVENTS:,}): "
            "use the fluid mode or a shorter load"
        )
    come_s = draw_arrivals(scenario.load, workload.arrivals, round(workload.backlog), seed)
    return run_loop(scenario, JobPlant(scenario, come_s, draw_sizes(workload.pods, len(come_s), seed)))[0]


def run_chunk(packed: Packed, first: int, last: int, trace: Records | None = None) -> Records:
    """Run the fluid scenarios from `first` to before `last`. Returns: a RESULT each."""
    results = records(RESULT, last - first)
    metrics = len(packed.targets) // len(packed)
    each, metric = slice(first, last), slice(first * metrics, last * metrics)
    run_fluid(
        packed.rules[each],
        packed.policies[2 * first : 2 * last],
        packed.targets[metric],
        packed.signals[metric],
        packed.plants[each],
        packed.edges,
        packed.rates,
        packed.times,
        packed.given,
        packed.begins[each],
        packed.sync_ms,
        results,
        records(TRACE, 0) if trace is None else trace,
    )
    return results
