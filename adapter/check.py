"""`spillway check`: validate configuration, and with --probe read each source once and show what an HPA would get."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table

from adapter.collect import read_once
from adapter.config.load import load
from adapter.definitions import without_cluster
from adapter.options import CheckOptions
from adapter.schema.metric import Metric
from adapter.sources import EndpointSpec
from adapter.sources.plan import endpoints
from scaler import quantity
from scaler.evaluate import evaluate, table_spec
from scaler.jit import compile_all
from scaler.model import EMPTY_SNAPSHOT, Batch, Labels, MetricResult, Reason, Snapshot, Unknown, UnknownItem
from scaler.store import SeriesStore

_AT_ONCE = 50
_EXPECTED = frozenset({Reason.TOO_FEW_SAMPLES})
"""What one read cannot tell: not a fault of the source."""

Row = tuple[str, str, str, str, str]


def check(options: CheckOptions, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Check and report. Returns the exit code: 0, or 1 if the configuration is invalid or a probe found a fault."""
    loaded = load(options.paths)
    for line in (*loaded.errors, *(f"warning: {warning}" for warning in loaded.warnings)):
        print(line, file=err)
    if loaded.errors:
        count = len(loaded.errors)
        print(f"{count} error{'s' * (count > 1)}; nothing of it would be used", file=err)
        return 1
    if not options.probe:
        print(f"ok: {len(loaded.metrics)} metrics", file=out)
        return 0
    compile_all()
    snapshot = asyncio.run(probe(without_cluster(loaded.metrics)))
    names = {metric.rule.ref: f"{metric.rule.ref.namespace}/{metric.rule.metric_name}" for metric in loaded.metrics}
    rows = [row for ref, result in sorted(snapshot.results.items()) for row in rows_of(names[ref], result)]
    table = Table("METRIC", "LABELS", "VALUE", "AGE", "UNKNOWN", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    width = None if out.isatty() else 240
    Console(file=out, width=width, highlight=False, markup=False, soft_wrap=False).print(table)
    return int(any(fault(result) for result in snapshot.results.values()))


async def probe(metrics: Sequence[Metric]) -> Snapshot:
    """Read every source once and evaluate what that brought."""
    now_ms = time.time_ns() // 1_000_000
    store = SeriesStore()
    rules = {metric.rule.ref: metric.rule for metric in metrics}
    for ref, rule in rules.items():
        store.configure(ref, table_spec(rule), now_ms)
    limit = asyncio.Semaphore(_AT_ONCE)

    async def read(spec: EndpointSpec) -> list[Batch]:
        endpoint = spec.open()
        async with limit:
            try:
                return (await read_once(spec, endpoint, now_ms)).batches
            finally:
                await endpoint.close()

    for batches in await asyncio.gather(*map(read, endpoints(metrics))):
        for batch in batches:
            store.append(batch)
    return evaluate(store, rules, EMPTY_SNAPSHOT, rules.keys(), time.time_ns() // 1_000_000)


def rows_of(name: str, result: MetricResult) -> Iterator[Row]:
    """Yield a line an item: what an HPA would get, or why it would get an error."""
    if result.unknown is not None:
        yield name, "", "", "", _why(result.unknown)
    for item in result.items:
        labels = _labels_text(item.labels)
        if isinstance(item, UnknownItem):
            yield name, labels, "", "", _why(item.unknown)
        else:
            age = f"{(result.evaluated_ms - item.timestamp_ms) / 1000:.1f}s"
            yield name, labels, quantity.text(item.milli), age, ""


def fault(result: MetricResult) -> bool:
    """Tell whether something is unknown that a second read would not mend by itself."""
    unknowns = [result.unknown] if result.unknown is not None else []
    unknowns += [item.unknown for item in result.items if isinstance(item, UnknownItem)]
    return any(unknown.reason not in _EXPECTED for unknown in unknowns)


def _why(unknown: Unknown) -> str:
    return f"{unknown.reason.value}: {unknown.detail}"


def _labels_text(labels: Labels) -> str:
    return ",".join(f"{name}={value}" for name, value in labels)
