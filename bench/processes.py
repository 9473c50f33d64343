"""Children of a script: they run on processors of their own where there are two, and end with their `with` block."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapter.api import selfsigned
from bench.machine import program
from bench.script import BenchError

LOOPBACK = "127.0.0.1"
_START_S = 90.0
_STOP_S = 10.0


def server_cores() -> set[int]:
    """Return where the server under test runs: one processor, which nothing else of ours uses if there are two."""
    return {min(os.sched_getaffinity(0))}


def client_cores() -> set[int]:
    """Return where everything else of ours runs."""
    cores = os.sched_getaffinity(0)
    return cores - server_cores() or cores


@contextlib.contextmanager
def on(cores: set[int]) -> Iterator[None]:
    """Run the calling thread, and the children it starts meanwhile, on these processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Child:
    """A running child and the file that holds what it says."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait for something of it.

        Raises:
            BenchError: It ended, or that took too long.
        """
        deadline = time.monotonic() + _START_S
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")[-1000:]
                raise BenchError(f"{self.name}: not {what}, exit code {self.process.returncode}: {said}")
            time.sleep(0.01)


@contextlib.contextmanager
def child(
    name: str, argv: Sequence[str | Path], folder: Path, cores: set[int], environ: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """Run a program on some processors while the context lasts. Its output goes to a file in `folder`."""
    log = folder / f"{name}.log"
    words, environment = [str(word) for word in argv], {**os.environ, **(environ or {})}
    with log.open("wb") as out, on(cores):
        process = subprocess.Popen(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment)
    try:
        yield Child(name, process, log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def allow_files(count: int) -> None:
    """Let us and our children open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchError(f"{count:,} files must be open at once, {hard:,} are allowed: raise ulimit -Hn")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def free_port() -> int:
    """Return a port of loopback that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
    return port


def accepts(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    try:
        socket.create_connection((LOOPBACK, port), 1.0).close()
    except OSError:
        return False
    return True


def first_line(log: Path) -> str | None:
    """Return the first line a child has said, once it is whole."""
    line, end, _ = log.read_text(errors="replace").partition("\n")
    return line if end else None


@contextlib.contextmanager
def python(
    name: str, module: str, arguments: Sequence[str | Path], folder: Path, cores: set[int]
) -> Iterator[tuple[Child, int]]:
    """Run a module of ours that prints the port it listens on. Yields: the child and the port."""
    with child(name, [sys.executable, "-m", module, *arguments], folder, cores) as started:
        started.wait_until(lambda: first_line(started.log) is not None, "listening")
        yield started, int(first_line(started.log) or 0)


@contextlib.contextmanager
def redis_server(folder: Path, cores: set[int]) -> Iterator[tuple[Child, int]]:
    """Run a Redis that keeps nothing on disk. Yields: the child and the port.

    Raises:
        BenchError: There is no redis-server.
    """
    executable = program("redis-server")
    if executable is None:
        raise BenchError("redis-server is missing: apt install redis-server (or brew install redis)")
    port = free_port()
    flags = {"port": port, "bind": LOOPBACK, "dir": folder, "save": "", "appendonly": "no"}
    argv = [executable, *(str(word) for name, value in flags.items() for word in (f"--{name}", value))]
    with child("redis-server", argv, folder, cores) as started:
        started.wait_until(lambda: accepts(port), "listening")
        yield started, port


@dataclass(frozen=True, slots=True)
class Adapter:
    """A running `spillway serve --standalone`."""

    child: Child
    port: int
    metrics_port: int
    explain_port: int
    ca_file: Path

    @property
    def tls(self) -> ssl.SSLContext:
        """What its certificate is verified with."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def get(self, path: str) -> tuple[int, bytes]:
        """GET once, over a connection of its own. Returns: status and body."""
        connection = http.client.HTTPSConnection(LOOPBACK, self.port, context=self.tls, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Accept": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()

    def metrics(self) -> dict[str, float]:
        """Return its own metrics: name and labels as exposed → value."""
        lines = plain_get(self.metrics_port, "/metrics").decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


def plain_get(port: int, path: str) -> bytes:
    """GET from a port without TLS. Returns: the body of a 200.

    Raises:
        BenchError: The answer is another one.
    """
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise BenchError(f"port {port} answers {response.status} to {path}: {body[:200]!r}")
        return body


@contextlib.contextmanager
def adapter(
    name: str,
    config: str,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    kubeconfig: Path | None = None,
    flags: Sequence[str] = (),
) -> Iterator[Adapter]:
    """Run Spillway with a configuration, on the server's processor, and wait until it is ready.

    Args:
        name: Its folder's.
        config: Metrics, as YAML.
        folder: Where its folder is made.
        environ: More of its environment.
        kubeconfig: The Kubernetes API that knows who may read. None: standalone, and everybody may.
        flags: More of its flags.
    """
    home = folder / name
    home.mkdir()
    (home / "metrics.yaml").write_text(config)
    certificate, key = selfsigned.ensure(home / "certs")
    argv: list[str | Path] = [sys.executable, "-m", "adapter", "serve"]
    argv += ["--standalone"] if kubeconfig is None else ["--kubeconfig", kubeconfig, "--namespace", "spillway"]
    argv += ["--config", home / "metrics.yaml", "--shutdown-delay", "0s", "--log-format", "json"]
    argv += ["--bind-address", LOOPBACK, "--metrics-bind-address", LOOPBACK]
    argv += ["--secure-port", "0", "--metrics-port", "0", "--explain-port", "0"]
    argv += ["--tls-cert-file", certificate, "--tls-private-key-file", key, *flags]
    with child(name, argv, home, server_cores(), environ) as started:
        started.wait_until(lambda: _ports(started.log) is not None, "listening")
        ports = _ports(started.log) or {}
        numbers = (ports["secure_port"], ports["metrics_port"], ports["explain_port"])
        running = Adapter(started, *numbers, certificate)
        started.wait_until(lambda: running.get("/readyz")[0] == 200, "ready")
        yield running


def _ports(log: Path) -> dict[str, int] | None:
    for line in log.read_text(errors="replace").splitlines():
        if '"serving"' in line:
            found: dict[str, int] = json.loads(line)
            return found
    return None
