"""A page of Prometheus text as a busy service shows it: histograms, counters, gauges, escapes, UTF-8, NaN and Inf."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

_PATHS = (
    "/",
    "/api/v1/orders",
    "/api/v1/orders/{id}",
    "/assets/app.js",
    "/häfen/größe",
    '/say "hi"',
    "C:\\temp",
    "/a\nb",
)
_BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family: its comments, and what its lines begin with and how large their values are."""

    comments: str
    lines: tuple[tuple[str, str], ...]
    """(prefix, kind of value): counter, gauge or bucket."""

    @property
    def names(self) -> set[str]:
        """The names of its lines."""
        return {prefix.partition("{")[0] for prefix, _ in self.lines}


def families(count: int, seed: int = 1) -> list[Family]:
    """Return families of about a hundred lines each: a histogram, a counter and a gauge in turn."""
    rng = random.Random(seed)
    return [_family(rng, number) for number in range(count)]


def _family(rng: random.Random, number: int) -> Family:
    kind = ("histogram", "counter", "gauge")[number % 3]
    name = f"{rng.choice(('http', 'grpc', 'shop_orders', 'go_sql', 'process'))}_{kind}_{number}"
    name += {"histogram": "_seconds", "counter": "_total", "gauge": "_bytes"}[kind]
    comments = f"# HELP {name} What a {kind} of a real service says about itself, number {number}.\n"
    comments += f"# TYPE {name} {kind}\n"
    lines: list[tuple[str, str]] = []
    for labels in _labels(rng, 8 if kind == "histogram" else 100):
        if kind == "histogram":
            lines += [(f'{name}_bucket{{{labels},le="{bound}"}} ', "bucket") for bound in _BOUNDS]
            lines += [(f"{name}_sum{{{labels}}} ", "gauge"), (f"{name}_count{{{labels}}} ", "counter")]
        else:
            lines.append((f"{name}{{{labels}}} ", kind))
    return Family(comments, tuple(lines))


def _labels(rng: random.Random, count: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        path = rng.choice(_PATHS).translate(_ESCAPES)
        pod = f"web-{rng.randrange(16**8):08x}"
        method, code = rng.choice(("GET", "POST", "PUT")), rng.choice((200, 201, 301, 404, 500))
        found[f'code="{code}",handler="{path}",method="{method}",pod="{pod}"'] = None
    return list(found)


def text(of: Sequence[Family], seed: int, *, shuffled: bool = False) -> bytes:
    """Return a page with values of its own for each seed. `shuffled`: families, and lines in them, in any order."""
    rng = random.Random(seed)
    order = list(of)
    if shuffled:
        rng.shuffle(order)
    parts = []
    for family in order:
        parts.append(family.comments)
        lines = list(family.lines)
        if shuffled:
            rng.shuffle(lines)
        parts += [f"{prefix}{_value(rng, kind)}\n" for prefix, kind in lines]
    return "".join(parts).encode()


def _value(rng: random.Random, kind: str) -> str:
    if kind != "gauge":
        return str(rng.randrange(10 ** rng.randrange(1, 10)))
    chance = rng.random()
    if chance < 0.03:
        return "NaN"
    if chance < 0.04:
        return "+Inf"
    if chance < 0.5:
        return str(rng.randrange(10**9))
    # As Python and Go write floats: up to 17 digits, with an exponent where that is shorter.
    return repr(
        rng.choice((rng.uniform(0, 100), rng.random() / 1e7, round(rng.uniform(0, 1e4), 2), rng.expovariate(1)))
    )
