"""GETs of a metric through TLS: Spillway, an aiohttp application with a router, and nginx as the floor."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.configuration import documents, static_metric
from bench.load import VALUES, Load, closed_loop, readers, request, wrk
from bench.machine import program
from bench.measure import cpu_seconds, interleave, spread
from bench.nginx import MISSING, nginx
from bench.processes import Adapter, adapter, python, server_cores
from bench.report import OURS, Curve, Result, Row, row
from bench.script import Options, main, require

PEER = "aiohttp application"
ASYNCIO = "the same with asyncio's event loop"
FLOOR = "nginx return 200"
_ACCEPT = "application/json"
_METRIC = "queue-7"
_MANY = 32
_AUTHORIZED = f"{_MANY} connections, each request authenticated and authorized"
_TOOLS = "wrk: apt install wrk; a slower reader of ours took its place"


@dataclass(frozen=True, slots=True)
class Server:
    """A server under test, with the certificate of Spillway."""

    pid: int
    port: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a load brought, and the processor time the server spent on it."""

    load: Load
    cpu_s: float


_FIGURES: dict[str, tuple[str, Callable[[Cost], float]]] = {
    "requests": ("req/s", lambda cost: cost.load.requests / cost.load.seconds),
    "p50": ("ms", lambda cost: cost.load.p50_s * 1e3),
    "p99": ("ms", lambda cost: cost.load.p99_s * 1e3),
    "processor time of the server": ("µs a request", lambda cost: max(cost.cpu_s, 1e-9) / cost.load.requests * 1e6),
}


@dataclass(frozen=True, slots=True)
class Asking:
    """How the servers are asked. `tool`: wrk, where there is one, else a reader of ours."""

    tls: ssl.SSLContext
    path: str
    seconds: float
    with_wrk: bool

    @property
    def raw(self) -> bytes:
        """The request."""
        return request(self.path, _ACCEPT)

    def answer(self, server: Server) -> bytes:
        """Return the body that a server answers."""
        with readers(1, server.port, self.tls) as (reader,):
            status, body = reader.ask(self.raw)
        require(status == 200, f"port {server.port} answers 200")
        return body

    def cost(self, server: Server, connections: int) -> Cost:
        """Put a load on a server."""
        with readers(connections, server.port, self.tls) as warm:
            for reader in warm:
                reader.ask(self.raw)
            before_s = cpu_seconds(server.pid)
            found = None
            if self.with_wrk:
                found = wrk(server.port, self.path, _ACCEPT, connections, self.seconds)
            if found is None:
                found = closed_loop(warm, self.raw, self.seconds)
            cpu_s = cpu_seconds(server.pid) - before_s
        require(not found.failed, f"port {server.port} answers 200 under load")
        return Cost(found, cpu_s)


def run(options: Options) -> Result:
    """Measure one and 32 connections, `--full` also four."""
    has_wrk = program("wrk") is not None
    sizes = (1, 4, _MANY) if options.full else (1, _MANY)
    rows: list[Row] = []
    lines: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, _servers(Path(folder)) as (servers, running):
        asking = Asking(running.tls, VALUES + _METRIC, 0.2 if options.quick else 1.0, has_wrk and not options.quick)
        bodies = {name: asking.answer(server) for name, server in servers.items()}
        same = require(len(set(bodies.values())) == 1, f"every server answers the same {len(bodies[OURS])} bytes")
        for connections in sizes:
            cases = {name: partial(asking.cost, server, connections) for name, server in servers.items()}
            costs = interleave(cases, options.rounds)
            rows += _rows(costs, f"{connections} connection{'s' if connections > 1 else ''}")
            for figures in rows[-len(_FIGURES)].figures:
                lines.setdefault(figures.who, []).append((connections, spread(figures.rounds).median))
        rows += _authorized_rows(Path(folder), asking, options.rounds)
    return Result(
        title="GET of one metric through TLS, keep-alive, the headers of an HPA's request, one server process",
        about=f"The server on one processor, the reader ({'wrk' if asking.with_wrk else 'ours'}) on another if there "
        "is one. The processor time of the server is the figure least disturbed by others. The last rows have a front "
        "proxy's certificate, an HPA's user in headers and a permission that is remembered; there the reader is ours, "
        "and slower than the server.",
        rows=tuple(rows),
        curves=(Curve("GETs through TLS", "connections", "req/s", lines),),
        checked=(same,),
        missing=(*(() if FLOOR in servers else (MISSING,)), *(() if has_wrk else (_TOOLS,))),
        programs=("nginx", "wrk"),
    )


@contextlib.contextmanager
def _servers(folder: Path) -> Iterator[tuple[dict[str, Server], Adapter]]:
    """Run the three servers."""
    config = documents(static_metric(f"queue-{n}", float(n)) for n in range(10))
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(adapter("spillway", config, folder))
        servers = {OURS: Server(running.child.pid, running.port)}
        certificate, key = running.ca_file, running.ca_file.with_suffix(".key")
        _, body = running.get(VALUES + _METRIC)
        (folder / "body").write_bytes(body)
        arguments: list[str | Path] = [certificate, key, folder / "body", _ACCEPT]
        peer, port = stack.enter_context(python("aiohttp", "bench.aiohttp_peer", arguments, folder, server_cores()))
        floor = stack.enter_context(nginx(folder, certificate, key, body.decode(), _ACCEPT))
        servers[PEER] = Server(peer.pid, port)
        if floor is not None:
            servers[FLOOR] = Server(floor[0].pid, floor[1])
        yield servers, running


def _authorized_rows(folder: Path, asking: Asking, rounds: int) -> list[Row]:
    """Measure what a cluster adds, on either event loop. Always with our reader: wrk has no client certificates."""
    with contextlib.ExitStack() as stack:
        cases: dict[str, Callable[[], Cost]] = {}
        for name, loop in ((OURS, "uvloop"), (ASYNCIO, "asyncio")):
            home = folder / loop
            home.mkdir()
            arguments: list[str | Path] = [home, "--loop", loop]
            child, port = stack.enter_context(python(loop, "bench.authorized", arguments, home, server_cores()))
            tls = ssl.create_default_context(cafile=str(home / "tls.crt"))
            tls.load_cert_chain(home / "client.crt", home / "client.key")
            cases[name] = partial(replace(asking, tls=tls, with_wrk=False).cost, Server(child.pid, port), _MANY)
        costs = interleave(cases, rounds)
    return list(_rows(costs, _AUTHORIZED))


def _rows(costs: dict[str, list[Cost]], at: str) -> Iterator[Row]:
    for what, (unit, figure) in _FIGURES.items():
        found = {name: [figure(cost) for cost in each] for name, each in costs.items()}
        ours = found.pop(OURS)
        floors = {FLOOR: found.pop(FLOOR)} if FLOOR in found else {}
        yield row(f"{at}: {what}", unit, ours, peers=found, floors=floors, more_is_better=unit == "req/s")


if __name__ == "__main__":
    main("api_get", run)
