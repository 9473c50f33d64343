"""One page to read, whether a configuration names it or the cluster does."""

from __future__ import annotations

from dataclasses import dataclass

from scaler.model import Labels


@dataclass(frozen=True, slots=True)
class Target:
    """A page.

    Args:
        name: For a person, and unique among a metric's targets: it is Batch.target.
        url: Where it is.
        labels: Labels each of its series gets.
        started_ms: When what serves it started, as far as the cluster knows.
    """

    name: str
    url: str
    labels: Labels
    started_ms: int | None = None
