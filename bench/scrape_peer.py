"""Scraping thousands of targets: processor time and memory beside a Prometheus 3 that keeps the same series.

python -m bench.scrape_peer             # 500 targets every 2 s, about 40 seconds
python -m bench.scrape_peer --full      # 5,000 targets × 100 KB every 15 s, half a million series; seven minutes
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import configuration as c
from bench.load import VALUES
from bench.measure import cpu_seconds, resident_mib
from bench.processes import Adapter, Child, adapter, allow_files, client_cores, python
from bench.prometheus import MISSING, Prometheus, prometheus
from bench.report import OURS, Result, Row, row
from bench.script import Options, main, require
from bench.targets import METRIC, SERIES, address, growth

PEER = "Prometheus"
_A_METRIC = 50  # targets that one metric sums: the pods of a workload
_SPARE_FILES = 200


@dataclass(frozen=True, slots=True)
class Size:
    """How much is read, and how long it is watched, after a time to fill the window."""

    targets: int = 500
    page_bytes: int = 100_000
    interval_s: int = 2
    window_s: int = 16
    settle_s: float = 10.0
    watch_s: float = 8.0
    may_be_off: float = 0.05  # counters grow by whole numbers, and windows extrapolate


_FULL = Size(targets=5000, interval_s=15, window_s=120, settle_s=140.0, watch_s=60.0, may_be_off=0.02)
_QUICK = Size(targets=10, page_bytes=20_000, interval_s=1, window_s=4, settle_s=5.0, watch_s=0.5, may_be_off=0.2)


@dataclass(frozen=True, slots=True)
class Cost:
    """What reading costs: processor time in ms a second, resident memory in MiB."""

    cpu: float
    resident: float


def run(options: Options) -> Result:
    """Measure ours and the peer, one after the other: each has the machine, and the pages, to itself."""
    size = _QUICK if options.quick else _FULL if options.full else Size()
    allow_files(2 * size.targets + _SPARE_FILES)
    ours: list[Cost] = []
    peers: list[Cost] = []
    checked = []
    with tempfile.TemporaryDirectory() as name, _targets(Path(name), size) as port:
        folder = Path(name)
        # A round takes as long as a window takes to fill: there is time for one.
        with adapter("adapter", _config(size, port), folder) as running:
            ours.append(_watch(running.child, size))
            checked.append(_check(running, size))
        with prometheus(folder, _peer_config(size, port)) as peer:
            if peer is not None:
                # It begins to scrape only some seconds after its start.
                peer.child.wait_until(lambda: peer.value(f"count({METRIC})") == size.targets * SERIES, "all scraped")
                peers.append(_watch(peer.child, size))
                checked.append(_check_peer(peer, size))
    return Result(
        title=f"Scraping {size.targets:,} targets of {size.page_bytes / 1e3:.0f} KB every {size.interval_s} s, "
        f"{size.targets * SERIES:,} series kept",
        about=f"Each target has an address and a connection of its own. Ours also keeps the rate of each "
        f"{_A_METRIC} targets over {size.window_s} s up to date; Prometheus is relabelled to the same series and "
        "computes nothing. One after the other, on the same processor; the targets, on another if there is one, are "
        "not counted.",
        rows=tuple(_rows(ours, peers)),
        checked=tuple(checked),
        missing=() if peers else (MISSING,),
        programs=("prometheus",),
    )


@contextlib.contextmanager
def _targets(folder: Path, size: Size) -> Iterator[int]:
    with python("targets", "bench.targets", [str(size.targets), str(size.page_bytes)], folder, client_cores()) as found:
        yield found[1]


def _config(size: Size, port: int) -> str:
    """Return a metric for each workload."""
    urls = [f"http://{address(n)}:{port}/metrics" for n in range(size.targets)]
    seconds = f"{size.interval_s}s"
    return c.documents(
        c.scrape_metric(
            f"requests-{at // _A_METRIC}",
            urls[at : at + _A_METRIC],
            {"metric": METRIC},
            interval=seconds,
            signal={"function": "rate", "window": f"{size.window_s}s"},
            aggregate={"with": "sum"},
        )
        for at in range(0, size.targets, _A_METRIC)
    )


def _peer_config(size: Size, port: int) -> dict[str, Any]:
    """Return what makes Prometheus keep the same series of the same pages."""
    keep = {"source_labels": ["__name__"], "regex": METRIC, "action": "keep"}
    return {
        "scrape_configs": [
            {
                "job_name": "bench",
                "scrape_interval": f"{size.interval_s}s",
                "scrape_timeout": f"{size.interval_s}s",
                "metric_relabel_configs": [keep],
                "static_configs": [{"targets": [f"{address(n)}:{port}" for n in range(size.targets)]}],
            }
        ]
    }


def _watch(child: Child, size: Size) -> Cost:
    """Wait until windows are full, then look for a while."""
    time.sleep(size.settle_s)
    before_s, began = cpu_seconds(child.pid), time.monotonic()
    time.sleep(size.watch_s)
    used_s, took_s = cpu_seconds(child.pid) - before_s, time.monotonic() - began
    return Cost(1e3 * used_s / took_s, resident_mib(child.pid))


def _check(running: Adapter, size: Size) -> str:
    """Every metric is known, and together they grow as the pages do."""
    total = 0.0
    for metric in range(-(-size.targets // _A_METRIC)):
        status, body = running.get(f"{VALUES}requests-{metric}")
        require(status == 200, f"requests-{metric} is known")
        total += sum(_number(item["value"]) for item in json.loads(body)["items"])
    return _true_rate(OURS, total, size)


def _check_peer(peer: Prometheus, size: Size) -> str:
    return _true_rate(PEER, peer.value(f"sum(rate({METRIC}[{size.window_s}s]))") or 0.0, size)


def _number(quantity: str) -> float:
    for suffix, factor in (("m", 1e-3), ("k", 1e3), ("M", 1e6)):
        if quantity.endswith(suffix):
            return float(quantity[:-1]) * factor
    return float(quantity)


def _true_rate(who: str, total: float, size: Size) -> str:
    off = total / (size.targets * growth()) - 1
    return require(abs(off) < size.may_be_off, f"the rates of {who} sum up to the truth ({off:+.2%})")


def _rows(ours: Sequence[Cost], peers: Sequence[Cost]) -> Iterator[Row]:
    figures: dict[tuple[str, str], Callable[[Cost], float]] = {
        ("processor time", "ms a second"): lambda cost: cost.cpu,
        ("resident memory", "MiB"): lambda cost: cost.resident,
    }
    for (what, unit), figure in figures.items():
        beside = {PEER: [figure(cost) for cost in peers]} if peers else {}
        yield row(what, unit, [figure(cost) for cost in ours], peers=beside)


if __name__ == "__main__":
    main("scrape_peer", run)
