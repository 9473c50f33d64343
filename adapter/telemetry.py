"""Our own metrics. Bounded: histograms by source type or route, per metric only age, reads and the unknown's reason."""

from __future__ import annotations

import asyncio
import platform
import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Protocol, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adapter.breaker import Breaker, State
from adapter.budget import SHARES, Budget
from adapter.sources import EndpointSpec
from scaler.model import ExternalMetricValue, MetricRef, MetricResult, Snapshot, Then, Unknown, UnknownItem
from scaler.policy import stand_ins
from scaler.rules import MetricRule

disable_created_metrics()  # type: ignore[no-untyped-call] # a third more series, for readers of OpenMetrics only

_FAST_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_READ_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


_METRICS_A_PART = 100
_ITEMS_A_METRIC = 20  # items that take as long to look at as a metric takes to write

T = TypeVar("T")


class Pipeline(Protocol):
    """What is asked of the pipeline when our metrics are read."""

    @property
    def snapshot(self) -> Snapshot:
        """The published results."""
        ...

    @property
    def rules(self) -> Mapping[MetricRef, MetricRule]:
        """The rules of the metrics."""
        ...

    @property
    def rejected(self) -> int:
        """Batches that were not newer than what was there."""
        ...

    @property
    def reads(self) -> dict[tuple[MetricRef, str], int]:
        """Reads of each metric by outcome."""
        ...

    @property
    def refused(self) -> int:
        """Batches that would have brought too many series."""
        ...

    @property
    def dropped(self) -> int:
        """Batches that came in while too many waited."""
        ...

    @property
    def bytes_of(self) -> Mapping[str, int]:
        """About the memory of each namespace's series, as a copy."""
        ...

    @property
    def store_bytes(self) -> int:
        """Memory of the store."""
        ...

    @property
    def store_series(self) -> int:
        """Series in the store."""
        ...


class Collecting(Protocol):
    """What is asked of the collector when our metrics are read."""

    @property
    def specs(self) -> Collection[EndpointSpec]:
        """The endpoints being read, as a copy."""
        ...

    @property
    def breakers(self) -> Mapping[EndpointSpec, Breaker]:
        """The state of each, as a copy."""
        ...

    @property
    def opened(self) -> Mapping[str, int]:
        """How often breakers have opened, by type of source."""
        ...

    @property
    def budget(self) -> Budget:
        """The turns of reads."""
        ...


class Telemetry:
    """Everything `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.log_lines_dropped: Callable[[], int] = int
        """How many log lines were left out."""
        self.objects: Callable[[], Mapping[str, int]] = dict
        """How many ExternalMetric objects there are, by the reason of their condition Accepted."""
        self.watches: Callable[[], int] = int
        """How many watches on pods and Services there are."""
        self.events_left_out: Callable[[], int] = int
        """How many Events were not sent because their object had enough of them."""
        self.look_ups: Callable[[], int] = int
        """How many names are being looked up."""
        self.caches: Callable[[], Mapping[str, int]] = dict
        """How many entries each cache has."""
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Gauge(
            "spillway_build_info",
            "Version of Spillway and of what it runs on.",
            ["version", "python"],
            registry=registry,
        ).labels(version("spillway"), platform.python_version()).set(1)
        self._reads = Counter(
            "spillway_source_reads",
            "Reads of endpoints by source type and outcome.",
            ["source", "outcome"],
            registry=registry,
        )
        self._read_seconds = Histogram(
            "spillway_source_read_duration_seconds",
            "Time one read of an endpoint took.",
            ["source"],
            buckets=_READ_S,
            registry=registry,
        )
        self._samples = Counter(
            "spillway_source_samples", "Samples read, by source type.", ["source"], registry=registry
        )
        self._evaluations = Counter(
            "spillway_evaluations",
            "Evaluations: what came in was appended, what was due was computed.",
            registry=registry,
        )
        self._evaluated = Counter(
            "spillway_evaluated_metrics", "Metrics computed, over all evaluations.", registry=registry
        )
        self._evaluation_seconds = Histogram(
            "spillway_evaluation_duration_seconds", "Time one evaluation took.", buckets=_FAST_S, registry=registry
        )
        self._requests = Counter(
            "spillway_api_requests", "API requests by route and status code.", ["route", "code"], registry=registry
        )
        self._request_seconds = Histogram(
            "spillway_api_request_duration_seconds",
            "Time from a complete request to its answer, by route.",
            ["route"],
            buckets=_FAST_S,
            registry=registry,
        )
        # One child each a route and code, found once: finding it costs more than counting.
        self._answers: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._refused = Counter(
            "spillway_api_refused",
            "Requests shed and connections ended for want of room or time, by reason.",
            ["reason"],
            registry=registry,
        )
        self._connections = Gauge("spillway_api_connections", "Connections to the secure port.", registry=registry)
        self._in_flight = Gauge(
            "spillway_api_requests_in_flight",
            "Requests that wait for the Kubernetes API to say whether they may.",
            registry=registry,
        )
        self._lag = Histogram(
            "spillway_event_loop_lag_seconds",
            "How late the event loop ran a timer.",
            buckets=_FAST_S,
            registry=registry,
        )
        self._reloads = Counter(
            "spillway_config_reloads", "Loads of the configuration by result.", ["result"], registry=registry
        )
        self._reload_ok = Gauge(
            "spillway_config_last_reload_successful",
            "Whether the configuration on disk is the one in use.",
            registry=registry,
        )
        self._reload_time = Gauge(
            "spillway_config_last_reload_success_timestamp_seconds",
            "When the configuration in use was loaded.",
            registry=registry,
        )
        self.certificate_expiry = Gauge(
            "spillway_certificate_expiry_timestamp_seconds", "When the serving certificate ends.", registry=registry
        )

    def watch(self, pipeline: Pipeline, collector: Collecting) -> None:
        """Expose the series that are made when asked: per metric, and the endpoints' states. Call it in the loop."""
        loop = asyncio.get_running_loop()
        tasks = Gauge("spillway_event_loop_tasks", "Tasks of the event loop.", registry=self.registry)
        tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
        self.registry.register(_WhenAsked(self, pipeline, collector))

    def collected(self, source: str, outcome: str, seconds: float, samples: int) -> None:
        """Count one read of an endpoint."""
        self._reads.labels(source, outcome).inc()
        self._read_seconds.labels(source).observe(seconds)
        self._samples.labels(source).inc(samples)

    def evaluated(self, metrics: int, batches: int, seconds: float) -> None:
        """Count one evaluation."""
        self._evaluations.inc()
        self._evaluated.inc(metrics)
        self._evaluation_seconds.observe(seconds)

    def answered(self, route: str, code: int, seconds: float) -> None:
        """Count one API request."""
        found = self._answers.get((route, code))
        if found is None:
            found = self._answers[route, code] = (
                self._requests.labels(route, str(code)),
                self._request_seconds.labels(route),
            )
        counter, histogram = found
        counter.inc()
        histogram.observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request that was shed, or a connection that was ended for want of room or time."""
        self._refused.labels(reason).inc()

    def serving(self, connections: Callable[[], int], in_flight: Callable[[], int]) -> None:
        """Show how much the secure port has to do."""
        self._connections.set_function(connections)
        self._in_flight.set_function(in_flight)

    def lagged(self, seconds: float) -> None:
        """Observe how late a timer ran."""
        self._lag.observe(seconds)

    def reloaded(self, ok: bool) -> None:
        """Count one load of the configuration."""
        self._reloads.labels("success" if ok else "failure").inc()
        self._reload_ok.set(ok)
        if ok:
            self._reload_time.set(time.time())


class _WhenAsked(Collector):
    """Series made from the present state when asked, so that those of what was deleted are gone.

    Families of a series a metric come in parts, each a millisecond's work or less: whoever asks may do something else
    between two of them.
    """

    def __init__(self, telemetry: Telemetry, pipeline: Pipeline, collector: Collecting) -> None:
        self._telemetry = telemetry
        self._pipeline = pipeline
        self._collector = collector

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: describing would collect."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
        snapshot, reads = self._pipeline.snapshot, dict(self._pipeline.reads)
        for part in _parts(snapshot.results.items(), lambda found: 1 + len(found[1].items) // _ITEMS_A_METRIC):
            yield from self._of_metrics(part)
        for some in _parts(reads.items(), lambda _: 1):
            total = CounterMetricFamily(
                "spillway_metric_reads", "Reads of a metric by outcome.", labels=["namespace", "metric", "outcome"]
            )
            for (ref, outcome), count in some:
                total.add_metric([ref.namespace, ref.name, outcome], count)
            yield total
        yield from _endpoints(self._collector)
        yield from _bounded(self._telemetry, self._pipeline)
        yield CounterMetricFamily(
            "spillway_batches_rejected",
            "Reads that were not newer than the last: a clock set back.",
            value=self._pipeline.rejected,
        )
        yield GaugeMetricFamily("spillway_metrics", "Metrics defined.", value=len(snapshot.results))
        yield GaugeMetricFamily("spillway_store_bytes", "Memory of the sample store.", value=self._pipeline.store_bytes)
        yield GaugeMetricFamily("spillway_store_series", "Series in the store.", value=self._pipeline.store_series)

    def _of_metrics(self, results: Iterable[tuple[MetricRef, MetricResult]]) -> Iterator[Metric]:
        now_ms = time.time_ns() // 1_000_000
        age = GaugeMetricFamily(
            "spillway_metric_age_seconds",
            "Age of the sample that is oldest among the newest of a metric's series.",
            labels=["namespace", "metric"],
        )
        unknown = GaugeMetricFamily(
            "spillway_metric_unknown",
            "1 while a metric or one of its items is unknown, by reason.",
            labels=["namespace", "metric", "reason"],
        )
        policy = GaugeMetricFamily(
            "spillway_metric_policy",
            "1 while whenUnknown.then serves something of a metric that is unknown, by policy.",
            labels=["namespace", "metric", "policy"],
        )
        for ref, result in results:
            ends = [item.valid_until_ms for item in result.items if isinstance(item, ExternalMetricValue)]
            if result.when_unknown.then is not Then.ERROR:
                served = [item for item, instead in stand_ins(result, now_ms) if instead is not None]
                ends += [item.last.valid_until_ms for item in served if item.last is not None]
                if served:
                    policy.add_metric([ref.namespace, ref.name, result.when_unknown.then.value], 1)
            rule = self._pipeline.rules.get(ref)
            if ends and rule is not None:
                oldest_ms = min(ends) - rule.max_age_ms - 1
                age.add_metric([ref.namespace, ref.name], (now_ms - oldest_ms) / 1000)
            unknowns: list[Unknown] = [] if result.unknown is None else [result.unknown]
            unknowns += [item.unknown for item in result.items if isinstance(item, UnknownItem)]
            for reason in {u.reason.value for u in unknowns}:
                unknown.add_metric([ref.namespace, ref.name, reason], 1)
        yield from (age, unknown, policy)


def _parts(found: Iterable[T], weight: Callable[[T], int]) -> Iterator[list[T]]:
    """Cut into parts of some weight. The last one may be empty, so that there is always one."""
    part: list[T] = []
    left = _METRICS_A_PART
    for each in found:
        part.append(each)
        left -= weight(each)
        if left <= 0:
            yield part
            part, left = [], _METRICS_A_PART
    yield part


def _endpoints(collector: Collecting) -> Iterator[Metric]:
    """Return the families about endpoints and their breakers, by source type."""
    states = GaugeMetricFamily(
        "spillway_source_endpoints",
        "Endpoints by source type and state of their breaker: closed, open, half-open.",
        labels=["source", "state"],
    )
    failing = GaugeMetricFamily(
        "spillway_source_endpoints_failing",
        "Endpoints whose last read failed as a whole, whatever their breaker's state.",
        labels=["source"],
    )
    in_a_row = GaugeMetricFamily(
        "spillway_source_consecutive_failures",
        "Failed reads in a row of the endpoint that has the most of them.",
        labels=["source"],
    )
    opened = CounterMetricFamily(
        "spillway_source_breaker_opened", "How often breakers have opened, by source type.", labels=["source"]
    )
    waiting = CounterMetricFamily(
        "spillway_source_reads_refused",
        "Reads that got no turn in time, by what they waited for.",
        labels=["bound"],
    )
    breakers = collector.breakers
    for source in sorted({spec.type for spec in breakers}):
        own = [breaker for spec, breaker in breakers.items() if spec.type == source]
        counts = Tally(breaker.state for breaker in own)
        for state in State:
            states.add_metric([source, state.value], counts[state])
        failing.add_metric([source], sum(breaker.failures > 0 for breaker in own))
        in_a_row.add_metric([source], max(breaker.failures for breaker in own))
    for source, count in sorted(collector.opened.items()):
        opened.add_metric([source], count)
    budget = collector.budget
    for bound in SHARES:
        waiting.add_metric([bound], budget.refused[bound])
    yield from (states, failing, in_a_row, opened, waiting)
    yield GaugeMetricFamily("spillway_source_reads_under_way", "Reads under way.", value=budget.reading)
    yield GaugeMetricFamily("spillway_source_reads_waiting", "Reads that wait for their turn.", value=budget.waiting)
    yield GaugeMetricFamily(
        "spillway_source_reads_limit", "Most reads under way at once (--max-reads).", value=budget.max_reads
    )


def _bounded(telemetry: Telemetry, pipeline: Pipeline) -> Iterator[Metric]:
    """Return the families about what has a bound, and about what was left out for one."""
    yield CounterMetricFamily(
        "spillway_batches_refused", "Reads not taken for the series they would have brought.", value=pipeline.refused
    )
    yield CounterMetricFamily(
        "spillway_batches_dropped", "Reads left out because too many waited for an evaluation.", value=pipeline.dropped
    )
    memory = GaugeMetricFamily(
        "spillway_namespace_bytes", "About the memory of a namespace's samples and labels.", labels=["namespace"]
    )
    for namespace, size in pipeline.bytes_of.items():
        memory.add_metric([namespace], size)
    objects = GaugeMetricFamily(
        "spillway_objects", "ExternalMetric objects by the reason of their condition Accepted.", labels=["reason"]
    )
    for reason, count in telemetry.objects().items():
        objects.add_metric([reason], count)
    caches = GaugeMetricFamily("spillway_cache_entries", "Entries of a cache.", labels=["cache"])
    for cache, count in telemetry.caches().items():
        caches.add_metric([cache], count)
    yield from (memory, objects, caches)
    yield CounterMetricFamily(
        "spillway_events_left_out", "Events not sent: their object had enough.", value=telemetry.events_left_out()
    )
    yield GaugeMetricFamily("spillway_source_look_ups", "Host names being looked up.", value=telemetry.look_ups())
    yield GaugeMetricFamily("spillway_watches", "Watches on pods and Services.", value=telemetry.watches())
    yield CounterMetricFamily(
        "spillway_log_lines_dropped", "Log lines left out (--log-rate).", value=telemetry.log_lines_dropped()
    )
