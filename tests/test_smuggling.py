"""Request smuggling: kube-apiserver sends many users' requests over one connection, so where each ends must be sure."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from adapter.api.request import Request, Response
from adapter.api.server import ApiServer
from tests.connection import Connection

READ = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/orders"
HIDDEN = "GET /hidden HTTP/1.1\r\nHost: x\r\nX-Remote-User: admin\r\n\r\n"
LAST = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LENGTH = f"Content-Length: {len(HIDDEN)}"
CHUNK = f"{len(HIDDEN):x}\r\n{HIDDEN}\r\n0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"


def request(*headers: str, line: str = f"GET {READ} HTTP/1.1", end: str = "\r\n") -> str:
    return end.join((line, "Host: x", *headers, "", ""))


async def seen(raw: str) -> list[str]:
    """Send bytes to a server until it closes the connection; return the targets of what it took for requests."""
    targets: list[str] = []

    def respond(asked: Request) -> Response:
        targets.append(asked.raw_target)
        return Response(200, {"Content-Type": "text/plain"}, b"ok")

    async with asyncio.timeout(20), ApiServer(respond, drain_s=1) as server:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", server.port))
        connection.writer.write(raw.encode("latin-1"))
        with contextlib.suppress(ConnectionResetError):  # it closed with bytes of ours unread
            await connection.reader.read()
        await connection.close()
    return targets


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(request(LENGTH) + HIDDEN, id="a body with a length"),
        pytest.param(request(CHUNKED) + CHUNK, id="a chunked body"),
        pytest.param(request("transfer-encoding: Chunked") + CHUNK, id="names and codings ignore case"),
        pytest.param(request(LENGTH, line=f"POST {READ} HTTP/1.1") + HIDDEN, id="a method we do not have"),
        pytest.param(request(LENGTH, "Expect: 100-continue") + HIDDEN, id="a body that was not waited for"),
    ],
)
def test_a_body_is_no_request(first: str) -> None:
    """What stands in a body is never taken for a request; nothing is read behind one, and the connection ends."""
    assert asyncio.run(seen(first + LAST)) == [READ]


def test_requests_without_a_body_follow_each_other() -> None:
    """A connection carries one request after the other, as long as it is sure where each ends."""
    assert asyncio.run(seen(request() + request(line="GET /apis HTTP/1.1") + LAST)) == [READ, "/apis", "/last"]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(request(LENGTH, CHUNKED) + "0\r\n\r\n" + HIDDEN, id="length and chunked"),
        pytest.param(request(CHUNKED, LENGTH) + "0\r\n\r\n" + HIDDEN, id="chunked and length"),
        pytest.param(request("Content-Length: 0", LENGTH) + HIDDEN, id="two lengths"),
        pytest.param(request(LENGTH, "Content-Length: 0") + HIDDEN, id="two lengths, the other way round"),
        pytest.param(request(f"Content-Length: 0, {len(HIDDEN)}") + HIDDEN, id="a list of lengths"),
        pytest.param(request(f"Content-Length: +{len(HIDDEN)}") + HIDDEN, id="a length with a sign"),
        pytest.param(request(f"Content-Length: {len(HIDDEN):#x}") + HIDDEN, id="a hexadecimal length"),
        pytest.param(request("Content-Length: -1") + HIDDEN, id="a negative length"),
        pytest.param(request(f"Content-Length: {2**64 + len(HIDDEN)}") + HIDDEN, id="a length beyond 64 bits"),
        pytest.param(request(f"Content-Length : {len(HIDDEN)}") + HIDDEN, id="a blank before the colon"),
        pytest.param(request("Transfer-Encoding : chunked") + CHUNK, id="a blank before the colon, chunked"),
        pytest.param(request("Transfer-Encoding: xchunked") + CHUNK, id="an unknown coding"),
        pytest.param(request("Transfer-Encoding: chunked, identity") + CHUNK, id="chunked is not the last coding"),
        pytest.param(request("Transfer-Encoding:\x0bchunked") + CHUNK, id="a vertical tab"),
        pytest.param(request("Transfer-Encoding: chunk\x00ed") + CHUNK, id="a NUL in a coding"),
        pytest.param(request("X: y\r\n Transfer-Encoding: chunked") + CHUNK, id="a folded line"),
        pytest.param(request(CHUNKED) + f"0x{CHUNK}", id="a chunk's size with 0x"),
        pytest.param(request(CHUNKED) + f"-{CHUNK}", id="a chunk of negative size"),
        pytest.param(request(CHUNKED) + "f" * 17 + f"\r\n{HIDDEN}", id="a chunk's size beyond 64 bits"),
        pytest.param(request(CHUNKED) + f"1\r\nab{HIDDEN}", id="a chunk that is longer than it says"),
        pytest.param(request(LENGTH, end="\n") + HIDDEN, id="bare line feeds"),
        pytest.param(request(f"X: y\r{LENGTH}") + HIDDEN, id="a bare carriage return"),
        pytest.param(request("A\x00: b", LENGTH) + HIDDEN, id="a NUL in a name"),
        pytest.param(request("a b: c", LENGTH) + HIDDEN, id="a blank in a name"),
        pytest.param(request(": c", LENGTH) + HIDDEN, id="no name"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(first: str) -> None:
    """A request whose end is not sure ends its connection; what may be its body, or follows, is no request."""
    targets = asyncio.run(seen(first + LAST))
    assert "/hidden" not in targets
    assert "/last" not in targets


@pytest.mark.parametrize(
    "line",
    [
        f"GET {READ}",
        f"GET {READ} HTTP/0.9",
        f"GET {READ} HTTP/2.0",
        f"GET {READ} HTTP/1.10",
        f"GET {READ} HTTP/1.1 x",
        f"GET {READ}\x00 HTTP/1.1",
        f"GET {READ} /hidden HTTP/1.1",
        f"G\x00T {READ} HTTP/1.1",
        f" GET {READ} HTTP/1.1",
        f"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{HIDDEN}",
    ],
)
def test_request_lines_that_are_none(line: str) -> None:
    """A request line out of order is refused, and ends the connection."""
    assert asyncio.run(seen(request(line=line) + HIDDEN + LAST)) == []
