"""Many real /metrics pages on one port, each with a counter that grows as the wall clock does."""

from __future__ import annotations

import http.server
import threading
import time
from types import TracebackType
from typing import Self


class Counters:
    """Serves /t/N for any N: http_requests_total grows by N + 1 a second, split over two codes."""

    def __init__(self) -> None:
        began = time.time()
        self.requests = 0
        counters = self

        class Page(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                counters.requests += 1
                n = int(self.path.rsplit("/", 1)[1])
                grown = (time.time() - began) * (n + 1)
                body = (
                    "# TYPE http_requests_total counter\n"
                    f'http_requests_total{{code="200"}} {grown * 0.75!r}\n'
                    f'http_requests_total{{code="500"}} {grown * 0.25!r}\n'
                    "# TYPE up gauge\n"
                    f'up{{page="{n}"}} {n}\n'
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                return

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Page)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.port = self._server.server_address[1]

    def url(self, n: int) -> str:
        """Return the URL of page N."""
        return f"http://127.0.0.1:{self.port}/t/{n}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
