"""Does it stay linear? Cost against series, queues, targets and readers, each with the exponent that fits it."""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import redis

from adapter.schema.metric import Metric
from adapter.schema.model import RedisSource, ScrapeSource
from adapter.sources import Endpoint
from adapter.sources.plan import endpoints, targets_of
from bench.configuration import documents, static_metric
from bench.evaluate import Steps
from bench.load import VALUES, closed_loop, readers, request
from bench.measure import interleave, seconds_a_call, spread
from bench.processes import LOOPBACK, adapter, client_cores, on, python, redis_server, server_cores
from bench.report import OURS, Curve, Result, Row, row
from bench.script import Options, main, require
from bench.shapes import Shape, build
from scaler.jit import compile_all
from scaler.model import EXTERNAL_METRICS_GROUP, MetricRef
from scaler.rules import MetricRule

Points: TypeAlias = dict[int, list[float]]
"""By size: what it took, in ms, a round each."""

_PAGE_BYTES = 25_000
_COLUMNS = 8
_SETTLED = 0.1
"""What the smallest sizes cost is mostly overhead: the exponent is fitted from this share of the largest upwards."""


def run(options: Options) -> Result:
    """Measure the four curves."""
    compile_all()
    quick, more = options.quick, (2000, 5000, 10_000) if options.full else ()
    with tempfile.TemporaryDirectory() as name, asyncio.Runner() as runner:
        folder = Path(name)
        found: dict[str, tuple[str, Points]] = {
            "series": ("an evaluation", _evaluations((10, 20) if quick else TARGETS + more, options)),
            "queues": ("a read of a Redis", _queues(runner, folder, (10, 100) if quick else QUEUES, options)),
            "targets": ("a round of scrapes", _targets(runner, folder, (2, 5) if quick else TARGETS, options)),
            "readers": ("a GET of each reader", _readers(folder, (1, 4) if quick else READERS, options)),
        }
    rows: list[Row] = []
    curves, checked = [], []
    for against, (what, points) in found.items():
        rows += [row(f"{what}, {size:,} {against}", "ms", figures) for size, figures in points.items()]
        line = [(size, spread(figures).median) for size, figures in points.items()]
        power = exponent(line)
        rows.append(row(f"  exponent of {what} against {against}", "", [power]))
        checked.append(f"{what} costs as the number of {against} to the power of {power:.2f}")
        curves.append(Curve(f"{what.capitalize()} against {against}", against, "ms", {OURS: line}))
    return Result(
        title="Does it stay linear?",
        about="An exponent of 1 is linear, of 0 constant. It is the median slope between any two sizes, in "
        "logarithms, from a tenth of the largest upwards. Evaluations: shape A with more targets, "
        f"{_COLUMNS} samples in the window, to the bytes. Scrapes: pages of {_PAGE_BYTES / 1e3:g} KB, one after the "
        "other. GETs: over TLS, all readers at once, from the first to the last answer.",
        rows=tuple(rows),
        curves=tuple(curves),
        checked=tuple(checked),
        programs=("redis-server",),
    )


# At least four of each are not below a tenth of the largest.
TARGETS = (10, 100, 200, 500, 1000)
QUEUES = (10, 100, 1000, 2000, 5000, 10_000)
READERS = (1, 4, 16, 32, 64, 128, 256)


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the power of x that y goes with, over the points whose x is not below a tenth of the largest.

    One point that is off moves it little: it is the median of the slopes between any two (Theil and Sen).
    """
    most = max(x for x, _ in points)
    kept = [(math.log(x), math.log(y)) for x, y in points if x >= most * _SETTLED]
    kept = kept if len(kept) > 1 else [(math.log(x), math.log(y)) for x, y in points]
    return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(kept, 2))


def _measured(sizes: Sequence[int], cases: Mapping[int, Callable[[], object]], options: Options) -> Points:
    def timed(size: int) -> float:
        return 1e3 * seconds_a_call(cases[size], options.budget_s)

    found = interleave({str(size): partial(timed, size) for size in sizes}, options.rounds)
    return {size: found[str(size)] for size in sizes}


def _evaluations(targets: Sequence[int], options: Options) -> Points:
    cases: dict[int, Callable[[], object]] = {}
    for count in targets:
        data = build(Shape(targets=count, series=100, columns=_COLUMNS))
        steps = Steps(data)
        require(steps.all(), "there is an answer")
        cases[data.shape.count] = steps.all
    return _measured(list(cases), cases, options)


def _opened(source: RedisSource | ScrapeSource) -> list[Endpoint]:
    """Return the endpoints that are read for a metric of this source."""
    ref = MetricRef(EXTERNAL_METRICS_GROUP, "bench", "scaling")
    rule = MetricRule(ref, "scaling", "bench", interval_ms=1000, targets=targets_of(source))
    return [spec.open() for spec in endpoints([Metric(rule, source, timeout_ms=60_000, origin="bench")])]


def _queues(runner: asyncio.Runner, folder: Path, sizes: Sequence[int], options: Options) -> Points:
    with redis_server(folder, server_cores()) as (_, port), on(client_cores()):
        with redis.Redis(host=LOOPBACK, port=port) as client:
            client.eval("for n = 0, tonumber(ARGV[1]) - 1 do redis.call('RPUSH', 'q' .. n, 'x') end", 0, max(sizes))
        opened = {}
        for size in sizes:
            lists = [{"list": f"q{n}"} for n in range(size)]
            source = RedisSource.model_validate({"url": f"redis://{LOOPBACK}:{port}/0", "queues": lists})
            opened[size] = _opened(source)
        return _collected(runner, opened, options)


def _targets(runner: asyncio.Runner, folder: Path, sizes: Sequence[int], options: Options) -> Points:
    with python("pages", "bench.pages", [str(_PAGE_BYTES)], folder, server_cores()) as (_, port), on(client_cores()):
        opened = {}
        for size in sizes:
            urls = [f"http://{LOOPBACK}:{port}/t/{n}" for n in range(size)]
            source = {"targets": {"urls": urls}, "metric": "http_requests_total"}
            opened[size] = _opened(ScrapeSource.model_validate(source))
        return _collected(runner, opened, options)


def _collected(runner: asyncio.Runner, opened: Mapping[int, Sequence[Endpoint]], options: Options) -> Points:
    """Time a read of all endpoints of each size."""
    now_ms = 0

    async def read(size: int) -> None:
        nonlocal now_ms
        now_ms += 1000
        for endpoint in opened[size]:
            for batch in await endpoint.collect(now_ms):
                require(batch.failure is None and len(batch.layout) > 0, "everything is read")

    async def close() -> None:
        for each in opened.values():
            for endpoint in each:
                await endpoint.close()

    cases = {size: partial(lambda size: runner.run(read(size)), size) for size in opened}
    try:
        for case in cases.values():
            case()  # connects, and learns what is there
        return _measured(list(opened), cases, options)
    finally:
        runner.run(close())


def _readers(folder: Path, sizes: Sequence[int], options: Options) -> Points:
    with (
        adapter("adapter", documents([static_metric("one", 1.0)]), folder) as running,
        readers(max(sizes), running.port, running.tls) as connections,
    ):
        raw = request(VALUES + "one")

        def each(size: int) -> float:
            load = closed_loop(connections[:size], raw, options.budget_s)
            require(load.failed == 0, "every GET is answered with 200")
            return 1e3 * load.seconds / load.requests * size

        found = interleave({str(size): partial(each, size) for size in sizes}, options.rounds)
        return {size: found[str(size)] for size in sizes}


if __name__ == "__main__":
    main("scaling", run)
