"""The bytes of a page: runs of them, whether two are the same, and hashes.

A page is `simd.data_of` an array of bytes whose last one is a line feed, so that no loop that stops at one runs over
its end; `size` is its length.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from scaler.jit import inlined, inner
from scaler.model import U8
from scaler.simd import (
    WIDTH,
    byte_at,
    differs,
    first_bit,
    load4,
    load8,
    mix,
    name_ends,
    newlines,
    specials,
)

TAB, LF, SPACE, QUOTE, BACKSLASH = b'\t\n "\\'
MIXER: Final = 0x2D358DCCAA6C78A5  # odd, half of its bits set, in no pattern

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
    table[[TAB, LF, SPACE]] |= _END
    table[[LF, QUOTE, BACKSLASH]] |= _SPECIAL  # in a quoted text
    table[0x80:] |= _SPECIAL
    return table


_CLASS: Final = _classes()


@inlined
def blank(page: U8, pos: int) -> int:
    """Return the position of the first byte that is neither space nor tab."""
    while byte_at(page, pos) == SPACE or byte_at(page, pos) == TAB:
        pos += 1
    return pos


@inlined
def starts_metric(page: U8, pos: int) -> bool:
    """Tell whether a metric name without quotes can begin here."""
    return bool(_CLASS[byte_at(page, pos)] & _METRIC_START)


@inlined
def ends_word(page: U8, pos: int) -> bool:
    """Tell whether there is a blank or line feed."""
    return bool(_CLASS[byte_at(page, pos)] & _END)


@inlined
def starts_label(page: U8, pos: int) -> bool:
    """Tell whether a label name without quotes can begin here."""
    return bool(_CLASS[byte_at(page, pos)] & _LABEL_START)


@inlined
def label_end(page: U8, pos: int) -> int:
    """Return the position after the letters, digits and underscores at `pos`."""
    while _CLASS[byte_at(page, pos)] & _LABEL:
        pos += 1
    return pos


@inner
def line_end(page: U8, size: int, pos: int) -> int:
    """Return the position of the next line feed; there is one."""
    while pos + WIDTH <= size:
        found = newlines(page, pos)
        if found:
            return pos + first_bit(found)
        pos += WIDTH
    while byte_at(page, pos) != LF:
        pos += 1
    return pos


@inlined
def name_end(page: U8, size: int, pos: int) -> int:
    """Return the position after the letters, digits, underscores and colons at `pos`."""
    while pos + WIDTH <= size:
        found = name_ends(page, pos)
        if found:
            return pos + first_bit(found)
        pos += WIDTH
    while _CLASS[byte_at(page, pos)] & _METRIC:
        pos += 1
    return pos


@inlined
def special(page: U8, size: int, pos: int) -> int:
    """Return the position of the next quote, backslash, line feed or byte above ASCII."""
    while pos + WIDTH <= size:
        found = specials(page, pos)
        if found:
            return pos + first_bit(found)
        pos += WIDTH
    while not _CLASS[byte_at(page, pos)] & _SPECIAL:
        pos += 1
    return pos


@inlined
def same(left: U8, start: int, right: U8, other: int, length: int) -> bool:
    """Tell whether left[start : start + length] and right[other : other + length] are equal."""
    # The last bytes first: lines mostly differ near their ends. Then blocks from the front, up to those.
    if length >= WIDTH:
        last = length - WIDTH
        if differs(left, start + last, right, other + last):
            return False
        done = 0
        while done < last:
            if differs(left, start + done, right, other + done):
                return False
            done += WIDTH
        return True
    if length >= 8:
        last = length - 8
        if load8(left, start + last) != load8(right, other + last):
            return False
        done = 0
        while done < last:
            if load8(left, start + done) != load8(right, other + done):
                return False
            done += 8
        return True
    for i in range(length):  # noqa: SIM110 - numba knows no all()
        if byte_at(left, start + i) != byte_at(right, other + i):
            return False
    return True


@inlined
def same_name(page: U8, size: int, start: int, other: int, length: int) -> bool:
    """Do what `same` does for two names on one page, the second the earlier one: they are mostly short."""
    if length <= 8 and start + 8 <= size:
        return (load8(page, start) ^ load8(page, other)) << (64 - 8 * length) == 0
    return same(page, start, page, other, length)


def _hash(data: U8, start: int, end: int, seed: int) -> int:
    """Return a hash of data[start:end]. Without the seed nobody can make texts whose hashes are equal."""
    length = end - start
    mixed = mix(length ^ MIXER, seed)
    if length > 16:
        pos = start
        other = mixed
        while pos + 32 < end:  # two at a time: a product is ready only some cycles later
            mixed = mix(load8(data, pos) ^ mixed, load8(data, pos + 8) ^ seed)
            other = mix(load8(data, pos + 16) ^ other, load8(data, pos + 24) ^ seed)
            pos += 32
        if pos + 16 < end:
            other = mix(load8(data, pos) ^ other, load8(data, pos + 8) ^ seed)
        return mix(load8(data, end - 16) ^ mixed ^ (other << 1), load8(data, end - 8) ^ seed)
    if length >= 8:
        return mix(load8(data, start) ^ mixed, load8(data, end - 8) ^ seed)
    few = 0
    if length >= 4:
        few = load4(data, start) | load4(data, end - 4) << 32
    elif length:
        few = byte_at(data, start) | byte_at(data, start + (length >> 1)) << 8 | byte_at(data, end - 1) << 16
    return mix(few ^ mixed, seed)


hash_of = inner(_hash)
hash_here = inlined(_hash)


@inner
def invalid_utf8(page: U8, pos: int, end: int) -> int:
    """Return where the first sequence that is not UTF-8 (RFC 3629) starts in page[pos:end], or -1."""
    while pos < end:
        lead = byte_at(page, pos)
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
        if pos + more >= end or byte_at(page, pos + 1) < low or byte_at(page, pos + 1) > high:
            return pos
        for i in range(2, more + 1):
            if byte_at(page, pos + i) < 0x80 or byte_at(page, pos + i) > 0xBF:
                return pos
        pos += more + 1
    return -1
