"""signal.fullWindow: while a window fills, unknown instead of a part."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Reason, Unknown
from scaler.rules import Aggregate, CounterStart, Function, MetricRule, Signal, problems
from tests.builders import REF, Bench, batch, failure, milli, queue, reasons

WINDOW_S, STEP_S = 60, 5
PARTIAL = MetricRule(
    REF, "M", "s", STEP_S * 1000, ("t",), Signal(Function.RATE, WINDOW_S * 1000), Aggregate(), max_age_ms=15_000
)
FULL = replace(PARTIAL, signal=replace(PARTIAL.signal, full_window=True))
A = queue("a")
TIMEOUT = Unknown(Reason.SOURCE_ERROR, "timeout")


def rate(bench: Bench, time_s: float, value: float, target: str = "t") -> float | str:
    """Read a counter and return its rate, or why there is none."""
    result = bench.at(time_s, batch(time_s, {A: value}, target=target))
    if result.unknown is not None:
        return result.unknown.reason.value
    return next(iter(reasons(result).values()), None) or next(iter(milli(result).values())) / 1000


def test_by_default_it_is_known_at_two_samples() -> None:
    """Then it is what Prometheus says of them, a part of the truth."""
    bench = Bench(PARTIAL)
    assert rate(bench, 1_000, 5_000) == "TooFewSamples"
    assert rate(bench, 1_005, 5_050) == pytest.approx(10 * 7.5 / 60)


def test_the_sentence_says_since_when_it_fills() -> None:
    """The detail stays the same until the window is full."""
    bench = Bench(FULL)
    said = {bench.at(t, batch(t, {A: 10.0 * t})).unknown for t in range(1_000, 1_050, 5)}
    assert said == {Unknown(Reason.TOO_FEW_SAMPLES, "t: the window is not full: first read at 00:16:40Z", 1_000_000)}


@given(
    late_ms=st.lists(st.integers(0, 300), min_size=20, max_size=20),
    per_s=st.integers(1, 500),
    before=st.integers(100, 100_000),
)
def test_what_is_known_is_the_truth(late_ms: list[int], per_s: int, before: int) -> None:
    """Of a steady counter, read a little late now and then, the rate is unknown for a window and then the true one."""
    bench, known = Bench(FULL), []
    for i, late in enumerate(late_ms):
        time_s = 1_000 + STEP_S * i + late / 1000
        found = rate(bench, time_s, before * per_s + per_s * (time_s - 1_000))
        if not isinstance(found, str):
            known.append(i)
            assert found == pytest.approx(per_s, rel=1e-3)
    assert known == list(range(known[0], 20))
    assert known[0] in (10, 11, 12)


def test_a_new_process_is_not_waited_for() -> None:
    """A pod that started after the metric was configured counts from zero at once, and takes nothing away."""
    zero = replace(FULL.signal, counter_start=CounterStart.ZERO)
    bench = Bench(replace(FULL, signal=zero))
    for t in range(1_000, 1_100, 5):
        before = rate(bench, t, 10.0 * t)
    bench.rule = replace(bench.rule, targets=("t", "u"))
    read = batch(1_100, {A: 11_000.0}), batch(1_101, {A: 60.0}, target="u", start_s=1_095)
    assert before == pytest.approx(10)
    assert milli(bench.at(1_101, *read))[()] == pytest.approx(11_000, rel=0.05)  # 60 more in the last minute


def test_a_target_that_is_added_is_waited_for() -> None:
    """Of one whose past is not known the earlier value stands in until maxAge; minCoverage may do without it."""
    for least, out in ((1.0, "TooFewSamples"), (0.5, 10.0)):
        bench = Bench(replace(FULL, min_coverage=least))
        for t in range(1_000, 1_100, 5):
            rate(bench, t, 10.0 * t)
        bench.rule = replace(bench.rule, targets=("t", "u"))
        bench.at(1_100, batch(1_100, {A: 5_000.0}, target="u"))
        assert rate(bench, 1_105, 11_050) == pytest.approx(10)
        for t in range(1_110, 1_150, 5):
            bench.at(t, batch(t, {A: 10.0 * t}))
            found = rate(bench, t + 0.5, 5_000, "u")
        assert found == out if isinstance(out, str) else found == pytest.approx(out)


def test_an_outage_longer_than_the_window_empties_it() -> None:
    """After it the window fills anew; one that is shorter leaves samples from before it."""
    for away_s, known in ((40, True), (70, False)):
        bench = Bench(FULL)
        for t in range(1_000, 1_100, 5):
            rate(bench, t, 10.0 * t)
        back_s = 1_095 + away_s
        bench.at(back_s - 5, failure(back_s - 5, TIMEOUT))
        rate(bench, back_s, 10.0 * back_s)
        found = rate(bench, back_s + 5, 10.0 * (back_s + 5))
        assert (found == pytest.approx(10)) if known else (found == "TooFewSamples")


def test_a_series_that_cannot_be_read_does_not_let_the_others_through() -> None:
    """Beside a series with a problem the others of its target are a part as well."""
    bench = Bench(replace(FULL, aggregate=None))
    for t in (1_000, 1_005, 1_010):
        result = bench.at(t, batch(t, {A: 10.0 * t, queue("b"): TIMEOUT}))
    assert result.unknown is not None
    assert result.unknown.reason is Reason.TOO_FEW_SAMPLES


def test_value_has_no_window() -> None:
    """It is an error for function value."""
    rule = replace(PARTIAL, signal=Signal(full_window=True))
    assert list(problems(rule)) == [("spec.signal.fullWindow", "must not be true for function value: it has no window")]
