"""Real pages whose values are functions of the time, on one HTTP server."""

from __future__ import annotations

import http.server
import random
import threading
import time
from types import TracebackType
from typing import Self

from tests.faults.proxy import FaultProxy, Proxies, Words
from tests.soak.truth import Source, Steps

SHARDS = 3
_NOISE = random.Random(8).randbytes(512)
_PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
WORDS = Words(_PAGE + b"Content-Length: 512\r\n\r\n" + _NOISE, _PAGE + b"\r\n", b"x 1\n")


class Page:
    """One page: `width` gauges of three series each and as many counters."""

    def __init__(self, number: int, width: int, origin: int, proxies: Proxies, *, troubled: bool) -> None:
        self.number = number
        self.source = Source(f"page{number}")
        self.proxy: FaultProxy | None = proxies.add(origin, WORDS) if troubled else None
        self.port = origin if self.proxy is None else self.proxy.port
        choose = random.Random(number)
        self.gauges = [
            [Steps(choose.randrange(10_000), choose.uniform(5, 20), choose.uniform(0, 20)) for _ in range(SHARDS)]
            for _ in range(width)
        ]
        self.slopes = [choose.randrange(10, 1000) for _ in range(width)]

    @property
    def url(self) -> str:
        """Where the adapter reads."""
        return f"http://127.0.0.1:{self.port}/page/{self.number}"

    @property
    def instance(self) -> str:
        """The label that items have."""
        return f"127.0.0.1:{self.port}"

    def text(self, now_s: float, began_s: float) -> str:
        """Return what it says at a time."""
        lines = []
        for i, (shards, slope) in enumerate(zip(self.gauges, self.slopes, strict=True)):
            lines += [f'depth{i}{{shard="{n}"}} {steps.at(now_s)!r}' for n, steps in enumerate(shards)]
            lines.append(f"jobs{i}_total {slope * (now_s - began_s)!r}")
        return "\n".join([*lines, ""])


class Pages:
    """The server. `pages` may be filled while it runs."""

    def __init__(self) -> None:
        self.pages: dict[int, Page] = {}
        self.began_s = time.time()
        served = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                page = served.pages[int(self.path.rsplit("/", 1)[1])]
                body = page.text(time.time(), served.began_s).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
                return

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: object, client_address: object) -> None:
                return  # a proxy has cut the connection

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1})
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
