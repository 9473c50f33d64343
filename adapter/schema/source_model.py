"""What a source reads: the part of the ExternalMetric schema below `spec.source`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from adapter.schema.matchers import parse_matchers
from adapter.schema.redis_access import Tls
from adapter.schema.redis_model import RedisSource
from adapter.schema.scrape_access import ScrapeAuth
from adapter.schema.strict import Path, Strict, cel
from adapter.schema.targets_model import ScrapeTargets
from adapter.schema.text import SERIES_NAME, SeriesLabels, Text


def _matchers_problem(text: str) -> str | None:
    try:
        parse_matchers(text)
    except ValueError as exc:
        return f"must be Prometheus label matchers: {exc}"
    return None


class ScrapeSource(Strict):
    """One metric of pages in Prometheus text or OpenMetrics."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "!has(self.tls) || has(self.targets.urls) || "
                    "(has(self.targets.scheme) && self.targets.scheme == 'https')"
                ),
                "tls is for https",
            )
        )
    )

    stand_ins: ClassVar[Mapping[str, object]] = {"targets": {"urls": ["http://stand-in"]}, "metric": "up"}

    targets: ScrapeTargets = Field(description="Where the pages are.")
    metric: Annotated[
        str,
        Text(
            "must be the name of a metric alone, without blanks, braces and quotes: its labels go into match",
            pattern=SERIES_NAME,
        ),
    ] = Field(
        description="The metric on the pages, by the name its lines have: http_requests_total, "
        "http_request_duration_seconds_count, or in UTF-8, as it is between quotes there: my.metric. Without blanks, "
        "braces and quotes, at most 1024 characters. For histogram_quantile the name without _bucket."
    )
    match: (
        Annotated[
            str,
            Text("must be Prometheus label matchers", max_chars=4_096, check=_matchers_problem),
        ]
        | None
    ) = Field(
        default=None,
        description="Which of its series are read: Prometheus matchers, comma-separated, regular expressions in RE2 "
        "and anchored, as in 'code!~\"5..\"'. Default none: all of them.",
    )
    min_coverage: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="The share of targets that must be current, from 0 to 1, for an aggregate not to be unknown "
        "(LowCoverage). Default 1: a sum without one of its pods is a smaller sum.",
    )
    max_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=1024,
        le=1 << 30,
        description="The largest page taken, in bytes after decompression, from 1024 to 1073741824. Default "
        "16777216 (16 MiB), about 100000 lines: an endless page must not take the memory.",
    )
    auth: ScrapeAuth | None = Field(
        default=None,
        description="Credentials, sent to the targets and nowhere else. Default none.",
    )
    tls: Tls | None = Field(
        default=None,
        description="Only with https: how the targets are verified, and the certificate shown to them. Default: by "
        "the system's certificate authorities and the host of the URL, which for pods is their address.",
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """TLS settings only where TLS is spoken."""
        if self.tls is not None and not self.targets.encrypted and not unread & {"targets", "tls"}:
            yield ("tls",), "must not be set for http: it is for https"

    def hints(self) -> Iterator[tuple[Path, str]]:
        """Yield the place and a message for each thing that is valid and weaker than it could be."""
        if self.tls is not None and self.tls.insecure_skip_verify:
            yield ("tls", "insecureSkipVerify"), "any certificate is believed: give caFile or caSecretRef instead"
        if self.auth is not None and self.targets.plain:
            yield ("auth",), "credentials are sent over http, where others can read them: use https"


class StaticSeries(Strict):
    """One series with a fixed value."""

    labels: SeriesLabels = Field(
        default_factory=dict,
        description="The labels of the series, at most 32, named as those of a redis queue. Default none.",
    )
    value: float = Field(description="The value, in the metric's unit. Finite.")


class StaticSource(Strict):
    """Fixed values, to try an HPA by hand."""

    stand_ins: ClassVar[Mapping[str, object]] = {"series": [{"value": 0}]}

    series: Annotated[tuple[StaticSeries, ...], Field(strict=False, min_length=1, max_length=10_000)] = Field(
        description="The series, 1 to 10000, each with labels of its own."
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Each series is there once."""
        first: dict[frozenset[tuple[str, str]], int] = {}
        for index, series in enumerate(() if "series" in unread else self.series):
            same = first.setdefault(frozenset(series.labels.items()), index)
            if same != index:
                yield ("series", index), f"must not have the same labels as series[{same}]"


class Source(Strict):
    """Exactly one of its fields is set."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "[has(self.redis), has(self.scrape), has(self.static)].filter(x, x).size() == 1",
                "must be exactly one of redis, scrape and static",
            )
        )
    )

    redis: RedisSource | None = Field(default=None, description="Queue depths from Redis.")
    scrape: ScrapeSource | None = Field(default=None, description="One metric of Prometheus text pages.")
    static: StaticSource | None = Field(default=None, description="Fixed values, to try an HPA by hand.")

    @property
    def one(self) -> RedisSource | ScrapeSource | StaticSource:
        """The source that is set."""
        source = self.redis or self.scrape or self.static
        assert source is not None  # noqa: S101 - `relations` has seen to it
        return source

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """One kind of source."""
        kinds = {"redis": self.redis, "scrape": self.scrape, "static": self.static}
        chosen = [kind for kind, source in kinds.items() if source is not None or kind in unread]
        if len(chosen) > 1:
            yield (), f"must be one of redis, scrape and static, got {' and '.join(chosen)}"
        if not chosen and unread <= type(self).names():
            yield (), "must be one of redis, scrape and static"
