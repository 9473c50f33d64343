"""Queue depths from Redis: one pipelined round trip a server and read, however many metrics share it.

Plain read commands only; docs/redis.md has them, the rights they need, and what each state of the servers becomes.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from adapter.schema.metric import Metric
from adapter.schema.model import RedisAuth, RedisSource, Tls
from adapter.sources.redis_access import Access, Credentials, Verification
from adapter.sources.redis_address import (
    DEFAULT_SENTINEL_PORT,
    Cluster,
    Place,
    Sentinels,
    Socket,
    parse_server,
    parse_url,
)
from adapter.sources.redis_cluster import ClusterServers
from adapter.sources.redis_globs import Catalog, expanded, limits_of
from adapter.sources.redis_one import DirectWay, OneServer, Servers
from adapter.sources.redis_plan import MetricPlan, SeriesOfMetric, order_of
from adapter.sources.redis_replies import Readings
from adapter.sources.redis_sentinel import SentinelWay
from adapter.sources.redis_wanted import Wanted, wanted
from scaler.model import EMPTY_LAYOUT, Batch, MetricRef, Unknown
from scaler.rules import MetricRule

_SHARE = 0.9
"""Of the timeout that one node of a cluster may take, so that what the others say still comes in time."""

_FIRST_SEARCH, _LATER_SEARCH = 0.5, 0.25
"""Of the timeout that looking for the keys of globs may take: nothing is known before the first search has ended."""

_LONGEST_LATER_SEARCH_S = 0.25


@dataclass(frozen=True, slots=True)
class RedisSpec:
    """Everything read from one place, as one user, by the metrics of one namespace, at one interval.

    `access` is to what is read, `sentinel_access` to the sentinels that say where it is.
    """

    type: ClassVar[str] = "redis"
    asks: ClassVar[bool] = True

    namespace: str
    place: Place
    access: Access
    interval_ms: int
    timeout_ms: int
    sentinel_access: Access
    wanted: tuple[Wanted, ...] = field(default=(), repr=False)

    def __hash__(self) -> int:
        # Without what is wanted: a read asks for it several times, and 10,000 queues took a millisecond each time.
        return hash((self.namespace, self.place, self.interval_ms, self.timeout_ms))

    @property
    def name(self) -> str:
        """What is read: "redis.shop:6379/0"."""
        return self.place.target

    @property
    def host(self) -> str:
        """The place: one server's database, the master that sentinels name, a cluster."""
        return self.place.target

    @property
    def metrics(self) -> frozenset[MetricRef]:
        """The metrics read."""
        return frozenset(metric.ref for metric in self.wanted)

    def open(self) -> RedisEndpoint:
        """Return the endpoint, not connected."""
        return RedisEndpoint(self)

    def servers(self, catalog: Catalog) -> Servers:
        """Return whom to ask, not connected."""
        timeout_s = self.timeout_ms / 1000
        match self.place:
            case Cluster():
                return ClusterServers(self.place, self.access, timeout_s, catalog)
            case Sentinels():
                return OneServer(SentinelWay(self.place, self.sentinel_access, self.access, timeout_s), catalog)
            case _:
                return OneServer(DirectWay(self.place, self.access, timeout_s), catalog)


def plan(metrics: Sequence[Metric]) -> list[RedisSpec]:
    """Return an endpoint for each place, user, way to verify, reach, interval, timeout and namespace."""
    grouped: dict[RedisSpec, list[Wanted]] = {}
    for metric in metrics:
        if isinstance(metric.source, RedisSource):
            members = grouped.setdefault(_endpoint(metric, metric.source), [])
            members.append(_wanted(metric.rule, metric.source))
    return [replace(spec, wanted=tuple(members)) for spec, members in grouped.items()]


_known: dict[int, tuple[weakref.ref[RedisSource], Wanted]] = {}
"""By the identity of a source, what was made of it: everything is planned anew whenever a pod comes or goes, and 10,000
queues took 50 ms of the loop each time. A source never changes."""


def _wanted(rule: MetricRule, source: RedisSource) -> Wanted:
    at = id(source)
    known = _known.get(at)
    if (
        known is not None
        and known[0]() is source
        and (known[1].ref, known[1].max_series) == (rule.ref, rule.max_series)
    ):
        return known[1]
    made = wanted(rule.ref, source, rule.max_series)
    _known[at] = weakref.ref(source, lambda _: _known.pop(at, None)), made
    return made


def target_of(source: RedisSource) -> str:
    """Return the Batch.target of what is read from this source. It stays when another server takes over."""
    return _place(source).target


def _place(source: RedisSource) -> Place:
    if source.socket is not None:
        return Socket(source.socket.path, source.socket.database)
    if source.sentinel is not None:
        one = source.sentinel
        servers = tuple(parse_server(text, DEFAULT_SENTINEL_PORT) for text in one.addresses)
        return Sentinels(servers, one.master, one.database, source.tls is not None, one.tls is not None)
    if source.cluster is not None:
        return Cluster(tuple(map(parse_server, source.cluster.addresses)), source.tls is not None)
    if source.url is None:
        raise ValueError("a source needs one of url, sentinel, cluster and socket")
    return parse_url(source.url)


def _endpoint(metric: Metric, source: RedisSource) -> RedisSpec:
    sentinel = source.sentinel
    return RedisSpec(
        namespace=metric.rule.ref.namespace,
        place=_place(source),
        access=_access(source.auth, source.tls, metric),
        interval_ms=metric.rule.interval_ms,
        timeout_ms=metric.timeout_ms,
        sentinel_access=_access(sentinel.auth, sentinel.tls, metric) if sentinel is not None else Access(),
    )


def _access(auth: RedisAuth | None, tls: Tls | None, metric: Metric) -> Access:
    credentials = None
    if auth is not None and auth.secret_ref is not None:
        secret = metric.secrets[auth.secret_ref.name]
        credentials = Credentials(
            secret_version=secret.version,
            secret_user=secret.data.get("username"),
            secret_password=secret.data.get("password"),
        )
    elif auth is not None:
        credentials = Credentials(auth.username, auth.username_file, auth.password_file, auth.password_env)
    verification = Verification()
    if tls is not None:
        files = (tls.ca_file, tls.server_name, tls.cert_file, tls.key_file)
        ca_data = None
        if tls.ca_secret_ref is not None:
            ca_data = metric.secrets[tls.ca_secret_ref.name].data.get("ca.crt", b"").decode("ascii", "replace")
        verification = Verification(*files, tls.insecure_skip_verify, ca_data)
    return Access(credentials, verification, metric.policy)


class RedisEndpoint:
    """Reads one place, over connections that stay open from read to read."""

    def __init__(self, spec: RedisSpec) -> None:
        self._spec = spec
        self._catalog = Catalog(limits_of(spec.wanted))
        self._version = self._catalog.version
        self._order = order_of(self._expanded())
        self._servers = spec.servers(self._catalog)

    async def collect(self, now_ms: int) -> list[Batch]:
        """Read once. See `Endpoint`."""
        deadline = asyncio.get_running_loop().time() + _SHARE * self._spec.timeout_ms / 1000
        if self._catalog.limits:
            await self._look(now_ms)
        readings = await self._servers.read(self._order, now_ms, deadline)
        if self._catalog.limits:
            self._catalog.observe(readings.values, readings.problems, now_ms)
        return [
            *(self._batch(metric, readings, now_ms) for metric in self._order.metrics),
            *(self._without_series(ref, unknown, now_ms) for ref, unknown in self._order.unknown),
        ]

    def failed(self, unknown: Unknown, now_ms: int) -> list[Batch]:
        """Return a Batch a metric in which each series, as far as it is known, has the same problem."""
        return [
            *(
                Batch(
                    metric.ref,
                    self._spec.name,
                    now_ms,
                    metric.layout,
                    np.full(len(metric.layout), np.nan),
                    dict.fromkeys(range(len(metric.layout)), unknown),
                )
                for metric in self._order.metrics
            ),
            *(self._without_series(ref, unknown, now_ms) for ref, _ in self._order.unknown),
        ]

    async def close(self) -> None:
        """Close all connections."""
        await self._servers.close()

    async def _look(self, now_ms: int) -> None:
        """Look for the keys of globs, and order anew if they are others."""
        timeout_s = self._spec.timeout_ms / 1000
        budget_s = timeout_s * _FIRST_SEARCH
        if self._catalog.complete:
            budget_s = min(timeout_s * _LATER_SEARCH, _LONGEST_LATER_SEARCH_S)
        await self._servers.search(self._catalog, now_ms, asyncio.get_running_loop().time() + budget_s)
        if self._catalog.version != self._version:
            version = self._catalog.version
            self._order = await asyncio.to_thread(lambda: order_of(self._expanded(), self._order))
            self._version = version
            self._catalog.watch(self._order.slots)

    def _expanded(self) -> Mapping[MetricRef, SeriesOfMetric | Unknown]:
        return {metric.ref: expanded(metric, self._catalog) for metric in self._spec.wanted}

    def _batch(self, metric: MetricPlan, readings: Readings, now_ms: int) -> Batch:
        values = readings.values[metric.slots]
        problems = {int(i): readings.problems[int(metric.slots[i])] for i in np.flatnonzero(np.isnan(values))}
        return Batch(metric.ref, self._spec.name, now_ms, metric.layout, values, problems)

    def _without_series(self, ref: MetricRef, unknown: Unknown, now_ms: int) -> Batch:
        return Batch(ref, self._spec.name, now_ms, EMPTY_LAYOUT, np.empty(0), failure=unknown)
