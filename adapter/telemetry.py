"""Our own metrics. Bounded: histograms by source type or route, per metric only age, reads and the unknown's reason."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from adapter.exposed import Collecting, Counts, Pipeline, WhenAsked

disable_created_metrics()  # type: ignore[no-untyped-call] # a third more series, for readers of OpenMetrics only

_FAST_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_READ_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Telemetry:
    """Everything `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.counts = Counts()
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
        self.registry.register(WhenAsked(self.counts, pipeline, collector))

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
