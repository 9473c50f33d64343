"""Queue depths from one Redis database: one pipelined round trip a read, however many metrics share it.

Plain read commands only; docs/redis.md has them, the rights they need, and what each state of the server becomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import ClassVar

import numpy as np

from adapter.schema.metric import Metric
from adapter.schema.model import RedisSource
from adapter.sources import SourceFailureError
from adapter.sources.redis_address import Address, parse_url
from adapter.sources.redis_connect import Credentials, Verification, explain, open_connection
from adapter.sources.redis_lag import Memory
from adapter.sources.redis_plan import MetricPlan, Wanted, read_plan, wanted
from adapter.sources.redis_replies import Readings, fill_depths, fold_counts
from adapter.sources.redis_settle import settle
from adapter.sources.redis_streams import fold_streams
from adapter.sources.resp import ClosedError, Connection, Reply, RespError
from scaler.model import Batch, MetricRef, Unknown


@dataclass(frozen=True, slots=True)
class RedisSpec:
    """Everything read from one database, as one user, by the metrics of one namespace, at one interval."""

    type: ClassVar[str] = "redis"

    namespace: str
    address: Address
    credentials: Credentials | None
    verification: Verification
    interval_ms: int
    timeout_ms: int
    wanted: tuple[Wanted, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """The database: "redis.shop:6379/0"."""
        return self.address.target

    @property
    def metrics(self) -> frozenset[MetricRef]:
        """The metrics read."""
        return frozenset(metric.ref for metric in self.wanted)

    def open(self) -> RedisEndpoint:
        """Return the endpoint, not connected."""
        return RedisEndpoint(self)


def plan(metrics: Sequence[Metric]) -> list[RedisSpec]:
    """Return an endpoint for each database, user, way to verify, interval, timeout and namespace among the metrics."""
    grouped: dict[RedisSpec, list[Wanted]] = {}
    for metric in metrics:
        if isinstance(metric.source, RedisSource):
            members = grouped.setdefault(_endpoint(metric, metric.source), [])
            members.append(wanted(metric.rule.ref, metric.source))
    return [replace(spec, wanted=tuple(members)) for spec, members in grouped.items()]


def target_of(source: RedisSource) -> str:
    """Return the Batch.target of what is read from this source."""
    return parse_url(source.url).target


def _endpoint(metric: Metric, source: RedisSource) -> RedisSpec:
    auth, tls = source.auth, source.tls
    credentials = None
    if auth is not None:
        credentials = Credentials(auth.username, auth.username_file, auth.password_file, auth.password_env)
    return RedisSpec(
        namespace=metric.rule.ref.namespace,
        address=parse_url(source.url),
        credentials=credentials,
        verification=Verification(tls.ca_file, tls.server_name) if tls else Verification(),
        interval_ms=metric.rule.interval_ms,
        timeout_ms=metric.timeout_ms,
    )


class RedisEndpoint:
    """Reads a database over one connection, which stays open from read to read."""

    def __init__(self, spec: RedisSpec) -> None:
        self._spec = spec
        self._plan = read_plan(spec.wanted)
        self._memory: Memory = {}
        self._connection: Connection | None = None

    async def collect(self, now_ms: int) -> list[Batch]:
        """Read once. See `Endpoint`."""
        reused = self._connection is not None and self._connection.is_open
        try:
            try:
                readings = await self._read()
            except ClosedError:
                if not reused:
                    raise
                # The server closed an idle connection, or restarted: that must not cost a read.
                readings = await self._read()
        except (OSError, RespError) as exc:
            raise SourceFailureError(explain(exc)) from exc
        return [self._batch(metric, readings, now_ms) for metric in self._plan.metrics]

    def failed(self, unknown: Unknown, now_ms: int) -> list[Batch]:
        """Return a Batch a metric in which each series has the same problem: which series there are is configured."""
        return [
            Batch(
                metric.ref,
                self._spec.name,
                now_ms,
                metric.layout,
                np.full(len(metric.layout), np.nan),
                dict.fromkeys(range(len(metric.layout)), unknown),
            )
            for metric in self._plan.metrics
        ]

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _read(self) -> Readings:
        if self._connection is None or not self._connection.is_open:
            self._connection = await open_connection(
                self._spec.address, self._spec.credentials, self._spec.verification, self._spec.timeout_ms / 1000
            )
        connection, readings = self._connection, Readings.empty(self._plan)
        try:
            await self._ask_all(connection, readings)
            fill_depths(self._plan, readings)
            if readings.doubts:
                await settle(connection, readings, self._memory)
        except BaseException:
            # No answer may be left on the way; and the next read starts afresh, with the credentials of then.
            connection.abort()
            raise
        return readings

    async def _ask_all(self, connection: Connection, readings: Readings) -> None:
        """Send the plan's chunks. The server works on the next one while we take in the last one's replies."""
        first = 0
        connection.ask(self._plan.chunks[0])
        for chunk, following in zip_longest(self._plan.chunks, self._plan.chunks[1:]):
            replies = await connection.answer()
            if following is not None:
                connection.ask(following)
            self._fold(first, replies, readings)
            first += chunk.replies

    def _fold(self, first: int, replies: Sequence[Reply], readings: Readings) -> None:
        """Take in the replies to the commands from `first` on."""
        counts = len(self._plan.counts)
        counted = max(0, min(counts - first, len(replies)))
        if counted:
            fold_counts(self._plan, first, replies[:counted], readings)
        if counted < len(replies):
            start, stop = (first + counted - counts) // 2, (first + len(replies) - counts) // 2
            fold_streams(self._plan.streams[start:stop], replies[counted:], self._memory, readings)

    def _batch(self, metric: MetricPlan, readings: Readings, now_ms: int) -> Batch:
        values = readings.values[metric.slots]
        problems = {int(i): readings.problems[int(metric.slots[i])] for i in np.flatnonzero(np.isnan(values))}
        return Batch(metric.ref, self._spec.name, now_ms, metric.layout, values, problems)
