"""Bytes on the ports: the API, the metrics and explain. First byte: which port; second: how they are cut into pieces.

The client says at the end that it is done, and must then see the connection end; whatever was answered before must be
whole answers, none of them 500, and none with a value that the metric does not have. Then a good request is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, Counter

from adapter.api.server import ApiServer
from adapter.side import explain_app, metrics_app, serving
from scaler.model import MetricRef, labels_of
from tests.api_fixtures import BASE, VALUES, WIRE, Served, ref, result, value
from tests.fuzz.wire_reader import document

_PATIENCE_S = 60.0
_ROUNDS = 16
"""Turns of the loop in which the server, which lives in the same one, may answer before the client says it is done."""
_ITEMS = {"a": ("1500m", {"queue": "a"}), "b": ("42", {"queue": "b"})}
_HEAD = re.compile(rb"HTTP/[0-9]\.[0-9] (\d{3})[^\r\n]*\r\n((?:[^\r\n:]+:[^\r\n]*\r\n)*)\r\n")
_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)\r$")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding: *chunked\r$")
_VALUE_LIST = "ExternalMetricValueList"


class _Errors(logging.Handler):
    """Keeps what is logged as an error: a bug of ours, for a client cannot cause one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


class _Ports:
    """The three ports of one server, and a good request for each with its answer."""

    def __init__(self, ports: tuple[int, int, int]) -> None:
        self.ports = ports
        self.good = (
            (f"GET {VALUES}/depth HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b'"1500m"'),
            ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"\nfuzzed_total 3.0\n"),
            ("GET /explain/default/depth HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b'"depth"'),
        )

    async def check(self, data: bytes) -> None:
        number, cut = (*data[:2], 0, 0)[:2]
        which = number % len(self.ports)
        got = await _exchange(self.ports[which], data[2:], cut)
        for status, body in _answers(got):
            assert status != 500, got
            if status == 200 and _VALUE_LIST.encode() in body:
                _check_values(body)
        request, expected = self.good[which]
        ((status, body),) = _answers(await _exchange(self.ports[which], request.encode(), 0, finish=False))
        assert (status, expected in body) == (200, True), (status, body)


async def _exchange(port: int, data: bytes, cut: int, *, finish: bool = True) -> bytes:
    """Send bytes in pieces, say (`finish`) that there are no more, and return all that comes back."""
    size = len(data) if cut < 128 else max(1, cut - 128)
    async with asyncio.timeout(_PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            with contextlib.suppress(OSError):
                for at in range(0, min(len(data), 64 * size) if size else 0, size or 1):
                    writer.write(data[at : at + size])
                    await writer.drain()
                    await asyncio.sleep(0)
                for _ in range(_ROUNDS):
                    await asyncio.sleep(0)
                if finish:
                    writer.write_eof()
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while part := await reader.read(65536):
                    got += part
            return got
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def _answers(got: bytes) -> list[tuple[int, bytes]]:
    """Return status and body of each answer; the last may have been cut off by a reset."""
    found = []
    while got:
        head = _HEAD.match(got)
        assert head is not None, got[:500]
        got = got[head.end() :]
        if got.startswith(b"HTTP/") or head[1] in (b"100", b"204", b"304"):
            body = b""  # HEAD
        elif _CHUNKED.search(head[2]):
            size, _, rest = got.partition(b"\r\n")
            body, got = rest, b""
            assert re.fullmatch(rb"[0-9a-fA-F]*", size)
        else:
            length = _LENGTH.search(head[2])
            assert length is not None, head[0]
            body, got = got[: int(length[1])], got[int(length[1]) :]
        found.append((int(head[1]), body))
    return found


def _check_values(body: bytes) -> None:
    if body.startswith(b"k8s\0"):
        tree: Any = document(body)
    elif body.startswith(b"{"):
        tree = json.loads(body)
    else:
        tree = yaml.safe_load(body)
    for item in tree["items"] if tree.get("kind") == _VALUE_LIST else ():
        assert item["metricName"] == "depth"
        milli, labels = _ITEMS[item["metricLabels"]["queue"]]
        assert (item["value"], item["metricLabels"]) == (milli, labels)


def _served() -> Served:
    items = [value(1500, labels_of({"queue": "a"})), value(42_000, labels_of({"queue": "b"}))]
    return Served(result("depth", *items))


@asynccontextmanager
async def _ports() -> AsyncIterator[_Ports]:
    registry = CollectorRegistry()
    Counter("fuzzed", "Asked for.", registry=registry).inc(3)
    known = ref("depth")

    async def explain(asked: MetricRef) -> dict[str, Any] | None:
        return {"metric": asked.name} if asked == known else None

    explained = explain_app(explain, lambda: [known], lambda _: None, lambda _: [], lambda _: {})
    async with (
        ApiServer(_served().api.respond, drain_s=0.1) as secure,
        serving(metrics_app(registry), "127.0.0.1", 0) as metrics_port,
        serving(explained, "127.0.0.1", 0) as explain_port,
    ):
        yield _Ports((secure.port, metrics_port, explain_port))


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Open the ports for as long as inputs come."""
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    try:
        with asyncio.Runner() as runner:
            ports = _ports()
            open_ports = runner.run(ports.__aenter__())

            def check(data: bytes) -> None:
                runner.run(open_ports.check(data))
                assert not errors.records, errors.records

            try:
                yield check
            finally:
                runner.run(ports.__aexit__(None, None, None))
    finally:
        logging.getLogger().removeHandler(errors)


def seeds() -> list[bytes]:
    """Return inputs to start from."""
    recorded = re.split(r"(?m)^--- .*\n", (WIRE / "aggregator-and-hpa-requests.txt").read_text())[1:]
    requests = [block.rstrip("\n").replace("\n", "\r\n").encode() + b"\r\n\r\n" for block in recorded]
    host = b" HTTP/1.1\r\nHost: localhost\r\n"
    accept = b"Accept: application/vnd.kubernetes.protobuf\r\n"
    depth = f"GET {VALUES}/depth".encode()
    return [
        *(b"\0\0" + request for request in requests[:4]),
        b"\0\x81" + depth + b"?labelSelector=queue%3Db" + host + accept + b"\r\n",
        b"\0\0" + (depth + host + b"\r\n") * 3,
        b"\0\0POST " + f"{BASE}/namespaces/default/depth".encode() + host + b"Content-Length: 5\r\n\r\nGET /",
        b"\0\x8aPOST /" + host + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + depth + host + b"\r\n",
        b"\0\0POST /" + host + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\0\0HEAD " + f"{VALUES}/depth".encode() + host + b"Expect: 100-continue\r\n\r\n",
        b"\0\0OPTIONS *" + host + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n\r\n",
        b"\0\0PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\0\0GET http://localhost" + f"{VALUES}/depth".encode() + host + b"Connection: close\r\n\r\n",
        b"\0\0GET /apis/%zz?a=%" + host + b"\r\n",
        b"\0\0GET /livez?verbose" + host + b" folded: x\r\n\r\n",
        b"\x01\0GET /metrics" + host + b"Accept-Encoding: gzip\r\n\r\n",
        b"\x02\0GET /explain" + host + b"\r\n",
        b"\x02\0GET /explain/default/%64epth/values HTTP/1.0\r\nHost: 127.0.0.1:1\r\n\r\n",
        b"\x01\x81\x16\x03\x01\x02\0\x01",
    ]
