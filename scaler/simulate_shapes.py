"""Loads made of shapes: constant, steps, ramps, days, weeks, spikes, recordings, noise.

A shape is a rate, jobs a second, over time; shapes add up. Where the sum is not constant between its own corners it is
cut into steps, each with the rate of its middle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from scaler.model import F64
from scaler.simulate_model import Load

DAY_S = 86_400.0
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Shape(Protocol):
    """A rate over time. `smooth`: it changes between its corners."""

    smooth: ClassVar[bool]

    def corners(self, end_s: float) -> Iterable[float]:
        """Return the moments at which it jumps or bends."""
        ...

    def at(self, time_s: F64) -> F64:
        """Return the rate at these moments, jobs a second."""
        ...


@dataclass(frozen=True, slots=True)
class Steps:
    """A rate that holds from its moment to the next one's; before the first it is 0."""

    smooth: ClassVar[bool] = False
    moments_s: tuple[float, ...]
    rates: tuple[float, ...]

    def corners(self, end_s: float) -> Iterable[float]:
        """Return the moments at which it jumps or bends."""
        return self.moments_s

    def at(self, time_s: F64) -> F64:
        """Return the rate at these moments."""
        found = np.searchsorted(np.array(self.moments_s), time_s, side="right")
        return np.concatenate([[0.0], self.rates])[found]


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """Rates that were measured: as Steps, but many; the last one ends at `end_s`, after which it is 0."""

    smooth: ClassVar[bool] = False
    moments_s: F64
    rates: F64
    end_s: float

    def corners(self, end_s: float) -> Iterable[float]:
        """Return the moments at which it jumps or bends."""
        return (*self.moments_s.tolist(), self.end_s)

    def at(self, time_s: F64) -> F64:
        """Return the rate at these moments."""
        found = np.searchsorted(self.moments_s, time_s, side="right")
        rates = np.concatenate([[0.0], self.rates])[found]
        return np.where(time_s < self.end_s, rates, 0.0)


@dataclass(frozen=True, slots=True)
class Ramp:
    """From one rate to another in a straight line; before and after it the ends hold."""

    smooth: ClassVar[bool] = True
    begin_s: float
    end_s: float
    low: float
    high: float

    def corners(self, end_s: float) -> Iterable[float]:
        """Return the moments at which it jumps or bends."""
        return self.begin_s, self.end_s

    def at(self, time_s: F64) -> F64:
        """Return the rate at these moments."""
        return np.interp(time_s, [self.begin_s, self.end_s], [self.low, self.high])


@dataclass(frozen=True, slots=True)
class Wave:
    """From low to high and back, as a cosine, once a period."""

    smooth: ClassVar[bool] = True
    low: float
    high: float
    peak_s: float
    period_s: float = DAY_S

    def corners(self, end_s: float) -> Iterable[float]:
        """Return the moments at which it jumps or bends."""
        return ()

    def at(self, time_s: F64) -> F64:
        """Return the rate at these moments."""
        phase = np.cos((time_s - self.peak_s) * (2 * math.pi / self.period_s))
        return self.low + (self.high - self.low) * (1 + phase) / 2


@dataclass(frozen=True, slots=True)
class Spike:
    """A rate for a while, with straight sides, once or again and again."""

    smooth: ClassVar[bool] = True
    at_s: float
    for_s: float
    rate: float
    rise_s: float = 0.0
    fall_s: float = 0.0
    every_s: float = math.inf

    def _begins(self, end_s: float) -> list[float]:
        if math.isinf(self.every_s):
            return [self.at_s]
        return [self.at_s + turn * self.every_s for turn in range(int(max(end_s - self.at_s, 0) // self.every_s) + 1)]

    def corners(self, end_s: float) -> Iterable[float]:
        """Return the moments at which it jumps or bends."""
        for begin_s in self._begins(end_s):
            top_s = begin_s + self.rise_s
            yield from (begin_s, top_s, top_s + self.for_s, top_s + self.for_s + self.fall_s)

    def at(self, time_s: F64) -> F64:
        """Return the rate at these moments."""
        since = time_s - self.at_s
        if not math.isinf(self.every_s):
            since = np.where(since >= 0, since % self.every_s, since)
        falls_s = self.rise_s + self.for_s
        up = np.where(since >= self.rise_s, 1.0, since / (self.rise_s or 1.0))
        down = np.where(since < falls_s, 1.0, 1.0 - (since - falls_s) / (self.fall_s or 1e-9))
        return self.rate * np.clip(np.minimum(up, down), 0.0, 1.0) * (since >= 0)


@dataclass(frozen=True, slots=True)
class Noise:
    """What the whole is multiplied by: lognormal with mean 1, with a memory.

    Args:
        deviation: Standard deviation of the factor.
        memory_s: After so long little is left of a deviation (1/e).
        every_s: How often the factor changes.
    """

    deviation: float
    memory_s: float = 300.0
    every_s: float = 60.0

    def factors(self, count: int, seed: int) -> F64:
        """Return so many factors, one after the other."""
        sigma = math.sqrt(math.log1p(self.deviation**2))
        keep = math.exp(-self.every_s / self.memory_s) if self.memory_s > 0 else 0.0
        normal = np.random.default_rng([seed, 2]).standard_normal(count)
        walk = np.empty(count)
        state = 0.0
        for index in range(count):
            state = normal[index] if index == 0 else keep * state + math.sqrt(1 - keep**2) * normal[index]
            walk[index] = state
        return np.exp(sigma * walk - sigma**2 / 2)


@dataclass(frozen=True, slots=True)
class Description:
    """A load in words.

    Args:
        end_s: How long it lasts.
        shapes: What adds up.
        weekdays: What each day's rate is multiplied by, Monday first.
        first_day: Index of the day on which it begins, at midnight.
        noise: What the whole is multiplied by.
        scale: Likewise.
        step_s: How finely what is not constant is cut.
    """

    end_s: float
    shapes: Sequence[Shape]
    weekdays: tuple[float, ...] = (1.0,) * 7
    first_day: int = 0
    noise: Noise | None = None
    scale: float = 1.0
    step_s: float = 15.0


def build(description: Description, seed: int = 0) -> Load:
    """Return the load. `seed` is that of the noise."""
    end_s, noise = description.end_s, description.noise
    moments = {0.0, end_s}
    for shape in description.shapes:
        moments.update(round(moment, 6) for moment in shape.corners(end_s) if 0 < moment < end_s)
    if len(set(description.weekdays)) > 1:
        moments.update(np.arange(DAY_S, end_s, DAY_S).tolist())
    if any(shape.smooth for shape in description.shapes):
        moments.update(np.arange(description.step_s, end_s, description.step_s).tolist())
    if noise:
        moments.update(np.arange(noise.every_s, end_s, noise.every_s).tolist())
    edges = np.array(sorted(moments))
    middles = (edges[:-1] + edges[1:]) / 2
    rates = np.zeros(len(middles))
    for shape in description.shapes:
        rates += shape.at(middles)
    days = (middles // DAY_S).astype(np.int64) + description.first_day
    rates *= np.array(description.weekdays)[days % 7] * description.scale
    if noise:
        turns = (middles // noise.every_s).astype(np.int64)
        rates *= noise.factors(int(turns[-1]) + 1, seed)[turns]
    return merged(edges, np.maximum(rates, 0.0))


def merged(edges_s: F64, rates: F64) -> Load:
    """Return a load in which neighbours differ."""
    keep = np.concatenate([[True], np.diff(rates) != 0])
    return Load(np.concatenate([edges_s[:-1][keep], edges_s[-1:]]), rates[keep])
