"""Decimal text to float64, to the last bit.

What is accepted is what Go's strconv.ParseFloat takes, less hexadecimal and underscores. One multiplication or
division is exact for up to 53 bits and powers up to 10^22 (Clinger, "How to Read Floating Point Numbers Accurately",
1990); beyond that 128 bits of a power of ten decide almost always (Lemire, "Number Parsing at a Gigabyte per Second",
2021). What is left, longer texts and subnormal numbers, is the caller's to convert.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from scaler.jit import inlined, inner
from scaler.model import F64, I64, U8
from scaler.simd import byte_at, first_bit, float_of, high_product, last_bit, load8, wrapped

NOT_A_NUMBER: Final = -1
OUT_OF_RANGE: Final = -2

_MAX_DIGITS: Final = 18
_TOO_LONG: Final = 10**_MAX_DIGITS
_MAX_EXACT: Final = 1 << 53
_MAX_POWER: Final = 22
_POWERS: Final[F64] = np.array([float(f"1e{power}") for power in range(_MAX_POWER + 1)])
_TENS: Final[I64] = np.array([10**power for power in range(9)])
_MAX_EXPONENT: Final = 308
_MAX_HEAD_TENTH: Final = (2**63 - 1) // 10
_MAX_HEAD: Final = 179_769_313_486_231_580  # the first 18 digits of the least number that rounds to infinity
_EXPONENT_CAP: Final = 1 << 40
_LONGEST: Final = 32  # bytes that the quick path may look at

_TAB, _LF, _SPACE, _PLUS, _MINUS, _DOT, _ZERO, _NINE = b"\t\n +-.09"
_LOWER_E: Final = ord("e")
_NAN: Final[U8] = np.frombuffer(b"nan", np.uint8)
_INF: Final[U8] = np.frombuffer(b"inf", np.uint8)
_INFINITY: Final[U8] = np.frombuffer(b"infinity", np.uint8)

_LEAST_POWER: Final = -342  # below it every number of 19 digits rounds to zero
_MANTISSA_BITS: Final = 52
_BIAS: Final = 1023
_SIGN: Final = -(1 << 63)


def _wide_powers() -> I64:
    """Return the leading 128 bits of each power of ten, cut off: int64 bit patterns, shape (powers, 2), high first."""
    rows = []
    for power in range(_LEAST_POWER, _MAX_EXPONENT + 1):
        if power >= 0:
            bits = 10**power
            bits = bits << 128 >> bits.bit_length()
        else:
            bits = (1 << (2 * 128 + (10**-power).bit_length())) // 10**-power
            bits >>= bits.bit_length() - 128
        rows.append([bits >> 64, bits & (1 << 64) - 1])
    return np.array(rows, np.uint64).view(np.int64)


_WIDE: Final = _wide_powers()


@inlined
def _below(left: int, right: int) -> bool:
    """Compare two bit patterns as unsigned numbers."""
    return (left ^ _SIGN) < (right ^ _SIGN)


@inner
def _scaled(head: int, exponent: int) -> float:
    """Return the float64 nearest to head × 10^exponent; NaN where 128 bits cannot tell, or it is not a normal number.

    `head` is positive. Source: Lemire, section 5, and Mushtak and Lemire, "Fast Number Parsing Without Fallback", 2023.
    """
    if exponent < _LEAST_POWER or exponent > _MAX_EXPONENT:
        return np.nan
    shift = 63 - last_bit(head)
    head = wrapped(head << shift)
    high_power, low_power = _WIDE[exponent - _LEAST_POWER]
    high, low = high_product(head, high_power), head * high_power
    if high & 0x1FF == 0x1FF:  # the bits that are cut off could carry into those that count
        more = high_product(head, low_power)
        low += more
        if _below(low, more):
            high += 1
        if low == -1 and high & 0x1FF == 0x1FF:
            return np.nan
    top = (high >> 63) & 1
    mantissa = (high >> (9 + top)) & ((1 << 54) - 1)  # 53 bits and the one to round by
    if low == 0 and high & 0x1FF == 0 and mantissa & 3 == 1:
        return np.nan  # it may lie in the middle of two
    mantissa = (mantissa + (mantissa & 1)) >> 1
    power = ((217_706 * exponent) >> 16) + 63 + top - shift  # of two: log2(10) × 2^16 = 217706
    if mantissa >> 53:
        mantissa >>= 1
        power += 1
    biased = power + _BIAS
    if biased < 1 or biased > 2 * _BIAS:
        return np.nan
    return float_of((biased << _MANTISSA_BITS) | (mantissa & ((1 << _MANTISSA_BITS) - 1)))


@inner
def _word(page: U8, pos: int, word: U8) -> bool:
    """Tell whether a value is this word, in either case."""
    for i in range(len(word)):
        if byte_at(page, pos + i) | 0x20 != word[i]:  # a line feed is none of the letters, so this stops at it
            return False
    return _ended(page, pos + len(word))


@inlined
def _ended(page: U8, pos: int) -> bool:
    return bool(byte_at(page, pos) == _LF or byte_at(page, pos) == _SPACE or byte_at(page, pos) == _TAB)


@inner
def _special(page: U8, start: int, pos: int) -> tuple[int, float, bool]:
    """Read NaN, Inf or Infinity at `pos`, where the sign that began at `start` is behind. Like `number`."""
    if start == pos and _word(page, pos, _NAN):
        return pos + 3, np.nan, False
    value = -np.inf if byte_at(page, start) == _MINUS else np.inf
    if _word(page, pos, _INF):
        return pos + 3, value, False
    if _word(page, pos, _INFINITY):
        return pos + 8, value, False
    return NOT_A_NUMBER, 0.0, False


@inner
def _exponent(page: U8, pos: int) -> tuple[int, int]:
    """Read what follows an "e". Returns: the position after it, -1 without a digit; the exponent, capped."""
    negative = byte_at(page, pos) == _MINUS
    if negative or byte_at(page, pos) == _PLUS:
        pos += 1
    exponent = 0
    start = pos
    while _ZERO <= byte_at(page, pos) <= _NINE:
        if exponent < _EXPONENT_CAP:
            exponent = exponent * 10 + (byte_at(page, pos) - _ZERO)
        pos += 1
    return (-1 if pos == start else pos), (-exponent if negative else exponent)


@inlined
def _digits(chunk: int) -> int:
    """Return with how many digits eight bytes begin."""
    # A digit is 3x, and with 6 added it still is: all other bytes leave a trace in their own place.
    high_halves = chunk & -0x0F0F0F0F0F0F0F10
    with_six = (chunk + 0x0606060606060606) & -0x0F0F0F0F0F0F0F10
    return first_bit((high_halves ^ 0x3030303030303030) | (with_six ^ 0x3030303030303030)) >> 3


@inlined
def _decimal(chunk: int, count: int) -> int:
    """Return the number that the first 1 to 8 bytes, all digits, are: pairs, fours and eights at once."""
    digits = (chunk << (64 - 8 * count)) & 0x0F0F0F0F0F0F0F0F
    pairs = (digits * 10 + (digits >> 8)) & 0x00FF00FF00FF00FF
    fours = (pairs * 100 + (pairs >> 16)) & 0x0000FFFF0000FFFF
    return (fours * 10_000 + (fours >> 32)) & 0xFFFFFFFF


@inlined
def _finished(page: U8, pos: int, negative: bool, head: int, exponent: int) -> tuple[int, float, bool]:
    """Return what `number` does for ± head × 10^exponent, with an exponent yet to read."""
    if byte_at(page, pos) | 0x20 == _LOWER_E:
        pos, power = _exponent(page, pos + 1)
        if pos < 0:
            return NOT_A_NUMBER, 0.0, False
        exponent += power
    if not _ended(page, pos):
        return NOT_A_NUMBER, 0.0, False
    value = float(head)
    if exponent and head:
        if head > _MAX_EXACT or abs(exponent) > _MAX_POWER:
            value = _scaled(head, exponent)
            if np.isnan(value):
                return _beyond(pos, head, exponent)
        elif exponent > 0:
            value *= _POWERS[exponent]
        else:
            value /= _POWERS[-exponent]
    return pos, (-value if negative else value), False


@inner
def _beyond(pos: int, head: int, exponent: int) -> tuple[int, float, bool]:
    """Leave head × 10^exponent to the caller, or refuse it as too large."""
    if head >= _TOO_LONG:
        head //= 10
        exponent += 1
    digits = 1
    most = 10
    while digits < _MAX_DIGITS and head >= most:
        digits += 1
        most *= 10
    if exponent + digits - 1 >= _MAX_EXPONENT:
        for _ in range(_MAX_DIGITS - digits):
            head *= 10
            exponent -= 1
        if exponent + _MAX_DIGITS - 1 > _MAX_EXPONENT or head > _MAX_HEAD:
            return OUT_OF_RANGE, 0.0, False
    return pos, 0.0, True


@inner
def _long(page: U8, start: int) -> tuple[int, float, bool]:
    """Do what `number` does, for any number of digits and to the very end of the page."""
    pos = start
    negative = byte_at(page, pos) == _MINUS
    if negative or byte_at(page, pos) == _PLUS:
        pos += 1
    head = 0  # the first significant digits
    left_out = 0  # those that did not fit
    first = pos
    point = -1
    while True:
        byte = byte_at(page, pos)
        if _ZERO <= byte <= _NINE:
            if head < _MAX_HEAD_TENTH and not left_out:
                head = head * 10 + (byte - _ZERO)
            else:
                left_out += 1
        elif byte == _DOT and point < 0:
            point = pos
        else:
            break
        pos += 1
    if pos - first - (point >= 0) <= 0:
        return _special(page, start, pos) if point < 0 else (NOT_A_NUMBER, 0.0, False)
    exponent = left_out if point < 0 else left_out - (pos - point - 1)
    if not left_out:
        return _finished(page, pos, negative, head, exponent)
    if byte_at(page, pos) | 0x20 == _LOWER_E:
        pos, power = _exponent(page, pos + 1)
        if pos < 0:
            return NOT_A_NUMBER, 0.0, False
        exponent += power
    if not _ended(page, pos):
        return NOT_A_NUMBER, 0.0, False
    # The digits left out lie between head and head + 1; mostly both round to the same.
    value = _scaled(head, exponent)
    if value == _scaled(head + 1, exponent):
        return pos, (-value if negative else value), False
    return _beyond(pos, head, exponent)


@inlined
def _run(page: U8, pos: int, head: int, digits: int) -> tuple[int, int, int]:
    """Read more digits onto `head`, which has so many. Returns: where they end, and both; they may be too many."""
    count = 8
    while count == 8 and digits <= _MAX_DIGITS:
        chunk = load8(page, pos)
        count = _digits(chunk)
        digits += count
        if count and digits <= _MAX_DIGITS:
            head = head * _TENS[count] + _decimal(chunk, count)
        pos += count
    return pos, head, digits


@inlined
def number(page: U8, size: int, start: int) -> tuple[int, float, bool]:
    """Read the number at page[start:], which a blank or line feed must end; a line feed follows somewhere.

    Args:
        page: What `simd.data_of` gave for a page.
        size: The length of the page.
        start: Where the number is.

    Returns: The position after it, or NOT_A_NUMBER or OUT_OF_RANGE; the value; whether that is left to the caller, who
        has `float` convert the text.
    """
    if start + _LONGEST > size:
        return _long(page, start)
    pos = start
    negative = byte_at(page, pos) == _MINUS
    if negative or byte_at(page, pos) == _PLUS:
        pos += 1
    pos, head, digits = _run(page, pos, 0, 0)
    if digits == 0 or digits > _MAX_DIGITS:
        return _long(page, start)
    if byte_at(page, pos) == _LF:
        value = float(head)
        return pos, (-value if negative else value), False
    exponent = 0
    if byte_at(page, pos) == _DOT:
        point = pos + 1
        pos, head, digits = _run(page, point, head, digits if head else 0)
        if digits > _MAX_DIGITS:
            return _long(page, start)
        exponent = point - pos
    return _finished(page, pos, negative, head, exponent)
