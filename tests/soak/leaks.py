"""What a process holds: memory, descriptors, threads, tasks, connections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Holding:
    """What the adapter holds at a moment.

    `own_kib` is what of its resident memory is its own: pages of libraries come and go as the kernel likes.
    `redis_connections`: of all servers; -1: not all of them run.
    """

    at_s: float
    rss_kib: int
    own_kib: int
    descriptors: int
    threads: int
    tasks: int
    redis_connections: int
    cpu_s: float

    def as_json(self) -> dict[str, float]:
        """Return plain data."""
        return asdict(self)


def holding(pid: int, at_s: float, tasks: int, redis_connections: int) -> Holding:
    """Look at a process."""
    process = Path("/proc", str(pid))
    status = (process / "status").read_text()
    names = ("VmRSS", "RssAnon", "Threads")
    rss_kib, own_kib, threads = (int(re.findall(rf"{name}:\s+(\d+)", status)[0]) for name in names)
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / 100
    return Holding(
        at_s, rss_kib, own_kib, len(list((process / "fd").iterdir())), threads, tasks, redis_connections, cpu_s
    )


def growth(own_kib: Sequence[int]) -> float:
    """Return by how much memory has grown: the median of the last tenth over that of the first, less one."""
    tenth = max(1, len(own_kib) // 10)
    return median(own_kib[-tenth:]) / median(own_kib[:tenth]) - 1
