"""Names, texts in quotes, and labels of Prometheus text and OpenMetrics.

Functions that read return the position after what they read, or a failure (`textcodes`), which is negative. `strict` is
OpenMetrics 1.0, whose blanks are single spaces; otherwise the page is Prometheus text 0.0.4, or 1.0.0, which adds names
in quotes. What is accepted is what Prometheus accepts (model/textparse: promlex.l, openmetricslex.l), less what the
format's text forbids: labels without a comma between them, line feeds and, but for OpenMetrics, unknown escapes in
label values.
"""

from __future__ import annotations

from typing import Final

from scaler.jit import inlined, inner
from scaler.model import I64, U8
from scaler.simd import byte_at, load8, mix, put_word, word_at
from scaler.textbytes import (
    BACKSLASH,
    LF,
    MIXER,
    QUOTE,
    blank,
    hash_of,
    invalid_utf8,
    label_end,
    same,
    same_name,
    special,
    starts_label,
)
from scaler.textcodes import (
    COMMA,
    EQUALS,
    ESCAPE,
    LABEL_NAME,
    LABEL_TWICE,
    MANY_LABELS,
    MAX_LABELS,
    NAME_EMPTY,
    NAME_TWICE,
    QUOTE_WANTED,
    UNCLOSED,
    UTF8,
    failure,
)

_PLAIN: Final = 5 * MAX_LABELS  # how many of the labels read last have, from the first on, names without quotes
_HASHED_BY: Final = _PLAIN + 1
SPANS: Final = _PLAIN + 2

_COMMA, _EQUALS, _LOWER_N, _CLOSE = b",=n}"


@inner
def rest_of_quoted(page: U8, size: int, start: int, pos: int, any_escape: bool) -> tuple[int, bool]:
    """Read on from `pos`, something special in a quoted text that began at `start`.

    Returns: The position of the closing quote, or a failure; whether there are backslashes. `any_escape` allows those
        before something that needs none.
    """
    escaped = False
    ascii_only = True
    while True:
        byte = byte_at(page, pos)
        if byte == QUOTE:
            break
        if byte == LF:
            return failure(start - 1, UNCLOSED), False
        if byte == BACKSLASH:
            escaped = True
            pos += 1
            if byte_at(page, pos) != BACKSLASH and byte_at(page, pos) != QUOTE and byte_at(page, pos) != _LOWER_N:
                if not any_escape or byte_at(page, pos) == LF:
                    return failure(pos - 1, ESCAPE), False
                pos -= 1  # what follows the backslash may be more than one byte
        else:
            ascii_only = False
        pos = special(page, size, pos + 1)
    if not ascii_only:
        bad = invalid_utf8(page, start, pos)
        if bad >= 0:
            return failure(bad, UTF8), False
    return pos, escaped


@inner
def _repeated(page: U8, spans: I64, count: int, start: int, end: int) -> bool:
    for i in range(count):
        other, stop = word_at(spans, 5 * i), word_at(spans, 5 * i + 1)
        if stop - other == end - start and same(page, start, page, other, end - start):
            return True
    return False


@inner
def _hash_unescaped(page: U8, pos: int, end: int, seed: int) -> int:
    """Return a hash of a label value with backslashes in it, the same with or without those that need not be there."""
    mixed = seed
    while pos < end:
        byte = byte_at(page, pos)
        following = byte_at(page, pos + 1)  # at the end of the value: its quote
        pos += 1
        if byte == BACKSLASH and (following in (BACKSLASH, QUOTE, _LOWER_N)):
            byte = following
            pos += 1
            if following == _LOWER_N:
                byte = LF
        mixed = mix(mixed ^ byte, MIXER)
    return mixed


@inlined
def _name_bit(page: U8, start: int, stop: int) -> int:
    """Return a bit for a label name: names are compared only where two have the same."""
    return 1 << ((stop - start + 7 * byte_at(page, start) + 5 * byte_at(page, stop - 1)) % 63)


@inlined
def _label_hash(page: U8, size: int, start: int, end: int, name_hash: int, seed: int) -> int:
    """Return a hash of a label: of its value, page[start:end], and its name's hash. Values are mostly short."""
    length = end - start
    if length > 15:
        return mix(hash_of(page, start, end, seed), name_hash)
    if start + 16 > size:
        return _hash_bytes(page, start, end, name_hash, seed)
    low, high = load8(page, start), load8(page, start + 8)
    if length < 8:
        low &= (1 << (8 * length)) - 1
        high = 0
    else:
        high &= (1 << (8 * length - 64)) - 1
    return mix(low ^ name_hash, high ^ seed ^ length << 56)


@inner
def _hash_bytes(page: U8, start: int, end: int, name_hash: int, seed: int) -> int:
    """Do what `_label_hash` does for at most 15 bytes, at the very end of the page."""
    low, high = 0, 0
    for i in range(end - start):
        if i < 8:
            low |= byte_at(page, start + i) << (8 * i)
        else:
            high |= byte_at(page, start + i) << (8 * i - 64)
    return mix(low ^ name_hash, high ^ seed ^ (end - start) << 56)


@inlined
def forget_labels(spans: I64) -> None:
    """Make `read_labels` not look back: what it read last was in another array."""
    put_word(spans, _PLAIN, 0)


@inner
def read_labels(page: U8, size: int, pos: int, strict: bool, spans: I64, seed: int) -> tuple[int, int, int, int, int]:
    """Read the inside of braces; `pos` is after the opening one.

    Lines of one metric have the same label names in the same places. A name that the labels read before had in its
    place is known to be one, and not to be there twice.

    Args:
        page: The page.
        size: Its length.
        pos: Where to begin.
        strict: By OpenMetrics.
        spans: In and out, `simd.data_of` an array of shape (SPANS,), zeros at first: from 5 × i on, where name and
            value of label i begin and end.
        seed: For the hash; 0: none is wanted.

    Returns: The position after the closing brace, or a failure; how many labels there are; a hash of those with a
        value, whatever their order and spelling; where a metric name, given in quotes, begins (-1: not at all), ends.
    """
    before = word_at(spans, _PLAIN) if word_at(spans, _HASHED_BY) == seed else 0
    forget_labels(spans)
    count, plain, identity = 0, 0, 0
    metric, metric_stop = -1, -1
    seen = 0
    alike = True  # so far the names are those of the labels read before
    while True:
        if not strict:
            pos = blank(page, pos)
        if byte_at(page, pos) == _CLOSE and not (strict and byte_at(page, pos - 1) == _COMMA):
            put_word(spans, _PLAIN, plain)
            put_word(spans, _HASHED_BY, seed)
            return pos + 1, count, identity, metric, metric_stop
        at = 5 * count
        start = pos
        quoted = byte_at(page, pos) == QUOTE
        if alike:
            other, length = word_at(spans, at), word_at(spans, at + 1) - word_at(spans, at)
            alike = count < before and pos + length < size and byte_at(page, pos + length) == _EQUALS
            alike = alike and same_name(page, size, pos, other, length)
            stop = pos + length
            if not alike:
                for i in range(count):
                    seen |= _name_bit(page, word_at(spans, 5 * i), word_at(spans, 5 * i + 1))
        if not alike:
            if quoted:
                start = pos + 1
                stop, _ = rest_of_quoted(page, size, start, special(page, size, start), any_escape=False)
                if stop < 0:
                    return stop, 0, 0, 0, 0
                if stop == start:
                    return failure(pos, NAME_EMPTY), 0, 0, 0, 0
                pos = stop + 1
            else:
                if not starts_label(page, pos):
                    return failure(pos, LABEL_NAME), 0, 0, 0, 0
                pos = label_end(page, pos)
                stop = pos
            if not strict:
                pos = blank(page, pos)
            if byte_at(page, pos) != _EQUALS:
                if not quoted or (byte_at(page, pos) != _COMMA and byte_at(page, pos) != _CLOSE):
                    return failure(pos, EQUALS), 0, 0, 0, 0
                if metric >= 0:
                    return failure(start - 1, NAME_TWICE), 0, 0, 0, 0
                metric, metric_stop = start, stop
                if byte_at(page, pos) == _COMMA:
                    pos += 1
                continue
            bit = _name_bit(page, start, stop)
            if seen & bit and _repeated(page, spans, count, start, stop):
                return failure(start, LABEL_TWICE), 0, 0, 0, 0
            if count == MAX_LABELS:
                return failure(start, MANY_LABELS), 0, 0, 0, 0
            seen |= bit
            put_word(spans, at + 4, hash_of(page, start, stop, seed) if seed else 0)
        else:
            pos = stop
        pos += 1
        if not strict:
            pos = blank(page, pos)
        if byte_at(page, pos) != QUOTE:
            return failure(pos, QUOTE_WANTED), 0, 0, 0, 0
        text = pos + 1
        pos = special(page, size, text)
        escaped = False
        if byte_at(page, pos) != QUOTE:
            pos, escaped = rest_of_quoted(page, size, text, pos, any_escape=strict)
            if pos < 0:
                return pos, 0, 0, 0, 0
        put_word(spans, at, start)
        put_word(spans, at + 1, stop)
        put_word(spans, at + 2, text)
        put_word(spans, at + 3, pos)
        if plain == count and not quoted:
            plain += 1
        count += 1
        if pos > text and seed:
            name_hash = word_at(spans, at + 4)
            if escaped:
                identity ^= mix(_hash_unescaped(page, text, pos, seed), name_hash)
            else:
                identity ^= _label_hash(page, size, text, pos, name_hash, seed)
        pos += 1
        if not strict:
            pos = blank(page, pos)
        if byte_at(page, pos) == _COMMA:
            pos += 1
        elif byte_at(page, pos) != _CLOSE:
            return failure(pos, COMMA), 0, 0, 0, 0
