"""Shedding: more and more readers that nobody knows yet, and a Kubernetes API that is slow to say whether they may.

What has to wait for that word is bounded, and above the bound it is refused; what need not wait is answered as ever.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import configuration as c
from bench.load import HEADERS, VALUES, Reader, readers, request
from bench.measure import percentile
from bench.processes import Adapter, adapter, client_cores, on, python
from bench.report import Result, Row, row
from bench.script import Options, main, require

_METRIC = "one"
_PROBES = ("/livez", "/readyz", "/healthz")
_DISCOVERY = ("/apis", "/apis/external.metrics.k8s.io", "/apis/external.metrics.k8s.io/v1beta1")
_PAUSE_S = 0.05
_REFUSED = 'spillway_api_refused_total{reason="in-flight"}'
_WAITING = "spillway_api_requests_in_flight"


@dataclass(frozen=True, slots=True)
class Size:
    """How slow, how many, how long.

    Args:
        most: The adapter's --max-requests-inflight.
        piece: So many bytes of an answer of the Kubernetes API, then a pause.
        pause_s: That pause.
        alone: Readers one after the other, before and after the ramp.
        ramp: New readers a second, and for how many seconds.
        lanes: Connections they share.
    """

    most: int = 20
    piece: int = 200
    pause_s: float = 0.08
    alone: int = 4
    ramp: tuple[tuple[float, float], ...] = ((20, 2.0), (100, 3.0), (400, 4.0))
    lanes: int = 64


_QUICK = Size(most=3, pause_s=0.05, alone=1, ramp=((200, 0.6),), lanes=16)


@dataclass(slots=True)
class Seen:
    """Latencies in ms of answers with 200 and with 429, and what other answers there were."""

    good: list[float] = field(default_factory=list)
    shed: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def ask(self, reader: Reader, raw: bytes) -> None:
        """Ask once and judge the answer."""
        began = time.perf_counter()
        reader.send(raw)
        status, head, body = reader.answer()
        ms = 1e3 * (time.perf_counter() - began)
        problem = wrong(status, head, body)
        if problem is not None:
            self.wrong.append(f"{raw.split(None, 2)[1].decode()}: {problem}")
        else:
            (self.good if status == 200 else self.shed).append(ms)


def wrong(status: int, head: bytes, body: bytes) -> str | None:
    """Say what is wrong with an answer in JSON; None: it is 200, or 429 with a Status and without Retry-After."""
    if b"\r\nretry-after:" in head.lower():
        return f"{status} with Retry-After"
    if status == 200:
        return None
    with contextlib.suppress(ValueError):
        said = json.loads(body)
        about = (said.get("kind"), said.get("code"), said.get("reason")) if isinstance(said, dict) else ()
        if status == 429 and about == ("Status", 429, "TooManyRequests"):
            return None
    return f"{status}: {body[:100]!r}"


class _Strangers:
    """Requests for one metric, each of a user that has not been seen before."""

    def __init__(self) -> None:
        self._raw = request(VALUES + _METRIC, "application/json")
        self._numbers = itertools.count()

    def next(self) -> bytes:
        mine = f"X-Remote-User: {HEADERS['X-Remote-User']}\r\n".encode()
        return self._raw.replace(mine, f"X-Remote-User: stranger-{next(self._numbers)}\r\n".encode())


def run(options: Options) -> Result:
    """Put the ramp on an adapter of a cluster."""
    size = _QUICK if options.quick else Size()
    slow = [str(size.piece), str(size.pause_s)]
    with (
        tempfile.TemporaryDirectory() as name,
        python("kube", "bench.kube", [name, *slow], Path(name), client_cores()) as (kube, _),
    ):
        folder = Path(name)
        config = c.documents([c.static_metric(_METRIC, 1.0)])
        flags = ("--max-requests-inflight", str(size.most))
        with adapter("adapter", config, folder, None, folder / "api/kubeconfig", flags) as running:
            tls = running.tls
            tls.load_cert_chain(folder / "front-proxy.crt", folder / "front-proxy.key")
            return _measure(running, tls, size, lambda: kube.process.send_signal(signal.SIGUSR1))


def _measure(running: Adapter, tls: ssl.SSLContext, size: Size, slow: Callable[[], None]) -> Result:
    strangers, known, probed, discovered = _Strangers(), Seen(), Seen(), Seen()
    ramp = [Seen() for _ in size.ramp]
    with on(client_cores()), readers(size.lanes + 2, running.port, tls) as connections:
        *lanes, knows, discovers = connections
        mine = request(VALUES + _METRIC, "application/json")
        found = itertools.cycle([request(path, "application/json") for path in _DISCOVERY])
        probes = itertools.cycle([request(path, "*/*") for path in _PROBES])
        # Those who have asked before: their permissions are remembered from here on.
        for _ in _DISCOVERY:
            discovered.ask(discovers, next(found))
        known.ask(knows, mine)
        slow()
        before, after = Seen(), Seen()
        with (
            _again(lambda: known.ask(knows, mine)),
            _again(lambda: discovered.ask(discovers, next(found))),
            _again(lambda: _probe(running, probed, next(probes))),
        ):
            for _ in range(size.alone):
                before.ask(lanes[0], strangers.next())
            for seen, (rate, seconds) in zip(ramp, size.ramp, strict=True):
                _stage(lanes, strangers, seen, rate, seconds)
            running.child.wait_until(lambda: running.metrics()[_WAITING] == 0, "rid of all that waited")
            for _ in range(size.alone):
                after.ask(lanes[0], strangers.next())
        refused = running.metrics().get(_REFUSED, 0.0)
    return Result(
        title="Readers whose permission is not known yet, more of them than a slow Kubernetes API can speak for",
        about=f"Each reader is a user of its own, open loop on {size.lanes} connections; the Kubernetes API, a "
        f"stand-in, sends its answers in pieces with pauses of {1e3 * size.pause_s:g} ms, and at most {size.most} "
        "requests wait for it (--max-requests-inflight; 400 by default). Meanwhile a known reader, discovery and "
        f"probes ask every {1e3 * _PAUSE_S:g} ms; each probe has a connection of its own, and no certificate.",
        rows=tuple(_rows(size, before, ramp, known, discovered, probed, after)),
        checked=tuple(_checks(before, ramp, known, discovered, probed, after, refused)),
    )


@contextlib.contextmanager
def _again(act: Callable[[], None]) -> Iterator[None]:
    """Act every so often in a thread while the context lasts, at least once."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def turns() -> None:
        try:
            act()
            while not stop.wait(_PAUSE_S):
                act()
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            failures.append(error)

    thread = threading.Thread(target=turns)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    for failure in failures:
        raise failure


def _probe(running: Adapter, seen: Seen, raw: bytes) -> None:
    """Ask as a kubelet does."""
    with readers(1, running.port, running.tls) as (reader,):
        seen.ask(reader, raw)


def _stage(lanes: Sequence[Reader], strangers: _Strangers, seen: Seen, rate: float, seconds: float) -> None:
    """Ask at a rate; whichever connection is free takes the next request."""
    began = time.perf_counter()
    turns = iter(range(round(rate * seconds)))
    lock = threading.Lock()
    failures: list[BaseException] = []

    def lane(reader: Reader) -> None:
        try:
            while True:
                with lock:
                    turn, raw = next(turns, None), strangers.next()
                if turn is None:
                    return
                time.sleep(max(0.0, began + turn / rate - time.perf_counter()))
                seen.ask(reader, raw)
        except Exception as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=lane, args=(reader,)) for reader in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure


def _checks(
    before: Seen, ramp: Sequence[Seen], known: Seen, discovered: Seen, probed: Seen, after: Seen, refused: float
) -> Iterator[str]:
    everybody = (before, *ramp, known, discovered, probed, after)
    problems = [problem for seen in everybody for problem in seen.wrong]
    require(not problems, f"every answer is 200, or 429 with a Status and without Retry-After: {problems[:3]}")
    good, shed = sum(len(seen.good) for seen in ramp), sum(len(seen.shed) for seen in ramp)
    require(shed > 0, "the ramp is shed")
    yield f"of the ramp {good:,} were answered with 200, {shed:,} with 429, a Status and no Retry-After, none otherwise"
    yield require(refused == shed, f"{_REFUSED} counts {refused:,.0f}, which is each of them")
    for who, seen in (("the known reader", known), ("discovery", discovered), ("probes", probed)):
        yield require(seen.good and not seen.shed, f"{who}: {len(seen.good):,} times 200 meanwhile, nothing else")
    yield require(
        before.good and after.good and not before.shed and not after.shed,
        "unknown readers one after the other got 200 before, and get it again as soon as the ramp is over",
    )


def _rows(
    size: Size, before: Seen, ramp: Sequence[Seen], known: Seen, discovered: Seen, probed: Seen, after: Seen
) -> Iterator[Row]:
    yield row("before: a reader alone, p50", "ms", [percentile(before.good, 0.5)])
    for seen, (rate, _) in zip(ramp, size.ramp, strict=True):
        total = len(seen.good) + len(seen.shed)
        yield row(f"{rate:g} new readers a second: shed", "%", [100 * len(seen.shed) / max(1, total)])
        for code, found in ((200, seen.good), (429, seen.shed)):
            if found:
                yield row(f"  {code}: p50", "ms", [percentile(found, 0.5)])
                yield row(f"  {code}: p99", "ms", [percentile(found, 0.99)])
    yield row("after: a reader alone, p50", "ms", [percentile(after.good, 0.5)])
    for who, seen in (("a known reader", known), ("discovery", discovered), ("a probe, with its connection", probed)):
        yield row(f"throughout: {who}, p50", "ms", [percentile(seen.good, 0.5)])
        yield row("  p99", "ms", [percentile(seen.good, 0.99)])


if __name__ == "__main__":
    main("shedding", run)
