"""When an endpoint is read: its rhythm, and what failures, recoveries and pauses that were asked for make of it."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.breaker import LONGEST_ASKED_MS, LONGEST_OPEN_MS, THRESHOLD, Breaker, Rhythm, State, open_ms
from scaler.model import Reason, Unknown

DOWN = Unknown(Reason.SOURCE_ERROR, "connection refused")
SECOND = Rhythm(1_000, 300)

INTERVALS = st.integers(1_000, 120_000)
ASKED = st.one_of(st.none(), st.integers(0, 10**15))


def cap_ms(interval_ms: int) -> int:
    return max(interval_ms, LONGEST_OPEN_MS)


def fails(breaker: Breaker, times: int, max_age_ms: int = 0, asked_ms: int | None = None) -> Breaker:
    """Return the breaker after so many failed reads, each begun when it was due and ended at once."""
    for _ in range(times):
        at_ms = breaker.next_ms
        breaker = breaker.began(at_ms).failed(DOWN, at_ms, at_ms, max_age_ms, asked_ms)
    return breaker


@given(interval_ms=INTERVALS, read_ms=st.integers(0, 10**13), trips=st.integers(0, 40), name=st.text())
def test_reads_stay_on_the_phase_and_never_bunch(interval_ms: int, read_ms: int, trips: int, name: str) -> None:
    """Every read falls on its phase, half an interval to the cap and one interval later."""
    rhythm = Rhythm.of(name, interval_ms)
    due_ms = rhythm.after(read_ms, open_ms(trips, interval_ms))
    assert due_ms % interval_ms == rhythm.phase_ms
    assert interval_ms // 2 <= due_ms - read_ms <= cap_ms(interval_ms) + interval_ms
    assert rhythm.first_delay_ms(0) == 0
    assert 0 <= rhythm.first_delay_ms() <= 1_000
    assert 0 <= rhythm.first_delay_ms(5_000) <= min(interval_ms, 10_000)


def test_a_healthy_endpoint_is_read_once_an_interval() -> None:
    """A read that began on its phase is followed by one exactly an interval later, however long it took."""
    breaker = Breaker.new(SECOND, 0).began(10_300).succeeded(10_300, 10_999)
    assert (breaker.next_ms, breaker.wait_ms(10_300, 10_999)) == (11_300, 301)


def test_what_was_never_read_opens_on_the_third_failure_and_doubles_up_to_a_cap() -> None:
    """Nothing is lost by reading less often then: 2, 4 and 8 intervals, and half a minute at most."""
    assert [open_ms(n, 1_000) for n in range(1, 6)] == [2_000, 4_000, 8_000, 8_000, 8_000]
    assert open_ms(30, 15_000) == 30_000
    assert open_ms(30, 60_000) == 60_000
    breaker = fails(Breaker.new(SECOND, 0), THRESHOLD - 1)
    assert (breaker.state, breaker.failures) == (State.CLOSED, 2)
    breaker = fails(breaker, 1)
    assert (breaker.state, breaker.trips, breaker.next_ms - breaker.since_ms) == (State.OPEN, 1, 2_000)
    breaker = fails(breaker, 1)
    assert (breaker.state, breaker.trips, breaker.next_ms - breaker.since_ms) == (State.OPEN, 2, 4_000)


def test_half_open_lets_one_read_through_and_one_success_closes() -> None:
    """The read after a pause decides; a good one takes every failure back, and is followed by one an interval later."""
    breaker = fails(Breaker.new(SECOND, 0), 5)
    probing = breaker.began(breaker.next_ms)
    assert (probing.state, probing.reading) == (State.HALF_OPEN, True)
    with pytest.raises(ValueError, match="under way"):
        probing.began(breaker.next_ms)
    closed = probing.succeeded(breaker.next_ms, breaker.next_ms + 5)
    assert (closed.state, closed.failures, closed.trips, closed.failure) == (State.CLOSED, 0, 0, None)
    assert (closed.next_ms - breaker.next_ms, closed.opened, closed.since_ms) == (1_000, 3, breaker.next_ms + 5)


def test_while_a_value_can_be_kept_current_every_interval_is_read() -> None:
    """With a good read that still counts the breaker stays closed; it opens when the next read would come too late."""
    good = Breaker.new(SECOND, 0).began(300).succeeded(300, 310)
    breaker = fails(good, 59, max_age_ms=60_000)
    assert (breaker.state, breaker.failures, breaker.next_ms) == (State.CLOSED, 59, 60_300)
    assert fails(breaker, 1, max_age_ms=60_000).state is State.OPEN


@given(
    interval_ms=INTERVALS,
    missed=st.lists(st.integers(0, 12), max_size=20),
    patience=st.integers(2, 12),
    odd_ms=st.integers(0, 999),
    name=st.text(),
)
def test_a_breaker_makes_nothing_stale_that_plain_retries_keep_current(
    interval_ms: int, missed: list[int], patience: int, odd_ms: int, name: str
) -> None:
    """Whatever the pattern of outages: where a read every interval never lets maxAge pass, neither does the breaker."""
    max_age_ms = patience * interval_ms + odd_ms
    up = [True]
    for outage in missed:
        up += [False] * min(outage, patience - 1) + [True]
    breaker = Breaker.new(Rhythm.of(name, interval_ms), 0)
    start_ms, goods = breaker.rhythm.at_or_after(breaker.next_ms), []
    at_ms = start_ms
    while (tick := (at_ms - start_ms) // interval_ms) < len(up):
        breaker = breaker.began(at_ms)
        if up[tick]:
            goods.append(at_ms)
            breaker = breaker.succeeded(at_ms, at_ms)
        else:
            breaker = breaker.failed(DOWN, at_ms, at_ms, max_age_ms)
        at_ms = breaker.next_ms
    assert goods == [start_ms + tick * interval_ms for tick, is_up in enumerate(up) if is_up]
    assert all(later - sooner <= max_age_ms for sooner, later in itertools.pairwise(goods))


@given(
    interval_ms=INTERVALS,
    began_ms=st.integers(0, 10**13),
    reads=st.lists(st.tuples(st.booleans(), st.integers(0, 60_000), ASKED), max_size=40),
    max_age_ms=st.integers(2_000, 3_600_000),
)
def test_the_machine_holds_whatever_happens(
    interval_ms: int, began_ms: int, reads: list[tuple[bool, int, int | None]], max_age_ms: int
) -> None:
    """One read at a time, on its phase, open never longer than the caps, closed by one success, counted right."""
    breaker = Breaker.new(Rhythm.of("x", interval_ms), began_ms)
    row = 0
    for index, (good, took_ms, asked_ms) in enumerate(reads):
        read_ms = breaker.next_ms
        was_open = breaker.state is State.OPEN
        breaker = breaker.began(read_ms)
        assert breaker.state is (State.HALF_OPEN if was_open else State.CLOSED)
        ended_ms = read_ms + took_ms
        if good:
            row, breaker = 0, breaker.succeeded(read_ms, ended_ms)
            assert breaker.state is State.CLOSED
        else:
            row, breaker = row + 1, breaker.failed(DOWN, read_ms, ended_ms, max_age_ms, asked_ms)
            assert breaker.state in (State.OPEN, State.CLOSED)
            if asked_ms is not None:
                assert breaker.state is State.OPEN
                assert breaker.next_ms >= ended_ms + min(asked_ms, LONGEST_ASKED_MS) or not asked_ms
        assert not breaker.reading
        assert breaker.failures == row
        assert breaker.next_ms > read_ms
        assert index == 0 or breaker.next_ms - read_ms >= interval_ms // 2
        assert (breaker.next_ms - breaker.rhythm.phase_ms) % interval_ms == 0
        longest_ms = LONGEST_ASKED_MS + took_ms if asked_ms and not good else cap_ms(interval_ms)
        assert breaker.next_ms - read_ms <= longest_ms + interval_ms
        assert 0 <= breaker.wait_ms(read_ms, ended_ms) <= longest_ms + interval_ms
        json.dumps(breaker.as_json(), allow_nan=False)


def test_a_pause_that_was_asked_for_is_kept_and_bounded() -> None:
    """It begins at once and ends on the phase after it; more than five minutes are not granted."""
    asked = fails(Breaker.new(SECOND, 0), 1, max_age_ms=10**9, asked_ms=20_000)
    assert (asked.state, asked.asked_until_ms, asked.next_ms) == (State.OPEN, 20_300, 20_300)
    hostile = fails(Breaker.new(SECOND, 0), 1, asked_ms=10**15)
    assert hostile.next_ms - hostile.since_ms == LONGEST_ASKED_MS
    untold = fails(Breaker.new(SECOND, 0), 2, max_age_ms=10**9, asked_ms=0)
    assert (untold.state, untold.asked_until_ms, untold.next_ms - untold.since_ms) == (State.OPEN, None, 4_000)


@given(jump_ms=st.integers(-(10**13), 10**13))
def test_a_clock_that_jumps_during_a_read_delays_nothing(jump_ms: int) -> None:
    """Set back or forward by years, the next read comes within two intervals, for a good read and a failed one."""
    begun = Breaker.new(SECOND, 10**14).began(10**14)
    now_ms = 10**14 + jump_ms
    for after in (begun.succeeded(10**14, now_ms), begun.failed(DOWN, 10**14, now_ms, 0)):
        assert 0 <= after.wait_ms(10**14, now_ms) <= 2_000
