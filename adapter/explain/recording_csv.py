"""Recordings as CSV."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from adapter.explain.recording import HEADER, Row, Rows, lines_of, moment, rows_of

_HEAD = ",".join(HEADER) + "\n"
_MOMENT_CHARS = len("2026-01-02T03:04:05.000Z")


class Csv:
    """Text: one line a row, after the names of the columns."""

    def read(self, content: bytes) -> Rows:
        """Return what is in a file; nothing is in an empty one."""
        text = content.decode("utf-8")
        if text and not text.startswith(_HEAD):
            raise ValueError(f"its first line must be {_HEAD.strip()}")
        lines = text[len(_HEAD) :].splitlines(keepends=True)
        for line in (*lines[:1], *lines[-1:]):
            rows_of(line)
        return _Lines(tuple(lines))


@dataclass(frozen=True, slots=True)
class _Lines:
    """Rows as they stand in the file. Their times are equally long, so that they sort as text."""

    lines: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def last_ms(self) -> int | None:
        return self.time_ms(len(self.lines) - 1) if self.lines else None

    def time_ms(self, place: int) -> int:
        text = self.lines[place][:_MOMENT_CHARS]
        return round(datetime.fromisoformat(text).timestamp() * 1000)

    def after(self, time_ms: int) -> Rows:
        place = bisect_right(self.lines, moment(max(time_ms, 0)), key=lambda line: line[:_MOMENT_CHARS])
        return _Lines(self.lines[place:])

    def plus(self, rows: Sequence[Row]) -> Rows:
        return _Lines((*self.lines, *lines_of(rows).splitlines(keepends=True)))

    def content(self) -> bytes:
        return (_HEAD + "".join(self.lines)).encode()
