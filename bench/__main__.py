"""`python -m bench`: every script in turn, then RESULTS.md. With `--full` also those that take many minutes."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench.publish import has_matplotlib, publish
from bench.script import RESULTS, end_with_children

SCRIPTS = (
    "kernels",
    "evaluate",
    "exposition",
    "redis_poll",
    "api_get",
    "main_job",
    "hollow",
    "loop_lag",
    "scaling",
    "scrape_peer",
    "shedding",
    "start",
    "simulate",
)
FULL = ("prometheus_query", "breaking")
"""Those that only `--full` runs."""


def main() -> int:
    """Run all scripts. Returns: the exit code, 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes; shows that it works, keeps no results")
    parser.add_argument("--full", action="store_true", help="all scripts, at their full size: half an hour")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (3)")
    parser.add_argument("--results", type=Path, help=f"where results go ({RESULTS}); RESULTS.md goes beside")
    arguments = parser.parse_args()
    end_with_children()
    started, took_s = time.monotonic(), dict[str, float]()
    with tempfile.TemporaryDirectory() as nowhere:
        results = arguments.results or (Path(nowhere) / "results" if arguments.quick else RESULTS)
        results.mkdir(parents=True, exist_ok=True)
        flags = ["--results", str(results), "--rounds", str(arguments.rounds)]
        flags += ["--quick"] if arguments.quick else []
        flags += ["--full"] if arguments.full else []
        scripts = SCRIPTS + FULL if arguments.full else SCRIPTS
        failed = []
        for name in scripts:
            began = time.monotonic()
            if not _run(name, flags, results):
                failed.append(name)
            took_s[name] = time.monotonic() - began
        plots = has_matplotlib()
        # What only a full run measures stays from the last one.
        page = publish([name for name in SCRIPTS + FULL if name in scripts or _kept(name, results)], results, plots)
    print(f"\n{page}")
    print(_took(took_s, time.monotonic() - started))
    if not plots:
        print("plots are left out: pip install 'spillway[bench]' (or matplotlib) draws them")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _took(scripts_s: Mapping[str, float], total_s: float) -> str:
    minutes, seconds = divmod(round(total_s), 60)
    parts = ", ".join(f"{name} {took_s:.0f}" for name, took_s in scripts_s.items())
    return f"it took {minutes} min {seconds} s in all; seconds of each: {parts}"


def _kept(name: str, results: Path) -> bool:
    return (results / f"{name}.json").exists()


def _run(name: str, flags: list[str], results: Path) -> bool:
    """Run a script in a process of its own: none inherits another's memory, or its failure."""
    (results / f"{name}.json").unlink(missing_ok=True)
    for picture in results.glob(f"{name}-*.svg"):
        picture.unlink()
    process = subprocess.Popen([sys.executable, "-m", f"bench.{name}", *flags])
    try:
        return process.wait() == 0
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
