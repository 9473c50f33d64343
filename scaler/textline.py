"""A line with a sample: its name and labels, and what may follow its value."""

from __future__ import annotations

from typing import Final

import numpy as np

from scaler.decimals import OUT_OF_RANGE, number
from scaler.jit import inner
from scaler.model import I64, U8
from scaler.simd import byte_at
from scaler.textbytes import LF, SPACE, blank, ends_word
from scaler.textcodes import (
    EXEMPLAR,
    LABEL_NAME,
    METRIC_NAME,
    NAME_TWICE,
    RANGE,
    SPACE_WANTED,
    TIMESTAMP,
    TIMESTAMP_OPEN,
    TRAILING,
    VALUE,
    failure,
)
from scaler.textlex import read_labels

_HASH, _MINUS, _ZERO, _NINE, _OPEN = b"#-09{"
_MAX_TIMESTAMP_HEAD: Final = (2**63 - 1) // 10


@inner
def read_head(
    page: U8, size: int, start: int, pos: int, strict: bool, spans: I64, seed: int
) -> tuple[int, int, int, int]:
    """Read on from `pos`, where the name of the sample at `start` ends, up to its value.

    Args:
        page: The page, `size` long.
        size: Its length.
        start: Where the sample begins.
        pos: Where its name ends; `start`: it has none before its braces.
        strict: By OpenMetrics.
        spans: As for `textlex.read_labels`.
        seed: For the hash; 0: none is wanted.

    Returns: Where the value begins, or a failure; where the name begins and ends; a hash of the labels.
    """
    named = pos > start
    name, name_stop, labels = start, pos, 0
    if not strict:
        pos = blank(page, pos)
    if byte_at(page, pos) == _OPEN:
        pos, _, labels, quoted, quoted_stop = read_labels(page, size, pos + 1, strict, spans, seed)
        if pos < 0:
            return pos, 0, 0, 0
        if named and quoted >= 0:
            return failure(quoted - 1, NAME_TWICE), 0, 0, 0
        if not named:
            name, name_stop = quoted, quoted_stop
        if not strict:
            pos = blank(page, pos)
    elif pos == name_stop and byte_at(page, pos) != LF and not (strict and byte_at(page, pos) == SPACE):
        return failure(pos, METRIC_NAME), 0, 0, 0
    if name < 0 or name == name_stop:
        return failure(start, METRIC_NAME), 0, 0, 0
    if strict:
        if byte_at(page, pos) != SPACE:
            return failure(pos, SPACE_WANTED), 0, 0, 0
        pos += 1
    return pos, name, name_stop, labels


@inner
def read_timestamp(page: U8, pos: int) -> int:
    """Read what may follow a value in Prometheus text, a time. Returns: where the line feed is, or a failure."""
    pos = blank(page, pos)
    if byte_at(page, pos) == LF:
        return pos
    start = pos
    negative = byte_at(page, pos) == _MINUS
    if negative:
        pos += 1
    first = pos
    head = 0
    while _ZERO <= byte_at(page, pos) <= _NINE:
        digit = byte_at(page, pos) - _ZERO
        if head > _MAX_TIMESTAMP_HEAD or (head == _MAX_TIMESTAMP_HEAD and digit > 7 + negative):
            return failure(start, TIMESTAMP)
        if head < _MAX_TIMESTAMP_HEAD:
            head = head * 10 + digit
        else:
            head += 1
        pos += 1
    if pos == first or not ends_word(page, pos):
        return failure(start, TIMESTAMP)
    pos = blank(page, pos)
    return pos if byte_at(page, pos) == LF else failure(pos, TRAILING)


@inner
def _number(page: U8, size: int, pos: int) -> tuple[int, float, bool]:
    """Do what `number` does, by a call: that is compiled anew wherever it is named."""
    return number(page, size, pos)


@inner
def _seconds(page: U8, size: int, pos: int) -> int:
    """Read a time of OpenMetrics. Returns: the position after it, or a failure."""
    end, value, inexact = _number(page, size, pos)
    if end < 0 or not (inexact or np.isfinite(value)):
        return failure(pos, TIMESTAMP_OPEN)
    return end


@inner
def read_time_and_exemplar(page: U8, size: int, pos: int, spans: I64) -> int:
    """Read what may follow a value in OpenMetrics. Returns: where the line feed is, or a failure."""
    if byte_at(page, pos) == SPACE and byte_at(page, pos + 1) != _HASH:
        pos = _seconds(page, size, pos + 1)
        if pos < 0:
            return pos
    if byte_at(page, pos) == SPACE and byte_at(page, pos + 1) == _HASH:
        if byte_at(page, pos + 2) != SPACE or byte_at(page, pos + 3) != _OPEN:
            return failure(pos + 1, EXEMPLAR)
        pos, _, _, name, _ = read_labels(page, size, pos + 4, strict=True, spans=spans, seed=0)
        if pos < 0:
            return pos
        if name >= 0:
            return failure(name - 1, LABEL_NAME)
        if byte_at(page, pos) != SPACE:
            return failure(pos, SPACE_WANTED)
        value_at = pos + 1
        pos, _, _ = _number(page, size, value_at)
        if pos < 0:
            return failure(value_at, RANGE if pos == OUT_OF_RANGE else VALUE)
        if byte_at(page, pos) == SPACE:
            pos = _seconds(page, size, pos + 1)
            if pos < 0:
                return pos
    return pos if byte_at(page, pos) == LF else failure(pos, TRAILING)
