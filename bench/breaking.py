"""Where it breaks: the demo's shop and its API under the ramp of locustfile.py, and whether it sheds or falls over."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.measure import percentile
from bench.processes import allow_files, child, client_cores, on, plain_get, server_cores
from bench.report import Curve, Result, Row, row
from bench.script import BenchError, Options, main, require

MISSING = "locust is missing: pip install 'spillway[load]'"
_STAGES = "50:8,300:10,900:12,1400:15"
_QUICK = "3:2,6:2"
_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_FILES = 4000


def has_locust() -> bool:
    """Tell whether locust is installed."""
    return importlib.util.find_spec("locust") is not None


def run(options: Options) -> Result:
    """Put the ramp on a demo of its own.

    Raises:
        BenchError: There is no locust.
    """
    if not has_locust():
        raise BenchError(MISSING)
    allow_files(_FILES)
    with tempfile.TemporaryDirectory() as name:
        found, refused = _ramp(Path(name), _QUICK if options.quick else _STAGES)
    problems = [problem for stage in found for problem in stage["failed"]]
    shed = sum(stage["shed"] for stage in found)
    unknown = sum(stage["unknown"] for stage in found)
    require(not problems, f"every read was answered, refused as unknown, or shed: {problems[:3]}")
    return Result(
        title="Customers and readers of the demo, more and more of them",
        about="A ramp by locust with Gaussian think times, twenty readers to a customer, each reader with a "
        "connection of its own. Shed: 429 with a Status and without Retry-After. Locust and the machine share "
        "processors: above a thousand users its own waiting counts, too.",
        rows=tuple(_rows(found)),
        curves=(_curve(found),),
        checked=(
            f"every read was answered: {shed:,} times with 429, {unknown:,} times with 503, else 200; no Retry-After",
            f"the API refused: {_told(refused)}",
        ),
        packages=("locust",),
    )


def _ramp(folder: Path, stages: str) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Run the demo and locust. Returns: what locustfile.py wrote, by stage; what the API says that it refused."""
    argv: list[str | Path] = [sys.executable, "-m", "adapter", "demo", "--no-tty"]
    with child("demo", argv, folder, server_cores()) as demo:
        demo.wait_until(lambda: "/faults/spin" in demo.log.read_text(), "ready")
        said = demo.log.read_text()
        api = re.search(r"--cacert (\S+) (https://[^/]+)/", said)
        shop = re.search(r"'(http://[^/]+)/faults/spin", said)
        require(api is not None and shop is not None, "the demo says where it is")
        result = folder / "load.json"
        environ = {"LOAD_STAGES": stages, "LOAD_RESULT": str(result)}
        if api is not None and shop is not None:
            environ |= {"SHOP_URL": shop[1], "API_URL": api[2], "API_CA": api[1]}
        argv = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            _LOCUSTFILE,
            "--headless",
            "--only-summary",
            "--stop-timeout",
            "5",
        ]
        with on(client_cores()), child("locust", argv, folder, client_cores(), environ) as locust:
            try:
                locust.process.wait(sum(float(each.partition(":")[2]) for each in stages.split(",")) + 60)
            except subprocess.TimeoutExpired:
                raise BenchError("locust does not come to an end") from None
            if not result.exists():
                raise BenchError(f"locust: {locust.log.read_text()[-1000:]}")
        require(demo.process.poll() is None, "the demo is still running")
        found: list[dict[str, Any]] = json.loads(result.read_text())
        metrics = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", said)
        text = plain_get(int(metrics[1]), "/metrics").decode() if metrics is not None else ""
        return found, re.findall(r"^spillway_api_refused_total\{(.*)\} (\S+)$", text, re.MULTILINE)


def _told(refused: list[tuple[str, str]]) -> str:
    return ", ".join(f"{labels} {float(count):,.0f}" for labels, count in refused) or "nothing"


def _rows(found: list[dict[str, Any]]) -> Iterator[Row]:
    for stage in found:
        what, answered = f"{stage['users']:,} users", max(1, len(stage["ms"]))
        yield row(f"{what}: reads", "a second", [len(stage["ms"]) / stage["seconds"]], more_is_better=True)
        for share, name in ((0.5, "p50"), (0.99, "p99")):
            yield row(f"  {name}", "ms", [percentile(stage["ms"] or [0.0], share)])
        yield row("  shed", "%", [100 * stage["shed"] / answered])
        yield row("  unknown", "%", [100 * stage["unknown"] / answered])


def _curve(found: list[dict[str, Any]]) -> Curve:
    lines: dict[str, list[tuple[float, float]]] = {}
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        lines[name] = [(stage["users"], max(1e-3, percentile(stage["ms"] or [0.0], share))) for stage in found]
    return Curve("Reads under a ramp", "users", "ms", lines)


if __name__ == "__main__":
    main("breaking", run)
