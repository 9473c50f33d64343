"""The ExternalMetric schema: strict, frozen, defaulted here and nowhere else.

Field names are snake_case here and camelCase in YAML. Durations are int milliseconds here and Kubernetes-style text
("1m30s") in YAML. The descriptions are the reference documentation: what, unit, default and why.

What a source reads has files of its own, `source_model.py`, `targets_model.py` and `redis_model.py`; import its names
from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from adapter.schema.durations import DAY_MS, HOUR_MS, SECOND_MS, Duration, default_as_text
from adapter.schema.redis_access import RedisAuth, Tls
from adapter.schema.redis_model import RedisSource
from adapter.schema.redis_queue import RedisQueue
from adapter.schema.source_model import ScrapeSource, Source, StaticSeries, StaticSource
from adapter.schema.strict import Lax, Path, Strict, cel
from adapter.schema.targets_model import ScrapeTargets
from adapter.schema.text import DNS_LABEL, DNS_SUBDOMAIN, LabelName, Text, metric_name_problem
from scaler import quantity
from scaler.histograms import SUFFIX
from scaler.model import ERROR, EXTERNAL_METRICS_GROUP, MetricRef, Then, WhenUnknown
from scaler.rules import (
    Aggregate,
    AggregateOp,
    CounterStart,
    Function,
    Guard,
    MetricRule,
    Signal,
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

MAX_QUANTITY = 9_000_000_000_000_000.0
"""Below 2**63 / 1000: an HPA holds a value as thousandths in 64 bits."""

LEAST_QUANTITY = 0.001
"""A thousandth: what is less is served as this much."""

DEFAULT_TIMEOUT_MS = 10_000

DEFAULT_HOLD_MS = 600_000

WEEK_MS = 7 * DAY_MS


class SignalSpec(Strict):
    """From samples to one number a series."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.__function__ == 'value' ? !has(self.window) : has(self.window)",
                "window is required for every function but value, and must not be set for value",
            ),
            (
                (
                    "self.counterStart == 'first' || "
                    "self.__function__ in ['rate', 'increase', 'irate', 'histogram_quantile']"
                ),
                "counterStart zero is for rate, increase, irate and histogram_quantile",
            ),
            ("!self.fullWindow || self.__function__ != 'value'", "fullWindow must not be true for value"),
            (
                "has(self.quantile) == (self.__function__ in ['quantile_over_time', 'histogram_quantile'])",
                "quantile is required for quantile_over_time and histogram_quantile, and must not be set for others",
            ),
            (
                "has(self.ahead) == (self.__function__ == 'predict_linear')",
                "ahead is required for predict_linear, and must not be set for others",
            ),
        )
    )

    function: Annotated[Function, Lax] = Field(
        default=Function.VALUE,
        description="What is computed from the samples of a series, by PromQL's name. Default value: the newest "
        "sample, which is what a queue depth needs.",
    )
    window: Annotated[int, Duration(3 * SECOND_MS, DAY_MS)] | None = Field(
        default=None,
        description="How far back the function looks, a duration: the samples in (now - window, now]. Required for "
        "every function but value, where it must not be set; no default, because it is part of what the number "
        "means. At least 3 × interval, so that one missed read still leaves two samples; at most 24h.",
    )
    counter_start: Annotated[CounterStart, Lax] = Field(
        default=CounterStart.FIRST,
        description="What a counter counts from when it is first seen, for rate, increase, irate and "
        "histogram_quantile: first (its first sample, as PromQL does) or zero (it is known to be new, so that its "
        "first sample is an increase). Default first: the numbers equal Prometheus'.",
    )
    quantile: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Which quantile quantile_over_time and histogram_quantile compute, from 0 to 1: 0.95 is the value "
        "that 95 % are below. Required for these two and must not be set for others; no default, because it is part "
        "of what the number means.",
    )
    ahead: Annotated[int, Duration(0, WEEK_MS)] | None = Field(
        default=None,
        description="How far ahead of the newest sample predict_linear looks, a duration of at most 168h; 0s is where "
        "the line is now. Required for predict_linear and must not be set for others; no default, because it is part "
        "of what the number means.",
    )

    full_window: bool = Field(
        default=False,
        description="Whether a target counts only once it has been read for a whole window. Until then a rate is "
        "smaller than the true one; with true it is unknown (TooFewSamples), after a start of the adapter and after "
        "an outage longer than the window. A process that is known to have started since (counterStart: zero) is not "
        "waited for. Default false: known at two samples, with the numbers of Prometheus.",
    )

    @property
    def signal(self) -> Signal:
        """The function and what it needs."""
        return Signal(self.function, self.window, self.counter_start, self.quantile, self.ahead, self.full_window)


class AggregateSpec(Strict):
    """From series to items. Without it, each series is an item."""

    by: Annotated[tuple[LabelName, ...], Lax, Field(json_schema_extra={"x-kubernetes-list-type": "set"})] = Field(
        default=(),
        max_length=32,
        description="The labels that items keep: one item a distinct combination of their values. Default none: one "
        "item in all, which is what an HPA without a selector wants.",
    )
    with_: Annotated[AggregateOp, Lax] = Field(
        default=AggregateOp.SUM,
        alias="with",
        description="How the series of an item become one value. Default sum, as the HPA itself sums items.",
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Each label of `by` is there once."""
        for index, name in enumerate(self.by):
            if "by" not in unread and name in self.by[:index]:
                yield ("by", index), f'must not repeat "{name}"'


class GuardSpec(Strict):
    """What a served item must pass after aggregation, in the order of the fields. Unknown stays unknown."""

    model_config = ConfigDict(
        json_schema_extra=cel(("!has(self.min) || !has(self.max) || self.min <= self.max", "min must not be above max"))
    )

    min: float | None = Field(
        default=None,
        ge=0,
        le=MAX_QUANTITY,
        description="A lower value is served as this one, in the metric's unit. From 0 to 9e15, what an HPA can hold. "
        "Default none.",
    )
    max: float | None = Field(
        default=None,
        ge=0,
        le=MAX_QUANTITY,
        description="A higher value is served as this one, in the metric's unit: a ceiling for what a source gone "
        "wrong can ask for. From 0 to 9e15, what an HPA can hold. Default none.",
    )
    max_step: float | None = Field(
        default=None,
        ge=LEAST_QUANTITY,
        le=MAX_QUANTITY,
        description="How far a value may be, up or down, from the one before, in the metric's unit. Beyond it the "
        "value before is served, with its own time, until a second collection in a row is beyond it too: one wrong "
        "reading scales nothing, and a true jump comes one interval late. From 0.001 to 9e15. Default none.",
    )
    fall_half_life: Annotated[int, Duration(SECOND_MS, DAY_MS)] | None = Field(
        default=None,
        description="A value that rises does so at once; one that falls comes down by half of the way in this time, "
        "a duration from 1s to 24h, counted by the times of the samples. For a queue that is drained in bursts. "
        "Default none.",
    )


class WhenUnknownSpec(Strict):
    """How long the newest good sample counts, and what follows."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("!has(self.holdFor) || self.then == 'hold'", "holdFor must not be set unless then is hold"),
            (
                "has(self.floor) == (self.then == 'floor')",
                "floor is required if then is floor, and must not be set if it is not",
            ),
        )
    )

    max_age: Annotated[int, Duration(2 * SECOND_MS, DAY_MS)] | None = Field(
        default=None,
        description="How old the newest good sample may be and still be current, a duration, whatever has failed "
        "since. At least 2 × interval, so that a single failed read is no outage; at most 24h. Default: the larger "
        "of 60s and 3 × interval, which rides out a restart of most sources.",
    )
    then: Annotated[Then, Lax] = Field(
        default=Then.ERROR,
        description="What is served past maxAge. error: 503 with the reason, and the HPA holds its replicas. hold: the "
        "last good value, with its true time, for holdFor; then as error. floor: the last good value or the number in "
        "floor, whichever is more, until something is known again. Default error, because a made-up number scales for "
        "real.",
    )
    hold_for: Annotated[int, Duration(SECOND_MS, DAY_MS)] | None = Field(
        default=None,
        description="How long the last good value is served after maxAge, a duration from 1s to 24h. Only with then: "
        "hold. Default 10m: what is older says little of the load.",
    )
    floor: float | None = Field(
        default=None,
        ge=LEAST_QUANTITY,
        le=MAX_QUANTITY,
        description="What an unknown item is served as at least, in the metric's unit, from 0.001 to 9e15: unknown is "
        "never zero. Required with then: floor, and only there; no default, because it scales for real. For workloads "
        "at zero replicas, where an error would keep them asleep.",
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Each policy has what it needs, and nothing of another one's."""
        if "then" in unread:
            return
        if self.then is not Then.HOLD and self.hold_for is not None:
            yield ("holdFor",), f"must not be set with then: {self.then}: it is how long then: hold holds"
        if self.then is Then.FLOOR and self.floor is None and "floor" not in unread:
            yield ("floor",), "is required with then: floor: what an unknown item is served as at least"
        if self.then is not Then.FLOOR and self.floor is not None:
            yield ("floor",), f"must not be set with then: {self.then}: it is for then: floor"

    def policy(self, max_age_ms: int) -> WhenUnknown:
        """What stands in for an unknown item."""
        if self.then is Then.HOLD:
            return WhenUnknown(Then.HOLD, hold_for_ms=DEFAULT_HOLD_MS if self.hold_for is None else self.hold_for)
        if self.then is Then.FLOOR and self.floor is not None:
            return WhenUnknown(Then.FLOOR, floor_milli=quantity.milli(self.floor), floor_after_ms=max_age_ms)
        return ERROR


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
