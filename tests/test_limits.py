"""What clients may take of the secure port: room, time, and what happens to those that want more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from adapter.api import selfsigned
from adapter.api.encode import Form, status
from adapter.api.limits import Limits
from adapter.api.request import Attributes, Request, Undecided, Verdict
from adapter.api.server import ApiServer
from adapter.api.tls import ServingCertificate
from adapter.errors import ApiError, TooManyRequestsError
from adapter.telemetry import Telemetry
from scaler.model import labels_of
from scaler.selector import Selector
from tests.api_fixtures import BASE, VALUES, Served, result, value
from tests.connection import Connection
from tests.waiting import until

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
SOON_S = 0.05


pytestmark = pytest.mark.usefixtures("either_loop")


@dataclass
class Desk:
    """An authorizer that has to ask about every reader but those of probes, and gets its answer when told."""

    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, request: Request, asked: Attributes, _: Selector) -> ApiError | Undecided | None:
        if request.verdict is not None:
            return request.verdict.refusal
        return None if asked.path == "/livez" else Undecided(self._decide)

    async def _decide(self) -> Verdict:
        await self.open.wait()
        return Verdict(None)


@dataclass
class Port:
    """A running server, and what it refused."""

    server: ApiServer
    desk: Desk
    refused: list[str]

    async def connect(self, **more: int) -> Connection:
        return Connection(*await asyncio.open_connection("127.0.0.1", self.server.port, **more))


@asynccontextmanager
async def port(limits: Limits, *, busy: bool = False, served: Served | None = None) -> AsyncIterator[Port]:
    """Serve a metric; `busy`: whoever asks for anything but probes waits."""
    desk, refused = Desk(), list[str]()
    api = served or Served(result("foo", value(3000)), authorize=desk if busy else None)
    async with (
        asyncio.timeout(30),
        ApiServer(api.api.respond, limits=limits, drain_s=0.2, on_refused=refused.append) as server,
    ):
        yield Port(server, desk, refused)


async def waiting(running: Port, count: int, method: str = "GET") -> list[Connection]:
    """Open connections with one request each that waits to be decided."""
    found = [await running.connect() for _ in range(count)]
    for connection in found:
        connection.writer.write(f"{method} {VALUES}/foo HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await until(lambda: running.server.in_flight == count)
    return found


def test_requests_above_the_bound_are_shed() -> None:
    """Above the bound of requests that wait, one more gets 429 with a Status and no Retry-After, and may ask again."""

    async def run() -> None:
        async with port(Limits(in_flight=2), busy=True) as running:
            held = await waiting(running, 2)
            late = await running.connect()
            for accept in ("application/json", "application/vnd.kubernetes.protobuf, */*"):
                status, headers, body = await late.get(f"{VALUES}/foo", f"Accept: {accept}")
                assert status == "HTTP/1.1 429 Too Many Requests"
                assert "retry-after" not in headers
                assert b"TooManyRequests" in body
            status, _, body = await late.ask(f"HEAD {VALUES}/foo HTTP/1.1\r\nHost: x\r\n\r\n".encode(), head=True)
            assert status == "HTTP/1.1 429 Too Many Requests"
            assert running.refused == ["in-flight"] * 3
            running.desk.open.set()
            for connection in held:
                assert await connection.reader.readline() == b"HTTP/1.1 200 OK\r\n"
            again = await running.connect()
            assert (await again.get(f"{VALUES}/foo"))[0] == "HTTP/1.1 200 OK"
            assert running.server.in_flight == 0
            for connection in (*held, late, again):
                await connection.close()

    asyncio.run(run())


def test_the_status_of_a_shed_request() -> None:
    """The Status names the reason and nothing that a client would retry by."""
    assert json.loads(status(TooManyRequestsError(), Form.JSON)) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "too many requests are under way, please try again later",
        "reason": "TooManyRequests",
        "code": 429,
    }


def test_health_and_discovery_are_never_shed() -> None:
    """However many wait, probes are answered, and discovery waits for its turn rather than being refused."""

    async def run() -> None:
        async with port(Limits(in_flight=1), busy=True) as running:
            held = await waiting(running, 1)
            asking = [await running.connect() for _ in range(3)]
            for connection, target in zip(asking, ("/apis", BASE, "/openapi/v2"), strict=True):
                connection.writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await until(lambda: running.server.in_flight == 4)
            probe = await running.connect()
            assert (await probe.get("/livez"))[2] == b"ok"
            running.desk.open.set()
            for connection in asking:
                assert await connection.reader.readline() == b"HTTP/1.1 200 OK\r\n"
            assert running.refused == []
            for connection in (*held, *asking, probe):
                await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_client_that_leaves_makes_room(method: str) -> None:
    """A request whose client has gone no longer waits, whoever reads it."""

    async def run() -> None:
        async with port(Limits(in_flight=2), busy=True) as running:
            for connection in await waiting(running, 2, method):
                connection.writer.transport.abort()
            await until(lambda: running.server.in_flight == 0 and running.server.connections == 0)

    asyncio.run(run())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_waits_does_not_keep_the_server_from_stopping(method: str) -> None:
    """When the time to drain is over, what still waits to be decided ends with its connection."""

    async def run() -> None:
        async with port(Limits(), busy=True) as running:
            (held,) = await waiting(running, 1, method)
        assert (running.server.in_flight, running.server.connections) == (0, 0)
        held.writer.transport.abort()

    asyncio.run(run())


def test_answers_keep_their_order_while_one_waits() -> None:
    """What follows a request that waits is answered after it, and once the client has gone, not at all."""

    async def run() -> None:
        async with port(Limits(), busy=True) as running:
            (held,) = await waiting(running, 1)
            held.writer.write(LIVEZ * 2)
            other = await running.connect()
            assert (await other.get("/livez"))[2] == b"ok"
            running.desk.open.set()
            bodies = [(await held.ask(b""))[2] for _ in range(3)]
            assert [body[:2] for body in bodies] == [b'{"', b"ok", b"ok"]
            await held.close()
            await other.close()

    asyncio.run(run())


def test_the_longest_idle_connection_makes_room() -> None:
    """One connection too many closes the one that has begun a request and not ended it, then the longest idle."""

    async def run() -> None:
        async with port(Limits(connections=3)) as running:
            idle, half, recent = [await running.connect() for _ in range(3)]
            for connection in (idle, recent):
                await connection.get("/livez")
            half.writer.write(b"GET /livez HTT")
            await until(lambda: running.server.connections == 3)
            await asyncio.sleep(0)
            first = await running.connect()
            assert (await first.get("/livez"))[2] == b"ok"
            with contextlib.suppress(ConnectionResetError):
                assert await half.is_closed()
            second = await running.connect()
            assert (await second.get("/livez"))[2] == b"ok"
            with contextlib.suppress(ConnectionResetError):
                assert await idle.is_closed()
            assert (await recent.get("/livez"))[2] == b"ok"
            assert running.refused == ["evicted", "evicted"]
            for connection in (idle, half, recent, first, second):
                connection.writer.transport.abort()

    asyncio.run(run())


def test_odd_connections_take_no_room() -> None:
    """Connections with a request that is not plain, and not answered yet, give way to those that bring another one."""

    async def run() -> None:
        async with port(Limits(connections=3), busy=True) as running:
            read = await running.connect()
            await read.get("/livez")
            odd = await waiting(running, 2, "POST")
            late = [await running.connect() for _ in range(2)]
            for connection in (*late, read):
                assert (await connection.get("/livez"))[2] == b"ok"
            assert running.refused == ["evicted", "evicted"]
            for connection in (*odd, *late, read):
                connection.writer.transport.abort()

    asyncio.run(run())


def test_more_connections_than_there_is_room_for() -> None:
    """Where every connection is busy a newcomer gets one answer: 429, or what a probe asks for."""

    async def run() -> None:
        async with port(Limits(connections=2), busy=True) as running:
            held = await waiting(running, 2)
            for target, code in ((f"{VALUES}/foo", "429"), ("/livez", "200")):
                late = await running.connect()
                status, headers, _ = await late.get(target)
                assert (status.split()[1], headers["connection"]) == (code, "close")
                assert await late.is_closed()
                await late.close()
            assert running.refused == ["connections"]
            running.desk.open.set()
            for connection in held:
                await connection.close()

    asyncio.run(run())


def test_a_megabyte_of_headers() -> None:
    """A head above the bound is refused with 431 before it has ended, and its connection closed."""

    async def run() -> None:
        async with port(Limits()) as running:
            connection = await running.connect(limit=2**21)
            connection.writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
            connection.writer.write(b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(1000)))
            assert await connection.reader.readline() == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
            with contextlib.suppress(ConnectionResetError):
                await connection.reader.read()
            assert running.refused == ["large-head"]
            connection.writer.transport.abort()

    asyncio.run(run())


def test_a_body_is_not_read() -> None:
    """A request with a large body is answered without it, and the connection ends."""

    async def run() -> None:
        async with port(Limits()) as running:
            connection = await running.connect()
            connection.writer.write(b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc")
            assert (await connection.reader.readline()).startswith(b"HTTP/1.1 200")
            await connection.reader.read()
            await until(lambda: running.server.connections == 0)
            await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("limits", "sent", "reason"),
    [
        (Limits(idle_s=SOON_S), b"", None),
        (Limits(idle_s=SOON_S), LIVEZ, None),
        (Limits(head_s=SOON_S), LIVEZ[:-1], "slow-head"),
        (Limits(head_s=SOON_S), LIVEZ + LIVEZ[:-1], "slow-head"),
        (Limits(other_s=SOON_S), b"\r\n\r\n", None),
        (
            Limits(other_s=SOON_S),
            b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            None,
        ),
    ],
)
def test_slow_clients(limits: Limits, sent: bytes, reason: str | None) -> None:
    """A connection ends that is idle, has half a head, or brings something odd for longer than its bound."""

    async def run() -> None:
        async with port(limits) as running:
            connection = await running.connect()
            connection.writer.write(sent)
            with contextlib.suppress(ConnectionResetError):
                await connection.reader.read()
            await until(lambda: running.server.connections == 0)
            assert reason is None or running.refused == [reason]
            await connection.close()

    asyncio.run(run())


def test_a_client_that_leaves_amid_many_requests(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that is cut while more has come than may wait ends without a word."""

    async def run() -> None:
        async with port(Limits(head_bytes=1000), busy=True) as running:
            (held,) = await waiting(running, 1)
            held.writer.write(LIVEZ * 5000)
            await held.writer.drain()
            running.desk.open.set()
            held.writer.transport.abort()
            await until(lambda: running.server.connections == 0 and running.server.in_flight == 0)

    asyncio.run(run())
    assert not caplog.records


def test_a_drip_does_not_prolong_a_head() -> None:
    """The bound of a head counts from its first byte, however many follow one by one."""

    async def run() -> None:
        async with port(Limits(head_s=SOON_S)) as running:
            connection = await running.connect()
            connection.writer.write(b"GET /livez HTTP/1.1\r\n")

            def drips() -> bool:
                connection.writer.write(b"X: y\r\n")
                return bool(running.refused)

            await until(drips)
            assert running.refused == ["slow-head"]
            connection.writer.transport.abort()

    asyncio.run(run())


def test_a_drip_costs_no_more_the_longer_it_gets() -> None:
    """A byte more of a head of 100 kB costs about what one more of a short one costs: what was looked at is known."""

    async def seconds_of(running: Port, lines: int) -> float:
        connection = await running.connect()
        sock = connection.writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X: " * lines * 33 + b"\r\nX: ")
        await connection.writer.drain()
        for _ in range(100):  # until it is there
            await asyncio.sleep(0)
        began = time.process_time()
        for _ in range(500):
            connection.writer.write(b"y")
            await asyncio.sleep(0)
        spent = time.process_time() - began
        connection.writer.transport.abort()
        return spent

    async def run() -> None:
        async with port(Limits()) as running:
            await seconds_of(running, 1)
            short, long = [min([await seconds_of(running, lines) for _ in range(3)]) for lines in (1, 1000)]
            assert long < 5 * short

    asyncio.run(run())


def test_a_client_that_does_not_read() -> None:
    """A client that asks and does not take its answers is read from no more, and ends after a while."""

    async def run() -> None:
        many = tuple(value(1000, labels_of({"queue": f"queue-{n}"})) for n in range(2000))
        api = Served(result("foo", *many))
        async with port(Limits(write_s=SOON_S), served=api) as running:
            connection = await running.connect(limit=1)
            cast("asyncio.Transport", connection.writer.transport).pause_reading()
            asked = f"GET {VALUES}/foo HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 1000
            connection.writer.write(asked)
            await until(lambda: running.refused == ["slow-answer"] and running.server.connections == 0)
            assert len(api.responses) < 200
            connection.writer.transport.abort()

    asyncio.run(run())


def test_a_handshake_that_never_ends(tmp_path: Path) -> None:
    """A connection that does not become TLS is closed, and another one is served meanwhile."""

    async def run() -> None:
        cert_file, key_file = selfsigned.ensure(tmp_path)
        context = ServingCertificate(cert_file, key_file).context
        api = Served(result("foo", value(3000)))
        async with (
            asyncio.timeout(30),
            ApiServer(api.api.respond, ssl_context=context, limits=Limits(handshake_s=0.2), drain_s=0.2) as server,
        ):
            silent = Connection(*await asyncio.open_connection("127.0.0.1", server.port))
            half = Connection(*await asyncio.open_connection("127.0.0.1", server.port))
            half.writer.write(b"\x16\x03\x01\x02\x00\x01\x00")
            client = ssl.create_default_context(cafile=str(cert_file))
            good = Connection(
                *await asyncio.open_connection("127.0.0.1", server.port, ssl=client, server_hostname="localhost")
            )
            assert (await good.get("/livez"))[2] == b"ok"
            for connection in (silent, half):
                with contextlib.suppress(ConnectionResetError):
                    await connection.reader.read()
                connection.writer.transport.abort()
            assert (await good.get("/livez"))[2] == b"ok"
            await good.close()

    asyncio.run(run())


def test_more_handshakes_than_there_is_room_for(tmp_path: Path) -> None:
    """Connections that do not become TLS keep nobody out, and of so many the oldest end: each takes memory."""

    async def run() -> None:
        cert_file, key_file = selfsigned.ensure(tmp_path)
        context = ServingCertificate(cert_file, key_file).context
        api, refused = Served(result("foo", value(3000))), list[str]()
        limits = Limits(connections=4, handshake_s=60.0)
        async with (
            asyncio.timeout(30),
            ApiServer(
                api.api.respond, ssl_context=context, limits=limits, drain_s=0.2, on_refused=refused.append
            ) as server,
        ):
            silent = [Connection(*await asyncio.open_connection("127.0.0.1", server.port)) for _ in range(6)]
            for connection in silent:
                connection.writer.write(b"\x16\x03\x01\x02\x00\x01\x00")
            client = ssl.create_default_context(cafile=str(cert_file))
            good = Connection(
                *await asyncio.open_connection("127.0.0.1", server.port, ssl=client, server_hostname="localhost")
            )
            assert (await good.get("/livez"))[2] == b"ok"
            assert refused == ["handshakes"] * 3
            for connection in silent[:3]:
                with contextlib.suppress(ConnectionResetError):
                    await connection.reader.read()
            assert not any(connection.reader.at_eof() for connection in silent[3:])
            await good.close()
        for connection in silent:
            connection.writer.transport.abort()

    asyncio.run(run())


def test_no_descriptors_are_left(caplog: pytest.LogCaptureFixture) -> None:
    """Where no connection can be taken that is said, and those that wait are taken once it is possible again."""

    async def run() -> None:
        async with port(Limits()) as running:
            first = await running.connect()
            assert (await first.get("/livez"))[2] == b"ok"
            most = resource.getrlimit(resource.RLIMIT_NOFILE)
            with socket.socket() as late:
                late.settimeout(0)
                resource.setrlimit(resource.RLIMIT_NOFILE, (late.fileno() + 1, most[1]))
                try:
                    with contextlib.suppress(BlockingIOError):
                        late.connect(("127.0.0.1", running.server.port))
                    await until(lambda: "no connection can be taken" in caplog.text)
                    assert (await first.get("/livez"))[2] == b"ok"
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, most)
                await until(lambda: running.server.connections == 2)
            await first.close()

    asyncio.run(run())


def test_what_is_refused_is_counted() -> None:
    """/metrics shows what was refused by reason, the connections, and the requests that wait."""
    telemetry = Telemetry()
    telemetry.refused("in-flight")
    telemetry.serving(lambda: 7, lambda: 3)
    found = telemetry.registry.get_sample_value
    assert found("spillway_api_refused_total", {"reason": "in-flight"}) == 1
    assert found("spillway_api_connections") == 7
    assert found("spillway_api_requests_in_flight") == 3


def test_answers_are_counted_by_route_and_code() -> None:
    """Each answer counts once in its counter and once in its route's histogram."""
    telemetry = Telemetry()
    for code in (200, 200, 503):
        telemetry.answered("values", code, 0.0002)
    found = telemetry.registry.get_sample_value
    assert found("spillway_api_requests_total", {"route": "values", "code": "200"}) == 2
    assert found("spillway_api_requests_total", {"route": "values", "code": "503"}) == 1
    assert found("spillway_api_request_duration_seconds_count", {"route": "values"}) == 3
