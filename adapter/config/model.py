"""The ExternalMetric schema: strict, frozen, defaulted here and nowhere else.

Field names are snake_case here and camelCase in YAML. Durations are int milliseconds here and Kubernetes-style text
("1m30s") in YAML.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from scaler.rules import AggregateOp, CounterStart, Function


def _duration_ms(text: object) -> object:
    raise NotImplementedError


DurationMs = Annotated[int, BeforeValidator(_duration_ms)]


class Strict(BaseModel):
    """No unknown field, no coercion, no change after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True)


class Tls(Strict):
    """How a TLS server is verified. File only."""

    ca_file: str | None = None
    server_name: str | None = None


class RedisAuth(Strict):
    """Credentials, read again at each connect so that a rotated one is picked up. Files only."""

    username: str | None = None
    username_file: str | None = None
    password_file: str | None = None
    password_env: str | None = None


class RedisQueue(Strict):
    """One queue: exactly one of list, set, sortedSet, hash and stream names its key."""

    list: str | None = None
    set: str | None = None
    sorted_set: str | None = None
    hash: str | None = None
    stream: str | None = None
    group: str | None = None  # with stream, required
    count: tuple[Literal["waiting", "inFlight"], ...] | None = None  # with stream; default both
    labels: dict[str, str] | None = None  # default {"queue": <key>}
    on_missing: Literal["zero", "unknown"] | None = None  # default: the source's
    on_missing_group: Literal["all", "unknown"] | None = None  # default: the source's


class RedisSource(Strict):
    """Queue depths from one Redis database, standalone."""

    url: str  # redis://host[:port][/db] or rediss://…, no user info, no query
    auth: RedisAuth | None = None
    tls: Tls | None = None  # with rediss://
    queues: tuple[RedisQueue, ...] = Field(min_length=1, max_length=10_000)
    on_missing: Literal["zero", "unknown"] | None = (
        None  # None: zero for list, set, sortedSet, hash; unknown for stream
    )
    on_missing_group: Literal["all", "unknown"] = "unknown"


class ScrapeTargets(Strict):
    """Where the pages are."""

    urls: tuple[str, ...] = Field(min_length=1, max_length=5_000)


class ScrapeSource(Strict):
    """One metric of Prometheus text pages."""

    targets: ScrapeTargets
    metric: str
    match: str | None = None  # Prometheus matchers, RE2, anchored: 'code!~"5..",job="web"'
    min_coverage: float = Field(default=1.0, ge=0.0, le=1.0)
    max_bytes: int = Field(default=16 * 1024 * 1024, ge=1024, le=1 << 30)  # of a page, after decompression


class StaticSeries(Strict):
    """One series with a fixed value."""

    labels: dict[str, str] = Field(default_factory=dict)
    value: float


class StaticSource(Strict):
    """Fixed values, to try an HPA by hand."""

    series: tuple[StaticSeries, ...] = Field(min_length=1, max_length=10_000)


class Source(Strict):
    """Exactly one of its fields is set."""

    redis: RedisSource | None = None
    scrape: ScrapeSource | None = None
    static: StaticSource | None = None


class SignalSpec(Strict):
    """From samples to a number a series."""

    function: Function = Function.VALUE
    window: DurationMs | None = None
    counter_start: CounterStart = CounterStart.FIRST


class AggregateSpec(Strict):
    """From series to items."""

    by: tuple[str, ...] = ()
    with_: AggregateOp = Field(default=AggregateOp.SUM, alias="with")


class GuardSpec(Strict):
    """Bounds of a served item."""

    min: float | None = None
    max: float | None = None


class WhenUnknownSpec(Strict):
    """How long the newest good sample counts, and what follows."""

    max_age: DurationMs | None = None  # default: the larger of 60s and 3 × interval
    then: Literal["error"] = "error"


class ExternalMetricSpec(Strict):
    """One metric."""

    metric_name: str | None = None  # default: metadata.name
    interval: DurationMs = 15_000
    timeout: DurationMs | None = None  # default: the smaller of interval and 10s
    source: Source
    signal: SignalSpec = SignalSpec()
    aggregate: AggregateSpec | None = None
    guard: GuardSpec = GuardSpec()
    when_unknown: WhenUnknownSpec = WhenUnknownSpec()
    max_series: int = Field(default=10_000, ge=1, le=1_000_000)


class Metadata(Strict):
    """The object's identity."""

    name: str
    namespace: str = "default"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class ExternalMetric(Strict):
    """The whole object."""

    api_version: Literal["spillway.dev/v1alpha1"]
    kind: Literal["ExternalMetric"]
    metadata: Metadata
    spec: ExternalMetricSpec
