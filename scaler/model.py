"""The words every part of Spillway shares. Frozen, and imports nothing of ours.

Times are int64 milliseconds since the Unix epoch (`_ms`), windows on the wire are seconds (`_s`),
values on the wire are int64 milli-units (`milli`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

F64: TypeAlias = npt.NDArray[np.float64]
I64: TypeAlias = npt.NDArray[np.int64]
I32: TypeAlias = npt.NDArray[np.int32]
U8: TypeAlias = npt.NDArray[np.uint8]

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Label pairs sorted by name, each name once."""

EXTERNAL_METRICS_GROUP = "external.metrics.k8s.io"


def labels_of(pairs: Mapping[str, str]) -> Labels:
    """Return the pairs as Labels: sorted by name."""
    return tuple(sorted(pairs.items()))


class Reason(StrEnum):
    """Why something is unknown. The names appear in Status messages, our telemetry and the docs."""

    NO_DATA = "NoData"
    TOO_FEW_SAMPLES = "TooFewSamples"
    STALE = "Stale"
    SOURCE_ERROR = "SourceError"
    NOT_FINITE = "NotFinite"
    NEGATIVE = "Negative"
    LOW_COVERAGE = "LowCoverage"
    NULL_LAG = "NullLag"
    MISSING_KEY = "MissingKey"
    MISSING_GROUP = "MissingGroup"
    WRONG_TYPE = "WrongType"
    TOO_MANY_SERIES = "TooManySeries"
    INVALID_SPEC = "InvalidSpec"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value nobody may use, with the reason.

    `detail` is constant while the state lasts: it holds no age, counter, or anything else that differs from one
    failed read to the next, because the HPA copies it into events. `since_ms` is when the state began; None until
    the store has seen it.
    """

    reason: Reason
    detail: str = ""
    since_ms: int | None = None


class MetricRef(NamedTuple):
    """A metric as a reader asks for it. `name` is lower-cased: client-go lower-cases it on the wire."""

    group: str
    namespace: str
    name: str


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """The series of a Batch, in order.

    Compared by identity: a source that reads the same series as last time passes the same Layout, and the store then
    copies a column without looking at a label.
    """

    series: tuple[Labels, ...]

    def __len__(self) -> int:
        return len(self.series)


EMPTY_LAYOUT = Layout(())


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read of one target brought for one metric.

    Args:
        metric: The metric the readings are for.
        target: What was read, as a person would name it: "redis.shop:6379/0", "http://10.0.0.7:8080/metrics".
        time_ms: When the read was started.
        layout: The series read. A series of an earlier batch that is absent here has ended.
        values: One reading a series, shape (len(layout),), float64. Ignored where `problems` has an entry.
        problems: Index into `layout` → why that series could not be read. Such a series has not ended.
        failure: The target could not be read and the set of its series is unknown; `layout` is then empty.
        start_ms: When the process behind the target started, if it told.
    """

    metric: MetricRef
    target: str
    time_ms: int
    layout: Layout
    values: F64
    problems: Mapping[int, Unknown] = field(default_factory=dict)
    failure: Unknown | None = None
    start_ms: int | None = None


class ExternalMetricValue(NamedTuple):
    """One item of an answer: known, current, finite, not negative. A tuple, because thousands are made a second.

    `timestamp_ms` is the time of the newest sample in it. From `valid_until_ms` on it is no longer current: then
    the oldest member's newest good sample is older than maxAge.
    """

    labels: Labels
    timestamp_ms: int
    window_s: int | None
    milli: int
    valid_until_ms: int


@dataclass(frozen=True, slots=True)
class UnknownItem:
    """An item that exists but whose value is unknown: no answer that could hold it is given, unless a policy stands in.

    `last` is its last good value; None: this process has never known it.
    """

    labels: Labels
    unknown: Unknown
    last: ExternalMetricValue | None = None


class Then(StrEnum):
    """What is served of what is unknown: an error, its last good value for a while, or at least a floor."""

    ERROR = "error"
    HOLD = "hold"
    FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class WhenUnknown:
    """What stands in for an item that is unknown.

    Args:
        then: The policy.
        hold_for_ms: For hold: how long the last good value stands in after it stopped being current.
        floor_milli: For floor: what an item is served as at least.
        floor_after_ms: For floor: how long an item without a last good value is unknown before the floor stands in.
    """

    then: Then = Then.ERROR
    hold_for_ms: int = 0
    floor_milli: int = 0
    floor_after_ms: int = 0


ERROR = WhenUnknown()


Identity: TypeAlias = tuple[Labels, int, int]
"""An item's labels, and, for targets may show the same ones, which of how many with them it is."""


class Past(NamedTuple):
    """What the steps of a guard remember of one item.

    Args:
        raw: The newest value, within the guard's bounds.
        believed: What maxStep made of it: that, or an earlier one while a jump is held.
        served: What fallHalfLife made of that.
        level_milli: The same, not rounded.
        jump_ms: The newest sample when the jump that is held was first seen; None: nothing is held.
    """

    raw: ExternalMetricValue
    believed: ExternalMetricValue
    served: ExternalMetricValue
    level_milli: float
    jump_ms: int | None


@dataclass(frozen=True, slots=True)
class MetricResult:
    """What is known of one metric.

    Args:
        metric_name: The name as its author wrote it.
        items: Each item, sorted by labels; none while the set of items is unknown.
        unknown: Why the set of items itself is unknown, while it is.
        evaluated_ms: When that was computed.
        recompute_at_ms: When it must be computed again, even if nothing was collected; None: never.
        all_read: Every target has been read at least once, well or not.
        when_unknown: What stands in for what is unknown.
        last: The items as they were when their set became unknown.
        past: What the guard remembers of each item; None: it has no steps that remember.
    """

    metric_name: str
    items: tuple[ExternalMetricValue | UnknownItem, ...]
    unknown: Unknown | None
    evaluated_ms: int
    recompute_at_ms: int | None
    all_read: bool = True
    when_unknown: WhenUnknown = ERROR
    last: tuple[ExternalMetricValue | UnknownItem, ...] = ()
    past: Mapping[Identity, Past] | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a reader may know, at one moment. Published by one assignment."""

    results: Mapping[MetricRef, MetricResult]
    evaluated_ms: int


EMPTY_SNAPSHOT = Snapshot({}, 0)
