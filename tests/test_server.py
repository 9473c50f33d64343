"""The secure port over real sockets: TLS, keep-alive, what kube-apiserver sends, kubectl, stopping."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapter.api import selfsigned
from adapter.api.request import Request, Response, Undecided
from adapter.api.server import ApiServer
from adapter.api.tls import ServingCertificate
from scaler.model import labels_of
from tests.api_fixtures import BASE, VALUES, WIRE, Served, result, value
from tests.connection import Connection

TIMEOUT_S = 20


def served() -> Served:
    """Return an API with the metrics that the recorded requests ask for."""
    return Served(
        result("my-external-metric", value(1500, labels_of({"foo": "bar"})), value(2000, labels_of({"foo": "baz"}))),
        result("foo", value(3000)),
    )


pytestmark = pytest.mark.usefixtures("either_loop")


@dataclass
class Secure:
    """A running server and what a client needs to trust it."""

    server: ApiServer
    certificate: ServingCertificate
    cert_file: Path

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.cert_file))
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    async def connect(self) -> Connection:
        return Connection(
            *await asyncio.open_connection(
                "127.0.0.1", self.server.port, ssl=self.client_context(), server_hostname="localhost"
            )
        )


@asynccontextmanager
async def secure(directory: Path, api: Served | None = None) -> AsyncIterator[Secure]:
    """Serve over TLS with a self-signed certificate while the block runs."""
    cert_file, key_file = selfsigned.ensure(directory)
    certificate = ServingCertificate(cert_file, key_file)
    respond = (api or served()).api.respond
    async with (
        asyncio.timeout(TIMEOUT_S),
        ApiServer(respond, ssl_context=certificate.context, drain_s=1) as server,
    ):
        yield Secure(server, certificate, cert_file)


def recorded_requests() -> list[bytes]:
    """Return the requests that an adapter received from kube-apiserver, as bytes."""
    text = (WIRE / "aggregator-and-hpa-requests.txt").read_text()
    blocks = re.split(r"(?m)^--- .*\n", text)[1:]
    return [block.rstrip("\n").replace("\n", "\r\n").encode() + b"\r\n\r\n" for block in blocks]


def test_recorded_requests(tmp_path: Path) -> None:
    """Each request of the aggregator, the HPA and kubectl, byte for byte, gets what it came for on one connection."""
    api = served()

    async def run() -> None:
        async with secure(tmp_path, api) as running:
            connection = await running.connect()
            answers = [await connection.ask(request) for request in recorded_requests()]
            await connection.close()
        assert [status for status, _, _ in answers] == ["HTTP/1.1 200 OK"] * 8
        types = [headers["content-type"] for _, headers, _ in answers]
        json_type = "application/json"
        aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        assert types == ["application/vnd.kubernetes.protobuf", json_type, json_type, aggregated, *[json_type] * 4]
        hpa, _, _, discovery, legacy, *openapi = [body for _, _, body in answers]
        assert hpa.startswith(b"k8s\0")
        assert (hpa.count(b"1500m"), hpa.count(b"baz")) == (1, 0)
        assert json.loads(discovery)["items"][0]["versions"][0]["freshness"] == "Current"
        assert json.loads(legacy)["resources"][0]["name"] == "externalmetrics"
        assert [sorted(json.loads(body))[0] for body in openapi] == ["definitions", "paths", "definitions"]
        assert answers[0][1]["audit-id"] == "c69c8f82-7d30-47e4-9e23-1afc1142c4eb"

    asyncio.run(run())


def test_headers_and_alpn(tmp_path: Path) -> None:
    """HTTP/1.1 is negotiated over TLS 1.3; an answer has its length and its caching, and does not name the software."""

    async def run() -> None:
        async with secure(tmp_path) as running:
            connection = await running.connect()
            tls = connection.writer.get_extra_info("ssl_object")
            assert (tls.selected_alpn_protocol(), tls.version()) == ("http/1.1", "TLSv1.3")
            status, headers, body = await connection.get(f"{VALUES}/foo")
            assert status == "HTTP/1.1 200 OK"
            assert set(headers) == {"audit-id", "cache-control", "content-length", "content-type", "date", "server"}
            assert (headers["content-length"], headers["server"]) == (str(len(body)), "spillway")
            assert headers["content-type"] == "application/json"
            await connection.close()

    asyncio.run(run())


def test_methods_and_limits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """HEAD has no body, a body is not read and ends its connection, an oversized header is refused, unlogged."""

    async def run() -> None:
        async with secure(tmp_path) as running:
            for request in (
                f"HEAD {VALUES}/foo HTTP/1.1\r\nHost: x\r\n\r\n",
                f"POST {VALUES}/foo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            ):
                odd = await running.connect()
                status, headers, _ = await odd.ask(request.encode(), head=request.startswith("HEAD"))
                assert (status, int(headers["content-length"]) > 0) == ("HTTP/1.1 405 Method Not Allowed", True)
                assert (headers["connection"], await odd.is_closed()) == ("close", True)
                await odd.close()
            connection = await running.connect()
            assert (await connection.get("/livez"))[2] == b"ok"
            many = "".join(f"X-Remote-Group: group-{n}\r\n" for n in range(400))
            whole = f"GET /livez HTTP/1.1\r\nHost: x\r\n{many}\r\n".encode()
            assert (await connection.ask(whole))[2] == b"ok"

            other = await running.connect()
            long = f"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: {'x' * 20_000}\r\n\r\n".encode()
            status, headers, _ = await other.ask(long)
            assert (status, headers["server"]) == ("HTTP/1.0 400 Bad Request", "spillway")
            assert await other.is_closed()
            await other.close()

            status, headers, body = await connection.get(f"{VALUES}/%zz")
            assert (status, headers["connection"], body) == ("HTTP/1.1 400 Bad Request", "close", b"400 Bad Request")
            assert await connection.is_closed()
            await connection.close()

    asyncio.run(run())
    assert "xxx" not in caplog.text


def test_raw_targets(tmp_path: Path) -> None:
    """A target reaches the API as it was sent: an escaped slash stays one segment, an escaped percent a percent."""
    api, seen = served(), list[str]()

    def respond(request: Request) -> Response | Undecided:
        seen.append(request.raw_target)
        return api.api.respond(request)

    async def run() -> None:
        async with asyncio.timeout(TIMEOUT_S), ApiServer(respond) as server:
            connection = Connection(*await asyncio.open_connection("127.0.0.1", server.port))
            targets = [
                f"{VALUES}/a%2Fb",
                f"{VALUES}/a%252Fb",
                f"{BASE}//x",
                f"{VALUES}/m?a=%2B+%zz#x",
                "/../x",
                "//apis",
            ]
            for target in targets:
                assert (await connection.get(target))[0] == "HTTP/1.1 404 Not Found"
            assert seen == [*targets[:3], f"{VALUES}/m?a=%2B+%zz#x", *targets[4:]]
            await connection.close()

    asyncio.run(run())


def test_a_bug_costs_one_connection(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that fails by our fault is a logged 500, and other connections do not notice."""
    api = served()

    def respond(request: Request) -> Response | Undecided:
        if request.raw_target == "/bug":
            raise RuntimeError("a bug")
        return api.api.respond(request)

    async def run() -> None:
        async with asyncio.timeout(TIMEOUT_S), ApiServer(respond) as server:
            one, two = [Connection(*await asyncio.open_connection("127.0.0.1", server.port)) for _ in range(2)]
            assert (await two.get("/livez"))[2] == b"ok"
            status, headers, body = await one.get("/bug")
            assert (status, headers["connection"]) == ("HTTP/1.1 500 Internal Server Error", "close")
            assert json.loads(body)["code"] == 500
            assert b"RuntimeError" not in body
            assert (await two.get("/livez"))[2] == b"ok"
            await one.close()
            await two.close()

    caplog.set_level(logging.ERROR)
    asyncio.run(run())
    assert "a bug" in caplog.text


def test_certificate_is_reloaded_while_serving(tmp_path: Path) -> None:
    """New files are served to new connections; a connection that is open goes on."""

    async def run() -> None:
        async with secure(tmp_path) as running:
            before = await running.connect()
            first = before.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            running.cert_file.unlink()
            selfsigned.ensure(tmp_path)
            after = await running.connect()
            assert after.writer.get_extra_info("ssl_object").getpeercert(binary_form=True) != first
            assert (await before.get("/livez"))[2] == (await after.get("/livez"))[2] == b"ok"
            await before.close()
            await after.close()

    asyncio.run(run())


def test_stopping(tmp_path: Path) -> None:
    """While stopping each answer ends its connection; once stopped idle connections are closed and none is accepted."""

    async def run() -> None:
        async with secure(tmp_path) as running:
            idle, busy = await running.connect(), await running.connect()
            for connection in (idle, busy):
                assert "connection" not in (await connection.get("/livez"))[1]
            running.server.stopping = True
            status, headers, body = await busy.get(f"{VALUES}/foo")
            assert (status, headers["connection"], body[:1]) == ("HTTP/1.1 200 OK", "close", b"{")
            assert await busy.is_closed()
            fresh = await running.connect()
            assert (await fresh.get("/livez"))[1]["connection"] == "close"
            port = running.server.port
        assert await idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        for connection in (idle, busy, fresh):
            await connection.close()

    asyncio.run(run())


def test_port_in_use() -> None:
    """A port that is taken is an OSError, and nothing stays open."""

    async def run() -> None:
        async with ApiServer(served().api.respond) as server:
            with pytest.raises(OSError, match="Address already in use"):
                async with ApiServer(served().api.respond, port=server.port):
                    raise AssertionError("not reached")

    asyncio.run(run())


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl(tmp_path: Path) -> None:
    """kubectl reads a metric, the versions and the resources straight from the port."""

    async def kubectl(running: Secure, *arguments: str) -> str:
        home = tmp_path / "home"
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            "--kubeconfig=/dev/null",
            f"--cache-dir={home / 'cache'}",
            f"--server=https://localhost:{running.server.port}",
            f"--certificate-authority={running.cert_file}",
            "--token=any",  # without one kubectl asks the terminal for a user
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    async def run() -> None:
        async with secure(tmp_path / "certs") as running:
            raw = json.loads(
                await kubectl(running, "get", "--raw", f"{VALUES}/my-external-metric?labelSelector=foo%3Dbar")
            )
            assert [item["value"] for item in raw["items"]] == ["1500m"]
            assert await kubectl(running, "api-versions") == "external.metrics.k8s.io/v1beta1\n"
            resources = (await kubectl(running, "api-resources", "--no-headers")).split()
            assert resources == [
                "externalmetrics",
                "external.metrics.k8s.io/v1beta1",
                "true",
                "ExternalMetricValueList",
            ]

    asyncio.run(run())
