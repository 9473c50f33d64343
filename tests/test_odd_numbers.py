"""Numbers at the ends of what a float, and what an HPA, can hold: the outcomes that docs/unknown.md states."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import pytest

from adapter.api.encode import Form, values
from scaler import kernels as k
from scaler.answer import UnknownAnswer, answer
from scaler.model import ExternalMetricValue, MetricResult, Reason, Then, Unknown, WhenUnknown
from scaler.quantity import MAX_MILLI
from scaler.rules import Aggregate, AggregateOp, Function, MetricRule, Signal
from scaler.selector import parse
from tests.builders import REF, Bench, batch, failure, milli, queue, reasons

VALUE = MetricRule(REF, "M", "s", interval_ms=15_000, targets=("t",))
SUM = replace(VALUE, aggregate=Aggregate())
A, B = queue("a"), queue("b")
TIMEOUT = Unknown(Reason.SOURCE_ERROR, "timeout")


def nan(bits: int) -> float:
    found: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return found


def once(rule: MetricRule, *readings: float) -> MetricResult:
    return Bench(rule).at(1, batch(1, dict(zip((A, B), readings, strict=False))))


@pytest.mark.parametrize(
    ("value", "out"),
    [
        (5e-324, 1),  # the least float: above zero is at least a thousandth, which wakes a workload
        (0.001, 1),
        (1.1, 1_100),
        (2.0**53, 2**53 * 1000),
        (9.2e15, MAX_MILLI),
        (1e16, MAX_MILLI),  # an HPA would take it for 0
        (1.7976931348623157e308, MAX_MILLI),
        (-0.0, 0),
    ],
)
def test_a_finite_value(value: float, out: int) -> None:
    """Any finite value from zero on has milli-units that an HPA's int64 holds."""
    assert milli(once(VALUE, value)) == {A: out}


@pytest.mark.parametrize("policy", [WhenUnknown(), WhenUnknown(Then.HOLD, hold_for_ms=60_000)], ids=["error", "hold"])
def test_items_that_no_hpa_can_add_up_are_no_answer(policy: WhenUnknown) -> None:
    """The sum of an HPA wraps below zero, which takes all replicas away: a reader of all is told no number."""
    bench = Bench(replace(VALUE, when_unknown=policy))
    bench.at(1, batch(1, {A: 5e15, B: 4.1e15}))
    assert len(told(bench, "")) == 2
    bench.at(16, batch(16, {A: 5e15, B: 5e15}))
    assert told(bench, "") == "NotFinite: the items add up to more than 9.2e+15, the most that an HPA can hold"
    assert len(told(bench, "queue=a")) == 1
    bench.at(100, failure(100, TIMEOUT))
    assert isinstance(told(bench, "", 100), str)


def told(bench: Bench, selector: str, now_s: float = 16) -> tuple[ExternalMetricValue, ...] | str:
    found = answer(bench.snapshot.results[REF], parse(selector), round(now_s * 1000))
    return found.detail if isinstance(found, UnknownAnswer) else found


def test_minus_zero_is_zero_on_the_wire() -> None:
    """Nothing says -0."""
    (item,) = once(VALUE, -0.0).items
    assert isinstance(item, ExternalMetricValue)
    assert b'"value":"0"' in values("m", (item,), Form.JSON)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_not_finite(value: float) -> None:
    """NaN and the infinities are unknown, in a sum too."""
    assert reasons(once(VALUE, value)) == {A: "NotFinite"}
    assert reasons(once(SUM, value, 1.0)) == {(): "NotFinite"}


@pytest.mark.parametrize(
    "bits", [k.ABSENT_BITS, k.FAILED_BITS & (2**64 - 1), 0x7FF0000000000001, 0x7FF8DEADBEEF0000, 0xFFF8000000000000]
)
def test_a_nan_with_a_payload_is_like_any_other(bits: int) -> None:
    """Whatever a source's NaN carries, also our own marks of absent and failed samples: no sum is one of the rest."""
    assert reasons(once(VALUE, nan(bits))) == {A: "NotFinite"}
    assert reasons(once(SUM, nan(bits), 1.0)) == {(): "NotFinite"}


@pytest.mark.parametrize(
    "bits", [0x7FF8000000000000, 0x7FF8DEADBEEF0000, k.ABSENT_BITS, k.FAILED_BITS], ids=lambda bits: f"{bits:x}"
)
def test_a_nan_in_a_window(bits: int) -> None:
    """Nor is an increase one of the samples that are left."""
    bench = Bench(replace(SUM, signal=Signal(Function.INCREASE, 60_000)))
    bench.at(1, batch(1, {A: nan(bits), B: 1.0}))
    for t in (16, 31):
        result = bench.at(t, batch(t, {A: float(t), B: float(t)}))
    assert reasons(result) == {(): "NotFinite"}


def test_a_sum_that_overflows_is_not_finite() -> None:
    """Two values near the end of the floats have no sum; their mean neither."""
    assert reasons(once(SUM, 1.5e308, 1.5e308)) == {(): "NotFinite"}
    assert milli(once(replace(SUM, aggregate=Aggregate(op=AggregateOp.MAX)), 1.5e308, 1.0)) == {(): MAX_MILLI}


def test_a_difference_that_overflows_is_not_finite() -> None:
    """The delta of the ends of the floats is unknown, not infinite."""
    bench = Bench(replace(VALUE, signal=Signal(Function.DELTA, 60_000)))
    bench.at(1, batch(1, {A: -1.7e308}))
    assert reasons(bench.at(16, batch(16, {A: 1.7e308}))) == {A: "NotFinite"}


def test_the_least_float_is_a_rate() -> None:
    """Counters that differ by the least float have a rate, and it is above zero or zero: never unknown."""
    bench = Bench(replace(VALUE, signal=Signal(Function.INCREASE, 60_000)))
    bench.at(1, batch(1, {A: 0.0}))
    assert milli(bench.at(60, batch(60, {A: 5e-324}))) == {A: 1}
