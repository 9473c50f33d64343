"""What has been found about one ExternalMetric object of the cluster, for its status."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from scaler.model import MetricRef

ObjectKey: TypeAlias = tuple[str, str]
"""(namespace, name) of an object."""


class Acceptance(StrEnum):
    """The reason of the condition Accepted."""

    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    DEFINED_IN_FILE = "DefinedInFile"
    NAME_TAKEN = "NameTaken"
    TOO_MANY_METRICS = "TooManyMetrics"


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of an object.

    Args:
        generation: The generation that was looked at.
        reason: ACCEPTED, or why its newest spec is not used.
        message: The same in a sentence that does not change while it is so; at most MAX_MESSAGE_CHARS.
        ref: The metric that is served for it; None: nothing is.
        served_generation: The generation whose spec is served. Lower than `generation` while an older one, the last
            that was good, stays in use. 0: nothing is served.
        interval_ms: How often the metric is read; 0: nothing is served.
    """

    generation: int
    reason: Acceptance
    message: str
    ref: MetricRef | None = None
    served_generation: int = 0
    interval_ms: int = 0
