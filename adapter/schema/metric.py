"""A configured metric: what is read and how it is computed, ready for the pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from adapter.schema.model import RedisSource, ScrapeSource, StaticSource
from adapter.schema.target import Target
from scaler.rules import MetricRule


@dataclass(frozen=True, slots=True)
class Metric:
    """One valid ExternalMetric.

    `origin` is where it was read, for a person: "metrics.yaml:12". `source` is the one that was set. `tenant` says that
    a team wrote it, as an object in the cluster, and not the administrator: what it may reach is then bounded.
    `targets` are the pages the cluster says it has at present; None: those its source names.
    """

    rule: MetricRule
    source: RedisSource | ScrapeSource | StaticSource
    timeout_ms: int
    origin: str
    tenant: bool = False
    targets: tuple[Target, ...] | None = None
