"""A configured metric: what is read and how it is computed, ready for the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from adapter.schema.model import RedisSource, ScrapeSource, StaticSource
from adapter.schema.policy import ALLOW_ALL, AddressPolicy
from adapter.schema.target import Target
from scaler.rules import MetricRule


@dataclass(frozen=True, slots=True)
class SecretData:
    """What a Secret holds. Two with the same version hold the same; the values never show."""

    version: str
    data: Mapping[str, bytes] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Metric:
    """One valid ExternalMetric.

    `origin` is where it was read, for a person: "metrics.yaml:12". `source` is the one that was set. `tenant` says that
    a team wrote it, as an object in the cluster, and not the administrator: what it may reach is then bounded.
    `targets` are the pages the cluster says it has at present; None: those its source names.
    `policy` is asked about every address that is connected to; `secrets` are those the source names, by name;
    `share_with` are the namespaces that may read the metric too, if the administrator allows it.
    """

    rule: MetricRule
    source: RedisSource | ScrapeSource | StaticSource
    timeout_ms: int
    origin: str
    tenant: bool = False
    targets: tuple[Target, ...] | None = None
    policy: AddressPolicy = ALLOW_ALL
    secrets: Mapping[str, SecretData] = field(default_factory=dict)
    share_with: tuple[str, ...] = ()
