"""The command line of `spillway simulate`: its flags, and what they hold."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Mode: TypeAlias = Literal["auto", "fluid", "events"]

EPILOG = """\
examples:
  spillway simulate --hpa hpa.yaml --load load.yaml --workload workload.yaml
  spillway simulate --hpa old.yaml --hpa new.yaml --load monday.csv --workload workload.yaml --html report.html
  spillway simulate --hpa hpa.yaml --load load.yaml --workload workload.yaml --objective 'p95_wait<30s' \\
    --sweep target=5..50 --sweep scaleDown.stabilizationWindowSeconds=0,60,300
"""


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """What to simulate, and where to write what came of it. Texts are as given; files are not yet read.

    `measures`, `series`, `compare` and `sweep` hold (name, value) pairs of NAME=VALUE.
    """

    hpa: tuple[Path, ...]
    load: str | None = None
    metric: tuple[Path, ...] = ()
    workload: Path | None = None
    service_time: str | None = None
    startup: str | None = None
    measures: tuple[tuple[str, str], ...] = ()
    series: tuple[tuple[str, str], ...] = ()
    mode: Mode = "auto"
    compare: tuple[tuple[str, str], ...] = ()
    sweep: tuple[tuple[str, str], ...] = ()
    objective: str | None = None
    html: Path | None = None
    svg: Path | None = None
    json: Path | None = None
    seed: int = 0


def add_simulate(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "simulate",
        help="try an HPA on a load before it is live",
        description="Try an HPA on a load before it is live: how many replicas, how long jobs wait, what it costs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--hpa", type=Path, action="append", required=True, metavar="FILE", help="HPA manifest; repeat to compare")
    add(
        "--load", metavar="FILE|URL", help="load: .yaml in words; .csv, .parquet; Prometheus' query_range, .json or URL"
    )
    add("--workload", type=Path, metavar="FILE", help="pods, nodes, and what the metrics measure, YAML")
    add("--metric", type=Path, action="append", default=[], metavar="FILE", help="ExternalMetric that the HPA reads")
    add("--service-time", metavar="DURATION", help="mean time of one job (over the workload's)")
    add("--startup", metavar="DURATION", help="time a pod takes to start (over the workload's)")
    _pairs(add, "--measures", "METRIC=WHAT", "what a metric measures: waiting, inFlight, open, arrivals, completions")
    _pairs(add, "--series", "METRIC=FILE", "recorded values of a metric, which the HPA cannot influence")
    add("--mode", choices=("auto", "fluid", "events"), default="auto", help="fluid, or event by event (default auto)")
    _pairs(add, "--compare", "KNOB=V,V,…", "run the HPA with each value, side by side")
    _pairs(add, "--sweep", "KNOB=V,V,…|A..B[:STEP]", "try every combination; repeat for more knobs")
    add("--objective", metavar="TEXT", help="what is good enough: 'p95_wait<30s,flaps<=2'")
    add("--html", type=Path, metavar="FILE", help="write an interactive report that opens from disk")
    add("--svg", type=Path, metavar="FILE", help="write a picture for documents")
    add("--json", type=Path, metavar="FILE", help="write everything for machines; - is standard output")
    add("--seed", type=_seed, default=0, metavar="N", help="of what is random (default 0)")


def simulate_options(given: argparse.Namespace) -> SimulateOptions:
    """Return what the parsed command line holds."""
    values: Any = vars(given)
    return SimulateOptions(
        hpa=tuple(values["hpa"]),
        load=values["load"],
        metric=tuple(values["metric"]),
        workload=values["workload"],
        service_time=values["service_time"],
        startup=values["startup"],
        measures=tuple(values["measures"]),
        series=tuple(values["series"]),
        mode=values["mode"],
        compare=tuple(values["compare"]),
        sweep=tuple(values["sweep"]),
        objective=values["objective"],
        html=values["html"],
        svg=values["svg"],
        json=values["json"],
        seed=values["seed"],
    )


def _pairs(add: Callable[..., object], flag: str, metavar: str, text: str) -> None:
    add(flag, type=_pair, action="append", default=[], metavar=metavar, help=text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name and value):
        raise argparse.ArgumentTypeError(f'must be NAME=VALUE, got "{text}"')
    return name, value


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f'must be a whole number of at least 0, got "{text}"')
    return int(text)
