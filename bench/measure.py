"""Figures that survive a noisy machine: interleaved rounds, medians with their spread, ratios pair by pair.

A figure is one round's number. Two things are only ever compared by figures of the same round, so that what slows the
machine down for a second slows both.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")

_BATCH_S = 0.000_1
"""What is shorter than this is called several times between two looks at the clock."""


class Spread(NamedTuple):
    """The middle and the ends of some figures."""

    median: float
    low: float
    high: float


def spread(figures: Iterable[float]) -> Spread:
    """Return median, least and greatest of at least one figure."""
    found = sorted(figures)
    return Spread(statistics.median(found), found[0], found[-1])


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that a share (0 to 1) of at least one value does not exceed, between two neighbours linearly."""
    found = sorted(values)
    at = share * (len(found) - 1)
    below = int(at)
    above = min(below + 1, len(found) - 1)
    return found[below] + (found[above] - found[below]) * (at - below)


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Return over / under round by round; infinity where nothing was seen of `under`: processor time has a tick.

    Raises:
        ValueError: They are not of the same rounds.
    """
    return [a / b if b else math.inf for a, b in zip(over, under, strict=True)]


def seconds_a_call(call: Callable[[], object], budget_s: float) -> float:
    """Return the median time of a call over about `budget_s`. The first call warms up, unless it took that long."""
    started = time.perf_counter()
    call()
    first_s = time.perf_counter() - started
    if first_s >= budget_s:
        return first_s
    batch = max(1, int(_BATCH_S / first_s))
    found: list[float] = []
    end = time.perf_counter() + budget_s
    while not found or time.perf_counter() < end:
        started = time.perf_counter()
        for _ in range(batch):
            call()
        found.append((time.perf_counter() - started) / batch)
    return statistics.median(found)


def interleave(cases: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Call each case once a round for what it measures. Each round begins with another case."""
    names = list(cases)
    found: dict[str, list[T]] = {name: [] for name in names}
    for turn in range(rounds):
        at = turn % len(names)
        for name in names[at:] + names[:at]:
            found[name].append(cases[name]())
    return found


def timed(
    cases: Mapping[str, Callable[[], object]], rounds: int, budget_s: float, units: float = 1.0
) -> dict[str, list[float]]:
    """Return seconds a call × `units` of each case, one figure a round."""

    def figure(call: Callable[[], object]) -> Callable[[], float]:
        return lambda: seconds_a_call(call, budget_s) * units

    return interleave({name: figure(call) for name, call in cases.items()}, rounds)


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used, user and system, all of its threads, to 10 ms (Linux)."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def number(value: float) -> str:
    """Write a figure for people: three digits that mean something, and no exponent."""
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:#.3g}".removesuffix(".") if abs(value) >= 0.001 else f"{value:.2g}"
