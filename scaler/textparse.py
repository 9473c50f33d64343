"""Prometheus text and OpenMetrics to columns: the series of the wanted metrics, in order, and their values."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from scaler import textcodes, textindex, textlex, textscan
from scaler.model import F64, I64, U8, Labels

_T = TypeVar("_T", np.float64, np.int64)

# All only see text that the scanner accepted.
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_LABEL = re.compile(rf"(?:([a-zA-Z_][a-zA-Z0-9_]*)|{_QUOTED})[ \t]*(?:=[ \t]*{_QUOTED})?", re.DOTALL)
_BETWEEN = re.compile(",([a-zA-Z_][a-zA-Z0-9_]*)=")
_ESCAPED = re.compile(r'\\([\\n"])')

_FIRST_LINES = 64
_BYTES_A_LINE = 40  # most lines are longer; where they are not, room is made once more

# Nobody outside can know it, so nobody can write labels that all land in one place of a hash table.
_SEED = hash(b"spillway") | 1


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


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class PageLayout:
    """The wanted series of a page, compared by identity. What they are called is decoded when asked for.

    The pages of a workload's pods mostly have the same series: parsers that read the same hold the same object.

    Args:
        texts: What the series were written as, up to their values, one after another and a line feed at the end.
        text_at: Series i is texts[text_at[i] : text_at[i + 1]]; shape (len + 1,).
        identities: A hash of the name and labels of each, shape (len,).
    """

    texts: U8 = field(repr=False)
    text_at: I64 = field(repr=False)
    identities: I64 = field(repr=False)

    def __len__(self) -> int:
        return len(self.identities)

    @property
    def names(self) -> tuple[str, ...]:
        """The metric names, decoded at each call."""
        return tuple(self.series_at(i)[0] for i in range(len(self)))

    @property
    def series(self) -> tuple[Labels, ...]:
        """The labels without `__name__` and without empty values, decoded at each call.

        To Prometheus an empty label is an absent one.
        """
        return tuple(self.series_at(i)[1] for i in range(len(self)))

    def series_at(self, index: int) -> tuple[str, Labels]:
        """Return the name and labels of one series."""
        return _decode(self.texts[self.text_at[index] : self.text_at[index + 1]].tobytes())


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says of the wanted metrics.

    Args:
        layout: Its series.
        values: Shape (len(layout),); NaN and Inf are as they came.
        origins: Where each series was in the layout of the page before, shape (len(layout),), -1: nowhere; None: the
            layout is that of the page before.
    """

    layout: PageLayout
    values: F64
    origins: I64 | None = None


@dataclass(slots=True)
class _Scan:
    """What `textscan.scan` fills for one page."""

    values: F64
    seen: I64
    fresh: I64
    fresh_values: F64
    trail: I64
    state: I64
    given: F64


_NO_INDEX = np.empty(0, np.int64)
_NO_SERIES = PageLayout(np.frombuffer(b"\n", np.uint8), np.zeros(1, np.int64), _NO_INDEX)


class TextParser:
    """Parses one target's page again and again, quickly while its lines stay the same.

    Timestamps and exemplars are checked and ignored. Not to be used by two threads at a time; the heavy part runs
    without the GIL. What is remembered from one page to the next: the texts of the wanted series, and 8 bytes a line;
    parsers whose pages are the same but for their values share both.

    Args:
        names: The metric names to bring out; histograms and summaries by the names of their lines (`…_bucket`).
        max_series: A page with more wanted series is refused; at most 1,000,000.
    """

    def __init__(self, names: Iterable[str], max_series: int) -> None:
        self._names, self._names_at, self._table = _name_table(tuple(sorted({_escaped(n).encode() for n in names})))
        self._max_series = max_series
        self._openmetrics = False
        self._layout = self._written = _NO_SERIES  # the second is the same series as they were written last
        self._sequence = _NO_INDEX
        # Made when lines have moved, and only kept while they do.
        self._index = self._places = _NO_INDEX

    def parse(self, page: bytes | bytearray | memoryview, *, openmetrics: bool = False) -> Page:
        """Check every line of a page and return its wanted series.

        Args:
            page: Prometheus text 0.0.4 or 1.0.0.
            openmetrics: It is OpenMetrics 1.0.0 or 0.0.1.

        Returns: The layout is the very object of the last page while the set of wanted series is the same, in
            whatever order and spelling the page has them.

        Raises:
            ParseError: The page is not valid, is cut short, or gives a wanted series twice.
            TooManySeriesError: More wanted series than allowed.
        """
        view = memoryview(page).toreadonly()
        if openmetrics and bytes(view[-5:]) == b"# EOF":
            view = memoryview(bytes(view) + b"\n")  # the last line feed may be left out
        if openmetrics is not self._openmetrics:
            # What one format takes for a line, the other may not.
            self._sequence, self._openmetrics = _NO_INDEX, openmetrics
            self._index = self._places = _NO_INDEX
        if not view and not openmetrics:
            view = memoryview(b"\n")
        if not view or view[-1] != ord("\n"):
            raise _error(view, max(len(view) - 1, 0), textcodes.NO_END if openmetrics else textcodes.CUT)
        found = self._scan(view)
        known, fresh = len(self._layout), int(found.state[textscan.FRESH])
        if not fresh and found.state[textscan.FOUND] == known:
            self._follow(found.trail)
            return Page(self._layout, found.values)
        return self._resolve(view, found, known)

    def _scan(self, view: memoryview) -> _Scan:
        """Return what the page holds; `fresh`, `fresh_values` and `trail` have the length they are filled to."""
        page = np.frombuffer(view, np.uint8)
        known, lines = len(self._layout), len(self._sequence)
        # One place more than is allowed, so that one too many is seen.
        room = min(max(_FIRST_LINES, len(view) // _BYTES_A_LINE if not known else 0), self._max_series + 1)
        found = _Scan(
            np.empty(known),
            np.zeros(known, np.int64),
            np.empty((room, 3), np.int64),
            np.empty(room),
            np.empty(lines + max(_FIRST_LINES, 0 if lines else len(view) // _BYTES_A_LINE), np.int64),
            np.zeros(textscan.STATE, np.int64),
            np.empty(1),
        )
        found.state[textscan.SEED] = _SEED
        found.state[textscan.VALUE_AT] = -1
        scratch = np.zeros(textlex.SPANS, np.int64)
        while True:
            code = textscan.scan(
                page,
                self._openmetrics,
                self._names,
                self._names_at,
                self._table,
                self._written.texts,
                self._written.text_at,
                self._sequence,
                self._places,
                self._index,
                found.values,
                found.seen,
                found.fresh,
                found.fresh_values,
                found.trail,
                found.state,
                found.given,
                scratch,
            )
            if code < 0:
                raise self._failure(view, code, found)
            if code == textscan.INEXACT:
                found.given[0] = _exact(view, *found.state[[textscan.VALUE_AT, textscan.VALUE_END]].tolist())
            elif code == textscan.NO_INDEX:
                self._make_index()
            else:
                lines, fresh = int(found.state[textscan.LINES]), int(found.state[textscan.FRESH])
                if fresh > self._max_series or (code == textscan.DONE and self._too_many(found)):
                    raise TooManySeriesError(self._max_series)
                if code == textscan.DONE:
                    found.fresh, found.fresh_values = found.fresh[:fresh], found.fresh_values[:fresh]
                    found.trail = found.trail[:lines]
                    return found
                found.trail = _grown(found.trail, lines)
                if fresh == len(found.fresh):
                    found.fresh, found.fresh_values = _grown(found.fresh, fresh), _grown(found.fresh_values, fresh)

    def _too_many(self, found: _Scan) -> bool:
        return bool(found.state[textscan.FOUND] + found.state[textscan.FRESH] > self._max_series)

    def _make_index(self) -> None:
        known = len(self._layout)
        self._index = np.zeros(_slots(known), np.int64)
        textindex.index_texts(self._written.texts, self._written.text_at, _SEED, self._index)
        self._places = np.zeros(known, np.int64)
        lines = np.flatnonzero(self._sequence >= 0)
        self._places[self._sequence[lines]] = lines

    def _follow(self, trail: I64) -> None:
        """Expect the lines of the page that was read, whose series are those known."""
        if np.array_equal(trail, self._sequence):
            self._index = self._places = _NO_INDEX
            return
        if not len(self._places):
            self._sequence = _shared_sequence(trail)
            return
        self._sequence = trail.copy()
        lines = np.flatnonzero(trail >= 0)
        self._places[trail[lines]] = lines

    def _resolve(self, view: memoryview, found: _Scan, known: int) -> Page:
        """Take in samples that were not expected, by text at least, and the absence of others."""
        page = np.frombuffer(view, np.uint8)
        count = len(found.fresh)
        matched = np.empty(count, np.int64)
        table = np.zeros(_slots(known + count), np.int64)
        textindex.index_identities(self._layout.identities, table)
        code = textindex.resolve(
            page,
            self._openmetrics,
            found.fresh,
            self._written.texts,
            self._written.text_at,
            found.fresh_values,
            found.seen,
            found.values,
            table,
            matched,
            found.state,
            np.zeros(textlex.SPANS, np.int64),
            np.zeros(textlex.SPANS, np.int64),
        )
        if code < 0:
            raise self._failure(view, code, found)
        respelled = np.flatnonzero(matched >= 0)
        trail = found.trail
        lines = np.flatnonzero(trail >= 0)
        written = trail[lines]  # which text each wanted line has
        series = written.copy()  # which known series it is, or a number from `known` on
        late = np.flatnonzero(series >= known)
        series[late] = np.where(matched >= 0, matched, known + np.arange(count))[series[late] - known]
        if len(series) == known and len(respelled) == count:
            order = np.arange(known)
            order[matched] = known + np.arange(count)
            self._written = self._texts(page, found, order, self._layout.identities)
            trail[lines] = series
            self._index = self._places = _NO_INDEX
            self._sequence = _shared_sequence(trail)
            return Page(self._layout, found.values)
        if len(series) > self._max_series:
            raise TooManySeriesError(self._max_series)
        values = np.concatenate((found.values, found.fresh_values))[series] if known else found.fresh_values.copy()
        identities = np.concatenate((self._layout.identities, found.fresh[:, 2]))[series]
        self._layout = self._written = self._texts(page, found, written, identities)
        trail[lines] = np.arange(len(series))
        self._index = self._places = _NO_INDEX
        self._sequence = _shared_sequence(trail)
        return Page(self._layout, values, np.where(series < known, series, -1))

    def _texts(self, page: U8, found: _Scan, order: I64, identities: I64) -> PageLayout:
        """Return these texts, known ones, and from len(known) on those of fresh samples, of series in their order."""
        known, known_at = self._written.texts, self._written.text_at
        lengths = np.concatenate((np.diff(known_at), found.fresh[:, 1] - found.fresh[:, 0]))[order]
        at = np.zeros(len(order) + 1, np.int64)
        np.cumsum(lengths, out=at[1:])
        texts = np.empty(at[-1] + 1, np.uint8)
        texts[-1] = ord("\n")
        textindex.gather(page, found.fresh, known, known_at, order, at, texts)
        texts.flags.writeable = False
        return _shared_layout(PageLayout(texts, at, identities))

    def _failure(self, view: memoryview, code: int, found: _Scan) -> ParseError:
        position, kind = divmod(-code, textcodes.CODES)
        if kind != textcodes.SERIES_TWICE:
            return _error(view, position, kind)
        series, known = int(found.state[textscan.SERIES]), len(self._layout)
        first = int(found.seen[series]) - 1 if series < known else int(found.fresh[series - known, 0])
        first_line, line = sorted((_line_number(view, first), _line_number(view, position)))
        position = max(first, position)
        return ParseError(line, _column(view, position), f"series given twice, first in line {first_line}")


# By keys that are cheap and, of seeded hashes, as good as unique; what is found is compared.
_layouts: WeakValueDictionary[tuple[int, int], PageLayout] = WeakValueDictionary()
_sequences: WeakValueDictionary[tuple[int, int], I64] = WeakValueDictionary()


def _shared_layout(layout: PageLayout) -> PageLayout:
    """Return an equal layout that another parser holds; this one if there is none."""
    key = len(layout.texts), int(np.add.reduce(layout.identities))
    other = _layouts.get(key)
    if other is not None and all(
        np.array_equal(mine, theirs)
        for mine, theirs in (
            (layout.identities, other.identities),
            (layout.text_at, other.text_at),
            (layout.texts, other.texts),
        )
    ):
        return other
    _layouts[key] = layout
    return layout


def _shared_sequence(sequence: I64) -> I64:
    """Return an equal array that another parser holds; a copy of this one if there is none."""
    key = len(sequence), int(np.add.reduce(sequence))
    other = _sequences.get(key)
    if other is not None and np.array_equal(other, sequence):
        return other
    own = sequence.copy()  # the scan's has room to spare
    _sequences[key] = own
    return own


def _grown(array: npt.NDArray[_T], used: int) -> npt.NDArray[_T]:
    grown = np.empty((4 * len(array), *array.shape[1:]), array.dtype)
    grown[:used] = array[:used]
    return grown


def _slots(count: int) -> int:
    """Return the length of a hash table for so many, at most half full."""
    return int(4 << count.bit_length()) // 2


def _joined(parts: Sequence[bytes]) -> tuple[U8, I64]:
    """Return the parts in one read-only array, and where each begins and ends; shapes (bytes,), (parts + 1,)."""
    ends = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=ends[1:])
    return np.frombuffer(b"".join(parts) or b"\0", np.uint8), ends


@lru_cache(maxsize=256)  # all targets of a metric are asked for the same names
def _name_table(texts: tuple[bytes, ...]) -> tuple[U8, I64, I64]:
    """Return names as `_joined` does, and the hash table `textscan.scan` looks them up in, at most a quarter full."""
    names, names_at = _joined(texts)
    table = np.full(4 << len(texts).bit_length(), -1, np.int64)
    textscan.index_names(names, names_at, table)
    return names, names_at, table


def _exact(view: memoryview, start: int, end: int) -> float:
    """Convert a value the scanner left to us: a decimal number by its syntax."""
    value = float(bytes(view[start:end]))
    if math.isinf(value):
        raise _error(view, start, textcodes.RANGE)
    return value


_SHARED_BYTES = 1_024
"""Of a sample's text whose labels are remembered: longer ones are rare."""


@lru_cache(maxsize=1024)  # the series of a metric mostly have the same names
def _plain_names(between: tuple[str, ...]) -> tuple[str, ...]:
    """Return the label names in what is between the quoted values, if it is no more than they need; else nothing."""
    found = [_BETWEEN.fullmatch(part) for part in (f",{between[0]}", *between[1:])] if between else []
    return tuple(sys.intern(match[1]) for match in found if match) if all(found) else ()


@lru_cache(maxsize=1 << 15)
def _pair(name: str, value: str) -> tuple[str, str]:
    """Return the label, the same object as last time: a page, and the pages of a workload, have few that differ."""
    return name, value


def _decode(text: bytes) -> tuple[str, Labels]:
    """Return the name and labels of a sample that the scanner accepted, from its text before the value."""
    # What is remembered of texts must be bounded, and not only in number.
    short = len(text) <= _SHARED_BYTES
    pair, plain_names = (_pair, _plain_names) if short else (_pair.__wrapped__, _plain_names.__wrapped__)
    name, _, inside = text.decode().partition("{")
    name = name.rstrip(" \t")
    if "\\" not in inside:
        parts = inside.split('"')
        names = plain_names(tuple(parts[:-1:2]))
        if names:
            pairs = zip(names, parts[1::2], strict=True)
            return sys.intern(name), tuple(sorted(pair(key, value) for key, value in pairs if value))
    labels = []
    for match in _LABEL.finditer(inside):
        plain, quoted, value = match.groups()
        key = plain or _unescaped(quoted)
        if value is None:
            name = key
        elif value:
            labels.append(pair(sys.intern(key), _unescaped(value)))
    return sys.intern(name), tuple(sorted(labels))


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda escape: "\n" if escape[1] == "n" else escape[1], text)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _line_number(view: memoryview, position: int) -> int:
    return bytes(view[:position]).count(b"\n") + 1


def _column(view: memoryview, position: int) -> int:
    return position - bytes(view[:position]).rfind(b"\n")


def _error(view: memoryview, position: int, code: int) -> ParseError:
    return ParseError(_line_number(view, position), _column(view, position), textcodes.MESSAGES[code])
