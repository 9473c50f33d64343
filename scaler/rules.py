"""What is computed for a metric, and when a rule makes sense."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from scaler.model import ERROR, MetricRef, Then, WhenUnknown


class Function(StrEnum):
    """A signal function, by PromQL's name; `value` is the newest sample."""

    VALUE = "value"
    RATE = "rate"
    INCREASE = "increase"
    DELTA = "delta"
    AVG_OVER_TIME = "avg_over_time"
    MAX_OVER_TIME = "max_over_time"
    MIN_OVER_TIME = "min_over_time"
    SUM_OVER_TIME = "sum_over_time"
    LAST_OVER_TIME = "last_over_time"
    PRESENT_OVER_TIME = "present_over_time"
    STDDEV_OVER_TIME = "stddev_over_time"
    QUANTILE_OVER_TIME = "quantile_over_time"
    CHANGES = "changes"
    RESETS = "resets"
    IDELTA = "idelta"
    IRATE = "irate"
    DERIV = "deriv"
    PREDICT_LINEAR = "predict_linear"
    HISTOGRAM_QUANTILE = "histogram_quantile"


EXTRAPOLATED = frozenset({Function.RATE, Function.INCREASE, Function.DELTA, Function.HISTOGRAM_QUANTILE})
"""Functions that extrapolate to the window's edges; a histogram's quantile is that of its buckets' rates."""

TWO_SAMPLES = EXTRAPOLATED | {Function.IDELTA, Function.IRATE, Function.DERIV, Function.PREDICT_LINEAR}
"""Functions that need two samples in the window; the others need one."""

COUNTER = frozenset({Function.RATE, Function.INCREASE, Function.HISTOGRAM_QUANTILE})
"""Extrapolating functions for counters: a drop is a reset."""

FROM_ZERO = COUNTER | {Function.IRATE}
"""Functions that can count from zero."""

QUANTILES = frozenset({Function.QUANTILE_OVER_TIME, Function.HISTOGRAM_QUANTILE})
"""Functions of a quantile."""


class CounterStart(StrEnum):
    """What a counter series counts from when it is first seen: its first sample (PromQL), or zero."""

    FIRST = "first"
    ZERO = "zero"


class AggregateOp(StrEnum):
    """How the series of a group become one item."""

    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class Signal:
    """A function and what it needs.

    Args:
        function: From samples to a number.
        window_ms: For every function but `value`: how far back it looks, left-open, (t - window, t].
        counter_start: For counters: what a new series counts from.
        quantile: For quantile_over_time and histogram_quantile, in [0, 1].
        ahead_ms: For predict_linear: how long after t.
        full_window: A target counts only once it has been read for a whole window.
    """

    function: Function = Function.VALUE
    window_ms: int | None = None
    counter_start: CounterStart = CounterStart.FIRST
    quantile: float | None = None
    ahead_ms: int | None = None
    full_window: bool = False


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One item a distinct combination of the `by` labels; no `by`, one item in all."""

    by: tuple[str, ...] = ()
    op: AggregateOp = AggregateOp.SUM


@dataclass(frozen=True, slots=True)
class Guard:
    """What an item must pass after aggregation, in this order; values are in the metric's unit.

    Args:
        min: A lower value is this one.
        max: A higher value is this one.
        max_step: A value further than this from the one before is held until a second collection says so too.
        fall_half_life_ms: A value that falls does so by half of the way in this time; one that rises does so at once.
    """

    min: float | None = None
    max: float | None = None
    max_step: float | None = None
    fall_half_life_ms: int | None = None

    @property
    def remembers(self) -> bool:
        """Tell whether a step depends on what was served before."""
        return self.max_step is not None or self.fall_half_life_ms is not None


@dataclass(frozen=True, slots=True)
class MetricRule:
    """How one metric is computed.

    Args:
        ref: The metric.
        metric_name: The name as its author wrote it; items carry it.
        source_id: Identity of what is read: two rules with the same one read the same series.
        interval_ms: How often each target is read.
        targets: The targets that together are the whole: `Batch.target` names one of them.
        waiting: Why the targets are not known, or must not be read; "": they are known.
        lingers: A target that is gone stays in the window: the cluster took it away, not the configuration.
        listed: Whether that is the last word for now; False while an answer is still on its way.
        signal: From samples to one number a series.
        aggregate: From series to items; None: one item a series.
        guard: What an item must pass.
        max_age_ms: How old the newest good sample of a series may be and still be current.
        when_unknown: What stands in for an item that is unknown.
        min_coverage: The share of targets that must be current, in [0, 1].
        max_series: More series than this and the metric is unknown.
    """

    ref: MetricRef
    metric_name: str
    source_id: str
    interval_ms: int
    targets: tuple[str, ...]
    signal: Signal = Signal()
    aggregate: Aggregate | None = None
    guard: Guard = Guard()
    max_age_ms: int = 60_000
    when_unknown: WhenUnknown = ERROR
    min_coverage: float = 1.0
    max_series: int = 10_000
    waiting: str = ""
    listed: bool = True
    lingers: bool = False

    @property
    def meaning(self) -> tuple[object, ...]:
        """What must stay the same for an earlier result of this metric to still be one.

        Not `when_unknown`: what was known stays known, whatever is to stand in for it later.
        """
        judged = (self.max_age_ms, self.min_coverage)
        return self.metric_name, self.source_id, self.signal, self.aggregate, self.guard, judged


def default_max_age_ms(interval_ms: int) -> int:
    """Return the larger of a minute and three intervals."""
    return max(60_000, 3 * interval_ms)


MAX_SAMPLES = 10_000
"""Samples a window may hold: 80 KB a series."""


def problems(rule: MetricRule) -> Iterator[tuple[str, str]]:
    """Yield (path, message) for each relation between fields that does not hold. Durations are in the message."""
    yield from _window_problems(rule.signal, rule.interval_ms)
    yield from _signal_problems(rule.signal)
    if rule.aggregate is not None and rule.signal.function is Function.HISTOGRAM_QUANTILE and "le" in rule.aggregate.by:
        yield (
            "spec.aggregate.by",
            "must not hold le for function histogram_quantile: it is what the quantile is made of",
        )
    if rule.max_age_ms < 2 * rule.interval_ms:
        least = duration_text(2 * rule.interval_ms)
        yield (
            "spec.whenUnknown.maxAge",
            f"must be at least 2 × spec.interval ({least}), got {duration_text(rule.max_age_ms)}",
        )
    if rule.guard.min is not None and rule.guard.max is not None and rule.guard.min > rule.guard.max:
        yield "spec.guard.min", f"must not be above spec.guard.max ({rule.guard.max:g}), got {rule.guard.min:g}"
    yield from _floor_problems(rule)


def _floor_problems(rule: MetricRule) -> Iterator[tuple[str, str]]:
    """A floor that the guard forbids would be served when nothing is known, of all times."""
    if rule.when_unknown.then is not Then.FLOOR:
        return
    floor, low, high = rule.when_unknown.floor_milli / 1000, rule.guard.min, rule.guard.max
    if low is not None and floor < low:
        yield "spec.whenUnknown.floor", f"must not be below spec.guard.min ({low:g}), got {floor:g}"
    if high is not None and floor > high:
        yield "spec.whenUnknown.floor", f"must not be above spec.guard.max ({high:g}), got {floor:g}"


def _window_problems(signal: Signal, interval_ms: int) -> Iterator[tuple[str, str]]:
    window_ms = signal.window_ms
    if signal.function is Function.VALUE:
        if window_ms is not None:
            yield "spec.signal.window", "must not be set for function value: it reads the newest sample"
        if signal.full_window:
            yield "spec.signal.fullWindow", "must not be true for function value: it has no window"
    elif window_ms is None:
        yield "spec.signal.window", f"is required for function {signal.function}"
    elif window_ms < 3 * interval_ms:
        least = duration_text(3 * interval_ms)
        yield "spec.signal.window", f"must be at least 3 × spec.interval ({least}), got {duration_text(window_ms)}"
    elif window_ms > MAX_SAMPLES * interval_ms:
        most, got = duration_text(MAX_SAMPLES * interval_ms), duration_text(window_ms)
        message = (
            f"must be at most {MAX_SAMPLES} × spec.interval ({most}), got {got}: each sample of each series is kept"
        )
        yield "spec.signal.window", message


def _signal_problems(signal: Signal) -> Iterator[tuple[str, str]]:
    function, quantile = signal.function, signal.quantile
    if signal.counter_start is CounterStart.ZERO and function not in FROM_ZERO:
        yield "spec.signal.counterStart", f"must be first for function {function}: zero is for {_listed(FROM_ZERO)}"
    if function not in QUANTILES:
        if quantile is not None:
            yield "spec.signal.quantile", f"must not be set for function {function}: it is for {_listed(QUANTILES)}"
    elif quantile is None:
        yield "spec.signal.quantile", f"is required for function {function}: 0.95 is the value that 95 % are below"
    elif not 0 <= quantile <= 1:
        yield "spec.signal.quantile", f"must be from 0 to 1, got {quantile:g}"
    if function is not Function.PREDICT_LINEAR:
        if signal.ahead_ms is not None:
            yield "spec.signal.ahead", f"must not be set for function {function}: it is for predict_linear"
    elif signal.ahead_ms is None:
        yield "spec.signal.ahead", f"is required for function {function}: how far ahead it looks"


def _listed(functions: Collection[Function]) -> str:
    """Write functions as a person lists them, in the order they are defined in: "rate, increase and irate"."""
    *rest, last = (function.value for function in Function if function in functions)
    return f"{', '.join(rest)} and {last}"


def duration_text(duration_ms: int) -> str:
    """Write a duration as users write it: 90000 → "1m30s", 0 → "0s"."""
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, duration_ms = divmod(duration_ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
