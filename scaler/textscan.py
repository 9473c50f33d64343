"""Scan pages of Prometheus text exposition 0.0.4: every line is checked, wanted lines are brought out.

One pass over the bytes. A line whose beginning equals the one expected next (the page of last time, wanted lines only)
costs a comparison and its value; every other line is read token by token. A value is converted here where float64
arithmetic is exact and left to the caller otherwise.

What is accepted is what Prometheus accepts (model/textparse/promlex.l, promparse.go and Go's strconv.ParseFloat), less
what the format's text forbids: labels without a comma between them, line feeds and unknown escapes in label values.
Names in quotes belong to version 1.0.0 of the format and are refused.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np

from scaler.jit import inner, kernel
from scaler.model import F64, I64, U8

DONE: Final = 0
FULL: Final = 1

# A failure is one negative number: -(position × CODES + code).
CODES: Final = 64
(
    METRIC_NAME,
    LABEL_NAME,
    EQUALS,
    QUOTE,
    ESCAPE,
    UNCLOSED,
    COMMA,
    UTF8,
    LABEL_TWICE,
    MANY_LABELS,
    VALUE,
    RANGE,
    TIMESTAMP,
    TRAILING,
    META_NAME,
    META_TYPE,
    CUT,
) = range(1, 18)

MAX_LABELS: Final = 256
MAX_EXACT_DIGITS: Final = 18
_MAX_EXACT: Final = 1 << 53
_MAX_POWER: Final = 22
_POWERS: Final[F64] = np.array([float(f"1e{power}") for power in range(_MAX_POWER + 1)])
_MAX_EXPONENT: Final = 308
_MAX_HEAD: Final = 179_769_313_486_231_580  # the first 18 digits of the least number that rounds to infinity
_EXPONENT_CAP: Final = 1 << 40
_MAX_TIMESTAMP_HEAD: Final = (2**63 - 1) // 10

_TAB, _LF, _SPACE, _QUOTE, _HASH, _PLUS, _COMMA, _MINUS, _DOT, _ZERO, _NINE, _EQUALS, _BACKSLASH = b'\t\n "#+,-.09=\\'
_LOWER_E, _LOWER_N, _OPEN, _CLOSE = b"en{}"
_BLOCK: Final = 32

_METRIC_START, _METRIC, _LABEL_START, _LABEL, _END, _SPECIAL = 1, 2, 4, 8, 16, 32


def _classes() -> U8:
    table = np.zeros(256, np.uint8)
    for byte in range(128):
        letter = chr(byte).isalpha() or chr(byte) == "_"
        digit = chr(byte).isdigit()
        if letter or chr(byte) == ":":
            table[byte] |= _METRIC_START | _METRIC
        if letter:
            table[byte] |= _LABEL_START | _LABEL
        if digit:
            table[byte] |= _METRIC | _LABEL
    table[[_TAB, _LF, _SPACE]] |= _END
    table[[_LF, _QUOTE, _BACKSLASH]] |= _SPECIAL  # in a label value
    table[0x80:] |= _SPECIAL
    return table


_CLASS: Final = _classes()
_META: Final[U8] = np.frombuffer(b"HELPTYPE", np.uint8)
_META_AT: Final[I64] = np.array([0, 4, 8])
_TYPES: Final[U8] = np.frombuffer(b"countergaugehistogramsummaryuntyped", np.uint8)
_TYPES_AT: Final[I64] = np.array([0, 7, 12, 21, 28, 35])
_NAN: Final[U8] = np.frombuffer(b"nan", np.uint8)
_INF: Final[U8] = np.frombuffer(b"inf", np.uint8)
_INFINITY: Final[U8] = np.frombuffer(b"infinity", np.uint8)

_BYTES = numba.types.Array(numba.uint8, 1, "C", readonly=True)
_INTS = numba.int64[::1]


@inner
def _blank(page: U8, pos: int) -> int:
    """Return the position of the first byte that is neither space nor tab."""
    while page[pos] == _SPACE or page[pos] == _TAB:
        pos += 1
    return pos


@inner
def _line_end(page: U8, pos: int) -> int:
    """Return the position of the next line feed; there is one."""
    end = len(page)
    while pos + _BLOCK <= end:
        found = False
        for byte in page[pos : pos + _BLOCK]:  # without an early exit, so that it becomes vector code
            found |= byte == _LF
        if found:
            break
        pos += _BLOCK
    while page[pos] != _LF:
        pos += 1
    return pos


@inner
def _same(page: U8, pos: int, blob: U8, start: int, end: int) -> bool:
    """Tell whether page[pos:] begins with blob[start:end], which holds no line feed."""
    while start < end:
        if page[pos] != blob[start]:  # the line feed that ends the page ends the loop
            return False
        pos += 1
        start += 1
    return True


@inner
def _invalid_utf8(page: U8, pos: int, end: int) -> int:
    """Return where the first sequence that is not UTF-8 (RFC 3629) starts in page[pos:end], or -1."""
    while pos < end:
        lead = page[pos]
        if lead < 0x80:
            pos += 1
            continue
        low, high = 0x80, 0xBF  # of the second byte: no overlong form, no surrogate, nothing above U+10FFFF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = 0xA0
            elif lead == 0xED:
                high = 0x9F
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = 0x90
            elif lead == 0xF4:
                high = 0x8F
        else:
            return pos
        if pos + more >= end or page[pos + 1] < low or page[pos + 1] > high:
            return pos
        for i in range(2, more + 1):
            if page[pos + i] < 0x80 or page[pos + i] > 0xBF:
                return pos
        pos += more + 1
    return -1


@inner
def _label_value(page: U8, pos: int) -> int:
    """Return the position after the closing quote; `pos` is after the opening one."""
    start = pos
    ascii_only = True
    while True:
        while not _CLASS[page[pos]] & _SPECIAL:
            pos += 1
        byte = page[pos]
        if byte == _QUOTE:
            break
        if byte == _LF:
            return -((start - 1) * CODES + UNCLOSED)
        if byte == _BACKSLASH:
            pos += 1
            if page[pos] != _BACKSLASH and page[pos] != _QUOTE and page[pos] != _LOWER_N:
                return -((pos - 1) * CODES + ESCAPE)
        else:
            ascii_only = False
        pos += 1
    if not ascii_only:
        bad = _invalid_utf8(page, start, pos)
        if bad >= 0:
            return -(bad * CODES + UTF8)
    return pos + 1


@inner
def _repeated(page: U8, spans: I64, start: int, end: int) -> bool:
    for i in range(0, len(spans), 2):
        if spans[i + 1] - spans[i] == end - start and _same(page, start, page, spans[i], spans[i + 1]):
            return True
    return False


@inner
def _labels(page: U8, pos: int, spans: I64) -> int:
    """Return the position after "}"; `pos` is after "{". `spans` is scratch space for MAX_LABELS names."""
    count = 0
    seen = 0  # a bit a name: names are compared only where two have the same
    while True:
        pos = _blank(page, pos)
        if page[pos] == _CLOSE:
            return pos + 1
        start = pos
        if not _CLASS[page[pos]] & _LABEL_START:
            return -(pos * CODES + LABEL_NAME)
        while _CLASS[page[pos]] & _LABEL:
            pos += 1
        bit = 1 << ((pos - start + 7 * int(page[start]) + 5 * int(page[pos - 1])) % 63)
        if seen & bit and _repeated(page, spans[: 2 * count], start, pos):
            return -(start * CODES + LABEL_TWICE)
        if count == MAX_LABELS:
            return -(start * CODES + MANY_LABELS)
        seen |= bit
        spans[2 * count] = start
        spans[2 * count + 1] = pos
        count += 1
        pos = _blank(page, pos)
        if page[pos] != _EQUALS:
            return -(pos * CODES + EQUALS)
        pos = _blank(page, pos + 1)
        if page[pos] != _QUOTE:
            return -(pos * CODES + QUOTE)
        pos = _label_value(page, pos + 1)
        if pos < 0:
            return pos
        pos = _blank(page, pos)
        if page[pos] == _COMMA:
            pos += 1
        elif page[pos] != _CLOSE:
            return -(pos * CODES + COMMA)


@inner
def _word(page: U8, pos: int, word: U8) -> bool:
    """Tell whether a value is this word, in either case."""
    for i in range(len(word)):
        if page[pos + i] | 0x20 != word[i]:  # a line feed is none of the letters, so this stops at it
            return False
    return bool(_CLASS[page[pos + len(word)]] & _END)


@inner
def _special(page: U8, start: int, pos: int) -> tuple[int, float, bool]:
    """Read NaN, Inf or Infinity at `pos`, where the sign that began at `start` is behind. Like `_number`."""
    if start == pos and _word(page, pos, _NAN):
        return pos + 3, np.nan, False
    value = -np.inf if page[start] == _MINUS else np.inf
    if _word(page, pos, _INF):
        return pos + 3, value, False
    if _word(page, pos, _INFINITY):
        return pos + 8, value, False
    return -(start * CODES + VALUE), 0.0, False


@inner
def _exponent(page: U8, pos: int) -> tuple[int, int]:
    """Read what follows an "e". Returns: the position after it, -1 without a digit; the exponent, capped."""
    negative = page[pos] == _MINUS
    if negative or page[pos] == _PLUS:
        pos += 1
    exponent = 0
    start = pos
    while _ZERO <= page[pos] <= _NINE:
        if exponent < _EXPONENT_CAP:
            exponent = exponent * 10 + (int(page[pos]) - _ZERO)
        pos += 1
    return (-1 if pos == start else pos), (-exponent if negative else exponent)


@inner
def _number(page: U8, start: int) -> tuple[int, float, bool]:
    """Read a value.

    Returns: The position after it, or a failure; the value; whether it is left to the caller, having too many digits
        or too large a power of ten for one exact multiplication or division (Clinger, 1990).
    """
    pos = start
    negative = page[pos] == _MINUS
    if negative or page[pos] == _PLUS:
        pos += 1
    head = 0  # the first significant digits
    digits = 0  # significant ones
    exponent = 0
    first = pos
    point = -1
    while True:
        byte = page[pos]
        if _ZERO <= byte <= _NINE:
            if digits < MAX_EXACT_DIGITS:
                head = head * 10 + (int(byte) - _ZERO)
            else:
                exponent += 1
            if head:
                digits += 1
        elif byte == _DOT and point < 0:
            point = pos
        else:
            break
        pos += 1
    if pos - first - (point >= 0) <= 0:
        return _special(page, start, pos) if point < 0 else (-(start * CODES + VALUE), 0.0, False)
    if point >= 0:
        exponent -= pos - point - 1
    if page[pos] | 0x20 == _LOWER_E:
        pos, power = _exponent(page, pos + 1)
        if pos < 0:
            return -(start * CODES + VALUE), 0.0, False
        exponent += power
    if not _CLASS[page[pos]] & _END:
        return -(start * CODES + VALUE), 0.0, False
    kept = min(digits, MAX_EXACT_DIGITS)
    if head and exponent + kept - 1 >= _MAX_EXPONENT:
        while kept < MAX_EXACT_DIGITS:
            head *= 10
            exponent -= 1
            kept += 1
        if exponent + kept - 1 > _MAX_EXPONENT or head > _MAX_HEAD:
            return -(start * CODES + RANGE), 0.0, False
        return pos, 0.0, True
    if head and (digits > MAX_EXACT_DIGITS or head > _MAX_EXACT or abs(exponent) > _MAX_POWER):
        return pos, 0.0, True
    value = np.float64(head)
    if head:
        value = value * _POWERS[exponent] if exponent >= 0 else value / _POWERS[-exponent]
    return pos, (-value if negative else value), False


@inner
def _rest(page: U8, pos: int) -> int:
    """Check what may follow a value, a timestamp. Returns: the position of the line feed, or a failure."""
    pos = _blank(page, pos)
    if page[pos] == _LF:
        return pos
    start = pos
    negative = page[pos] == _MINUS
    if negative:
        pos += 1
    first = pos
    head = 0
    while _ZERO <= page[pos] <= _NINE:
        digit = int(page[pos]) - _ZERO
        if head > _MAX_TIMESTAMP_HEAD or (head == _MAX_TIMESTAMP_HEAD and digit > 7 + negative):
            return -(start * CODES + TIMESTAMP)
        if head < _MAX_TIMESTAMP_HEAD:
            head = head * 10 + digit
        else:
            head += 1
        pos += 1
    if pos == first or not _CLASS[page[pos]] & _END:
        return -(start * CODES + TIMESTAMP)
    pos = _blank(page, pos)
    return pos if page[pos] == _LF else -(pos * CODES + TRAILING)


@inner
def _comment(page: U8, pos: int) -> int:
    """Check a line that begins with "#" at `pos`. Returns: the position of its line feed, or a failure."""
    text = _blank(page, pos + 1)
    is_help = _same(page, text, _META, _META_AT[0], _META_AT[1])
    if text == pos + 1 or not (is_help or _same(page, text, _META, _META_AT[1], _META_AT[2])):
        return _line_end(page, text)
    name = _blank(page, text + 4)
    if name == text + 4:
        return _line_end(page, name)
    pos = name
    if not _CLASS[page[pos]] & _METRIC_START:
        return -(pos * CODES + META_NAME)
    while _CLASS[page[pos]] & _METRIC:
        pos += 1
    if not _CLASS[page[pos]] & _END:
        return -(pos * CODES + META_NAME)
    text = _blank(page, pos)
    end = _line_end(page, text)
    if is_help:
        bad = _invalid_utf8(page, text, end)
        return end if bad < 0 else -(bad * CODES + UTF8)
    for i in range(len(_TYPES_AT) - 1):
        start, stop = _TYPES_AT[i], _TYPES_AT[i + 1]
        if end - text == stop - start and _same(page, text, _TYPES, start, stop):
            return end
    return -(text * CODES + META_TYPE)


@kernel(_BYTES, numba.int64, numba.int64, numba.int64)
def name_slot(page: U8, start: int, end: int, slots: int) -> int:
    """Return where in a table of `slots` (a power of two) the search for the name page[start:end] begins."""
    ends = 7 * int(page[start]) + 13 * int(page[end - 1]) + 29 * int(page[(start + end) >> 1])
    return (31 * (end - start) + ends) & (slots - 1)


@inner
def _wanted(page: U8, start: int, end: int, names: U8, names_at: I64, table: I64) -> bool:
    slot = name_slot(page, start, end, len(table))
    while table[slot] >= 0:
        name = table[slot]
        if names_at[name + 1] - names_at[name] == end - start and _same(
            page, start, names, names_at[name], names_at[name + 1]
        ):
            return True
        slot = (slot + 1) & (len(table) - 1)
    return False


@inner
def _as_expected(page: U8, pos: int, known: U8, start: int, end: int) -> bool:
    """Do what `_same` does, for long and mostly equal text."""
    length = end - start
    if pos + length > len(page) or page[pos + length - 1] != known[end - 1]:  # lines differ near their ends
        return False
    differs = 0
    left = page[pos : pos + length]
    right = known[start:end]
    for i in range(length):  # without an early exit, so that it becomes vector code
        differs |= left[i] ^ right[i]
    return differs == 0


@kernel(_BYTES, _BYTES, _INTS, _INTS, _BYTES, _INTS, numba.int64[:, ::1], numba.float64[::1], _INTS)
def scan(
    page: U8, names: U8, names_at: I64, table: I64, known: U8, known_at: I64, lines: I64, values: F64, state: I64
) -> int:
    """Check a page and bring out its wanted lines.

    Args:
        page: The page, not empty.
        names: The wanted metric names, one after another; name i is names[names_at[i] : names_at[i + 1]].
        names_at: Shape (names + 1,).
        table: Open addressing from `name_slot` to the index of a name; -1 is free; shape (a power of two,).
        known: What the wanted lines are expected to begin with, up to their values, in order; like `names`.
        known_at: Shape (expected lines + 1,).
        lines: Out, shape (n, 3): where a wanted line starts; where its value starts; where its value ends if it must
            still be converted, else -1.
        values: Out, shape (n,): its value.
        state: In and out, shape (3,): the position; how many wanted lines were found; how many of them were the ones
            expected next. Zeros at first.

    Returns: DONE; FULL, if there are more than n: call again with larger `lines` and `values`; or a failure.
    """
    pos, count, cursor = state[0], state[1], state[2]
    end = len(page)
    if page[end - 1] != _LF:
        return -((end - 1) * CODES + CUT)
    spans = np.empty(2 * MAX_LABELS, np.int64)
    while pos < end:
        start = pos
        expected = cursor + 1 < len(known_at) and _as_expected(page, pos, known, known_at[cursor], known_at[cursor + 1])
        wanted = expected
        if expected:
            pos += known_at[cursor + 1] - known_at[cursor]
            # The line may go on where the expected one had its value: `a {x="1"} 2` instead of `a 2`.
            expected = wanted = page[pos] != _OPEN and not _CLASS[page[pos]] & _END
        if not expected:
            pos = _blank(page, start)
            start = pos
            if page[pos] == _LF:
                pos += 1
                continue
            if page[pos] == _HASH:
                pos = _comment(page, pos)
                if pos < 0:
                    return pos
                pos += 1
                continue
            if not _CLASS[page[pos]] & _METRIC_START:
                return -(pos * CODES + METRIC_NAME)
            while _CLASS[page[pos]] & _METRIC:
                pos += 1
            wanted = _wanted(page, start, pos, names, names_at, table)
            name_end = pos
            pos = _blank(page, pos)
            if page[pos] == _OPEN:
                pos = _labels(page, pos + 1, spans)
                if pos < 0:
                    return pos
                pos = _blank(page, pos)
            elif pos == name_end and page[pos] != _LF:
                return -(pos * CODES + METRIC_NAME)
        value_at = pos
        pos, value, inexact = _number(page, pos)
        if pos < 0:
            return pos
        value_end = pos
        pos = _rest(page, pos)
        if pos < 0:
            return pos
        pos += 1
        if wanted:
            if count == len(values):
                state[0], state[1], state[2] = start, count, cursor
                return FULL
            lines[count, 0] = start
            lines[count, 1] = value_at
            lines[count, 2] = value_end if inexact else -1
            values[count] = value
            count += 1
            if expected:
                cursor += 1
    state[0], state[1], state[2] = pos, count, cursor
    return DONE
