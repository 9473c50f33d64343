"""The command lines of `spillway explain` and `spillway record`: their flags, and what they hold."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from adapter.schema.durations import parse_duration

T = TypeVar("T")

EXPLAIN_PORT = 8081
_DAY_MS = 86_400_000
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30}

_EXPLAIN_EPILOG = """\
examples:
  spillway explain shop/orders-backlog
  kubectl -n spillway port-forward deploy/spillway 8081 &  spillway explain shop/orders-backlog --hpa orders-worker
  spillway explain shop/orders-backlog --hpa-file hpa.yaml --replicas 3
"""
_RECORD_EPILOG = """\
examples:
  spillway record shop/orders-backlog --out backlog.parquet
  spillway record shop/orders-backlog shop/requests --out week.csv --duration 7d --interval 1m
  spillway record shop/orders-backlog --config metrics/ --out backlog.parquet
"""


@dataclass(frozen=True, slots=True)
class Name:
    """A metric, or an HPA, as it is asked for."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """What to explain, and beside which HPA: of the cluster, of a file, or none."""

    metric: Name
    port: int
    hpa: Name | None
    hpa_file: Path | None
    replicas: int | None
    kubeconfig: Path | None
    context: str | None
    json: bool
    watch_s: float | None


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What to record: from a running adapter, or, with `config`, read here. `duration_ms` None: until it is stopped."""

    names: tuple[Name, ...]
    out: Path
    port: int
    config: tuple[Path, ...]
    interval_ms: int
    duration_ms: int | None
    max_age_ms: int
    max_bytes: int


def add_explain(commands: Any) -> None:
    """Add the commands to argparse's subparsers."""
    explain = _parser(commands, "explain", "say why a metric is what it is", _EXPLAIN_EPILOG)
    add = explain.add_argument
    add("metric", type=_reading(_name), metavar="NAMESPACE/METRIC", help="the metric")
    _port(explain)
    add("--hpa", metavar="[NAMESPACE/]NAME", help="HPA whose replicas to compute; read from the cluster")
    add("--hpa-file", type=Path, metavar="FILE", help="HPA from a file, without a cluster")
    add("--replicas", type=_reading(_whole), metavar="N", help="with --hpa-file: replicas there are, all ready")
    add("--kubeconfig", type=Path, metavar="PATH", help="as kubectl's (default KUBECONFIG, ~/.kube/config, the pod's)")
    add("--context", metavar="NAME", help="context of the kubeconfig (default its current one)")
    add("--json", action="store_true", help="JSON instead of text; with --watch one document a line")
    add(
        "--watch",
        nargs="?",
        const=2_000,
        type=_reading(_duration),
        metavar="INTERVAL",
        help="show it again and again, until Ctrl-C (default every 2s)",
    )
    record = _parser(commands, "record", "record metrics for spillway simulate", _RECORD_EPILOG)
    add = record.add_argument
    add("names", nargs="+", type=_reading(_name), metavar="NAMESPACE/METRIC", help="what to record")
    add("--out", type=_reading(_out), required=True, metavar="FILE", help="file to write or go on with: .parquet, .csv")
    _port(record)
    add("--config", type=Path, action="append", default=[], metavar="PATH", help="read the sources here instead")
    add(
        "--interval",
        type=_reading(_duration),
        default=15_000,
        metavar="DURATION",
        help="time between rows (default 15s)",
    )
    add("--duration", type=_reading(_duration), metavar="DURATION", help="end after this long (default: Ctrl-C)")
    add(
        "--max-age",
        type=_reading(_duration),
        default=31 * _DAY_MS,
        metavar="DURATION",
        help="forget older (default 31d)",
    )
    add("--max-bytes", type=_reading(_bytes), default=16 << 20, metavar="SIZE", help="most of the file (default 16M)")


def explain_options(given: argparse.Namespace) -> ExplainOptions:
    """Return what the parsed command line holds; exit with 2 if flags do not go together."""
    hpa = None
    if given.hpa is not None:
        namespace, _, name = given.hpa.rpartition("/")
        hpa = Name(namespace or given.metric.namespace, name)
    if given.replicas is not None and given.hpa_file is None:
        given.parser.error("--replicas is for --hpa-file: of a cluster they are read")
    watch_s = None if given.watch is None else given.watch / 1_000
    values = {
        key: getattr(given, key) for key in ("metric", "port", "hpa_file", "replicas", "kubeconfig", "context", "json")
    }
    return ExplainOptions(hpa=hpa, watch_s=watch_s, **values)


def record_options(given: argparse.Namespace) -> RecordOptions:
    """Return what the parsed command line holds; exit with 2 if the names cannot be in one file."""
    metrics: dict[str, Name] = {}
    for name in given.names:
        if name.name.lower() in metrics:
            other = metrics[name.name.lower()]
            given.parser.error(f"{other} and {name}: a file holds one metric of a name: record them apart")
        metrics[name.name.lower()] = name
    return RecordOptions(
        names=tuple(metrics.values()),
        out=given.out,
        port=given.port,
        config=tuple(given.config),
        interval_ms=given.interval,
        duration_ms=given.duration,
        max_age_ms=given.max_age,
        max_bytes=given.max_bytes,
    )


def _parser(commands: Any, name: str, does: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    return parser


def _port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        type=_reading(_port_number),
        default=EXPLAIN_PORT,
        metavar="PORT",
        help=f"the adapter's --explain-port, here (default {EXPLAIN_PORT})",
    )


def _name(text: str) -> Name:
    namespace, slash, metric = text.partition("/")
    if not (namespace and slash and metric) or "/" in metric:
        raise ValueError(f'must be NAMESPACE/METRIC such as shop/orders-backlog, got "{text}"')
    return Name(namespace, metric)


def _port_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65_535):
        raise ValueError(f'must be a port from 1 to 65535, got "{text}"')
    return int(text)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError(f'must be a whole number of at least 0, got "{text}"')
    return int(text)


def _duration(text: str) -> int:
    days = re.fullmatch("([0-9]{1,4})d", text)
    duration_ms = int(days[1]) * _DAY_MS if days else parse_duration(text)
    if duration_ms is None or not 1_000 <= duration_ms <= 3_660 * _DAY_MS:
        raise ValueError(f'must be a duration of at least 1s such as 15s, 1h30m or 7d, got "{text}"')
    return duration_ms


def _bytes(text: str) -> int:
    found = re.fullmatch("([0-9]{1,12})([KMG]i?)?B?", text, re.IGNORECASE)
    size = int(found[1]) * _UNITS[(found[2] or "").upper()] if found else 0
    if not 65_536 <= size <= 1 << 30:
        raise ValueError(f'must be a size from 64K to 1G such as 16M, got "{text}"')
    return size


def _out(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".parquet", ".csv"):
        raise ValueError(f'must end with .parquet or .csv, got "{text}"')
    return path


def _reading(read: Callable[[str], T]) -> Callable[[str], T]:
    def convert(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
