"""What a start costs, and what memory is for: to the first 200 of /readyz, at rest, a million series, imports."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from adapter.kube.access import SERVICE_ACCOUNT
from bench import configuration as c
from bench.load import VALUES
from bench.measure import cpu_seconds, resident_mib, spread
from bench.processes import adapter, allow_files, client_cores, on, python, server_cores
from bench.report import Result, Row, row
from bench.script import Options, main, require
from bench.targets import METRIC, address
from tests.cluster_process import ClusterAdapter, external_metric, prepare
from tests.kube_api import KubeApi

_STEPS = (
    ("python alone", ""),
    ("aiohttp", "import aiohttp, aiohttp.web"),
    ("cryptography", "import cryptography.x509, cryptography.hazmat.primitives.asymmetric.ec"),
    ("pydantic, YAML", "import pydantic, yaml"),
    ("numpy", "import numpy"),
    ("prometheus-client", "import prometheus_client"),
    ("numba", "import numba"),
    ("kubernetes-asyncio", "import kubernetes_asyncio.client, kubernetes_asyncio.config"),
    ("Spillway itself", "import adapter.app"),
    ("kernels from the cache", "from scaler.jit import compile_all; compile_all()"),
)
"""What is imported, in this order: each is charged with what it brings that is not there yet."""

_RESIDENT = """
import os
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
"""
_REST_S = 2.0
_UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))
_MOUNT = f"""
home=$(dirname "$(dirname "$(dirname "{SERVICE_ACCOUNT}")")")  # /var/run
mount -t tmpfs tmpfs "$home" && mkdir -p "{SERVICE_ACCOUNT}" && cp "$0"/* "{SERVICE_ACCOUNT}" && exec "$@"
"""
_NO_MOUNT = "what a pod takes, for which a mount is needed that only one process sees: run it as root, or allow unshare"


@dataclass(frozen=True, slots=True)
class Size:
    """How many series memory is measured with: targets × series, columns in the window, an interval in seconds."""

    targets: int = 200
    series: int = 1000
    columns: int = 20
    interval_s: int = 1


_FULL = Size(targets=1000, interval_s=5)
_QUICK = Size(targets=3, series=20, columns=3, interval_s=1)


def run(options: Options) -> Result:
    """Measure starts, and memory."""
    size = _QUICK if options.quick else _FULL if options.full else Size()
    rest_s = 0.1 if options.quick else _REST_S
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _start(folder / "first", 0.0)  # fills the cache, if it was cold
        warm = [_start(folder / f"warm-{n}", rest_s) for n in range(options.rounds)]
        rows = [
            row("start to ready, warm cache: wall", "s", [wall for wall, _, _ in warm]),
            row("  processor time", "s", [cpu for _, cpu, _ in warm]),
        ]
        if options.full:
            cold = _start(folder / "cold", 0.0, {"NUMBA_CACHE_DIR": str(folder / "cache")})
            rows += [row("start to ready, cold cache: wall", "s", [cold[0]]), row("  processor time", "s", [cold[1]])]
        rows.append(row("resident, standalone, at rest", "MiB", [resident for _, _, resident in warm]))
        kinds = {"in a pod": Pod, "with a kubeconfig": ClusterAdapter}
        if not may_mount():
            del kinds["in a pod"]
        for what, kind in kinds.items():
            # Once: it differs by less than a MiB.
            rows.append(row(f"resident, {what}, at rest", "MiB", [_in_cluster(folder / what, rest_s, kind)]))
        with contextlib.ExitStack() as stack:
            idle = spread(resident for _, _, resident in warm).median
            more = max(0.0, stack.enter_context(_filled(folder, size)) - idle)
        count = size.targets * size.series
        rows.append(row(f"resident, {count:,} series with {size.columns} samples: more", "MiB", [more]))
        rows.append(row("  of it a million series", "MiB", [more * 1e6 / count]))
        rows += _imports()
    return Result(
        title="Starting, and memory",
        about="Ten static metrics. From the start of the process to the first 200 of /readyz, over TLS. A cold cache "
        "has no compiled kernels. In a cluster: against a stand-in of the Kubernetes API, with watches and a "
        "certificate; a pod has a service account, as what is installed, and a kubeconfig needs a library more."
        f" Series: {size.targets:,} pages of {size.series:,} each, at addresses of their own, labels "
        "and connections included. Imports, in this order: what each adds to a process.",
        rows=tuple(rows),
        missing=() if may_mount() else (_NO_MOUNT,),
        checked=("every start became ready, and every page was read",),
        packages=("kubernetes-asyncio", "pydantic", "cryptography"),
    )


def _statics() -> str:
    return c.documents(c.static_metric(f"static-{n}", float(n)) for n in range(10))


def _start(folder: Path, rest_s: float, environ: Mapping[str, str] | None = None) -> tuple[float, float, float]:
    """Start once. Returns: wall and processor time to readiness in seconds, and resident memory."""
    folder.mkdir()
    began = time.perf_counter()
    with adapter("adapter", _statics(), folder, environ) as running:
        wall_s, cpu_s = time.perf_counter() - began, cpu_seconds(running.child.pid)
        require(running.get(f"{VALUES}static-3")[0] == 200, "a static metric is known")
        time.sleep(rest_s)
        return wall_s, cpu_s, resident_mib(running.child.pid)


def may_mount() -> bool:
    """Tell whether a process may have mounts of its own."""
    try:
        return subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


class Pod(ClusterAdapter):
    """`spillway serve` with nothing but what a pod has: its service account's folder where pods have it, and two
    variables. The mount is seen by this process alone."""

    def mode(self) -> tuple[str, ...]:
        """Name no kubeconfig."""
        return ("--namespace", "spillway")

    def wrapper(self) -> tuple[str, ...]:
        """Mount, and become the command."""
        variables = [f"{name}={value}" for name, value in self.api.environ.items()]
        return (*_UNSHARE, "sh", "-c", _MOUNT, str(self.api.service_account), "env", *variables)


def _in_cluster(folder: Path, rest_s: float, kind: type[ClusterAdapter]) -> float:
    """Return the resident memory of a process that follows objects in a cluster."""
    folder.mkdir()
    (folder / "empty").mkdir()
    with KubeApi(folder / "api") as api:
        cluster = prepare(api)
        for n in range(10):
            api.create(external_metric(f"static-{n}", {"source": {"static": {"series": [{"value": n}]}}}))
        started = kind(cluster, folder / "adapter", folder / "empty")
        with on(server_cores()):
            started.start()
        try:
            time.sleep(rest_s)
            require(started.process is not None and not started.ended(), "it runs")
            return resident_mib(started.process.pid) if started.process is not None else 0.0
        finally:
            started.signal(signal.SIGTERM)
            started.wait()


@contextlib.contextmanager
def _filled(folder: Path, size: Size) -> Iterator[float]:
    """Yield the resident memory of an adapter whose windows are full."""
    allow_files(2 * size.targets + 200)
    arguments = [str(size.targets), "0", str(size.series)]
    window_s = size.columns * size.interval_s
    with python("targets", "bench.targets", arguments, folder, client_cores()) as (_, port):
        urls = [f"http://{address(n)}:{port}/metrics" for n in range(size.targets)]
        config = c.scrape_metric(
            "requests",
            urls,
            {"metric": METRIC},
            interval=f"{size.interval_s}s",
            signal={"function": "rate", "window": f"{window_s}s"},
            aggregate={"by": ["path"], "with": "sum"},
            maxSeries=1_000_000,
        )
        with adapter("filled", c.documents([config]), folder) as running:
            time.sleep(window_s + size.interval_s)
            count = size.targets * size.series
            running.child.wait_until(
                lambda: running.metrics()["spillway_store_series"] == count, f"reading {count} series"
            )
            require(running.get(f"{VALUES}requests")[0] == 200, "the metric is known")
            yield resident_mib(running.child.pid)


def _imports() -> Iterator[Row]:
    """Yield what each import adds to the resident memory of a process, in MiB."""
    script = _RESIDENT + "".join(f"{code}\nprint(resident())\n" for _, code in _STEPS)
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    before = 0.0
    for (what, _), after in zip(_STEPS, map(float, said.split()), strict=True):
        yield row(f"import: {what}", "MiB", [after - before])
        before = after


if __name__ == "__main__":
    main("start", run)
