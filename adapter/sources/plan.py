"""From configured metrics to what is opened and read: the only file that knows every kind of source. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from adapter.schema.metric import Metric
from adapter.schema.model import RedisSource, ScrapeSource, StaticSource
from adapter.sources import EndpointSpec, redis, scrape, static

_PLANS: tuple[Callable[[Sequence[Metric]], Sequence[EndpointSpec]], ...] = (redis.plan, scrape.plan, static.plan)

_NOT_READ: dict[str, Any] = {
    **dict.fromkeys(("auth", "tls", "min_coverage", "max_bytes"), True),
    "targets": {"urls": True},  # each is a target by itself: one that comes or goes must not cost the others' history
    "sentinel": {"auth": True, "tls": True},
}
"""Fields that change how a source is read or judged, not what is read: a rotated path must not cost a history."""


def endpoints(metrics: Sequence[Metric]) -> list[EndpointSpec]:
    """Return everything that must be open for these metrics. Equal metrics give equal specs.

    A metric whose targets are not known, or which lacks what it needs to read them, waits.
    """
    ready = [metric for metric in metrics if not metric.rule.waiting]
    return [spec for plan in _PLANS for spec in plan(ready)]


def targets_of(source: RedisSource | ScrapeSource | StaticSource) -> tuple[str, ...]:
    """Return the Batch.target of each part of the whole that a metric reads."""
    match source:
        case RedisSource():
            return (redis.target_of(source),)
        case ScrapeSource():
            return source.targets.urls
        case StaticSource():
            return (static.TARGET,)


def source_id(source: RedisSource | ScrapeSource | StaticSource) -> str:
    """Return a digest of what is read: the same for two sources that read the same series."""
    read = source.model_dump(mode="json", exclude=_NOT_READ, exclude_defaults=True)
    text = json.dumps([type(source).__name__, read], sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
