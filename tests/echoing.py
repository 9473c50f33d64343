"""Servers that give away what they are told: pages and Redises that repeat credentials in every part of an answer."""

from __future__ import annotations

import base64
import contextlib
import http.server
import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

WAYS = ("unauthorized", "forbidden", "page", "type", "encoding", "away", "home", "busy", "broken", "late")
"""Where a page repeats what it was told; each is a path."""

REDIS_WAYS = (
    "ERR unknown command",
    "WRONGPASS",
    "NOAUTH",
    "NOPERM",
    "MOVED 1",
    "LOADING",
    "-",
    "bulk",
    "junk",
    "goodbye",
)
"""How a Redis begins the answer in which it repeats what it was told."""


def told(header: str) -> str:
    """Return credentials as they were sent and, of basic ones, as they are."""
    kind, _, text = header.partition(" ")
    plain = base64.b64decode(text).decode("utf-8", "replace") if kind == "Basic" else text
    return f"{text} {plain}"


class _Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        secret = told(self.headers.get("Authorization", "")).encode().decode("latin-1")
        way = self.path.strip("/").partition("/")[0]
        codes = {"unauthorized": 401, "forbidden": 403, "away": 302, "home": 302, "busy": 429, "broken": 500}
        headers = {
            "type": ("Content-Type", f"text/html; {secret}"),
            "encoding": ("Content-Encoding", secret),
            "away": ("Location", f"http://{secret.encode().hex()}.invalid/{secret}"),
            "home": ("Location", f"/home/{base64.urlsafe_b64encode(secret.encode()).decode()}"),
            "busy": ("Retry-After", secret),
            "late": ("Content-Length", secret),
        }
        self.wfile.write(f"HTTP/1.1 {codes.get(way, 200)} {secret}\r\n".encode("latin-1"))
        name, value = headers.get(way, ("X-Said", secret))
        body = f'up{{you="{secret}" 1\n{secret}\n'.encode("latin-1")
        if way != "late":
            self.wfile.write(f"Content-Length: {len(body)}\r\n".encode())
        self.wfile.write(f"{name}: {value}\r\nWWW-Authenticate: {secret}\r\n\r\n".encode("latin-1"))
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return


class _Redis(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        way = REDIS_WAYS[server.way]
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                words = re.sub(rb"[\r\n]+", b" ", data)
                if way == "bulk":
                    self.request.sendall(b"$%d\r\n%b\r\n" % (len(words), words))
                elif way == "junk":
                    self.request.sendall(words)
                else:
                    self.request.sendall(b"-%b %b\r\n" % (way.encode(), words))
                if way == "goodbye":
                    return


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    way = 0


@contextmanager
def _serving(server: _Server) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def pages(host: str) -> Iterator[int]:
    """Serve WAYS on a free port; its number."""
    with _serving(_Server((host, 0), _Page)) as port:
        yield port


@contextmanager
def redises(host: str) -> Iterator[list[int]]:
    """Serve one Redis a way of REDIS_WAYS on free ports; their numbers."""
    with contextlib.ExitStack() as stack:
        ports = []
        for way in range(len(REDIS_WAYS)):
            server = _Server((host, 0), _Redis)
            server.way = way
            ports.append(stack.enter_context(_serving(server)))
        yield ports
