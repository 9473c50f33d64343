"""The ExternalMetric schema: strict, frozen, defaulted here and nowhere else.

Field names are snake_case here and camelCase in YAML. Durations are int milliseconds here and Kubernetes-style text
("1m30s") in YAML. The descriptions are the reference documentation: what, unit, default and why.

What is read, computed and served has files of its own: `source_model.py`, `targets_model.py` and `redis_model.py`,
`signal_model.py`, `guard_model.py`. Import their names from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from adapter.schema.durations import HOUR_MS, SECOND_MS, Duration, default_as_text
from adapter.schema.guard_model import GuardSpec, WhenUnknownSpec
from adapter.schema.redis_access import RedisAuth, Tls
from adapter.schema.redis_model import RedisSource
from adapter.schema.redis_queue import RedisQueue
from adapter.schema.signal_model import AggregateSpec, SignalSpec
from adapter.schema.source_model import ScrapeSource, Source, StaticSeries, StaticSource
from adapter.schema.strict import Path, Strict, cel
from adapter.schema.targets_model import ScrapeTargets
from adapter.schema.text import DNS_LABEL, DNS_SUBDOMAIN, Text, metric_name_problem
from scaler.histograms import SUFFIX
from scaler.model import EXTERNAL_METRICS_GROUP, MetricRef
from scaler.rules import (
    Aggregate,
    Function,
    Guard,
    MetricRule,
    default_max_age_ms,
    duration_text,
    problems,
)

__all__ = [
    "AggregateSpec",
    "DurationMs",
    "ExternalMetric",
    "ExternalMetricSpec",
    "GuardSpec",
    "Metadata",
    "RedisAuth",
    "RedisQueue",
    "RedisSource",
    "ScrapeSource",
    "ScrapeTargets",
    "SignalSpec",
    "Source",
    "StaticSeries",
    "StaticSource",
    "Strict",
    "Tls",
    "WhenUnknownSpec",
]

DurationMs = Annotated[int, Duration()]


DEFAULT_TIMEOUT_MS = 10_000


class ExternalMetricSpec(Strict):
    """One metric: what is read, how often, and what is made of it."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.timeout) || duration(self.timeout) <= duration(self.interval)",
                "timeout must be at most interval",
            ),
            (
                (
                    "!has(self.signal.window) || duration(self.signal.window) >= "
                    "duration(self.interval) + duration(self.interval) + duration(self.interval)"
                ),
                "signal.window must be at least 3 × interval",
            ),
            (
                (
                    "!has(self.whenUnknown.maxAge) || "
                    "duration(self.whenUnknown.maxAge) >= duration(self.interval) + duration(self.interval)"
                ),
                "whenUnknown.maxAge must be at least 2 × interval",
            ),
            (
                (
                    "!has(self.whenUnknown.floor) || ((!has(self.guard.min) || self.whenUnknown.floor >= "
                    "self.guard.min) && (!has(self.guard.max) || self.whenUnknown.floor <= self.guard.max))"
                ),
                "whenUnknown.floor must be within guard.min and guard.max",
            ),
            (
                "!has(self.metricName) || !(self.metricName.lowerAscii() in ['.', '..', 'status', 'finalize'])",
                "metricName must not be ., .., status or finalize: the Kubernetes API takes them for something else",
            ),
            (
                (
                    "self.signal.__function__ != 'histogram_quantile' || "
                    "(has(self.source.scrape) && !self.source.scrape.metric.endsWith('_bucket'))"
                ),
                "histogram_quantile is for source.scrape, whose metric is the histogram's name without _bucket",
            ),
            (
                (
                    "self.signal.__function__ != 'histogram_quantile' || !has(self.aggregate) || "
                    "!has(self.aggregate.by) || !('le' in self.aggregate.by)"
                ),
                "aggregate.by must not hold le for histogram_quantile",
            ),
        )
    )

    stand_ins: ClassVar[Mapping[str, object]] = {"source": {"static": {"series": [{"value": 0}]}}}

    metric_name: (
        Annotated[
            str,
            Text(
                'must be 1 to 253 characters without "/", "%" and control characters',
                pattern=r"[^/%\x00-\x1f\x7f-\x9f]+",
                max_chars=253,
                check=metric_name_problem,
            ),
        ]
        | None
    ) = Field(
        default=None,
        description='The name an HPA asks for. 1 to 253 characters, no "/", "%" or control character, not ".", "..", '
        "status or finalize: other names cannot be a path of the Kubernetes API. Names that differ only in case are "
        "the same, since clients send them lower-cased. Default: metadata.name.",
    )
    interval: Annotated[int, Duration(SECOND_MS, HOUR_MS)] = Field(
        default=15 * SECOND_MS,
        description="How often the source is read, a duration from 1s to 1h. Default 15s: an HPA looks every 15 "
        "seconds.",
        json_schema_extra=default_as_text,
    )
    timeout: Annotated[int, Duration(100, HOUR_MS)] | None = Field(
        default=None,
        description="The deadline of one read, a duration of at least 100ms and at most interval. Metrics that share "
        "an endpoint are read together. Default: the smaller of interval and 10s, as reads must not overlap.",
    )
    source: Source = Field(description="What is read. Exactly one kind of source.")
    signal: SignalSpec = Field(
        default=SignalSpec(), description="From samples to one number a series. Default: the newest sample."
    )
    aggregate: AggregateSpec | None = Field(
        default=None,
        description="From series to items. Default none: each series is an item with all its labels, for the HPA's "
        "selector to choose from.",
    )
    guard: GuardSpec = Field(
        default=GuardSpec(), description="What a served item must pass: bounds, steps, falls. Default nothing."
    )
    when_unknown: WhenUnknownSpec = Field(
        default=WhenUnknownSpec(),
        description="How long the newest good sample counts, and what follows. Default: that of its fields.",
    )
    share_with: tuple[Annotated[str, Text("must be a namespace, a DNS-1123 label", DNS_LABEL, 63)], ...] = Field(
        default=(),
        strict=False,
        max_length=64,
        description="Namespaces whose HPAs may read this metric too, under its name, at most 64. It needs the "
        "administrator's word as well (--share FROM=TO), and a namespace's own metric of that name wins. Default none.",
    )
    max_series: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="With more series than this the metric is unknown (TooManySeries), from 1 to 1000000. Default "
        "10000: enough for any queue list, and a label of unbounded values is noticed before memory is gone.",
    )

    @property
    def timeout_ms(self) -> int:
        """The deadline of one read."""
        return self.timeout if self.timeout is not None else min(self.interval, DEFAULT_TIMEOUT_MS)

    def rule(self, ref: MetricRef, metric_name: str, source_id: str, targets: tuple[str, ...]) -> MetricRule:
        """Return how the metric is computed."""
        scrape, aggregate = self.source.scrape, self.aggregate
        max_age_ms = self.when_unknown.max_age
        if max_age_ms is None:
            max_age_ms = default_max_age_ms(self.interval)
        return MetricRule(
            ref=ref,
            metric_name=metric_name,
            source_id=source_id,
            interval_ms=self.interval,
            targets=targets,
            signal=self.signal.signal,
            aggregate=Aggregate(aggregate.by, aggregate.with_) if aggregate else None,
            guard=Guard(self.guard.min, self.guard.max, self.guard.max_step, self.guard.fall_half_life),
            max_age_ms=max_age_ms,
            when_unknown=self.when_unknown.policy(max_age_ms),
            min_coverage=scrape.min_coverage if scrape else 1.0,
            max_series=self.max_series,
        )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """A read ends before the next one; the rule makes sense."""
        if "interval" in unread:
            return
        if self.timeout is not None and self.timeout > self.interval and "timeout" not in unread:
            yield (
                ("timeout",),
                f"must be at most spec.interval ({duration_text(self.interval)}), got {duration_text(self.timeout)}",
            )
        if self.signal.function is Function.HISTOGRAM_QUANTILE and not {"source", "signal"} & unread:
            yield from _histogram_problems(self.source)
        for path, message in problems(self.rule(MetricRef(EXTERNAL_METRICS_GROUP, "", ""), "", "", ())):
            place = tuple(path.split(".")[1:])
            if place[0] not in unread:
                yield place, message


def _histogram_problems(source: Source) -> Iterator[tuple[Path, str]]:
    """A histogram is scraped, by the name that its buckets have in common with its sum and count."""
    if source.scrape is None:
        yield ("signal", "function"), "histogram_quantile is for spec.source.scrape: other sources have no histograms"
    elif source.scrape.metric.endswith(SUFFIX):
        base = source.scrape.metric.removesuffix(SUFFIX)
        message = f'must be the histogram\'s name without {SUFFIX}: write "{base}"'
        yield ("source", "scrape", "metric"), message


class Metadata(Strict):
    """The object's identity."""

    name: Annotated[
        str,
        Text(
            "must be a DNS-1123 subdomain: lower-case letters, digits, - and .",
            pattern=DNS_SUBDOMAIN,
            max_chars=253,
        ),
    ] = Field(description="The object's name, a DNS-1123 subdomain of at most 253 characters.")
    namespace: Annotated[
        str, Text("must be a DNS-1123 label: lower-case letters, digits and -", pattern=DNS_LABEL, max_chars=63)
    ] = Field(
        default="default",
        description="The namespace of the HPAs that may read the metric, a DNS-1123 label of at most 63 characters. "
        "Default default, as kubectl has it.",
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="Labels of the object, for your own use. Default none."
    )
    annotations: dict[str, str] = Field(
        default_factory=dict, description="Annotations of the object, for your own use. Default none."
    )


class ExternalMetric(Strict):
    """The whole object."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.spec.metricName) || !(self.metadata.name in ['status', 'finalize'])",
                "set spec.metricName: the Kubernetes API does not take this object's name for the name of a metric",
            )
        )
    )

    api_version: Literal["spillway.dev/v1alpha1"] = Field(description="The version of this schema.")
    kind: Literal["ExternalMetric"] = Field(description="The kind of object.")
    metadata: Metadata = Field(description="The object's identity.")
    spec: ExternalMetricSpec = Field(description="The metric.")

    @property
    def metric_name(self) -> str:
        """The name an HPA asks for, as its author wrote it."""
        return self.spec.metric_name or self.metadata.name

    @property
    def ref(self) -> MetricRef:
        """The metric as a reader asks for it."""
        return MetricRef(EXTERNAL_METRICS_GROUP, self.metadata.namespace, self.metric_name.lower())

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """A name that is a metric's by default is fit to be one; pods are looked for in a namespace that was named."""
        if unread:
            return
        if self.spec.metric_name is None and (problem := metric_name_problem(self.metadata.name)):
            yield ("metadata", "name"), f"{problem}; set spec.metricName"
        scrape = self.spec.source.scrape
        if scrape is not None and not scrape.targets.urls and "namespace" not in self.metadata.model_fields_set:
            kind = "service" if scrape.targets.selector is None else "selector"
            message = f"is required with spec.source.scrape.targets.{kind}: it is looked for there"
            yield ("metadata", "namespace"), message
