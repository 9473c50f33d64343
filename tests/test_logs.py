"""What is logged: one line an event, bounded in number and length."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.logs import BURST, MAX_FIELD_CHARS, BoundedHandler, Bucket, JsonFormatter, TextFormatter


class Log:
    """A handler with a clock of its own, and what it wrote."""

    def __init__(self, lines_a_second: int, formatter: logging.Formatter | None = None) -> None:
        self.now_s = 0.0
        self.stream = io.StringIO()
        self.handler = BoundedHandler(self.stream, lines_a_second, lambda: self.now_s)
        self.handler.setFormatter(formatter or TextFormatter())

    def say(self, text: str = "x", level: int = logging.INFO, **fields: object) -> None:
        self.handler.handle(logging.makeLogRecord({"msg": text, "levelno": level, "levelname": "L", **fields}))

    def lines(self) -> list[str]:
        """Return what was written since the last look."""
        written = self.stream.getvalue().splitlines()
        self.stream.seek(0)
        self.stream.truncate()
        return written


def test_a_flood_is_cut_and_the_next_line_says_how_much_is_missing() -> None:
    """A burst is written, the rest counted; a fifth is kept for warnings; one line tells before the next."""
    log = Log(10)
    for _ in range(1_000):
        log.say()
    assert len(log.lines()) == 80
    assert log.handler.dropped == 920
    for _ in range(1_000):
        log.say(level=logging.WARNING)
    assert len(log.lines()) == 21
    assert log.handler.dropped == 920 + 980
    log.now_s += BURST
    log.say("after", level=logging.WARNING)
    told, after = log.lines()
    assert told.endswith('WARNING log lines left out lines=980 bound="--log-rate 10"')
    assert after.endswith("after")
    log.say("quiet again")
    assert len(log.lines()) == 1


@given(
    rate=st.integers(1, 1_000),
    steps=st.lists(st.tuples(st.floats(-5, 5), st.booleans()), max_size=200),
)
def test_the_bucket_never_gives_more_than_it_holds_and_gains(rate: int, steps: list[tuple[float, bool]]) -> None:
    """Whatever the clock does: as many as the burst and the time that went forward allow, and one a second at least."""
    bucket = Bucket(float(rate), float(BURST * rate), float(BURST * rate))
    now_s, forward_s, taken = 0.0, 0.0, 0
    bucket.take(now_s, leave=bucket.size)
    for step_s, warning in steps:
        forward_s += max(0.0, step_s)
        now_s += step_s
        taken += bucket.take(now_s, 0.0 if warning else bucket.size / 5)
        assert taken <= BURST * rate + forward_s * rate + 1e-6
    assert bucket.take(now_s + 2)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_no_line_is_endless(formatter: logging.Formatter) -> None:
    """Fields, messages and tracebacks are cut, with how much is missing, and JSON stays JSON."""
    log = Log(10, formatter)
    try:
        dict[str, int]()["y" * 100_000]
    except KeyError:
        log.say("z" * 100_000, detail="x" * 100_000, many=["a" * 10] * 10_000, count=7, exc_info=sys.exc_info())
    text = log.stream.getvalue()
    assert len(text) < 4 * MAX_FIELD_CHARS + 20_000
    assert f"… ({100_000 - MAX_FIELD_CHARS} characters left out)" in text
    if isinstance(formatter, JsonFormatter):
        assert json.loads(text)["count"] == 7


def test_a_line_cannot_be_forged() -> None:
    """A line feed in a field stays within its quotes."""
    log = Log(10)
    log.say(detail="a\n2026-01-01T00:00:00Z ERROR forged")
    (line,) = log.lines()
    assert r'detail="a\n2026-01-01T00:00:00Z ERROR forged"' in line


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
@given(text=st.text(max_size=40))
def test_whatever_is_said_is_one_line(formatter: logging.Formatter, text: str) -> None:
    """No text, in a message or in a field, ends a line or holds a character that a terminal acts upon."""
    log = Log(10, formatter)
    log.say(text, detail=text)
    written = log.stream.getvalue()
    assert written.endswith("\n")
    assert written[:-1].isprintable()
