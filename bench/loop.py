"""What a coroutine costs, and how long it keeps the event loop from everybody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from bench.measure import spread

Work: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What it cost, in ms: wall, processor time of this process, the longest turn of the event loop."""

    wall: float
    cpu: float = 0.0
    held: float = 0.0


def cost(runner: asyncio.Runner, work: Work, repeats: int) -> Cost:
    """Do the work a few times. Returns: the medians."""
    timed = [runner.run(_timed(work)) for _ in range(repeats)]
    # Apart, because the task that watches the loop costs time, too.
    held = [runner.run(_held(work)) for _ in range(repeats)]
    columns = ([wall_s for wall_s, _ in timed], [cpu_s for _, cpu_s in timed], held)
    return Cost(*(spread(column).median * 1e3 for column in columns))


async def _timed(work: Work) -> tuple[float, float]:
    cpu_s, started = time.process_time(), time.perf_counter()
    await work()
    return time.perf_counter() - started, time.process_time() - cpu_s


async def _held(work: Work) -> float:
    """Return the longest time between two turns of a task that always wants one, while the work runs."""
    longest = 0.0
    task = asyncio.ensure_future(work())
    before = time.perf_counter()
    while not task.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    await task
    return longest
