"""What a run was made on, and who else was using it."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("numpy", "numba", "aiohttp", "redis", "hiredis", "prometheus-client")
_VERSION_FLAGS = {"redis-server": "--version", "nginx": "-v", "wrk": "-v", "prometheus": "--version"}


def program(name: str) -> str | None:
    """Return the path of a program; some are where only root looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def package_version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def machine(packages: Sequence[str] = (), programs: Sequence[str] = ()) -> dict[str, str]:
    """Return what ran: processor, kernel, and the versions of our libraries and of the peers."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores for us, {memory_gib:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "spillway": package_version("spillway") or "from source",
    }
    for name in (*_PACKAGES, *packages):
        if known := package_version(name):
            found[name] = known
    for name in programs:
        if known := _program_version(name):
            found[name] = known
    return found


def _processor() -> str:
    """Return the processor's name, with family and model: hypervisors like to shorten the name."""
    fields = dict(re.findall(r"^([^\t:]+)\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    if "model name" not in fields:
        return platform.machine()
    return f"{fields['model name'].strip()} (family {fields.get('cpu family')}, model {fields.get('model')})"


def _program_version(name: str) -> str | None:
    path = program(name)
    if path is None:
        return None
    said = subprocess.run([path, _VERSION_FLAGS[name]], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(?:\.\d+)+", said.stdout + said.stderr)
    return found.group() if found else "unknown version"


class Neighbours:
    """How much of the machine somebody else used since this was made. Children count as ours once they have ended."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._busy_s, self._stolen_s = _machine_seconds()
        self._ours_s = _our_seconds()

    def share(self) -> str:
        """Return it as text: the share of all processor time, and what the hypervisor took."""
        busy_s, stolen_s = _machine_seconds()
        whole_s = (time.monotonic() - self._started) * (os.cpu_count() or 1)
        others_s = max(0.0, busy_s - self._busy_s - (_our_seconds() - self._ours_s))
        return f"{others_s / whole_s:.0%} used by others, {(stolen_s - self._stolen_s) / whole_s:.1%} stolen"


def _machine_seconds() -> tuple[float, float]:
    """Return the seconds that all processors together were busy, and those that the hypervisor took."""
    user, nice, system, _, _, irq, softirq, stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, stolen / tick


def _our_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
