"""Series that range functions stumble over, as pages: the reads of one target, drawn from a seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from scaler.model import Labels, labels_of
from tests.naive import ABSENT, FAILED, Sample

BEGIN_MS = 1_760_000_000_000
Values = list[float | str]


@dataclass(frozen=True, slots=True)
class Page:
    """The reads of one target.

    Args:
        name: Names the page.
        times_ms: When it was read, ascending.
        series: Labels → what each read brought: a number, ABSENT or FAILED; shape (len(times_ms),).
        window_ms: How far back functions look.
        ends_ms: When they are evaluated.
    """

    name: str
    times_ms: tuple[int, ...]
    series: dict[Labels, Values]
    window_ms: int
    ends_ms: tuple[int, ...]

    def until(self, end_ms: int) -> tuple[list[int], dict[Labels, list[Sample]]]:
        """Return the reads up to a time."""
        times = [t for t in self.times_ms if t <= end_ms]
        return times, {labels: list(zip(times, values, strict=False)) for labels, values in self.series.items()}


def pages(seed: int) -> list[Page]:
    """Draw the pages: each way of reading with each window that says something of its own."""
    random = Random(seed)
    drawn = []
    for name, times, window_s in _reads(random):
        window_ms = window_s * 1000
        series = {
            labels_of({"series": kind, "group": "odd" if _odd(kind) else random.choice("ab")}): draw(random, len(times))
            for kind, draw in KINDS.items()
        }
        drawn.append(Page(name, times, series, window_ms, _ends(random, times, window_ms)))
        for kind, step in (("up", 1e16), ("a little", 1.0), ("down", -1e16)):
            # Their sum is what a plain addition would lose.
            series[labels_of({"series": f"pair, {kind}", "group": "pair"})] = [step * i for i in range(len(times))]
    for name, times, window_s in _reads(random):
        histograms = _histograms(random, len(times))
        drawn.append(
            Page(f"histograms, {name}", times, histograms, window_s * 1000, _ends(random, times, window_s * 1000))
        )
    return drawn


def _reads(random: Random) -> list[tuple[str, tuple[int, ...], int]]:
    """Return names, times of reads and windows in seconds."""

    def read(steps: list[int]) -> tuple[int, ...]:
        return tuple(itertools.accumulate(steps, initial=BEGIN_MS))

    missed = [15_000 * random.choice([1, 1, 1, 2, 4]) for _ in range(17)]
    return [
        ("every 15 s", read([15_000] * 17), 60),
        ("every 15 s, a window of all", read([15_000] * 17), 300),
        ("every second", read([1_000] * 21), 7),
        ("every 15 s or a little off", read([15_000 + random.randint(-900, 900) for _ in range(17)]), 75),
        ("some reads missed", read(missed), 120),
        ("any time", read([random.randint(1, 60_000) for _ in range(17)]), 180),
        ("three reads", read([15_000] * 2), 60),
    ]


def _ends(random: Random, times: tuple[int, ...], window_ms: int) -> tuple[int, ...]:
    """Return the newest read, a read within, a time between reads, and one whose window begins exactly at a read."""
    within = random.choice(times[1:])
    return times[-1], within, within + random.randint(1, 9_999), random.choice(times[:-1]) + window_ms


def _odd(kind: str) -> bool:
    """Tell whether a series would make any sum that it is in unknown, or too large to see the others."""
    return kind == "counter, newest only" or any(
        word in kind for word in ("failed", "NaN", "Inf", "sizes", "overflows")
    )


def _counter(random: Random, n: int, *, start: float = 0.0, step: float = 50.0, resets: float = 0.0) -> Values:
    value, values = start, []
    for _ in range(n):
        value = random.uniform(0, step) if random.random() < resets else value + random.uniform(0, step)
        values.append(value)
    return list(values)


def _gauge(random: Random, n: int, low: float, high: float) -> Values:
    return [random.uniform(low, high) for _ in range(n)]


def _torn(random: Random, values: Values, share: float, missing: str) -> Values:
    return [missing if random.random() < share else value for value in values]


def _spell(values: Values, begin: int, end: int, missing: str) -> Values:
    """Let a series be there from one read to another only."""
    return [value if begin <= i < end else missing for i, value in enumerate(values)]


def _whole(values: Values) -> Values:
    return [value if isinstance(value, str) else float(math.floor(value)) for value in values]


def _with(random: Random, values: Values, odd: float) -> Values:
    values[random.randrange(len(values))] = odd
    return values


KINDS: dict[str, Callable[[Random, int], Values]] = {
    "counter": lambda r, n: _counter(r, n, start=1e6),
    "counter from zero": lambda r, n: [0.0, *_counter(r, n - 1)],
    "counter of whole numbers": lambda r, n: _whole(_counter(r, n, start=17, step=3)),
    "counter, old": lambda r, n: _counter(r, n, start=1e15, step=8),
    "counter, small": lambda r, n: _counter(r, n, start=1e-9, step=1e-9),
    "counter, still": lambda r, n: [42.0] * n,
    "counter, still at zero": lambda r, n: [0.0] * n,
    "counter that resets": lambda r, n: _counter(r, n, start=1e3, resets=0.2),
    "counter that resets all the time": lambda r, n: _counter(r, n, start=1e9, resets=0.8),
    "counter that resets to zero": lambda r, n: _with(r, _counter(r, n, start=1e3), 0.0),
    "counter with gaps": lambda r, n: _torn(r, _counter(r, n, start=1e3), 0.3, ABSENT),
    "counter with failed reads": lambda r, n: _torn(r, _counter(r, n, start=1e3), 0.3, FAILED),
    "counter with gaps that resets": lambda r, n: _torn(r, _counter(r, n, resets=0.3), 0.3, ABSENT),
    "counter, late": lambda r, n: _spell(_counter(r, n, start=5), n // 2, n, ABSENT),
    "counter, very late": lambda r, n: _spell(_counter(r, n, start=5), n - 2, n, ABSENT),
    "counter, newest only": lambda r, n: _spell(_counter(r, n), n - 1, n, ABSENT),
    "counter that ends": lambda r, n: _spell(_counter(r, n), 0, n - n // 3, ABSENT),
    "counter, short": lambda r, n: _spell(_counter(r, n), n // 3, n // 3 + 3, ABSENT),
    "gauge": lambda r, n: _gauge(r, n, 0, 100),
    "gauge of whole numbers": lambda r, n: _whole(_gauge(r, n, 0, 3)),
    "gauge below zero": lambda r, n: _gauge(r, n, -100, 100),
    "gauge, far from zero": lambda r, n: _gauge(r, n, 1e9, 1e9 + 1),
    "gauge of all sizes": lambda r, n: [10 ** r.uniform(-200, 200) * r.choice([1, -1]) for _ in range(n)],
    "gauge whose sum overflows": lambda r, n: _gauge(r, n, 1.2e308, 1.7e308),
    "gauge that cancels out": lambda r, n: [r.choice([1.0, 1e16, -1e16]) for _ in range(n)],
    "gauge with gaps": lambda r, n: _torn(r, _gauge(r, n, -1, 1), 0.4, ABSENT),
    "gauge with failed reads": lambda r, n: _torn(r, _gauge(r, n, -1, 1), 0.4, FAILED),
    "gauge, falling": lambda r, n: [1e4 - 3.5 * i for i in range(n)],
    "gauge with a NaN": lambda r, n: _with(r, _gauge(r, n, 0, 9), math.nan),
    "gauge with an Inf": lambda r, n: _with(r, _gauge(r, n, 0, 9), math.inf),
}


def _histograms(random: Random, n: int) -> dict[Labels, Values]:
    """Draw histograms of two groups: empty ones, torn ones, such without +Inf, decreasing and repeated bounds."""
    series: dict[Labels, Values] = {}
    usual = ["0.005", "0.1", "0.25", "0.5", "1", "2.5", "10", "+Inf"]
    bounds = {
        "usual": usual,
        "idle": usual,
        "late": usual,
        "that ends": usual,
        "that resets": usual,
        "without a last bucket": usual[:-1],
        "of one bucket": usual[-1:],
        "from below zero": ["-2", "-0.5", "0", "3", "+Inf"],
        "with a bound twice": ["1", "1.0", "1e1", "10", "+Inf"],
        "that decreases": usual,
        "of few": ["0.1", "+Inf"],
    }
    for le, step in (("1", 1e13), ("2", 1e13 + 1), ("+Inf", 1e13 + 1)):
        labels = labels_of({"histogram": "of almost the same counts", "group": "a", "le": le})
        series[labels] = [step * i for i in range(n)]
    for le, step in (("0", 0.0), ("1", 5.0), ("+Inf", 7.0)):
        labels = labels_of({"histogram": "with nothing up to zero", "group": "b", "le": le})
        series[labels] = [step * i for i in range(n)]
    for kind, texts in bounds.items():
        group, counts = random.choice("ab"), [0.0] * len(texts)
        drawn: list[Values] = [[] for _ in texts]
        for read in range(n):
            if kind == "that resets" and random.random() < 0.2:
                counts = [0.0] * len(texts)
            at, seen = random.randrange(len(texts)), float(random.randint(0, 40))
            counts = [c + seen * (i >= at or kind == "that decreases") for i, c in enumerate(counts)]
            for i in range(len(texts)):
                there = not ((kind == "late" and read < n // 2) or (kind == "that ends" and read > n // 2))
                less = random.random() if kind == "that decreases" else 0.0
                drawn[i].append((0.0 if kind == "idle" else counts[i] * (1 - less / 2)) if there else ABSENT)
        for text, values in zip(texts, drawn, strict=True):
            series[labels_of({"histogram": kind, "group": group, "le": text})] = values
    return series
