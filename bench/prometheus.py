"""A real Prometheus 3 as a peer, on a free port of loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.machine import program
from bench.processes import LOOPBACK, Child, child, server_cores

MISSING = "Prometheus 3: bench/setup fetches it (on Debian; elsewhere put prometheus on the PATH)"
_OURS = Path(__file__).parents[1] / ".cache/prometheus/usr/bin/prometheus"


def executable() -> str | None:
    """Return the path of a Prometheus of at least version 3, or None."""
    for path in (str(_OURS), program("prometheus")):
        if path is not None and Path(path).exists() and (found := version(path)) and int(found.split(".")[0]) >= 3:
            return path
    return None


def version(path: str) -> str | None:
    """Return the version of a prometheus program."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\d[\d.]*)", said.stdout + said.stderr)
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    child: Child
    port: int

    def raw_query(self, connection: http.client.HTTPConnection, expression: str, time_s: str = "") -> bytes:
        """Send an instant query, as a client of the HTTP API does. Returns: the body."""
        form = urlencode({"query": expression} | ({"time": time_s} if time_s else {}))
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/api/v1/query", form, headers)
        with connection.getresponse() as response:
            return response.read()

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection to it."""
        return http.client.HTTPConnection(LOOPBACK, self.port, timeout=60)

    def value(self, expression: str) -> float | None:
        """Return the value of a query that gives one series; None: it gives none."""
        with contextlib.closing(self.connect()) as connection:
            found = json.loads(self.raw_query(connection, expression))["data"]["result"]
        return float(found[0]["value"][1]) if found else None


@contextlib.contextmanager
def prometheus(folder: Path, config: Mapping[str, Any], flags: Sequence[str] = ()) -> Iterator[Prometheus | None]:
    """Run a Prometheus on the server's processor while the context lasts; yields None where there is none."""
    path = executable()
    if path is None:
        yield None
        return
    home = folder / "prometheus"
    home.mkdir()
    (home / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    argv: list[str | Path] = [path, f"--config.file={home / 'prometheus.yml'}", f"--storage.tsdb.path={home / 'data'}"]
    argv += [f"--web.listen-address={LOOPBACK}:0", *flags]
    with child("prometheus", argv, home, server_cores()) as started:

        def ready() -> bool:
            return "Server is ready to receive web requests" in started.log.read_text(errors="replace")

        started.wait_until(ready, "ready")
        found = re.search(r"Listening on.* address=127\.0\.0\.1:(\d+)", started.log.read_text())
        yield Prometheus(started, int(found[1]) if found else 0)


def cores_note() -> str:
    """Say how many processors it has: its own, as ours has."""
    return f"{len(server_cores())} of {os.cpu_count()} processors"
