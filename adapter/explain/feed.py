"""Where recorded values come from: a running adapter, or sources that are read here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from adapter.collect import Collector
from adapter.config.load import load
from adapter.definitions import without_cluster
from adapter.explain.client import Adapter, no_such_metric
from adapter.explain.errors import ExplainError
from adapter.explain_options import Name
from adapter.pipeline import Pipeline
from adapter.sources.plan import endpoints
from scaler.jit import compile_all
from scaler.model import EXTERNAL_METRICS_GROUP, MetricRef

Values: TypeAlias = Callable[[Name], Awaitable[Mapping[str, Any]]]
"""What a reader of a metric would get now, as the explain port's values say it. Raises ExplainError."""


def now_ms() -> int:
    """Return wall-clock time."""
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def asking(port: int, names: Sequence[Name]) -> AsyncIterator[Values]:
    """Ask a running adapter.

    Raises:
        ExplainError: It does not answer, or has no such metric.
    """
    async with Adapter(port) as adapter:
        for name in names:
            await adapter.values(name.namespace, name.name)
        yield lambda name: adapter.values(name.namespace, name.name)


@asynccontextmanager
async def reading(paths: Sequence[Path], names: Sequence[Name]) -> AsyncIterator[Values]:
    """Read the sources of some metrics here, each at its own interval, as a running adapter does.

    Raises:
        ExplainError: The configuration is invalid, or does not define one of them.
    """
    loaded = await asyncio.to_thread(load, paths)
    if loaded.errors:
        raise ExplainError(*loaded.errors)
    defined = {metric.rule.ref: metric for metric in loaded.metrics}
    for name in names:
        if _ref(name) not in defined:
            known = [f"{ref.namespace}/{metric.rule.metric_name}" for ref, metric in defined.items()]
            raise ExplainError(no_such_metric(str(name), known))
    metrics = without_cluster([defined[_ref(name)] for name in names])
    failed: ExplainError | None = None
    await asyncio.to_thread(compile_all)
    async with Pipeline(now_ms, _Nobody()) as pipeline, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(pipeline.run(), name="pipeline")
        collector = Collector(tasks, pipeline.submit, now_ms, _Nobody())
        pipeline.configure({metric.rule.ref: metric.rule for metric in metrics})
        collector.apply(endpoints(metrics), {metric.rule.ref: metric.rule.max_age_ms for metric in metrics})

        async def values(name: Name) -> Mapping[str, Any]:
            found = pipeline.values(_ref(name))
            if found is None:
                raise ExplainError(f"there is no metric {name}")
            return found

        try:
            yield values
        except ExplainError as error:
            failed = error  # raised below: a task group would wrap it
        finally:
            await collector.stop()
            running.cancel()
    if failed is not None:
        raise failed


def _ref(name: Name) -> MetricRef:
    return MetricRef(EXTERNAL_METRICS_GROUP, name.namespace, name.name.lower())


class _Nobody:
    """Is told of reads and evaluations, and tells nobody."""

    def collected(self, source: str, outcome: str, seconds: float, samples: int) -> None:
        """One read has ended."""

    def evaluated(self, metrics: int, batches: int, seconds: float) -> None:
        """One evaluation has ended."""
