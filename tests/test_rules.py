"""When a rule makes sense."""

from __future__ import annotations

import pytest

from scaler.rules import Aggregate, CounterStart, Function, MetricRule, Signal, problems
from tests.builders import REF

MINUTE = 60_000


def said(signal: Signal, aggregate: Aggregate | None = None) -> list[str]:
    rule = MetricRule(REF, "m", "s", interval_ms=15_000, targets=(), signal=signal, aggregate=aggregate)
    return [f"{path}: {message}" for path, message in problems(rule)]


@pytest.mark.parametrize(
    "signal",
    [
        Signal(),
        Signal(Function.DERIV, MINUTE),
        Signal(Function.PREDICT_LINEAR, MINUTE, ahead_ms=0),
        Signal(Function.QUANTILE_OVER_TIME, MINUTE, quantile=0.0),
        Signal(Function.HISTOGRAM_QUANTILE, MINUTE, CounterStart.ZERO, quantile=1.0),
        Signal(Function.IRATE, MINUTE, CounterStart.ZERO),
    ],
)
def test_a_signal_with_what_its_function_needs_makes_sense(signal: Signal) -> None:
    """Nothing is said of a signal that has all its function needs and no more."""
    assert said(signal) == []


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (
            Signal(Function.QUANTILE_OVER_TIME, MINUTE),
            "spec.signal.quantile: is required for function quantile_over_time: 0.95 is the value that 95 % are below",
        ),
        (Signal(Function.HISTOGRAM_QUANTILE, MINUTE, quantile=99), "spec.signal.quantile: must be from 0 to 1, got 99"),
        (
            Signal(Function.RATE, MINUTE, quantile=0.5),
            (
                "spec.signal.quantile: must not be set for function rate: it is for quantile_over_time and "
                "histogram_quantile"
            ),
        ),
        (
            Signal(Function.RATE, 50 * 3_600_000),
            (
                "spec.signal.window: must be at most 10000 × spec.interval (41h40m), got 50h: "
                "each sample of each series is kept"
            ),
        ),
        (
            Signal(Function.PREDICT_LINEAR, MINUTE),
            "spec.signal.ahead: is required for function predict_linear: how far ahead it looks",
        ),
        (
            Signal(Function.DERIV, MINUTE, ahead_ms=1),
            "spec.signal.ahead: must not be set for function deriv: it is for predict_linear",
        ),
        (
            Signal(Function.RESETS, MINUTE, CounterStart.ZERO),
            (
                "spec.signal.counterStart: must be first for function resets: zero is for rate, increase, irate and "
                "histogram_quantile"
            ),
        ),
        (Signal(Function.CHANGES), "spec.signal.window: is required for function changes"),
    ],
)
def test_what_a_function_lacks_or_cannot_use_is_said(signal: Signal, message: str) -> None:
    """A field that is missing, or there in vain, is an error that says for which functions it is."""
    assert said(signal) == [message]


def test_a_quantile_is_not_grouped_by_the_bounds_of_its_buckets() -> None:
    """With le in `by` there would be one bucket a group."""
    signal = Signal(Function.HISTOGRAM_QUANTILE, MINUTE, quantile=0.9)
    assert said(signal, Aggregate(("path", "le"))) == [
        "spec.aggregate.by: must not hold le for function histogram_quantile: it is what the quantile is made of"
    ]
