"""Lines without a sample: comments, types, help texts, units, the end of OpenMetrics, blank lines."""

from __future__ import annotations

from typing import Final

import numpy as np

from scaler.jit import inlined, inner
from scaler.model import I64, U8
from scaler.simd import byte_at
from scaler.textbytes import (
    LF,
    QUOTE,
    SPACE,
    blank,
    ends_word,
    invalid_utf8,
    line_end,
    name_end,
    same,
    special,
    starts_metric,
)
from scaler.textcodes import (
    BLANK_LINE,
    COMMENT,
    META_NAME,
    META_TYPE,
    META_TYPE_OPEN,
    NAME_EMPTY,
    SPACE_WANTED,
    UNIT,
    UTF8,
    failure,
)
from scaler.textlex import rest_of_quoted

_META: Final[U8] = np.frombuffer(b"HELPTYPEUNITEOF", np.uint8)
_HELP, _TYPE, _UNIT, _EOF = 0, 4, 8, 12
_TYPES: Final[U8] = np.frombuffer(b"countergaugehistogramsummaryuntyped", np.uint8)
_TYPES_AT: Final[I64] = np.array([0, 7, 12, 21, 28, 35])
_TYPES_OPEN: Final[U8] = np.frombuffer(b"countergaugehistogramsummarygaugehistograminfostatesetunknown", np.uint8)
_TYPES_OPEN_AT: Final[I64] = np.array([0, 7, 12, 21, 28, 42, 46, 54, 61])

_HASH: Final = ord("#")


@inner
def _meta_name(page: U8, size: int, pos: int) -> int:
    """Read the metric name after # HELP, # TYPE or # UNIT."""
    if byte_at(page, pos) == QUOTE:
        stop, _ = rest_of_quoted(page, size, pos + 1, special(page, size, pos + 1), any_escape=False)
        if stop < 0:
            return stop
        return stop + 1 if stop > pos + 1 else failure(pos, NAME_EMPTY)
    if not starts_metric(page, pos):
        return failure(pos, META_NAME)
    stop = name_end(page, size, pos)
    return stop if ends_word(page, stop) else failure(stop, META_NAME)


@inner
def _is_type(page: U8, pos: int, end: int, types: U8, types_at: I64) -> bool:
    for i in range(len(types_at) - 1):
        start, stop = types_at[i], types_at[i + 1]
        if end - pos == stop - start and same(page, pos, types, start, end - pos):
            return True
    return False


@inlined
def _is_word(page: U8, pos: int, word: int, length: int) -> bool:
    """Tell whether page[pos:] begins with a word of _META."""
    for i in range(length):  # noqa: SIM110 - numba knows no all()
        if byte_at(page, pos + i) != _META[word + i]:  # the line feed that ends the page ends the loop
            return False
    return True


@inner
def _comment(page: U8, size: int, pos: int) -> int:
    """Check a line that begins with "#" at `pos`. Returns: the position of its line feed, or a failure."""
    text = blank(page, pos + 1)
    is_help = _is_word(page, text, _HELP, 4)
    if text == pos + 1 or not (is_help or _is_word(page, text, _TYPE, 4)):
        return line_end(page, size, text)
    name = blank(page, text + 4)
    if name == text + 4:
        return line_end(page, size, name)
    pos = _meta_name(page, size, name)
    if pos < 0:
        return pos
    if not ends_word(page, pos):
        return failure(pos, META_NAME)
    text = blank(page, pos)
    end = line_end(page, size, text)
    if is_help:
        bad = invalid_utf8(page, text, end)
        return end if bad < 0 else failure(bad, UTF8)
    return end if _is_type(page, text, end, _TYPES, _TYPES_AT) else failure(text, META_TYPE)


@inner
def _strict_comment(page: U8, size: int, pos: int) -> tuple[int, bool]:
    """Check a line of OpenMetrics that begins with "#" at `pos`.

    Returns: The position of its line feed, or a failure; whether it is the last, "# EOF".
    """
    word = pos + 2
    if byte_at(page, pos + 1) != SPACE:
        return failure(pos, COMMENT), False
    if _is_word(page, word, _EOF, 3) and byte_at(page, word + 3) == LF:
        return word + 3, True
    is_help, is_unit = _is_word(page, word, _HELP, 4), _is_word(page, word, _UNIT, 4)
    if not (is_help or is_unit or _is_word(page, word, _TYPE, 4)) or byte_at(page, word + 4) != SPACE:
        return failure(pos, COMMENT), False
    name = word + 5
    stop = _meta_name(page, size, name)
    if stop < 0:
        return stop, False
    if byte_at(page, stop) != SPACE:
        return failure(stop, SPACE_WANTED), False
    text = stop + 1
    end = line_end(page, size, text)
    if is_help:
        bad = invalid_utf8(page, text, end)
        return (end if bad < 0 else failure(bad, UTF8)), False
    if not is_unit:
        known = _is_type(page, text, end, _TYPES_OPEN, _TYPES_OPEN_AT)
        return (end if known else failure(text, META_TYPE_OPEN)), False
    if byte_at(page, name) == QUOTE:
        name, stop = name + 1, stop - 1
    before = stop - (end - text) - 1
    if end > text and (
        before < name or byte_at(page, before) != ord("_") or not same(page, text, page, before + 1, end - text)
    ):
        return failure(text, UNIT), False
    return end, False


@inner
def read_no_sample(page: U8, size: int, pos: int, strict: bool) -> tuple[int, bool]:
    """Read a line without a sample.

    Returns: The position of its line feed, where a sample begins if there is one, or a failure; whether it is the last,
        "# EOF".
    """
    start = pos if strict else blank(page, pos)
    if byte_at(page, start) == LF:
        return (failure(start, BLANK_LINE) if strict else start), False
    if byte_at(page, start) != _HASH:
        return start, False
    return _strict_comment(page, size, start) if strict else (_comment(page, size, start), False)
