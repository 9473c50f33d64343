"""Prometheus text exposition 0.0.4 to columns: the series of the wanted metrics, in order, and their values."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from scaler import textscan
from scaler.model import F64, I64, U8, Labels

_MESSAGES = {
    textscan.METRIC_NAME: "expected a metric name",
    textscan.LABEL_NAME: "expected a label name or '}'",
    textscan.EQUALS: "expected '=' after label name",
    textscan.QUOTE: "expected '\"' before label value",
    textscan.ESCAPE: 'unknown escape in label value: only \\\\, \\" and \\n are allowed',
    textscan.UNCLOSED: "label value is not closed on its line",
    textscan.COMMA: "expected ',' or '}' after label value",
    textscan.UTF8: "not valid UTF-8",
    textscan.LABEL_TWICE: "label name given twice",
    textscan.MANY_LABELS: f"more than {textscan.MAX_LABELS} labels",
    textscan.VALUE: "expected a number",
    textscan.RANGE: "number out of the range of a float64",
    textscan.TIMESTAMP: "expected an integer timestamp in milliseconds",
    textscan.TRAILING: "unexpected text after timestamp",
    textscan.META_NAME: "expected a metric name after # HELP or # TYPE",
    textscan.META_TYPE: "expected counter, gauge, histogram, summary or untyped after # TYPE",
    textscan.CUT: "last line does not end with a line feed: the page may have been cut",
}

# Both only see lines that the scanner accepted.
_LABEL = re.compile(rb'([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")

_FIRST_LINES = 64


class ParseError(Exception):
    """The page is not valid, none of it is used. `line` and `column` count from 1, columns in bytes."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.line = line
        self.column = column


class TooManySeriesError(Exception):
    """The page has more wanted series than allowed."""

    def __init__(self, max_series: int) -> None:
        super().__init__(f"more than {max_series} series of the metrics that are read")


@dataclass(frozen=True, eq=False, slots=True)
class PageLayout:
    """The wanted series of a page, compared by identity.

    Args:
        names: Their metric names.
        series: Their labels without `__name__` and without empty values: to Prometheus an empty label is an absent one.
    """

    names: tuple[str, ...]
    series: tuple[Labels, ...]

    def __len__(self) -> int:
        return len(self.series)


_NOTHING = PageLayout((), ())


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says of the wanted metrics. `values` has the shape (len(layout),); NaN and Inf are as they came."""

    layout: PageLayout
    values: F64


class TextParser:
    """Parses one target's page again and again, quickly while its wanted series stay the same.

    Timestamps in a page are ignored. Not to be used by two threads at a time; the heavy part runs without the GIL.

    Args:
        names: The metric names to bring out; histograms and summaries by the names of their lines (`…_bucket`).
        max_series: A page with more wanted series is refused.
    """

    def __init__(self, names: Iterable[str], max_series: int) -> None:
        encoded = sorted({name.encode() for name in names})
        self._names, self._names_at = _joined(encoded)
        self._table = _name_table(self._names, self._names_at)
        self._max_series = max_series
        self._layout = _NOTHING
        self._known, self._known_at = _joined([])
        self._order: I64 | None = None  # line of last time → its series, where the two differ

    def parse(self, page: bytes | bytearray | memoryview) -> Page:
        """Check every line of a page and return its wanted series.

        Returns: The layout is the very object of the last page while the set of wanted series is the same, in
            whatever order the page has them.
        Raises:
            ParseError: The page is not valid text, or gives a wanted series twice.
            TooManySeriesError: More wanted series than allowed.
        """
        view = memoryview(page).toreadonly()
        if not view:
            return self._accept(view, np.empty((0, 3), np.int64), np.empty(0))
        lines, values, expected = self._scan(view)
        for line in np.flatnonzero(lines[:, 2] >= 0).tolist():
            values[line] = _exact(view, *lines[line, 1:].tolist())
        if expected == len(values) == len(self._layout):
            return Page(self._layout, self._placed(values))
        return self._accept(view, lines, values)

    def _scan(self, view: memoryview) -> tuple[I64, F64, int]:
        """Return the wanted lines (see `textscan.scan`), their values, and how many were the ones expected next."""
        data = np.frombuffer(view, np.uint8)
        room = min(max(len(self._layout), _FIRST_LINES), self._max_series)
        lines, values = np.empty((room, 3), np.int64), np.empty(room)
        state = np.zeros(3, np.int64)
        while True:
            code = textscan.scan(
                data, self._names, self._names_at, self._table, self._known, self._known_at, lines, values, state
            )
            if code < 0:
                position, kind = divmod(-code, textscan.CODES)
                raise _error(view, position, _MESSAGES[kind])
            count = int(state[1])
            if code == textscan.DONE:
                return lines[:count], values if count == room else values[:count].copy(), int(state[2])
            if room == self._max_series:
                raise TooManySeriesError(room)
            room = min(4 * room, self._max_series)
            more = room - count
            lines = np.concatenate((lines, np.empty((more, 3), np.int64)))
            values = np.concatenate((values, np.empty(more)))

    def _placed(self, values: F64) -> F64:
        if self._order is None:
            return values
        placed = np.empty_like(values)
        placed[self._order] = values
        return placed

    def _accept(self, view: memoryview, lines: I64, values: F64) -> Page:
        """Find each line's series, keep the layout if they are the same set, and expect these lines next time."""
        old = self._layout
        by_prefix = self._by_prefix()
        by_series: dict[tuple[str, Labels], int] = {}
        keys = list(zip(old.names, old.series, strict=True))
        prefixes: list[bytes] = []
        order: list[int] = []
        line_of: dict[int, int] = {}
        for line, (start, value_at) in enumerate(lines[:, :2].tolist()):
            prefix = bytes(view[start:value_at])
            series = by_prefix.get(prefix)
            if series is None:
                by_series = by_series or {key: index for index, key in enumerate(keys)}
                key = _decode(prefix)
                series = by_series.setdefault(key, len(keys))
                if series == len(keys):
                    keys.append(key)
            if series in line_of:
                first = _line_number(view, lines[line_of[series]].item(0))
                raise _error(view, start, f"series given twice, first in line {first}")
            line_of[series] = line
            prefixes.append(prefix)
            order.append(series)
        if len(order) != len(old) or len(keys) != len(old):
            names, labels = [keys[series][0] for series in order], [keys[series][1] for series in order]
            self._layout = PageLayout(tuple(names), tuple(labels))
            order = list(range(len(order)))
        self._known, self._known_at = _joined(prefixes)
        self._order = None if order == list(range(len(order))) else np.array(order, np.int64)
        return Page(self._layout, self._placed(values))

    def _by_prefix(self) -> dict[bytes, int]:
        """Return what the lines of last time began with → their series. Built when needed: it is large."""
        blob, ends = self._known.tobytes(), self._known_at.tolist()
        order: Sequence[int] = range(len(self._layout)) if self._order is None else self._order.tolist()
        return {blob[ends[line] : ends[line + 1]]: series for line, series in enumerate(order)}


def _joined(parts: Sequence[bytes]) -> tuple[U8, I64]:
    """Return the parts in one read-only array, and where each begins and ends; shapes (bytes,), (parts + 1,)."""
    ends = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=ends[1:])
    return np.frombuffer(b"".join(parts) or b"\0", np.uint8), ends


def _name_table(names: U8, names_at: I64) -> I64:
    """Return the hash table `textscan.scan` looks names up in, at most a quarter full."""
    count = len(names_at) - 1
    slots = 4 << count.bit_length()
    table = np.full(slots, -1, np.int64)
    for name in range(count):
        slot = textscan.name_slot(names, names_at[name], names_at[name + 1], slots)
        while table[slot] >= 0:
            slot = (slot + 1) % slots
        table[slot] = name
    return table


def _exact(view: memoryview, start: int, end: int) -> float:
    """Convert a value the scanner left to us: a decimal number by its syntax."""
    value = float(bytes(view[start:end]))
    if math.isinf(value):
        raise _error(view, start, _MESSAGES[textscan.RANGE])
    return value


def _decode(prefix: bytes) -> tuple[str, Labels]:
    """Return the name and labels of a line that the scanner accepted, from its text before the value."""
    name, _, inside = prefix.partition(b"{")
    labels = []
    for match in _LABEL.finditer(inside):
        text = match[2].decode()
        if "\\" in text:
            text = _ESCAPED.sub(lambda escape: "\n" if escape[1] == "n" else escape[1], text)
        if text:
            labels.append((sys.intern(match[1].decode()), text))
    return sys.intern(name.rstrip(b" \t").decode()), tuple(sorted(labels))


def _line_number(view: memoryview, position: int) -> int:
    return bytes(view[:position]).count(b"\n") + 1


def _error(view: memoryview, position: int, message: str) -> ParseError:
    column = position - bytes(view[:position]).rfind(b"\n")
    return ParseError(_line_number(view, position), column, message)
