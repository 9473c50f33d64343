"""Reading a Redis through the source, for its tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from adapter.collect import read_once
from adapter.schema.metric import Metric
from adapter.schema.model import RedisSource
from adapter.sources import Endpoint
from adapter.sources.plan import source_id, targets_of
from adapter.sources.redis import RedisSpec, plan
from scaler.model import EXTERNAL_METRICS_GROUP, Batch, Labels, MetricRef, Reason, Unknown
from scaler.rules import MetricRule

NOW_MS = 1_700_000_000_000


def redis_metric(
    url: str,
    *queues: Mapping[str, Any],
    name: str = "backlog",
    namespace: str = "shop",
    interval_ms: int = 1_000,
    timeout_ms: int = 10_000,
    **source: Any,
) -> Metric:
    """Return a metric with these queues, written as in YAML."""
    redis_source = RedisSource.model_validate({"url": url, "queues": queues, **source})
    rule = MetricRule(
        MetricRef(EXTERNAL_METRICS_GROUP, namespace, name),
        name,
        source_id(redis_source),
        interval_ms,
        targets_of(redis_source),
    )
    return Metric(rule, redis_source, timeout_ms, "test")


def redis_spec(*metrics: Metric) -> RedisSpec:
    """Return the one endpoint of these metrics."""
    (spec,) = plan(metrics)
    return spec


class Reader:
    """An open endpoint and the readings of its metrics."""

    def __init__(self, spec: RedisSpec, endpoint: Endpoint) -> None:
        self.spec = spec
        self.endpoint = endpoint

    async def batches(self) -> list[Batch]:
        """Read once, under the spec's deadline."""
        batches, _ = await read_once(self.spec, self.endpoint, NOW_MS)
        return batches

    async def readings(self) -> dict[Labels, float | Unknown]:
        """Read once and return what is known of each series of the first metric."""
        return readings_of((await self.batches())[0])

    async def all(self) -> list[float | Unknown]:
        """Read once and return the readings of the first metric in the order of its series."""
        return list((await self.readings()).values())

    async def one(self) -> float | Unknown:
        """Read once and return the only reading."""
        (reading,) = await self.all()
        return reading


@asynccontextmanager
async def reading(*metrics: Metric) -> AsyncIterator[Reader]:
    """Open the one endpoint of these metrics."""
    spec = redis_spec(*metrics)
    endpoint = spec.open()
    try:
        yield Reader(spec, endpoint)
    finally:
        await endpoint.close()


def readings_of(batch: Batch) -> dict[Labels, float | Unknown]:
    """Return what a batch says of each series."""
    assert batch.failure is None
    assert batch.time_ms == NOW_MS
    series = batch.layout.series
    return {labels: batch.problems.get(i, float(batch.values[i])) for i, labels in enumerate(series)}


def source_error(detail: str) -> Unknown:
    """Return the Unknown of a failed read."""
    return Unknown(Reason.SOURCE_ERROR, detail)
