"""Record what real programs say at /metrics: `python -m tests.exposition.record`, with apt and redis-server at hand.

The Prometheus that tests/prometheus/get-prometheus has unpacked is one of them; of the others Debian's packages are
unpacked into .cache/exporters, beside the system and not into it. Each program is asked three times, in each format it
speaks, while it works. The pages go to tests/testdata/exposition/real, compressed.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.prometheus.server import PROGRAM

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / ".cache" / "exporters"
REAL = ROOT / "tests" / "testdata" / "exposition" / "real"
PACKAGES = (
    "etcd-server",
    "prometheus-blackbox-exporter",
    "prometheus-nginx-exporter",
    "prometheus-node-exporter",
    "prometheus-pushgateway",
    "prometheus-redis-exporter",
    "nginx",
)
TEXT = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"
QUOTED = "text/plain;version=1.0.0;escaping=allow-utf-8"
TIMES = 3


@dataclass(frozen=True)
class Program:
    """What is started and asked. `{port}`, `{folder}`, `{redis}` and `{nginx}` are filled in."""

    name: str
    command: tuple[str, ...]
    formats: tuple[str, ...] = (TEXT, OPENMETRICS)


PROGRAMS = (
    Program(
        "prometheus",
        (
            *("prometheus", "--config.file={folder}/prometheus.yml", "--storage.tsdb.path={folder}/data"),
            "--web.listen-address=127.0.0.1:{port}",
        ),
    ),
    Program(
        "etcd",
        (
            *("usr/bin/etcd", "--data-dir={folder}/etcd", "--listen-client-urls=http://127.0.0.1:{port}"),
            *("--advertise-client-urls=http://127.0.0.1:{port}", "--listen-peer-urls=http://127.0.0.1:{etcd_peer}"),
        ),
    ),
    Program("node_exporter", ("usr/bin/prometheus-node-exporter", "--web.listen-address=127.0.0.1:{port}")),
    Program("pushgateway", ("usr/bin/prometheus-pushgateway", "--web.listen-address=127.0.0.1:{port}")),
    Program(
        "blackbox_exporter",
        (
            *("usr/bin/prometheus-blackbox-exporter", "--config.file={folder}/blackbox.yml"),
            "--web.listen-address=127.0.0.1:{port}",
        ),
    ),
    Program(
        "redis_exporter",
        (
            *("usr/bin/prometheus-redis-exporter", "-web.listen-address=127.0.0.1:{port}", "-check-keys=*"),
            *("-redis.addr=redis://127.0.0.1:{redis}", "-include-system-metrics", "-check-streams=events"),
        ),
    ),
    Program(
        "nginx_exporter",
        (
            *("usr/bin/prometheus-nginx-exporter", "-web.listen-address=127.0.0.1:{port}"),
            *("-nginx.retries=50", "-nginx.retry-interval=200ms"),
            "-nginx.scrape-uri=http://127.0.0.1:{nginx}/status",
        ),
    ),
    Program("python_app", (sys.executable, "-m", "tests.exposition.python_app", "{port}"), (TEXT, OPENMETRICS, QUOTED)),
)
FILES = {
    "prometheus.yml": "global: {scrape_interval: 1s}\nrule_files: [rules.yml]\nscrape_configs:\n"
    '- {job_name: self, static_configs: [{targets: ["127.0.0.1:%(prometheus)s"]}]}\n'
    '- {job_name: node, static_configs: [{targets: ["127.0.0.1:%(node_exporter)s"]}]}\n'
    '- {job_name: gone, static_configs: [{targets: ["127.0.0.1:1"]}]}\n',
    "rules.yml": "groups:\n"
    + "".join(f"- {{name: group-{i}, rules: [{{record: 'job:up:{i}', expr: sum(up)}}]}}\n" for i in range(8)),
    "blackbox.yml": "modules: {http_2xx: {prober: http}, tcp: {prober: tcp}}\n",
    "nginx.conf": "daemon off; pid %(folder)s/nginx.pid; error_log %(folder)s/error.log; events {}\n"
    "http { access_log off; "
    + "".join(f"{kind}_temp_path %(folder)s/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    + "server { listen 127.0.0.1:%(nginx)s; location /status { stub_status; } } }\n",
}


def unpack() -> None:
    """Download the packages and unpack them, where that has not been done."""
    UNPACKED.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        mark = UNPACKED / f".{package}"
        if not mark.exists():
            subprocess.run(["apt-get", "download", package], cwd=UNPACKED, check=True)
            (archive,) = UNPACKED.glob(f"{package}_*.deb")
            subprocess.run(["dpkg-deb", "-x", archive, UNPACKED], check=True)
            archive.unlink()
            mark.touch()


def free_ports(names: Sequence[str]) -> dict[str, str]:
    """Return a free port of the loopback for each name."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in names]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return {name: str(listener.getsockname()[1]) for name, listener in zip(names, listeners, strict=True)}


@contextlib.contextmanager
def running(command: Sequence[str], folder: Path) -> Iterator[None]:
    """Run a program until the block ends."""
    program = PROGRAM if command[0] == "prometheus" else UNPACKED / command[0]
    with (folder / f"{Path(command[0]).name}.log").open("a") as log:
        process = subprocess.Popen(
            [program if program.exists() else command[0], *command[1:]], stdout=log, stderr=log, cwd=ROOT
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def get(url: str, accept: str = "*/*") -> tuple[bytes, str]:
    """Return the body and content type of a page, waiting until it is there."""
    deadline = time.monotonic() + 30
    while True:
        try:
            request = urllib.request.Request(url, headers={"Accept": accept})
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.read(), answer.headers["Content-Type"]
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url}: {error}") from None
            time.sleep(0.1)


def suffix_of(content_type: str) -> str:
    """Return the ending of the file for a page."""
    if content_type.startswith("application/openmetrics-text"):
        return "om"
    return "quoted.txt" if "version=1.0.0" in content_type else "txt"


def stir(ports: dict[str, str], folder: Path) -> None:
    """Give the programs something to count."""
    redis = ["redis-cli", "-p", ports["redis"]]
    for i in range(40):
        subprocess.run([*redis, "RPUSH", f"queue:{i % 7}", "x" * i], check=True, capture_output=True)
        subprocess.run([*redis, "XADD", "events", "*", "n", str(i)], check=True, capture_output=True)
    subprocess.run([*redis, "XGROUP", "CREATE", "events", "workers", "0"], check=False, capture_output=True)
    prometheus = f"http://127.0.0.1:{ports['prometheus']}/api/v1"
    for query in ("up", "rate(prometheus_http_requests_total[5m])", "not{", "node_load1"):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{prometheus}/query?query={urllib.request.quote(query)}", timeout=5).read()  # type: ignore[attr-defined]  # re-exported
    body = b'# TYPE batch_rows counter\nbatch_rows{table="a\\"b\\\\c"} 12\nbatch_seconds 1.5e-7\n'
    for job in ("nightly", "hourly"):
        url = f"http://127.0.0.1:{ports['pushgateway']}/metrics/job/{job}/instance/db-1"
        urllib.request.urlopen(urllib.request.Request(url, data=body, method="PUT"), timeout=5).read()
    for i in range(20):
        get(f"http://127.0.0.1:{ports['python_app']}/work/{i}")
    del folder


def record() -> None:
    """Start everything, ask everyone, and keep the answers."""
    unpack()
    REAL.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        ports = free_ports([*(program.name for program in PROGRAMS), "etcd_peer", "redis", "nginx"])
        for name, content in FILES.items():
            (folder / name).write_text(content % {**ports, "folder": folder} if "%" in content else content)
        stack.enter_context(running(["redis-server", "--port", ports["redis"], "--save", ""], folder))
        stack.enter_context(running(["usr/sbin/nginx", "-c", f"{folder}/nginx.conf"], folder))
        for program in PROGRAMS:
            filled = [part.format(port=ports[program.name], folder=folder, **ports) for part in program.command]
            stack.enter_context(running(filled, folder))
        for program in PROGRAMS:
            try:
                get(f"http://127.0.0.1:{ports[program.name]}/metrics")
            except TimeoutError:
                logs = "\n".join(f"{log.name}: {log.read_text()[-1000:]}" for log in folder.glob("*.log"))
                raise SystemExit(f"{program.name} does not answer\n{logs}") from None
        for turn in range(TIMES):
            stir(ports, folder)
            time.sleep(2)
            for program in PROGRAMS:
                for accept in program.formats:
                    page, kind = get(f"http://127.0.0.1:{ports[program.name]}/metrics", accept)
                    path = REAL / f"{program.name}.{turn}.{suffix_of(kind)}.gz"
                    path.write_bytes(gzip.compress(page, 9, mtime=0))


if __name__ == "__main__":
    record()
