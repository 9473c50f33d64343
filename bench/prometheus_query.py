"""From the store to the bytes of 1,000 items, beside an instant query of a real Prometheus 3 on the same samples."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.evaluate import Steps
from bench.measure import cpu_seconds, interleave, spread
from bench.processes import client_cores, on
from bench.prometheus import MISSING, Prometheus, prometheus
from bench.rates import Kernels
from bench.report import OURS, Result, row
from bench.script import BenchError, Options, main, require
from bench.shapes import Data, Shape, build
from scaler import quantity
from scaler.jit import compile_all
from tests.prometheus.server import Series, post

PEER = "Prometheus"
_A = Shape(targets=1000, series=100, columns=20)
_WORST = 1e-12
_AT_ONCE = 2_000  # series in one remote write


def run(options: Options) -> Result:
    """Measure shape A.

    Raises:
        BenchError: There is no Prometheus 3.
    """
    compile_all()
    data = build(replace(_A, targets=10) if options.quick else _A)
    query = f"sum by (group) (rate(x[{data.shape.window_ms}ms]))"
    moment_ms = int(data.times_ms[-1].max())
    flags = ("--storage.tsdb.retention.time=100y", "--web.enable-remote-write-receiver", "--query.lookback-delta=1h")
    steps = Steps(data)
    with tempfile.TemporaryDirectory() as name, prometheus(Path(name), {}, flags) as peer:
        if peer is None:
            raise BenchError(f"nothing to compare with: {MISSING}")
        _write(peer, data)
        time_s = f"{moment_ms // 1000}.{moment_ms % 1000:03}"
        with contextlib.closing(peer.connect()) as connection:

            def ask() -> bytes:
                return peer.raw_query(connection, query, time_s)

            checked = list(_check(data, steps.all(), json.loads(ask())))
            body = ask()
            watched_s = options.budget_s * 6
            cases = {
                OURS: lambda: _cost(steps.all, os.getpid(), watched_s),
                PEER: lambda: _cost(ask, peer.child.pid, watched_s),
            }
            with on(client_cores()):
                found = interleave(cases, options.rounds)
    ours, theirs = found[OURS], found[PEER]
    return Result(
        title=f"{data.shape.count:,} series to 1,000 sums of rates, beside a Prometheus",
        about=f"{query}, at the same moment on the same samples. Ours: evaluate, select, encode as JSON. Prometheus: "
        "its instant query over HTTP on a kept connection, to the last byte of its JSON; the samples, which came by "
        "remote write to the millisecond, are in its head, in memory. Each has one processor.",
        rows=(
            row("store to JSON", "ms", [wall for wall, _ in ours], peers={PEER: [wall for wall, _ in theirs]}),
            row("processor time of it", "ms", [cpu for _, cpu in ours], peers={PEER: [cpu for _, cpu in theirs]}),
        ),
        checked=(*checked, f"{len(steps.all()):,} bytes of ours, {len(body):,} of Prometheus"),
        programs=("prometheus",),
    )


def _cost(call: Callable[[], object], pid: int, watched_s: float) -> tuple[float, float]:
    """Return the median time of a call, and the processor time that a process used for one, in ms."""
    call()
    walls: list[float] = []
    before_s, end = cpu_seconds(pid), time.perf_counter() + watched_s
    while not walls or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        walls.append(time.perf_counter() - began)
    used_s = cpu_seconds(pid) - before_s
    return 1e3 * spread(walls).median, 1e3 * max(used_s, 1e-5) / len(walls)


def _series(data: Data) -> Iterator[Series]:
    """Return the samples as Prometheus takes them in."""
    times = data.times_ms.T.tolist()
    for target, at_ms in enumerate(times):
        values = data.values[:, target]
        for series, group in enumerate(data.groups[target].tolist()):
            labels = {"__name__": "x", "group": f"g{group:03}", "instance": f"t{target}", "series": str(series)}
            samples = [v.tobytes() for v in values[:, series].astype("<f8")]
            yield labels, zip(at_ms, samples, strict=True)


def _write(peer: Prometheus, data: Data) -> None:
    part: list[Series] = []
    with contextlib.closing(peer.connect()) as connection:
        for each in _series(data):
            part.append(each)
            if len(part) == _AT_ONCE:
                post(connection, part)
                part = []
        if part:
            post(connection, part)


def _check(data: Data, ours: bytes, theirs: Any) -> Iterator[str]:
    """Our kernels' sums are Prometheus', and so is each item's text."""
    found = {each["metric"]["group"]: float(each["value"][1]) for each in theirs["data"]["result"]}
    kernels = Kernels.of(data)
    moment_ms = np.full(len(kernels.end_ms), data.times_ms[-1].max())
    kernels = replace(kernels, end_ms=moment_ms)
    kernels()
    sums = {f"g{group:03}": value for group, value in enumerate(kernels.sums().tolist()) if math.isfinite(value)}
    require(sums.keys() == found.keys(), "there is a sum for each group")
    worst = max(abs(value - found[group]) / max(abs(found[group]), 1e-300) for group, value in sums.items())
    yield require(worst <= _WORST, f"every sum equals that of Prometheus to 1e-12 (worst: {worst:.1e})")
    texts = {item["metricLabels"]["group"]: item["value"] for item in json.loads(ours)["items"]}
    exact = 0
    for group, value in found.items():
        near = [quantity.text(quantity.milli(value) + step) for step in (0, -1, 1)]
        require(texts[group] in near, f"{group} is {near[0]}, got {texts[group]}")
        exact += texts[group] == near[0]
    yield f"{exact:,} of {len(found):,} items have exactly its value in thousandths, the rest the next one"


if __name__ == "__main__":
    main("prometheus_query", run)
