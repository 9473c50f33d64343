"""Hollow HPAs, in the spirit of Kubemark: everything of an HPA that an adapter sees, and nothing else of it.

    python -m bench.hollow                       # 2,000 HPAs over 400 metrics
    python -m bench.hollow --full                # 10,000 HPAs over 2,000 metrics: 667 reads a second; and then with
                                                 # kube-controller-manager's own limit of 20 reads a second

Five workers take HPAs from a queue; each is synced again 15 s after its last sync has ended. What they send is what a
kube-apiserver was seen to forward, over TLS with a front proxy's certificate, to an adapter that has a Kubernetes API
decide who may read.
"""

from __future__ import annotations

import heapq
import random
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import redis

from bench import configuration as c
from bench.load import VALUES, Reader, readers, undisturbed
from bench.measure import cpu_seconds, percentile, resident_mib
from bench.processes import LOOPBACK, adapter, client_cores, on, python, redis_server
from bench.report import Curve, Result, Row, row
from bench.script import Options, main, require

WORKERS = 5
QPS, BURST = 20.0, 30
"""kube-controller-manager's --concurrent-horizontal-pod-autoscaler-syncs, --kube-api-qps and --kube-api-burst."""

_CAPTURE = Path(__file__).parents[1] / "tests/testdata/wire/aggregator-and-hpa-requests.txt"
_HPA = "kube-controller-manager/"
_GROW = "for n = 0, tonumber(ARGV[1]) - 1 do redis.call('RPUSH', 'queue-' .. n, 'x') end"
_LATE_S = 0.25  # a read has this long to come to pass before what is served counts as stale


@dataclass(frozen=True, slots=True)
class Size:
    """How many HPAs read how many metrics, how often they do, and how long is watched."""

    hpas: int = 2000
    metrics: int = 400
    sync_s: float = 15.0
    interval_s: int = 5
    watch_s: float = 15.0


_FULL = Size(hpas=10_000, metrics=2000, watch_s=60.0)
_QUICK = Size(hpas=40, metrics=8, sync_s=1.0, interval_s=1, watch_s=2.0)


class Bucket:
    """A client's limit: `burst` at once, then `qps` a second; takers wait their turn."""

    def __init__(self, qps: float, burst: int) -> None:
        self._qps, self._burst = qps, burst
        self._tokens, self._at = float(burst), time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take a token. Returns: how long to wait for it, in seconds."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._qps)
            self._at = now
            self._tokens -= 1
            return max(0.0, -self._tokens / self._qps)


@dataclass(slots=True)
class Truth:
    """The length of every list, one more every second. `grew[n]`: when lists were longer than n, at the latest."""

    client: redis.Redis
    count: int
    began: list[float] = field(default_factory=list)
    grew: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def grow(self) -> None:
        """Make each list longer by one."""
        self.began.append(time.time())
        self.client.eval(_GROW, 0, self.count)
        self.grew.append(time.time())

    def run(self) -> None:
        """Grow every second until stopped."""
        while not self._stop.wait(1.0):
            self.grow()

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()

    def outdated_s(self, length: int, now: float) -> float:
        """Return for how long a length has not been the truth any more; 0 if it may be it."""
        require(0 < length <= len(self.began), f"a length of {length} was true at some time")
        return max(0.0, now - self.grew[length]) if length < len(self.grew) else 0.0


@dataclass(slots=True)
class Seen:
    """What the HPAs saw. Latencies from sending; `behind`: how late a sync began; ages of what was served; seconds."""

    latencies: list[float] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)
    outdated: list[float] = field(default_factory=list)
    failed: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0


class Hpas:
    """The queue of HPAs and the workers that sync them."""

    def __init__(self, size: Size, truth: Truth, bucket: Bucket | None = None) -> None:
        rng = random.Random(1)
        now = time.monotonic()
        self._size, self._truth = size, truth
        # Created at any time, so spread over a period.
        self._queue = [(now + rng.random() * size.sync_s, n) for n in range(size.hpas)]
        heapq.heapify(self._queue)
        self._lock = threading.Lock()
        self._bucket = bucket
        head = captured()
        self._requests = [head(_path(n, size)) for n in range(size.hpas)]
        self.seen = Seen()
        self.counting = False
        self._until = 0.0

    def run(self, connections: Sequence[Reader], seconds: float) -> None:
        """Sync for a while, each worker on a connection of its own."""
        self._until = time.monotonic() + seconds
        failures: list[Exception] = []

        def worker(reader: Reader) -> None:
            try:
                self._work(reader)
            except Exception as error:  # noqa: BLE001 - raised again below
                failures.append(error)

        with on(client_cores()), undisturbed():
            threads = [threading.Thread(target=worker, args=(reader,)) for reader in connections]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        for failure in failures:
            raise failure

    def _work(self, reader: Reader) -> None:
        while True:
            with self._lock:
                due, hpa = heapq.heappop(self._queue)
            if due >= self._until:
                with self._lock:
                    heapq.heappush(self._queue, (due, hpa))
                time.sleep(max(0.0, self._until - time.monotonic()))
                return
            time.sleep(max(0.0, due - time.monotonic()))
            if self._bucket is not None:
                time.sleep(self._bucket.take())
            self._sync(reader, due, hpa)
            with self._lock:
                heapq.heappush(self._queue, (time.monotonic() + self._size.sync_s, hpa))

    def _sync(self, reader: Reader, due: float, hpa: int) -> None:
        began = time.monotonic()
        status, body = reader.ask(self._requests[hpa].replace(_AUDIT, str(uuid.uuid4()).encode(), 1))
        ended, now = time.monotonic(), time.time()
        if not self.counting:
            return
        seen = self.seen
        seen.latencies.append(ended - began)
        seen.behind.append(max(0.0, began - due))
        if status != 200:
            seen.failed += 1
            return
        values = _VALUE.findall(body)
        require(len(values) == 1, f"HPA {hpa} gets one item")
        seen.outdated.append(self._truth.outdated_s(int(values[0]), now - (ended - began)))


_AUDIT = b"00000000-0000-4000-8000-000000000000"
_VALUE = re.compile(rb"\x2a[\x03-\x16]\x0a[\x01-\x14](\d+)")
"""An item's value in protobuf: field 5, a Quantity, whose field 1 is its text."""


def captured() -> Callable[[str], bytes]:
    """Return what makes the request for a path, as a kube-apiserver was seen to forward that of an HPA."""
    blocks = re.split(r"(?m)^--- .*\n", _CAPTURE.read_text())
    lines = next(block for block in blocks if _HPA in block).strip().splitlines()

    def head(path: str) -> bytes:
        mine = {"X-Forwarded-Uri": path.partition("?")[0], "Audit-Id": _AUDIT.decode()}
        found = [f"GET {path} HTTP/1.1"]
        for line in lines[1:]:
            name = line.partition(": ")[0]
            found.append(f"{name}: {mine[name]}" if name in mine else line)
        return "\r\n".join([*found, "", ""]).encode()

    return head


def _queue(hpa: int) -> str:
    return f"queue-{hpa}"


def _path(hpa: int, size: Size) -> str:
    return f"{VALUES}backlog-{hpa % size.metrics}?labelSelector={quote(f'queue={_queue(hpa)}', safe='')}"


def _config(size: Size, port: int) -> str:
    url = f"redis://{LOOPBACK}:{port}/0"
    metrics = (
        c.list_metric(f"backlog-{m}", url, [_queue(hpa) for hpa in range(m, size.hpas, size.metrics)])
        for m in range(size.metrics)
    )
    return c.documents({**each, "spec": each["spec"] | {"interval": f"{size.interval_s}s"}} for each in metrics)


def run(options: Options) -> Result:
    """Let the HPAs read, and see what they saw."""
    size = _QUICK if options.quick else _FULL if options.full else Size()
    with (
        tempfile.TemporaryDirectory() as name,
        redis_server(Path(name), client_cores()) as (_, redis_port),
        redis.Redis(host=LOOPBACK, port=redis_port) as client,
        python("kube", "bench.kube", [name], Path(name), client_cores()),
    ):
        folder, truth = Path(name), Truth(client, size.hpas)
        truth.grow()
        with adapter("adapter", _config(size, redis_port), folder, kubeconfig=folder / "api/kubeconfig") as running:
            context = running.tls
            context.load_cert_chain(folder / "front-proxy.crt", folder / "front-proxy.key")
            growing = threading.Thread(target=truth.run)
            growing.start()
            try:
                with readers(WORKERS, running.port, context) as connections:
                    free = _phase(Hpas(size, truth), connections, running.child.pid, size)
                    rows = [*_rows(free, size), row("resident memory", "MiB", [resident_mib(running.child.pid)])]
                    if options.full:
                        limited = _phase(Hpas(size, truth, Bucket(QPS, BURST)), connections, running.child.pid, size)
                        rows += _rows(limited, size, f"{QPS:g} reads a second at most: ")
            finally:
                truth.stop()
                growing.join()
    return Result(
        title=f"{size.hpas:,} hollow HPAs over {size.metrics:,} metrics",
        about=f"{WORKERS} workers, each HPA synced again {size.sync_s:g} s after its last sync; the requests that a "
        "kube-apiserver forwards, with a front proxy's certificate; a Kubernetes API (a stand-in) decides who may "
        f"read. Lists of Redis, read every {size.interval_s} s, grow by one a second. Outdated: for how long what was "
        "served had not been the truth any more. Stale: outdated by more than an interval and "
        f"{1e3 * _LATE_S:g} ms.",
        rows=tuple(rows),
        curves=(_curve(free),),
        checked=(require(free.failed == 0, "every read was answered with 200, one item that was true once"),),
        programs=("redis-server",),
    )


def _phase(hpas: Hpas, connections: Sequence[Reader], pid: int, size: Size) -> Seen:
    """Sync everything once, because what is read for the first time is authorized first; then look for a while."""
    hpas.run(connections, size.sync_s)
    hpas.counting = True
    before_s, began = cpu_seconds(pid), time.monotonic()
    hpas.run(connections, size.watch_s)
    hpas.seen.seconds = time.monotonic() - began
    hpas.seen.cpu_s = cpu_seconds(pid) - before_s
    return hpas.seen


def _rows(seen: Seen, size: Size, prefix: str = "") -> Iterator[Row]:
    for share, name in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")):
        yield row(f"{prefix}read {name}", "ms", [1e3 * percentile(seen.latencies, share)])
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        yield row(f"{prefix}outdated {name}", "ms", [1e3 * percentile(seen.outdated, share)])
    stale = sum(each > size.interval_s + _LATE_S for each in seen.outdated)
    yield row(f"{prefix}stale answers", "%", [100 * stale / max(1, len(seen.outdated))])
    yield row(f"{prefix}reads", "a second", [len(seen.latencies) / seen.seconds], more_is_better=True)
    yield row(f"{prefix}a sync begins late, p99", "ms", [1e3 * percentile(seen.behind, 0.99)])
    yield row(f"{prefix}processor time of the adapter", "ms a second", [1e3 * seen.cpu_s / seen.seconds])


def _curve(seen: Seen) -> Curve:
    """Return how many reads took longer, against how long."""
    lines = {}
    for what, found in (("read", seen.latencies), ("outdated", seen.outdated)):
        shares = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
        lines[what] = [(1 / (1 - share), max(1e-3, 1e3 * percentile(found, share))) for share in shares]
    return Curve("What hollow HPAs see", "one in so many reads is slower, or more outdated", "ms", lines)


if __name__ == "__main__":
    main("hollow", run)
