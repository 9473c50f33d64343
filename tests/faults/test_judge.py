"""The judge of the fault matrix sees what is wrong."""

from __future__ import annotations

from tests.faults.judge import neighbour, reads, reason_of
from tests.faults.truth import Span
from tests.faults.watcher import Seen, quantity

T = 1_700_000_000_000


def seen(value: float, after_ms: float, *, stamp_ms: float = T, status: int = 200, starved_ms: float = 0) -> Seen:
    return Seen(T + after_ms, status, value, stamp_ms, "", starved_ms)


def was(each: Seen) -> Span | None:
    """5 was true in the first 50 ms."""
    return Span(T, T + 50) if each.value == 5 else None


def test_a_wrong_value_a_wrong_time_and_an_error_are_found() -> None:
    """A value that never was, a time that was not its own, and an error are each found; a good answer is not."""
    assert neighbour("n", [seen(5, 900)], was) == (850, [])
    assert "never true" in neighbour("n", [seen(6, 900)], was)[1][0]
    assert "not at" in neighbour("n", [seen(5, 900, stamp_ms=T + 60)], was)[1][0]
    assert "not at" in neighbour("n", [seen(5, 900, stamp_ms=T - 2001)], was)[1][0]
    assert "got" in neighbour("n", [seen(5, 0, status=503)], was)[1][0]
    assert neighbour("n", [], was)[1] == ["n: nobody asked"]


def test_an_old_value_is_found_unless_the_machine_was_to_blame() -> None:
    """More than two intervals are too old, but for as long as the adapter had no processor in that time."""
    assert "2050 ms old" in neighbour("n", [seen(5, 2100)], was)[1][0]
    starved = [seen(5, 100, starved_ms=10), seen(5, 2100, starved_ms=80)]
    assert neighbour("n", starved, was)[1] == []
    long_ago = [seen(5, 50, starved_ms=0), seen(5, 1900, starved_ms=80), seen(5, 3000, starved_ms=80)]
    assert neighbour("n", long_ago, was)[1] != []


def test_a_value_from_the_future_is_wrong() -> None:
    """What becomes true only later cannot have been read."""
    assert reads([Seen(T - 2000, 200, 5, T, "", 0)], was)[1] != []


def test_messages_and_quantities_are_read() -> None:
    """Reason and detail of a Status message, and the number of a quantity with a suffix."""
    said = "metric shop/a is unknown: queue=jobs: SourceError: h:1/0: timeout since 12:01:05Z"
    assert reason_of(said) == ("SourceError", "h:1/0: timeout")
    assert reason_of("metric shop/a is unknown: Stale since 12:01:05Z") == ("Stale", "")
    assert reason_of("no metric")[0] == ""
    assert [quantity(text) for text in ("1500m", "7", "2k", "1M")] == [1.5, 7, 2000, 1_000_000]
