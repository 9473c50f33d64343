"""What is served of a value that jumps, and of one that is unknown: `spec.guard` and `spec.whenUnknown`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import ConfigDict, Field

from adapter.schema.durations import DAY_MS, SECOND_MS, Duration
from adapter.schema.strict import Lax, Path, Strict, cel
from scaler import quantity
from scaler.model import ERROR, Then, WhenUnknown

MAX_QUANTITY = 9_000_000_000_000_000.0
"""Below 2**63 / 1000: an HPA holds a value as thousandths in 64 bits."""

LEAST_QUANTITY = 0.001
"""A thousandth: what is less is served as this much."""

DEFAULT_HOLD_MS = 600_000


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
