"""From samples to items: `spec.signal` and `spec.aggregate`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import ConfigDict, Field

from adapter.schema.durations import DAY_MS, SECOND_MS, Duration
from adapter.schema.strict import Lax, Path, Strict, cel
from adapter.schema.text import LabelName
from scaler.rules import (
    AggregateOp,
    CounterStart,
    Function,
    Signal,
)

WEEK_MS = 7 * DAY_MS


class SignalSpec(Strict):
    """From samples to one number a series."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.__function__ == 'value' ? !has(self.window) : has(self.window)",
                "window is required for every function but value, and must not be set for value",
            ),
            (
                (
                    "self.counterStart == 'first' || "
                    "self.__function__ in ['rate', 'increase', 'irate', 'histogram_quantile']"
                ),
                "counterStart zero is for rate, increase, irate and histogram_quantile",
            ),
            ("!self.fullWindow || self.__function__ != 'value'", "fullWindow must not be true for value"),
            (
                "has(self.quantile) == (self.__function__ in ['quantile_over_time', 'histogram_quantile'])",
                "quantile is required for quantile_over_time and histogram_quantile, and must not be set for others",
            ),
            (
                "has(self.ahead) == (self.__function__ == 'predict_linear')",
                "ahead is required for predict_linear, and must not be set for others",
            ),
        )
    )

    function: Annotated[Function, Lax] = Field(
        default=Function.VALUE,
        description="What is computed from the samples of a series, by PromQL's name. Default value: the newest "
        "sample, which is what a queue depth needs.",
    )
    window: Annotated[int, Duration(3 * SECOND_MS, DAY_MS)] | None = Field(
        default=None,
        description="How far back the function looks, a duration: the samples in (now - window, now]. Required for "
        "every function but value, where it must not be set; no default, because it is part of what the number "
        "means. At least 3 × interval, so that one missed read still leaves two samples; at most 24h.",
    )
    counter_start: Annotated[CounterStart, Lax] = Field(
        default=CounterStart.FIRST,
        description="What a counter counts from when it is first seen, for rate, increase, irate and "
        "histogram_quantile: first (its first sample, as PromQL does) or zero (it is known to be new, so that its "
        "first sample is an increase). Default first: the numbers equal Prometheus'.",
    )
    quantile: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Which quantile quantile_over_time and histogram_quantile compute, from 0 to 1: 0.95 is the value "
        "that 95 % are below. Required for these two and must not be set for others; no default, because it is part "
        "of what the number means.",
    )
    ahead: Annotated[int, Duration(0, WEEK_MS)] | None = Field(
        default=None,
        description="How far ahead of the newest sample predict_linear looks, a duration of at most 168h; 0s is where "
        "the line is now. Required for predict_linear and must not be set for others; no default, because it is part "
        "of what the number means.",
    )

    full_window: bool = Field(
        default=False,
        description="Whether a target counts only once it has been read for a whole window. Until then a rate is "
        "smaller than the true one; with true it is unknown (TooFewSamples), after a start of the adapter and after "
        "an outage longer than the window. A process that is known to have started since (counterStart: zero) is not "
        "waited for. Default false: known at two samples, with the numbers of Prometheus.",
    )

    @property
    def signal(self) -> Signal:
        """The function and what it needs."""
        return Signal(self.function, self.window, self.counter_start, self.quantile, self.ahead, self.full_window)


class AggregateSpec(Strict):
    """From series to items. Without it, each series is an item."""

    by: Annotated[tuple[LabelName, ...], Lax, Field(json_schema_extra={"x-kubernetes-list-type": "set"})] = Field(
        default=(),
        max_length=32,
        description="The labels that items keep: one item a distinct combination of their values. Default none: one "
        "item in all, which is what an HPA without a selector wants.",
    )
    with_: Annotated[AggregateOp, Lax] = Field(
        default=AggregateOp.SUM,
        alias="with",
        description="How the series of an item become one value. Default sum, as the HPA itself sums items.",
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Each label of `by` is there once."""
        for index, name in enumerate(self.by):
            if "by" not in unread and name in self.by[:index]:
                yield ("by", index), f'must not repeat "{name}"'
