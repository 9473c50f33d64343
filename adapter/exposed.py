"""Our own series that are made when somebody asks, from what is true at that moment: per metric, per kind of source."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adapter.breaker import Breaker, State
from adapter.budget import SHARES, Budget
from adapter.sources import EndpointSpec
from scaler.model import ExternalMetricValue, MetricRef, MetricResult, Snapshot, Then, Unknown, UnknownItem
from scaler.policy import stand_ins
from scaler.rules import MetricRule

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


@dataclass(slots=True)
class Counts:
    """What other parts count, asked of them when our metrics are read; nothing of it until they are there.

    Args:
        log_lines_dropped: Log lines left out.
        objects: ExternalMetric objects by the reason of their condition Accepted.
        watches: Watches on pods and Services.
        events_left_out: Events that were not sent because their object had enough of them.
        look_ups: Names being looked up.
        caches: Entries of each cache.
    """

    log_lines_dropped: Callable[[], int] = int
    objects: Callable[[], Mapping[str, int]] = dict
    watches: Callable[[], int] = int
    events_left_out: Callable[[], int] = int
    look_ups: Callable[[], int] = int
    caches: Callable[[], Mapping[str, int]] = dict


class WhenAsked(Collector):
    """Series made from the present state when asked, so that those of what was deleted are gone.

    Families of a series a metric come in parts, each a millisecond's work or less: whoever asks may do something else
    between two of them.
    """

    def __init__(self, counts: Counts, pipeline: Pipeline, collector: Collecting) -> None:
        self._counts = counts
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
        yield from _bounded(self._counts, self._pipeline)
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


def _bounded(counts: Counts, pipeline: Pipeline) -> Iterator[Metric]:
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
    for reason, count in counts.objects().items():
        objects.add_metric([reason], count)
    caches = GaugeMetricFamily("spillway_cache_entries", "Entries of a cache.", labels=["cache"])
    for cache, count in counts.caches().items():
        caches.add_metric([cache], count)
    yield from (memory, objects, caches)
    yield CounterMetricFamily(
        "spillway_events_left_out", "Events not sent: their object had enough.", value=counts.events_left_out()
    )
    yield GaugeMetricFamily("spillway_source_look_ups", "Host names being looked up.", value=counts.look_ups())
    yield GaugeMetricFamily("spillway_watches", "Watches on pods and Services.", value=counts.watches())
    yield CounterMetricFamily(
        "spillway_log_lines_dropped", "Log lines left out (--log-rate).", value=counts.log_lines_dropped()
    )
