"""How long a change in Redis takes to be seen in the API."""

from __future__ import annotations

import json
import random
import time

import redis

from bench.load import VALUES, Reader, request
from bench.script import require

PROBES = "probes"
"""The metric that shows the probes' lengths."""

_LOOK_S = 0.005
_PUSH_SHARE = 0.2
_PATIENCE_S = 10.0


def probes(count: int) -> list[str]:
    """Return the lists that are pushed to."""
    return [f"probe-{n}" for n in range(count)]


def freshness(reader: Reader, client: redis.Redis, count: int, seconds: float) -> list[float]:
    """Push to probes at random moments, one element each, and look until the API shows it. Returns: seconds.

    There must be more probes than pushes in an interval: if they ran out, pushes would come in the wake of a read.
    """
    rng = random.Random(time.monotonic_ns())
    raw = request(VALUES + PROBES, "application/json")
    lengths = {probe: int(client.llen(probe)) for probe in probes(count)}
    waiting: dict[str, float] = {}
    found: list[float] = []
    pushing_until = time.perf_counter() + seconds
    while (now := time.perf_counter()) < pushing_until or waiting:
        require(now < pushing_until + _PATIENCE_S, f"every push is seen within {_PATIENCE_S:g} s")
        idle = [probe for probe in lengths if probe not in waiting]
        if idle and now < pushing_until and (rng.random() < _PUSH_SHARE or len(idle) == count):
            probe = rng.choice(idle)
            waiting[probe] = time.perf_counter()
            lengths[probe] = int(client.rpush(probe, "x"))
        _, body = reader.ask(raw)
        seen = time.perf_counter()
        for item in json.loads(body)["items"]:
            probe = item["metricLabels"]["queue"]
            if probe in waiting and item["value"] == str(lengths[probe]):
                found.append(seen - waiting.pop(probe))
        time.sleep(_LOOK_S)
    return found
