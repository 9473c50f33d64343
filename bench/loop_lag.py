"""Who holds the adapter's event loop: its own measure of lag, and what readers wait meanwhile.

python -m bench.loop_lag             # at rest, and everything at once
python -m bench.loop_lag --full      # activity by activity, two minutes
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis

from bench import configuration as c
from bench.load import VALUES, OpenLoop, Reader, readers, request
from bench.measure import percentile
from bench.processes import LOOPBACK, Adapter, adapter, client_cores, on, plain_get, python, redis_server
from bench.report import Result, Row, row
from bench.script import Options, main, require

_LAG = "spillway_event_loop_lag_seconds_bucket"
_MAY_HOLD_S = 0.005
_PAGE_BYTES = 25_000
_PARTS = 10
_CONNECTIONS = 4
_RATE = 400.0  # a hold of some milliseconds must meet a request
_SETTLE_S = 1.0
_BIG, _SMALL = "many-items", "one"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is read and shown, and how long is watched."""

    keys: int = 10_000
    targets: int = 200
    metrics: int = 10_000
    watch_s: float = 3.0


_QUICK = Size(keys=100, targets=4, metrics=50, watch_s=0.4)

Act = Callable[[Adapter, Reader], object]


@dataclass(frozen=True, slots=True)
class Activity:
    """Something that the adapter does.

    Args:
        what: Its name.
        config: What the adapter reads, as YAML.
        act: What clients do, beside the small GETs.
        every_s: How often.
    """

    what: str
    config: str
    act: Act | None = None
    every_s: float = 1.0


@dataclass(slots=True)
class Found:
    """What some seconds of an activity brought, in ms. `late`: the share of the loop's timers over 5 ms late, in %."""

    worst: float
    late: float
    p99: float
    longest: float


@dataclass(slots=True)
class _Acting:
    """A thread that acts again and again."""

    act: Callable[[], object]
    every_s: float
    failures: list[BaseException] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            while not self._stop.wait(self.every_s):
                self.act()
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self.failures.append(error)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        with on(client_cores()):
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        for failure in self.failures:
            raise failure


def run(options: Options) -> Result:
    """Measure at rest, `--full` each activity with an adapter of its own, then all of them together."""
    size = _QUICK if options.quick else Size()
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory() as name,
        redis_server(Path(name), client_cores()) as (_, redis_port),
        python("pages", "bench.pages", [str(_PAGE_BYTES)], Path(name), client_cores()) as (_, pages_port),
    ):
        folder = Path(name)
        _fill(redis_port, size)
        activities = _activities(size, redis_port, pages_port)
        if not options.full:
            activities = activities[-1:] if options.quick else [activities[0], activities[-1]]
        for number, activity in enumerate(activities):
            with adapter(f"adapter-{number}", activity.config, folder) as running:
                found = _watch(running, activity, size, options.rounds)
            rows += _rows(activity.what, found)
    return Result(
        title="The event loop: how late its timers run, and what readers notice",
        about=f"Each activity in an adapter of its own, alone on its processor if there are two. Timer lag is "
        f"the adapter's own {_LAG.removesuffix('_bucket')}, ten looks a second: the greatest is its bucket's bound. "
        f"Readers: {_RATE:g} small GETs a second on {_CONNECTIONS} connections, open loop.",
        rows=tuple(rows),
        checked=("every GET was answered with 200, every activity did what it should",),
        programs=("redis-server",),
    )


def _key(number: int) -> str:
    return f"queue-{number}"


def _fill(port: int, size: Size) -> None:
    with redis.Redis(host=LOOPBACK, port=port) as client:
        pipeline = client.pipeline()
        for n in range(size.keys):
            pipeline.rpush(_key(n), *range(n % 7 + 1))
        pipeline.execute()


def _activities(size: Size, redis_port: int, pages_port: int) -> list[Activity]:
    url = f"redis://{LOOPBACK}:{redis_port}/0"
    keys = [_key(n) for n in range(size.keys)]
    pages = [f"http://{LOOPBACK}:{pages_port}/t/{n}" for n in range(size.targets)]
    rate = {"function": "rate", "window": "10s"}
    small = [c.static_metric(_SMALL, 1.0)]
    scrapes = [
        c.scrape_metric("requests", pages, {"metric": "http_requests_total"}, signal=rate, aggregate={"with": "sum"}),
        c.scrape_metric("by-path", pages, {"metric": "http_requests_total"}, signal=rate, aggregate={"by": ["path"]}),
    ]
    queues = [c.list_metric(f"queues-{m}", url, keys[m::_PARTS]) for m in range(_PARTS)]
    big = [c.list_metric(_BIG, url, keys)]
    many = [c.static_metric(f"static-{n}", float(n)) for n in range(size.metrics)]
    read = f"{size.targets * _PAGE_BYTES / 1e6:.1f} MB a second of pages"
    everything = c.documents(small + scrapes + big + many)

    def get_big(_: Adapter, reader: Reader) -> None:
        status, body = reader.ask(request(VALUES + _BIG))
        require(status == 200 and len(body) > 20 * size.keys, f"{_BIG} is answered whole")

    def show(running: Adapter, _: Reader) -> None:
        plain_get(running.metrics_port, "/metrics")

    def explain(running: Adapter, _: Reader) -> None:
        plain_get(running.explain_port, f"/explain/{c.NAMESPACE}/{_BIG}")

    def all_of_it(running: Adapter, reader: Reader) -> None:
        get_big(running, reader)
        show(running, reader)
        explain(running, reader)

    return [
        Activity("at rest", c.documents(small)),
        Activity(f"reading {read}", c.documents(small + scrapes)),
        Activity(f"reading {size.keys:,} keys a second", c.documents(small + queues)),
        Activity(f"{size.keys:,} items in one answer, new each second", c.documents(small + big), get_big, 0.3),
        Activity(f"explaining {size.keys:,} items, once a second", c.documents(small + big), explain),
        Activity(f"showing {size.metrics:,} metrics on /metrics, once a second", c.documents(small + many), show),
        Activity("all of it", everything, all_of_it),
    ]


def _watch(running: Adapter, activity: Activity, size: Size, rounds: int) -> list[Found]:
    asked = [request(VALUES + _SMALL)]
    found = []
    with readers(_CONNECTIONS + 1, running.port, running.tls) as lanes:
        act = activity.act
        acting: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if act is not None:
            reader = lanes[_CONNECTIONS]
            running.child.wait_until(lambda: running.get(VALUES + _known(activity))[0] == 200, "known")
            acting = _Acting(lambda: act(running, reader), min(activity.every_s, size.watch_s / 4)).running()
        with acting:
            OpenLoop().run(lanes[:_CONNECTIONS], asked, _RATE, min(_SETTLE_S, size.watch_s))
            for _ in range(rounds):
                before, loop = _lag(running), OpenLoop()
                loop.run(lanes[:_CONNECTIONS], asked, _RATE, size.watch_s)
                require(loop.failed == 0, "every GET is answered with 200")
                after = _lag(running)
                lag = [(bound, after[bound] - before[bound]) for bound in after]
                found.append(_found(lag, loop.latencies))
    return found


def _known(activity: Activity) -> str:
    return _BIG if f'"{_BIG}"' in activity.config else _SMALL


def _lag(running: Adapter) -> dict[float, float]:
    """Return the histogram: upper bound in seconds → how many were not later, or below."""
    found = {}
    for name, count in running.metrics().items():
        if name.startswith(_LAG):
            found[float(name.partition('le="')[2].partition('"')[0])] = count
    return found


def _found(lag: Sequence[tuple[float, float]], latencies: Sequence[float]) -> Found:
    total = lag[-1][1]
    worst = next(bound for bound, count in lag if count >= total)
    in_time = next(count for bound, count in lag if bound >= _MAY_HOLD_S)
    late = 100 * (1 - in_time / total) if total else 0.0
    last = lag[-2][0] if worst == float("inf") else worst  # the greatest bound there is
    return Found(1e3 * last, late, 1e3 * percentile(latencies, 0.99), 1e3 * max(latencies))


def _rows(what: str, found: Sequence[Found]) -> Iterator[Row]:
    yield row(f"{what}: greatest timer lag, at most", "ms", [each.worst for each in found])
    yield row("  timers over 5 ms late", "%", [each.late for each in found])
    yield row("  GET p99", "ms", [each.p99 for each in found])
    yield row("  GET, the slowest", "ms", [each.longest for each in found])


if __name__ == "__main__":
    main("loop_lag", run)
