"""What a source reads: the part of the ExternalMetric schema below `spec.source`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from adapter.schema.matchers import parse_matchers
from adapter.schema.redis_model import RedisSource
from adapter.schema.strict import Path, Strict, cel
from adapter.schema.targets_model import ScrapeTargets
from adapter.schema.text import METRIC_NAME, SeriesLabels, Text


def _matchers_problem(text: str) -> str | None:
    try:
        parse_matchers(text)
    except ValueError as exc:
        return f"must be Prometheus label matchers: {exc}"
    return None


class ScrapeSource(Strict):
    """One metric of Prometheus text pages."""

    targets: ScrapeTargets = Field(description="Where the pages are.")
    metric: Annotated[
        str,
        Text("must be the name of a Prometheus metric, [a-zA-Z_:][a-zA-Z0-9_:]*", pattern=METRIC_NAME, max_chars=1_024),
    ] = Field(description="The metric on the pages, [a-zA-Z_:][a-zA-Z0-9_:]*.")
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
