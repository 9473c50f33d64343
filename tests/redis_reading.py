"""Reading a Redis through the source, for its tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from adapter.collect import read_once
from adapter.schema.metric import Metric
from adapter.schema.model import RedisSource
from adapter.sources import Endpoint
from adapter.sources.addresses import ALLOW_ALL, AddressPolicy
from adapter.sources.plan import source_id, targets_of
from adapter.sources.redis import RedisSpec, plan
from scaler.model import EXTERNAL_METRICS_GROUP, Batch, Labels, MetricRef, Reason, Unknown
from scaler.rules import MetricRule

NOW_MS = 1_700_000_000_000


def redis_metric(
    url: str | None,
    *queues: Mapping[str, Any],
    name: str = "backlog",
    namespace: str = "shop",
    interval_ms: int = 1_000,
    timeout_ms: int = 10_000,
    max_series: int = 10_000,
    **source: Any,
) -> Metric:
    """Return a metric with these queues, written as in YAML; url None: another place is in `source`."""
    redis_source = RedisSource.model_validate({"url": url, "queues": queues, **source})
    rule = MetricRule(
        MetricRef(EXTERNAL_METRICS_GROUP, namespace, name),
        name,
        source_id(redis_source),
        interval_ms,
        targets_of(redis_source),
        max_series=max_series,
    )
    return Metric(rule, redis_source, timeout_ms, "test")


def redis_spec(*metrics: Metric, policy: AddressPolicy = ALLOW_ALL) -> RedisSpec:
    """Return the one endpoint of these metrics."""
    (spec,) = plan([replace(metric, policy=policy) for metric in metrics])
    return spec


class Reader:
    """An open endpoint and the readings of its metrics."""

    def __init__(self, spec: RedisSpec, endpoint: Endpoint) -> None:
        self.spec = spec
        self.endpoint = endpoint
        self.now_ms = NOW_MS
        """The time of the last read."""

    async def batches(self) -> list[Batch]:
        """Read once, under the spec's deadline."""
        self.now_ms += 1
        return (await read_once(self.spec, self.endpoint, self.now_ms)).batches

    async def failure(self) -> Unknown | None:
        """Read once and return why it cannot be said which series the first metric has, if so."""
        return (await self.batches())[0].failure

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
async def reading(*metrics: Metric, policy: AddressPolicy = ALLOW_ALL) -> AsyncIterator[Reader]:
    """Open the one endpoint of these metrics."""
    spec = redis_spec(*metrics, policy=policy)
    endpoint = spec.open()
    try:
        yield Reader(spec, endpoint)
    finally:
        await endpoint.close()


def readings_of(batch: Batch) -> dict[Labels, float | Unknown]:
    """Return what a batch says of each series."""
    assert batch.failure is None, batch.failure
    series = batch.layout.series
    return {labels: batch.problems.get(i, float(batch.values[i])) for i, labels in enumerate(series)}


def source_error(detail: str) -> Unknown:
    """Return the Unknown of a failed read."""
    return Unknown(Reason.SOURCE_ERROR, detail)
