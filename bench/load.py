"""Readers: keep-alive connections over TLS that ask as kube-apiserver forwards an HPA's request.

Blocking sockets, because a reader in the same language must cost less than what it measures.
"""

from __future__ import annotations

import contextlib
import gc
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.machine import program
from bench.measure import percentile
from bench.processes import LOOPBACK, client_cores, on

VALUES = "/apis/external.metrics.k8s.io/v1beta1/namespaces/bench/"
_USER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
HEADERS = {
    "User-Agent": f"kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/0123456/{_USER}",
    "Accept": "application/vnd.kubernetes.protobuf, */*",
    "Audit-Id": "7c3dd0ff-6f0b-4b0e-9d0c-1d8c1f2a3b4c",
    "X-Forwarded-For": "10.0.0.11",
    "X-Forwarded-Host": "10.0.0.7:6443",
    "X-Forwarded-Proto": "https",
    "X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id": "JTI=4f0f9b52-7a29-4a6e-9c06-8a3d6f1e2b3c",
    "X-Remote-Group": "system:authenticated",
    "X-Remote-Uid": "5d9f6b0e-1a2b-4c3d-8e4f-0123456789ab",
    "X-Remote-User": _USER,
    "Accept-Encoding": "gzip",
}
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


def request(path: str, accept: str | None = None) -> bytes:
    """Return a GET as it arrives from kube-apiserver, 0.8 KB. `accept`: another Accept than an HPA's."""
    headers = HEADERS | {"X-Forwarded-Uri": path.partition("?")[0]} | ({"Accept": accept} if accept else {})
    lines = [f"GET {path} HTTP/1.1", "Host: 10.0.0.7:6443", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


class Reader:
    """One keep-alive connection."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        plain = socket.create_connection((LOOPBACK, port), 20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = tls.wrap_socket(plain, server_hostname=LOOPBACK)

    def send(self, raw: bytes) -> None:
        """Send a request."""
        self._socket.sendall(raw)

    def receive(self) -> tuple[int, bytes]:
        """Return status and body of the next answer; raises as `answer` does."""
        status, _, body = self.answer()
        return status, body

    def answer(self) -> tuple[int, bytes, bytes]:
        """Return status, head and body of the next answer.

        Raises:
            ConnectionError: The server closed the connection, or the answer has no Content-Length.
        """
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        length = _LENGTH.search(data, 0, end + 2)
        if length is None:
            raise ConnectionError("an answer without Content-Length")
        body = data[end + 4 :]
        while len(body) < int(length[1]):
            body += self._more()
        return int(data[9:12]), data[:end], body

    def ask(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request and return status and body of its answer."""
        self.send(raw)
        return self.receive()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


@contextlib.contextmanager
def readers(count: int, port: int, tls: ssl.SSLContext) -> Iterator[list[Reader]]:
    """Open connections."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(Reader(port, tls))) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Load:
    """What some seconds of asking brought; latencies in seconds. `failed`: answers other than 200."""

    requests: int
    seconds: float
    p50_s: float
    p99_s: float
    failed: int = 0


def closed_loop(connections: Sequence[Reader], raw: bytes, seconds: float) -> Load:
    """Ask on every connection at once, and again when all have answered."""
    latencies: list[float] = []
    failed = 0
    with on(client_cores()), undisturbed():
        started = time.perf_counter()
        end = started + seconds
        while (now := time.perf_counter()) < end or not latencies:
            for reader in connections:
                reader.send(raw)
            for reader in connections:
                status, _ = reader.receive()
                latencies.append(time.perf_counter() - now)
                failed += status != 200
        took = time.perf_counter() - started
    return Load(len(latencies), took, percentile(latencies, 0.5), percentile(latencies, 0.99), failed)


def wrk(port: int, path: str, accept: str, connections: int, seconds: float) -> Load | None:
    """Ask with wrk, one thread, whole seconds; None: there is no wrk."""
    executable = program("wrk")
    if executable is None:
        return None
    flags = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    for name, value in (HEADERS | {"Accept": accept}).items():
        flags += ["-H", f"{name}: {value}"]
    with on(client_cores()):
        argv = [executable, *flags, f"https://{LOOPBACK}:{port}{path}"]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    total = re.search(r"(\d+) requests in ([\d.]+)(m?s)", said)
    shares = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", said, re.MULTILINE))
    if total is None or shares.keys() != {"50", "99"}:
        raise ValueError(f"wrk said something else: {said[:500]}")
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    took = float(total[2]) / (1000 if total[3] == "ms" else 1)
    return Load(int(total[1]), took, _seconds(shares["50"]), _seconds(shares["99"]), int(failed[1]) if failed else 0)


def _seconds(text: str) -> float:
    for unit, size in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * size
    raise ValueError(text)


@dataclass(slots=True)
class OpenLoop:
    """Requests at intended times, whether or not earlier ones have been answered, each connection in a thread.

    Attributes:
        latencies: Seconds from when a request was meant to be sent to its answer: what waited behind a slow answer
            counts as slow too.
        failed: Answers other than 200.
    """

    latencies: list[float] = field(default_factory=list)
    failed: int = 0

    def run(self, connections: Sequence[Reader], asked: Sequence[bytes], rate: float, seconds: float) -> None:
        """Send `rate` requests a second, one of `asked` after the other."""
        count = max(len(connections), round(rate * seconds))
        began = time.perf_counter() + 0.05
        found: list[list[float]] = [[] for _ in connections]
        failures = [0] * len(connections)

        def lane(number: int) -> None:
            for i in range(number, count, len(connections)):
                due = began + i / rate
                time.sleep(max(0.0, due - time.perf_counter()))
                status, _ = connections[number].ask(asked[i % len(asked)])
                found[number].append(time.perf_counter() - due)
                failures[number] += status != 200

        with on(client_cores()), undisturbed():
            threads = [threading.Thread(target=lane, args=(number,)) for number in range(len(connections))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        for lane_found in found:
            self.latencies += lane_found
        self.failed += sum(failures)
        if sum(map(len, found)) != count:
            raise ConnectionError("a connection failed under load")


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector and long turns of other threads out of what is measured."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.setswitchinterval(interval)
