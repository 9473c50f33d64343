"""Requests answered at once and requests answered through aiohttp: the same answers, whatever is sent and however."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import uvloop
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.api.plain import Plain, PlainReader
from adapter.api.request import Request, Response, Undecided
from adapter.api.server import ApiServer
from scaler.model import labels_of
from tests.api_fixtures import VALUES, WIRE, Served, result, value
from tests.connection import Connection

ID = "c69c8f82-7d30-47e4-9e23-1afc1142c4eb"
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Never(PlainReader):
    """Finds no request plain: all go through aiohttp."""

    def read(self, head: bytes) -> Plain | None:
        return None


@dataclass
class Both:
    """Two servers of the same metrics: as it is, and with aiohttp alone."""

    runner: asyncio.Runner
    ours: ApiServer
    aiohttp: ApiServer
    seen: list[str] = field(repr=False)

    def answers(self, server: ApiServer, *segments: bytes) -> bytes:
        """Send segments, and return what comes until the server closes the connection."""
        return self.runner.run(_exchange(server.port, segments))


async def _exchange(port: int, segments: tuple[bytes, ...]) -> bytes:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for segment in segments:
            writer.write(segment)
            await asyncio.sleep(0)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@pytest.fixture(scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    """Run both servers for all tests of this file, on either event loop."""
    served = Served(
        result("my-external-metric", value(1500, labels_of({"foo": "bar"})), value(2000, labels_of({"foo": "baz"}))),
        result("foo", value(3000)),
    )
    seen: list[str] = []

    def respond(request: Request) -> Response | Undecided:
        seen.append(request.raw_target)
        return served.api.respond(request)

    async def start() -> tuple[ApiServer, ApiServer]:
        return await ApiServer(respond).__aenter__(), await ApiServer(respond).__aenter__()

    async def stop(*servers: ApiServer) -> None:
        for server in servers:
            await server.__aexit__(None, None, None)

    with asyncio.Runner(loop_factory=request.param) as runner:
        ours, aiohttp = runner.run(start())
        aiohttp.reader = Never()
        yield Both(runner, ours, aiohttp, seen)
        runner.run(stop(ours, aiohttp))


def without_time(answers: bytes) -> bytes:
    return re.sub(rb"\r\nDate: [^\r]*", b"", answers)


def parsed(answer: bytes) -> tuple[str, list[str], bytes]:
    """Return status line, header fields but for Date and Connection, and body."""
    head, _, body = without_time(answer).partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return status, sorted(each for each in fields if each.lower() != "connection: close"), body


def head(method: str, target: str, *fields: str, version: str = "HTTP/1.1") -> bytes:
    lines = [f"{method} {target} {version}", *fields, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


METHODS = st.sampled_from([*["GET"] * 8, "HEAD", "POST", "get", "OPTIONS", "PUT", "DELETE"])
TARGETS = st.sampled_from(
    [
        f"{VALUES}/foo",
        f"{VALUES}/FOO?labelSelector=a%3Db&pretty=1",
        f"{VALUES}/my-external-metric?labelSelector=foo%3Dbar",
        f"{VALUES}/my-external-metric?watch=1",
        f"{VALUES}/a%2Fb",
        f"{VALUES}/%zz",
        f"{VALUES}/foo?labelSelector=a+in+%28",
        f"{VALUES}/../foo",
        f"{VALUES}/foo#x",
        f"{VALUES}/f%00o",
        f"{VALUES}/fo\x00o",
        f"{VALUES}/fóo",
        "/apis",
        "/livez?verbose",
        "//livez",
        "http://other/livez",
        "*",
        "livez",
        "/livez x",
        "",
        f"{VALUES}/{'m' * 9000}",
    ]
)
VERSIONS = st.sampled_from(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/2.0", "HTTP/1.1 ", "http/1.1"])
VALUE_TEXTS = st.one_of(
    st.sampled_from(
        ["close", "keep-alive", "Close", "x, close", "0", "a", "chunked", "100-continue", "websocket", "", "\udcff"]
    ),
    st.sampled_from(["application/vnd.kubernetes.protobuf, */*", "application/yaml", "text/html", "curl/8", "gzip"]),
    st.text(st.characters(min_codepoint=0, max_codepoint=0x200, exclude_characters="\n"), max_size=6),
    st.just("é" * 3000),
    st.just("y" * 9000),
)
NAMES = st.sampled_from(
    [
        *(
            "Host",
            "User-Agent",
            "Accept",
            "Audit-Id",
            "audit-id",
            "X-Forwarded-Uri",
            "X-Remote-User",
            "Impersonate-User",
        ),
        *("Connection", "Expect", "Upgrade", "Content-Length", "Transfer-Encoding", "TE", "Keep-Alive", "Trailer"),
        *("X_Y", "X Y", " X", "", "Authorization", "Content-Type", "X-Ünder", "If-None-Match", "Proxy-Connection"),
    ]
)
FIELDS = st.lists(
    st.builds(
        lambda name, colon, text, end: f"{name}{colon}{text}{end}",
        NAMES,
        st.sampled_from([": "] * 6 + [":", ":\t ", " : ", ""]),
        VALUE_TEXTS,
        st.sampled_from([""] * 6 + [" ", "\t", "\r\n folded", "\nX: y"]),
    ),
    max_size=5,
)
BODIES = st.sampled_from(
    [b""] * 4 + [b"abc", b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", head("GET", "/smuggled", "Host: x")]
)


@given(METHODS, TARGETS, VERSIONS, st.sampled_from([["Host: x"]] * 6 + [[], ["Host: x", "Host: y"]]), FIELDS, BODIES)
def test_any_request(
    both: Both, method: str, target: str, version: str, hosts: list[str], fields: list[str], body: bytes
) -> None:
    """Whatever a request looks like, it gets the answer that aiohttp alone gives; one that is not plain is the last."""
    audit = [] if any("udit-" in each for each in fields) else [f"Audit-Id: {ID}"]
    request = head(method, target, *hosts, *audit, *fields, version=version)
    plain = PlainReader().read(request[:-4]) if request.find(b"\r\n\r\n") == len(request) - 4 else None
    if plain is None:
        assert without_time(both.answers(both.ours, request + body)) == without_time(
            both.answers(both.aiohttp, request + body)
        )
        return
    alone = both.answers(both.aiohttp, request)
    found = both.answers(both.ours, request + LAST)
    first, rest = found, b""
    if (length := re.search(rb"Content-Length: (\d+)\r\n", found)) is not None:
        end = found.index(b"\r\n\r\n") + 4 + int(length[1])
        first, rest = found[:end], found[end:]
    if plain.audit_id:
        assert parsed(first) == parsed(alone)
    else:  # each answer has an identifier of its own
        assert parsed(first)[0::2] == parsed(alone)[0::2]
    closes = plain.close or first.endswith(b"\r\n\r\n400 Bad Request")
    assert (b"\r\nConnection: close\r\n" in first, rest == b"") == (closes, closes)


SMUGGLED = head("GET", "/smuggled", "Host: x")


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Length: 0", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding : chunked"],
        ["Transfer-Encoding:\tchunked"],
        ["X: y\nTransfer-Encoding: chunked"],
        ["X:", " Transfer-Encoding: chunked"],
        ["Content-Length: 5", "Content-Length: 0"],
        ["Content-Length: +0"],
        ["Content-Length: 0"],
        [f"Content-Length: {len(SMUGGLED)}"],
        ["Expect: 100-continue"],
        ["Connection: upgrade", "Upgrade: websocket"],
    ],
)
def test_smuggling(both: Both, fields: list[str]) -> None:
    """What follows a request whose end could be a matter of opinion is never taken for a request."""
    both.seen.clear()
    for method in ("GET", "POST"):
        for pieces in ((SMUGGLED,), (b"0\r\n\r\n", SMUGGLED)):
            both.answers(both.ours, head(method, "/livez", "Host: x", *fields), *pieces)
    assert "/smuggled" not in both.seen


PLAIN = st.builds(
    lambda target, fields: head("GET", target, "Host: x", f"Audit-Id: {ID}", *fields),
    st.sampled_from([f"{VALUES}/foo", f"{VALUES}/none", "/apis", "/livez", "/nope", f"{VALUES}/my-external-metric"]),
    st.lists(st.sampled_from(["Accept: */*", "User-Agent: curl/8", "X-Long: " + "x" * 3000]), max_size=2, unique=True),
)


@example([head("GET", f"{VALUES}/foo", "Host: x", f"Audit-Id: {ID}")], [3, 6, 7])
@given(st.lists(PLAIN, min_size=1, max_size=40), st.lists(st.integers(0, 20_000), max_size=12))
def test_segments(both: Both, requests: list[bytes], cuts: list[int]) -> None:
    """However requests are cut into segments, each gets its answer, in their order."""
    stream = b"".join([*requests, LAST])
    bounds = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(stream)), len(stream)]
    found = both.answers(both.ours, *(stream[a:b] for a, b in pairwise(bounds)))
    expected = {request: both.answers(both.ours, request + LAST) for request in set(requests)}
    last = without_time(both.answers(both.ours, LAST))
    last = re.sub(rb"Audit-Id: [^\r]*", b"", last)
    whole = re.sub(rb"Audit-Id: (?!c69c)[^\r]*", b"", without_time(found))
    alone = [re.sub(rb"Audit-Id: (?!c69c)[^\r]*", b"", without_time(expected[request])) for request in requests]
    assert whole == b"".join(each.removesuffix(last) for each in alone) + last


def vectors() -> list[dict[str, object]]:
    return [json.loads(line) for line in (WIRE / "http.jsonl").read_text().splitlines()]


def test_every_recorded_request_goes_both_ways(both: Both) -> None:
    """Each of the recorded requests gets the same bytes at once and through aiohttp."""
    plain = 0
    for vector in vectors():
        headers = vector["headers"]
        assert isinstance(headers, dict)
        fields = ["Host: x", f"Audit-Id: {ID}", *(f"{name}: {text}" for name, text in headers.items())]
        request = head(str(vector["method"]), str(vector["path"]), *fields, "Connection: close")
        plain += PlainReader().read(request[:-4]) is not None
        ours, alone = both.answers(both.ours, request), both.answers(both.aiohttp, request)
        assert parsed(ours) == parsed(alone)
        assert b"\r\nConnection: close\r\n" in ours
    assert plain > 70


def test_an_end_that_is_none(both: Both) -> None:
    """Lines that end otherwise than HTTP/1.1 says, and heads without any, are refused at once, not waited for."""
    odd = (b"GET /livez HTTP/1.1\nHost: x\n\n", b"\x16\x03\x01\n", b"\n", b"\r\n\r\n", b"\r\n\r\nGET / HTTP/1.1\r\nX:")
    for request in odd:
        for segments in ((request,), (request[:1], request[1:])):
            assert both.answers(both.ours, *segments).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert both.answers(both.ours, b"\r\n", LAST).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("name", ["audit-id", "Audit-Id", "AUDIT-ID"])
def test_an_audit_id_that_is_no_text(both: Both, name: str) -> None:
    """An identifier in bytes that are no UTF-8, however its field is spelled, is no reason not to answer."""
    request = head("GET", "/livez", "Host: x", f"{name}: \udcff")
    found = both.answers(both.ours, request)
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert found.endswith(b"ok")


def test_a_token_is_not_remembered() -> None:
    """Fields that came before are remembered, up to a bound, but none with a token among them."""
    reader = PlainReader()
    first = reader.read(head("GET", "/livez", "Host: x", "Audit-Id: 1", "Accept: a")[:-4])
    again = reader.read(head("GET", "/readyz", "Host: x", "Audit-Id: 2", "Accept: a")[:-4])
    assert first is not None
    assert again is not None
    assert first.headers is again.headers
    assert [(each.target, each.audit_id) for each in (first, again)] == [("/livez", "1"), ("/readyz", "2")]
    assert reader.read(head("GET", "/livez", "Host: x", "AUTHORIZATION: Bearer t")[:-4]) is not None
    assert reader.read(head("GET", "/livez", "Host: x", f"X: {'x' * 7000}", f"Y: {'y' * 7000}")[:-4]) is not None
    assert len(reader) == 1
    for number in range(2000):
        reader.read(head("GET", "/livez", "Host: x", f"X: {number}")[:-4])
    assert len(reader) <= 256


def test_fields_around_those_that_pass() -> None:
    """Taking the fields out that differ each time takes nothing else out, wherever they stand."""
    reader = PlainReader()
    for fields in (
        ["Audit-Id: 1", "Host: x", "A: b"],
        ["Host: x", "X-Forwarded-Uri: /u", "A: b", "Audit-Id: 1"],
        ["Host: x", "A: b", "Audit-Id: 1", "X-Forwarded-Uri: /u"],
    ):
        found = reader.read(head("GET", "/livez", *fields)[:-4])
        assert found is not None
        assert (found.headers.fields, found.audit_id) == ((("host", "x"), ("a", "b")), "1")
    for bad in (["Host: x", "Audit-Id: 1", "Audit-Id: 2"], ["Host: x", "Audit-Id: 1", " folded"], ["Audit-Id: 1"]):
        assert reader.read(head("GET", "/livez", *bad)[:-4]) is None


def test_pipelined_requests_take_turns(both: Both) -> None:
    """A connection that sends a thousand requests at once does not keep another one waiting for all of them."""

    async def run() -> int:
        async with asyncio.timeout(20):
            greedy, other = [Connection(*await asyncio.open_connection("127.0.0.1", both.ours.port)) for _ in range(2)]
            both.seen.clear()
            greedy.writer.write(head("GET", "/greedy", "Host: x") * 1000 + LAST)
            other.writer.write(head("GET", "/other", "Host: x") + LAST)
            await other.reader.read()
            position = both.seen.index("/other")
            await greedy.reader.read()
            await greedy.close()
            await other.close()
            return position

    assert both.runner.run(run()) < 900
    assert both.seen.count("/greedy") == 1000
