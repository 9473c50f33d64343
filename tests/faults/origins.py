"""Real servers, each with a value whose truth is known at every moment, and how a metric reads it."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

import redis

from tests.faults.proxy import Mode
from tests.faults.truth import Ticker, Truth, now_ms
from tests.redis_server import RedisServer

_USER = "spillway"


class Origin(Protocol):
    """A real server. It runs until the end of the block."""

    port: int
    truth: Truth

    def source(self, host: str, port: int, ca_file: Path | None) -> dict[str, Any]:
        """Return `spec.source` of a metric that reads it there, through TLS if there is a CA file."""
        ...

    def change_credentials(self, *, back: bool) -> None:
        """Accept other credentials than those that are shown to it, or those again."""
        ...

    def become(self, mode: Mode) -> bool:
        """Be broken like this by its own means, if it has such; FORWARD: be healthy. Returns whether it has."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class RedisOrigin:
    """A redis-server with a list that grows by an element each tick, for a user with a password."""

    def __init__(self, directory: Path, first: int) -> None:
        directory.mkdir(parents=True)
        self.server = RedisServer(directory)
        self.port = self.server.port
        self.truth = Truth(first)
        self._password_file = directory / "password"
        self._password_file.write_text("right\n")
        self._ticker = Ticker(self._tick)
        self._client: redis.Redis | None = None

    def source(self, host: str, port: int, ca_file: Path | None) -> dict[str, Any]:
        where: dict[str, Any] = {"url": f"{'rediss' if ca_file else 'redis'}://{host}:{port}/0"}
        if ca_file is not None:
            where["tls"] = {"caFile": str(ca_file), "serverName": "localhost"}
        auth = {"username": _USER, "passwordFile": str(self._password_file)}
        return {"redis": {**where, "auth": auth, "queues": [{"list": "jobs"}]}}

    def change_credentials(self, *, back: bool) -> None:
        new, old = ("right", "other") if back else ("other", "right")
        with self.server.client() as client:
            client.acl_setuser(_USER, enabled=True, passwords=[f"+{new}", f"-{old}"])
            cast("Any", client).execute_command("CLIENT", "KILL", "USER", _USER)

    def become(self, mode: Mode) -> bool:
        if mode is Mode.HANG:
            self.server.pause()
        else:
            self.server.resume()
        return mode is Mode.HANG

    def _tick(self) -> None:
        assert self._client is not None
        self.truth.begin()
        self._client.rpush("jobs", "job")
        self.truth.done()

    def __enter__(self) -> Self:
        self.server.start()
        # A server that is stopped for a while must not make a push fail: whether it was done would not be known.
        self._client = redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=120, socket_connect_timeout=120)
        self._client.acl_setuser(_USER, enabled=True, passwords=["+right"], keys=["*"], categories=["+@all"])
        for start in range(0, self.truth.value, 5000):
            self._client.rpush("jobs", *["job"] * min(5000, self.truth.value - start))
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(RuntimeError):
            self.server.resume()
        self._ticker.stop()
        if self._client is not None:
            self._client.close()
        self.server.kill()


class PageOrigin:
    """A page of Prometheus text with a gauge that grows by one each tick, for who shows a token."""

    def __init__(self, directory: Path, first: int) -> None:
        directory.mkdir(parents=True)
        self.truth = Truth(first)
        self._token_file = directory / "token"
        self._token_file.write_text("right\n")
        self._accepted = "right"
        origin = self

        class Page(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                authorized = self.headers.get("Authorization") == f"Bearer {origin._accepted}"
                body = _page(origin.truth.at(now_ms())) if authorized else b""
                head = f"HTTP/1.1 {200 if authorized else 401} -\r\nContent-Type: text/plain; version=0.0.4\r\n"
                # In one piece, most of it the page: half of it is half a page.
                self.wfile.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                return

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Page)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.port: int = self._server.server_address[1]
        self._ticker = Ticker(self._tick)

    def source(self, host: str, port: int, ca_file: Path | None) -> dict[str, Any]:
        targets = {"urls": [f"{'https' if ca_file else 'http'}://{host}:{port}/metrics"]}
        scrape: dict[str, Any] = {
            "targets": targets,
            "metric": "jobs",
            "auth": {"bearerTokenFile": str(self._token_file)},
        }
        return {
            "scrape": scrape
            if ca_file is None
            else {**scrape, "tls": {"caFile": str(ca_file), "serverName": "localhost"}}
        }

    def change_credentials(self, *, back: bool) -> None:
        self._accepted = "right" if back else "other"

    def become(self, mode: Mode) -> bool:
        del mode
        return False

    def _tick(self) -> None:
        self.truth.begin()
        self.truth.done()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.stop()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _page(value: int) -> bytes:
    others = "".join(f'other{{number="{n}"}} {n}\n' for n in range(20))
    return f"# TYPE other gauge\n{others}# TYPE jobs gauge\njobs {value}\n".encode()


def metric(name: str, source: Mapping[str, Any], max_age_s: int) -> dict[str, Any]:
    """Return a metric that is read every second."""
    return {
        "apiVersion": "spillway.dev/v1alpha1",
        "kind": "ExternalMetric",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"interval": "1s", "source": source, "whenUnknown": {"maxAge": f"{max_age_s}s"}},
    }
