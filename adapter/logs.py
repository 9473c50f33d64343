"""Log lines: text for people or JSON for machines, one line an event, fields named."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

DEFAULT_LINES_A_SECOND = 100
BURST = 10
"""Seconds' worth of lines that may come at once: a start, a rollout, a Redis that takes a hundred metrics with it."""

MAX_FIELD_CHARS = 4_096
"""Of a field's text."""

MAX_TRACEBACK_CHARS = 16_384

_KEPT_FOR_WARNINGS = 0.2
"""Of the burst: what is merely worth knowing must not crowd out what is wrong."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = ((name, value) for name, value in vars(record).items() if name not in _STANDARD)
    return {name: value if isinstance(value, int | float) else _cut(str(value)) for name, value in fields}


def _cut(text: str, most: int = MAX_FIELD_CHARS) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} characters left out)"


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return _cut(formatter.formatException(record.exc_info), MAX_TRACEBACK_CHARS) if record.exc_info else ""


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """`2026-01-02T03:04:05.678Z WARNING metric unknown metric=shop/orders reason=SourceError`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception's traceback follows it."""
        fields = "".join(f" {name}={_quoted(str(value))}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {_on_one_line(_cut(record.getMessage()))}{fields}"
        return f"{line}\n{_traceback(self, record)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception's traceback is a field of it."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "message": _cut(record.getMessage()),
        }
        line |= _fields(record)
        if record.exc_info:
            line["traceback"] = _traceback(self, record)
        # Escaped where a reader might take a character for the end of the line: U+2028, U+0085.
        text = json.dumps(line, default=str, ensure_ascii=False)
        return text if text.isprintable() else json.dumps(line, default=str)


def _quoted(text: str) -> str:
    plain = text and text.isprintable() and not any(c in text for c in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())


def _on_one_line(text: str) -> str:
    """Return a message in which nothing ends the line or moves a terminal's cursor: that would forge another line."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


@dataclass(slots=True)
class Bucket:
    """How many lines may be written now: so many a second, and a burst after a time of rest. Holds no clock.

    Args:
        rate: Tokens that come a second.
        size: The most there may be.
        tokens: Those there are.
        filled_s: When they were counted; None: never.
    """

    rate: float
    size: float
    tokens: float
    filled_s: float | None = None

    def take(self, now_s: float, leave: float = 0.0) -> bool:
        """Take a token, if at least `leave` of them stay behind. A clock that goes back fills nothing."""
        if self.filled_s is not None:
            self.tokens = min(self.size, self.tokens + max(0.0, now_s - self.filled_s) * self.rate)
        self.filled_s = now_s
        if self.tokens < 1 + leave:
            return False
        self.tokens -= 1
        return True


class BoundedHandler(logging.StreamHandler[TextIO]):
    """Writes lines, as many as the bucket allows.

    What is left out is counted, and the next line that is written is preceded by one that says how many there were.
    `dropped` is how many there were in all.
    """

    def __init__(self, stream: TextIO, lines_a_second: int, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        size = float(BURST * lines_a_second)
        self._bucket = Bucket(float(lines_a_second), size, size)
        self._now_s = now_s
        self._unsaid = 0
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it. Called with the handler's lock held."""
        leave = 0.0 if record.levelno >= logging.WARNING else _KEPT_FOR_WARNINGS * self._bucket.size
        if not self._bucket.take(self._now_s(), leave):
            self.dropped += 1
            self._unsaid += 1
            return
        if self._unsaid:
            fields = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
            said = {"msg": "log lines left out", "lines": self._unsaid, "bound": f"--log-rate {self._bucket.rate:g}"}
            self._unsaid = 0
            super().emit(logging.makeLogRecord(fields | said))
        super().emit(record)


def configure(level: str, form: str, lines_a_second: int = DEFAULT_LINES_A_SECOND) -> BoundedHandler:
    """Send log lines to standard error. Returns: what counts those that were left out."""
    handler = BoundedHandler(sys.stderr, lines_a_second)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Libraries log what we already say in our own words, some of it at every poll.
    for noisy in ("aiohttp.access", "aiohttp.server", "asyncio", "numba"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    return handler
