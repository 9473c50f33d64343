"""The main job: readers are answered while 10,000 Redis queues and 200 pages (5 MB) are read every second."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from bench import configuration as c
from bench.freshness import PROBES, freshness, probes
from bench.load import VALUES, OpenLoop, readers, request
from bench.measure import cpu_seconds, interleave, percentile, resident_mib
from bench.pages import PATHS
from bench.processes import LOOPBACK, Adapter, adapter, client_cores, python, redis_server
from bench.report import OURS, Curve, Result, Row, row
from bench.script import Options, main, require

REST = "itself at rest"
_PAGE_BYTES = 25_000
_METRICS = 30
_CONNECTIONS = 8
_RATE = 200.0
_SETTLE_S = 1.5


@dataclass(frozen=True, slots=True)
class Size:
    """How much is read, and how long is measured."""

    queues: int = 10_000
    targets: int = 200
    probes: int = 60
    ask_s: float = 3.0
    fresh_s: float = 3.0


_FULL = Size(ask_s=10.0)
_QUICK = Size(queues=60, targets=5, probes=3, ask_s=0.2, fresh_s=0.1)


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase brought. Latencies in ms, processor time and scrapes a second; freshness only where it reads."""

    latencies: tuple[float, ...]
    cpu: float
    resident_mib: float
    scrapes: float
    fresh: tuple[float, ...] = ()


def run(options: Options) -> Result:
    """Measure both adapters in turn; the one that waits is stopped."""
    size = _QUICK if options.quick else _FULL if options.full else Size()
    with tempfile.TemporaryDirectory() as name, _everything(Path(name), size) as (busy, rest, client):
        checked = [_check(busy, size), _check_rest(rest, size)]
        asked = _requests(size)
        cases = {
            OURS: lambda: _phase(busy, rest, asked, size, client),
            REST: lambda: _phase(rest, busy, asked, size, None),
        }
        phases = interleave(cases, options.rounds)
        checked.append(f"{_check(busy, size)}, at the end too")
    return Result(
        title=f"GETs while {size.queues:,} Redis queues and {size.targets} pages of {_PAGE_BYTES / 1e3:.0f} KB are "
        "read every second",
        about=f"Open loop: {_RATE:g} requests a second on {_CONNECTIONS} connections over TLS, latency from when a "
        "request was meant to be sent. The adapter has a processor of its own if there are two; at rest it serves as "
        "many static metrics. Freshness: from a push in Redis to the changed value in the API.",
        rows=tuple(_rows(phases)),
        curves=(_curve(phases),),
        checked=tuple(checked),
        programs=("redis-server",),
    )


def _queue(number: int) -> str:
    return f"queue-{number}"


def _depth(number: int) -> int:
    return number % 97


@contextlib.contextmanager
def _everything(folder: Path, size: Size) -> Iterator[tuple[Adapter, Adapter, redis.Redis]]:
    """Run Redis, the pages and two adapters."""
    with (
        redis_server(folder, client_cores()) as (_, redis_port),
        python("pages", "bench.pages", [str(_PAGE_BYTES)], folder, client_cores()) as (_, pages_port),
        redis.Redis(host=LOOPBACK, port=redis_port) as client,
    ):
        pipeline = client.pipeline()
        for n in range(size.queues):
            if _depth(n):
                pipeline.rpush(_queue(n), *range(_depth(n)))
        pipeline.execute()
        urls = [f"http://{LOOPBACK}:{pages_port}/t/{n}" for n in range(size.targets)]
        with (
            adapter("busy", _busy(f"redis://{LOOPBACK}:{redis_port}/0", urls, size), folder) as busy,
            adapter("rest", _rest(size), folder) as rest,
        ):
            # A rate is unknown until two samples are there.
            busy.child.wait_until(lambda: busy.get(VALUES + "requests")[0] == 200, "a rate of two samples")
            yield busy, rest, client


def _busy(url: str, urls: Sequence[str], size: Size) -> str:
    """Return what reads the queues and the pages."""
    queues = [_queue(n) for n in range(size.queues)]
    metrics = [c.list_metric(f"backlog-{m}", url, queues[m::_METRICS]) for m in range(_METRICS)]
    metrics.append(c.list_metric(PROBES, url, probes(size.probes)))
    requests: Mapping[str, Any] = {"metric": "http_requests_total", "match": 'code!~"5.."'}
    rate = {"function": "rate", "window": "10s"}
    metrics.append(c.scrape_metric("requests", urls, requests, signal=rate, aggregate={"with": "sum"}))
    metrics.append(
        c.scrape_metric("requests-by-path", urls, requests, signal=rate, aggregate={"by": ["path"], "with": "sum"})
    )
    metrics.append(c.scrape_metric("up", urls, {"metric": "up"}, aggregate={"by": ["page"], "with": "sum"}))
    return c.documents(metrics)


def _rest(size: Size) -> str:
    """Return as many metrics with the same items, all of them static."""
    series = {f"backlog-{m}": [{"queue": _queue(n)} for n in range(m, size.queues, _METRICS)] for m in range(_METRICS)}
    series |= {"requests": [{}], "requests-by-path": [{"path": path} for path in PATHS]}
    series |= {"up": [{"page": str(n)} for n in range(size.targets)]}
    return c.documents(
        c.metric(name, {"static": {"series": [{"labels": each, "value": 7} for each in labels]}}, interval="15s")
        for name, labels in series.items()
    )


def _requests(size: Size) -> list[bytes]:
    """Return what is asked: one queue of a metric each, as HPAs do, and now and then a metric of the pages."""
    rng = random.Random(1)
    paths = [
        f"backlog-{n % _METRICS}?labelSelector={quote(f'queue={_queue(n)}', safe='')}"
        for n in rng.sample(range(size.queues), min(size.queues, 90))
    ]
    paths += ["requests"] * 5 + ["requests-by-path"] * 5
    rng.shuffle(paths)
    return [request(VALUES + path) for path in paths]


def _values(running: Adapter, metric: str, label: str) -> dict[str, str]:
    status, body = running.get(VALUES + metric)
    require(status == 200, f"{metric} is known")
    return {item["metricLabels"][label]: item["value"] for item in json.loads(body)["items"]}


def _check(busy: Adapter, size: Size) -> str:
    """Each queue and each page has its value."""
    found: dict[str, str] = {}
    for m in range(_METRICS):
        found |= _values(busy, f"backlog-{m}", "queue")
    require(found == {_queue(n): str(_depth(n)) for n in range(size.queues)}, "each queue has its depth")
    pages = _values(busy, "up", "page")
    require(pages == {str(n): str(n) for n in range(size.targets)}, "each page has its gauge")
    return f"each of {size.queues:,} queues has its depth, each of {size.targets} pages its gauge"


def _check_rest(rest: Adapter, size: Size) -> str:
    found = [len(_values(rest, f"backlog-{m}", "queue")) for m in range(_METRICS)]
    return require(sum(found) == size.queues, f"at rest it serves {size.queues:,} items too")


def _phase(running: Adapter, other: Adapter, asked: Sequence[bytes], size: Size, client: redis.Redis | None) -> Phase:
    """Ask one adapter while the other is stopped."""
    other.child.process.send_signal(signal.SIGSTOP)
    try:
        with readers(_CONNECTIONS, running.port, running.tls) as lanes:
            OpenLoop().run(lanes, asked, _RATE, min(_SETTLE_S, size.ask_s))
            cpu_s, scrapes, began = cpu_seconds(running.child.pid), _scrapes(running), time.monotonic()
            loop = OpenLoop()
            loop.run(lanes, asked, _RATE, size.ask_s)
            took_s = time.monotonic() - began
            cpu_s, scrapes = cpu_seconds(running.child.pid) - cpu_s, _scrapes(running) - scrapes
            fresh = freshness(lanes[0], client, size.probes, size.fresh_s) if client is not None else []
    finally:
        other.child.process.send_signal(signal.SIGCONT)
    require(loop.failed == 0, "every GET is answered with 200")
    resident = resident_mib(running.child.pid)
    latencies = tuple(1e3 * each for each in loop.latencies)
    return Phase(latencies, 1e3 * cpu_s / took_s, resident, scrapes / took_s, tuple(1e3 * each for each in fresh))


def _scrapes(running: Adapter) -> int:
    """Return how many pages it has read well."""
    return int(running.metrics().get('spillway_source_reads_total{outcome="ok",source="scrape"}', 0))


def _rows(phases: Mapping[str, Sequence[Phase]]) -> Iterator[Row]:
    for share, name in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")):
        figures = {who: [percentile(phase.latencies, share) for phase in each] for who, each in phases.items()}
        yield row(f"GET {name}", "ms", figures[OURS], peers={REST: figures[REST]})
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        yield row(f"freshness {name}", "ms", [percentile(phase.fresh, share) for phase in phases[OURS]])
    cpu = {who: [phase.cpu for phase in each] for who, each in phases.items()}
    yield row("processor time of the adapter", "ms a second", cpu[OURS], peers={REST: cpu[REST]})
    resident = {who: [phase.resident_mib for phase in each] for who, each in phases.items()}
    yield row("resident memory", "MiB", resident[OURS], peers={REST: resident[REST]})
    yield row("pages read", "a second", [phase.scrapes for phase in phases[OURS]], more_is_better=True)


def _curve(phases: Mapping[str, Sequence[Phase]]) -> Curve:
    """Return which latency a share of the GETs does not exceed."""
    shares = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
    lines: dict[str, list[tuple[float, float]]] = {}
    for who, each in phases.items():
        latencies = [latency for phase in each for latency in phase.latencies]
        lines[who] = [(1 / (1 - share), percentile(latencies, share)) for share in shares]
    return Curve("GETs while everything is read", "one in so many GETs is slower", "ms", lines)


if __name__ == "__main__":
    main("main_job", run)
