"""A real `spillway serve` as a child process, and what a reader gets from it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.waiting import until_sync

VALUES = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/"


class Answer(NamedTuple):
    """What an HTTP request got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def values_of(answer: Answer) -> dict[str, Any]:
    """Return an answer's items by their labels, written "a=b,c=d"."""
    items = answer.json()["items"]
    return {",".join(f"{k}={v}" for k, v in item["metricLabels"].items()): item["value"] for item in items}


class Adapter:
    """`spillway serve --standalone` on free ports, with a self-signed certificate that readers verify."""

    def __init__(self, directory: Path, config: Path, *flags: str, environ: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.log_file = directory / "adapter.log"
        self._command = [
            *self.wrapper(),
            *(sys.executable, "-m", "adapter", "serve", *self.mode(), "--config", str(config)),
            *("--secure-port", "0", "--metrics-port", "0", "--explain-port", "0"),
            *("--cert-dir", str(directory / "certs"), *flags),
        ]
        self._environ = {**os.environ, **(environ or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def mode(self) -> tuple[str, ...]:
        """Return the flags that say how it lives."""
        return ("--standalone",)

    def wrapper(self) -> tuple[str, ...]:
        """Return the command that it is started by, which becomes it (exec)."""
        return ()

    def start(self, *, ready: bool = True) -> Self:
        """Start, and wait until it listens, and is ready."""
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environ)
        until_sync(lambda: self._ports() is not None or self.ended(), 60)
        if self.ended():
            raise RuntimeError(self.log())
        if ready:
            until_sync(self._is_ready, 60)
        return self

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz").status == 200
        except (OSError, http.client.RemoteDisconnected):
            return False  # it does not know our certificate yet, or we not its

    def log(self) -> str:
        """Return everything it has logged."""
        return self.log_file.read_text(errors="replace")

    def ended(self) -> bool:
        """Tell whether the process has ended."""
        return self.process is None or self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = 20) -> int:
        """Wait for its end; return the exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def get(self, path: str) -> Answer:
        """GET from the secure port, its certificate verified."""
        return self._get(f"https://127.0.0.1:{self.port('secure_port')}{path}", self.context(), self.identity())

    def context(self) -> ssl.SSLContext:
        """Return what a reader trusts, and shows."""
        return ssl.create_default_context(cafile=str(self.directory / "certs" / "tls.crt"))

    def identity(self) -> dict[str, str]:
        """Return the headers that say who reads."""
        return {}

    def values(self, metric: str) -> dict[str, Any]:
        """Return an answer's items by their labels, written "a=b,c=d", as (value, timestamp)."""
        found = self.get(VALUES + metric)
        assert found.status == 200, found
        return values_of(found)

    def metrics(self) -> dict[str, float]:
        """Return its own metrics: name and labels as exposed → value."""
        body = self._get(f"http://127.0.0.1:{self.port('metrics_port')}/metrics", None).body.decode()
        lines = (line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def explain(self, path: str = "") -> Answer:
        """GET from the explain port."""
        return self._get(f"http://127.0.0.1:{self.port('explain_port')}/explain{path}", None)

    def port(self, name: str) -> int:
        """Return a port it listens on: secure_port, metrics_port, explain_port."""
        ports = self._ports()
        assert ports is not None, self.log()
        return ports[name]

    def _ports(self) -> dict[str, int] | None:
        serving = re.search(r"[\" ]serving[\" ].*secure_port.*", self.log())
        return {k: int(v) for k, v in re.findall(r"(\w+_port)\"?[=:] ?(\d+)", serving.group())} if serving else None

    def _get(self, url: str, context: ssl.SSLContext | None, headers: Mapping[str, str] | None = None) -> Answer:
        request = urllib.request.Request(url, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.ended():
            self.signal(signal.SIGKILL)
            self.wait()
