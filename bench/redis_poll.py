"""Reading 10,000 queues of one Redis: our endpoint, redis-py's asyncio pipeline, and redis-benchmark as the floor."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from redis.asyncio import Redis

from adapter.schema.metric import Metric
from adapter.schema.model import RedisSource
from adapter.sources import redis as redis_source
from adapter.sources.redis import RedisEndpoint
from bench.loop import Cost, Work, cost
from bench.machine import program
from bench.measure import interleave, spread
from bench.processes import LOOPBACK, client_cores, on, redis_server, server_cores
from bench.report import Curve, Result, Row, row
from bench.script import Options, main, require
from scaler.model import EXTERNAL_METRICS_GROUP, Batch, MetricRef
from scaler.rules import MetricRule

PEER = "redis-py pipeline"
FLOOR = "redis-benchmark -P 1000"
_COUNT = 10_000
_ELEMENTS = 7  # list n has n % 7 elements


@dataclass(frozen=True, slots=True)
class Read:
    """One way to read all queues of a kind. `commands`: what redis-benchmark must do for as much."""

    kind: str
    ours: RedisEndpoint
    peer: Work
    commands: tuple[str, ...]


def run(options: Options) -> Result:
    """Measure lists and stream groups, at one size and along a curve."""
    count = 200 if options.quick else _COUNT
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server(Path(folder), server_cores()) as (_, port),
        on(client_cores()),
        asyncio.Runner() as runner,
    ):
        client = Redis(host=LOOPBACK, port=port, protocol=2)
        try:
            runner.run(_fill(client, count))
            rows, checked = _measure(runner, client, port, count, options)
            curve = _curve(runner, client, port, count, options)
        finally:
            runner.run(client.aclose())
    return Result(
        title=f"Reading {count:,} queues of one Redis, one connection",
        about="One read of all of them, as every interval has one. Redis on one processor, the readers on another if "
        "there is one.",
        rows=rows,
        curves=(curve,),
        checked=checked,
        missing=() if program("redis-benchmark") else ("redis-benchmark: apt install redis-tools",),
        programs=("redis-server",),
    )


def _key(kind: str, number: int) -> str:
    return f"{kind}:{number:012}"  # as redis-benchmark writes random keys


async def _fill(client: Redis, count: int) -> None:
    for first in range(0, count, 1000):
        async with client.pipeline(transaction=False) as pipeline:
            for n in range(first, min(first + 1000, count)):
                if n % _ELEMENTS:
                    pipeline.rpush(_key("list", n), *range(n % _ELEMENTS))
                stream = _key("stream", n)
                pipeline.xgroup_create(stream, "workers", mkstream=True)
                pipeline.xadd(stream, {"order": n})
                pipeline.xadd(stream, {"order": n})
                pipeline.xreadgroup("workers", "one", {stream: ">"}, count=1)
            await pipeline.execute()


def _endpoint(port: int, queues: Sequence[dict[str, str]]) -> RedisEndpoint:
    source = RedisSource.model_validate({"url": f"redis://{LOOPBACK}:{port}/0", "queues": queues})
    ref = MetricRef(EXTERNAL_METRICS_GROUP, "bench", "queues")
    rule = MetricRule(ref, "queues", "bench", interval_ms=1000, targets=(redis_source.target_of(source),))
    (spec,) = redis_source.plan([Metric(rule, source, timeout_ms=60_000, origin="bench")])
    return spec.open()


def _reads(client: Redis, port: int, count: int) -> list[Read]:
    lists, streams = ([_key(kind, n) for n in range(count)] for kind in ("list", "stream"))
    groups = [{"stream": key, "group": "workers"} for key in streams]
    return [
        Read(
            "lists",
            _endpoint(port, [{"list": key} for key in lists]),
            _pipeline(client, lists, "LLEN"),
            ("LLEN list:",),
        ),
        Read(
            "stream groups",
            _endpoint(port, groups),
            _pipeline(client, streams, "XINFO GROUPS", "XLEN"),
            ("XINFO GROUPS stream:", "XLEN stream:"),
        ),
    ]


def _pipeline(client: Redis, keys: Sequence[str], *commands: str) -> Work:
    """Return what reads the keys as the documentation of redis-py has it."""

    async def read() -> list[Any]:
        async with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                for command in commands:
                    if command == "LLEN":
                        pipeline.llen(key)
                    elif command == "XLEN":
                        pipeline.xlen(key)
                    else:
                        pipeline.xinfo_groups(key)
            return await pipeline.execute()

    return read


async def _check(reads: Sequence[Read], count: int) -> tuple[str, ...]:
    """Every reading is what was put there."""
    lists, streams = [await read.ours.collect(1) for read in reads]
    peer = np.array(await reads[0].peer(), np.float64)
    wanted = np.arange(count) % _ELEMENTS
    require(_values(lists).tolist() == wanted.tolist() == peer.tolist(), "each list has its length")
    # Two entries a stream: one delivered and not acknowledged, one waiting.
    require(_values(streams).tolist() == [1.0] * (2 * count), "each group has one entry waiting and one in flight")
    return f"{count:,} lengths equal redis-py's", f"{count:,} groups have one entry waiting and one in flight"


def _values(batches: Sequence[Batch]) -> np.ndarray[Any, np.dtype[np.float64]]:
    require(len(batches) == 1 and not batches[0].problems, "every queue was read")
    return batches[0].values


def _measure(
    runner: asyncio.Runner, client: Redis, port: int, count: int, options: Options
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    reads, repeats = _reads(client, port, count), _repeats(options)
    rows: list[Row] = []
    checked = runner.run(_check(reads, count))
    for read in reads:
        cases = {
            "ours": partial(cost, runner, partial(read.ours.collect, 1), repeats),
            PEER: partial(cost, runner, read.peer, repeats),
        }
        if program("redis-benchmark"):
            cases[FLOOR] = partial(_floor, port, read.commands, count)
        rows += _rows(read.kind, interleave(cases, options.rounds))
        runner.run(read.ours.close())
    return tuple(rows), checked


def _repeats(options: Options) -> int:
    return 1 if options.quick else 7 if options.full else 3


_FIGURES: dict[str, Callable[[Cost], float]] = {
    "wall": lambda each: each.wall,
    "processor time": lambda each: each.cpu,
    "longest hold of the event loop": lambda each: each.held,
}


def _rows(kind: str, costs: dict[str, list[Cost]]) -> list[Row]:
    walls = [each.wall for each in costs.get(FLOOR, [])]
    found = []
    for what, figure in _FIGURES.items():
        ours, peer = ([figure(each) for each in costs[name]] for name in ("ours", PEER))
        floors = {FLOOR: walls} if walls and what == "wall" else {}
        found.append(row(f"{kind}: {what}", "ms", ours, peers={PEER: peer}, floors=floors))
    return found


def _floor(port: int, commands: Sequence[str], count: int) -> Cost:
    """Return what the fastest client needs for as many commands on random keys."""
    wall_ms = 0.0
    for command in commands:
        words = f"{command}__rand_int__".split(" ")
        argv = ["redis-benchmark", "-p", str(port), "-c", "1", "-P", "1000", "-n", "50000", "-r", str(count), "--csv"]
        said = subprocess.run([*argv, *words], capture_output=True, text=True, check=True).stdout
        a_second = float(said.strip().splitlines()[-1].split(",")[1].strip('"'))
        wall_ms += count / a_second * 1e3
    return Cost(wall_ms)


def _curve(runner: asyncio.Runner, client: Redis, port: int, count: int, options: Options) -> Curve:
    """Return the time of a read against the number of lists."""
    lines: dict[str, list[tuple[float, float]]] = {"Spillway": [], PEER: []}
    repeats = _repeats(options)
    for size in (50, count) if options.quick else (100, 300, 1000, 3000, count) if options.full else (100, 1000, count):
        read = _reads(client, port, size)[0]
        cases = {
            "Spillway": partial(cost, runner, partial(read.ours.collect, 1), repeats),
            PEER: partial(cost, runner, read.peer, repeats),
        }
        for name, costs in interleave(cases, 1 if options.quick else 3).items():
            lines[name].append((size, spread(each.wall for each in costs).median))
        runner.run(read.ours.close())
    return Curve("One read of a Redis", "lists", "ms", lines)


if __name__ == "__main__":
    main("redis_poll", run)
