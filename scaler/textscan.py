"""Scan pages of Prometheus text and of OpenMetrics: every line is checked, wanted samples are brought out.

One pass over the bytes. Of each line of the last page something is remembered: of a wanted sample its text up to the
value, of any other line a word, the length and a hash of that text. A line that is the one expected next costs a
comparison and its value. Any other line with a wanted name is looked up among the known texts; only what is not found
is read word by word. So a line that was inserted, dropped or moved costs no more than itself.
"""

from __future__ import annotations

from typing import Final

import numba

from scaler.decimals import OUT_OF_RANGE, number
from scaler.jit import inlined, kernel
from scaler.model import F64, I64, U8
from scaler.simd import WIDTH, byte_at, closings, data_of, last_bit, mix, newlines, word_at
from scaler.textbytes import LF, blank, hash_here, hash_of, name_end, same, starts_metric
from scaler.textcodes import AFTER_END, METRIC_NAME, NO_END, RANGE, SERIES_TWICE, VALUE, failure
from scaler.textline import read_head, read_time_and_exemplar, read_timestamp
from scaler.textmeta import read_no_sample

DONE: Final = 0
FULL: Final = 1
INEXACT: Final = 2
NO_INDEX: Final = 3

POSITION, LINES, FRESH, CURSOR, FOUND, VALUE_AT, VALUE_END, SERIES, SEED = range(9)
STATE: Final = 9

NEVER: Final = -1 << 63
"""The word of a line that is always read: it is too long for one, or the last of OpenMetrics."""
_LENGTH_BITS: Final = 16
_LENGTH: Final = (1 << _LENGTH_BITS) - 1
_WHOLE: Final = 1 << _LENGTH_BITS
_HASHED: Final = ~(2 * _WHOLE - 1)

SERIES_BITS: Final = 22
SERIES_MASK: Final = (1 << SERIES_BITS) - 1
_ASTRAY: Final = 4  # after so many lines in any order only one in eight is expected anywhere
_AHEAD: Final = 2  # lines of the last page that are tried: the one expected, and the next if that one is gone

_OPEN, _CLOSE = b"{}"
_NAME_SEED: Final = 1  # the names are ours, and their table is sparse

_BYTES = numba.types.Array(numba.uint8, 1, "C", readonly=True)
_INTS = numba.int64[::1]
_FLOATS = numba.float64[::1]


@kernel(_BYTES, _INTS, _INTS)
def index_names(name_texts: U8, name_ends: I64, table: I64) -> None:
    """Fill a table for `scan`, -1 everywhere, with the names. Its length is a power of two, and more than theirs."""
    names = data_of(name_texts)
    for name in range(len(name_ends) - 1):
        slot = hash_of(names, name_ends[name], name_ends[name + 1], _NAME_SEED) & (len(table) - 1)
        while table[slot] >= 0:
            slot = (slot + 1) & (len(table) - 1)
        table[slot] = name


@inlined
def _wanted(page: U8, start: int, end: int, names: U8, names_at: I64, table: I64, slots: int) -> bool:
    slot = hash_of(page, start, end, _NAME_SEED) & (slots - 1)
    while word_at(table, slot) >= 0:
        name = word_at(table, slot)
        at = word_at(names_at, name)
        if word_at(names_at, name + 1) - at == end - start and same(page, start, names, at, end - start):
            return True
        slot = (slot + 1) & (slots - 1)
    return False


@inlined
def _word(page: U8, start: int, end: int, whole: int, seed: int) -> int:
    """Return what is remembered of page[start:end]: all of a line (`whole` is _WHOLE), or a sample up to its value."""
    if end - start >= _LENGTH:
        return NEVER
    return NEVER | (hash_here(page, start, end, seed) & _HASHED) | whole | (end - start)


@inlined
def entry_of(text_hash: int, series: int) -> int:
    """Return what a hash table holds for a series, 0 being free: most of the hash, and the number."""
    return (text_hash & ~SERIES_MASK) | (series + 1)


@inlined
def first_slot(text_hash: int, slots: int) -> int:
    """Return where in a table of `slots`, a power of two, the search begins."""
    return (text_hash ^ (text_hash >> 32)) & (slots - 1)


@inlined
def _find(page: U8, start: int, end: int, index: I64, slots: int, texts: U8, text_at: I64, seed: int) -> int:
    """Return the number of the known text page[start:end]; -1 if it is not known."""
    text_hash = hash_of(page, start, end, seed)
    slot = first_slot(text_hash, slots)
    while word_at(index, slot):
        entry = word_at(index, slot)
        if (entry ^ text_hash) & ~SERIES_MASK == 0:
            series = (entry & SERIES_MASK) - 1
            at = word_at(text_at, series)
            if word_at(text_at, series + 1) - at == end - start and same(page, start, texts, at, end - start):
                return series
        slot = (slot + 1) & (slots - 1)
    return -1


@inlined
def _value_at(page: U8, size: int, pos: int) -> int:
    """Guess where the value of a sample begins, whose name ends at `pos`: after the last brace of the line.

    Only text that has been read word by word before is ever trusted to this.
    """
    if byte_at(page, pos) != _OPEN:
        return blank(page, pos)
    last = pos
    while pos + WIDTH <= size:
        ends = newlines(page, pos)
        braces = closings(page, pos) & (ends - 1 & ~ends)  # those before the line feed
        if braces:
            last = pos + last_bit(braces)
        if ends:
            return blank(page, last + 1)
        pos += WIDTH
    while byte_at(page, pos) != LF:
        if byte_at(page, pos) == _CLOSE:
            last = pos
        pos += 1
    return blank(page, last + 1)


@kernel(
    _BYTES,
    numba.boolean,
    *(_BYTES, _INTS, _INTS),
    *(_BYTES, _INTS, _INTS, _INTS, _INTS),
    *(_FLOATS, _INTS, numba.int64[:, ::1], _FLOATS, _INTS),
    *(_INTS, _FLOATS, _INTS),
)
def scan(
    body: U8,
    strict: bool,
    name_texts: U8,
    name_ends: I64,
    name_table: I64,
    known_texts: U8,
    text_ends: I64,
    sequence: I64,
    places: I64,
    text_index: I64,
    values: F64,
    seen: I64,
    fresh: I64,
    fresh_values: F64,
    trail: I64,
    state: I64,
    given: F64,
    scratch: I64,
) -> int:
    """Check a page and bring out its wanted samples.

    Args:
        body: The page; its last byte is a line feed.
        strict: It is OpenMetrics.
        name_texts: The wanted metric names, one after another; name i is from name_ends[i] to name_ends[i + 1].
        name_ends: Shape (names + 1,).
        name_table: What `index_names` filled; shape (a power of two,).
        known_texts: What the known series were written as, up to their values; like `name_texts`.
        text_ends: Shape (known + 1,).
        sequence: What was in each line of the last page: the number of a series, or a word.
        places: Where in `sequence` each series is, shape (known,).
        text_index: Open addressing from the hash of a text to `entry_of` it; empty: not made yet.
        values: Out, shape (known,): the value of each known series.
        seen: In and out, shape (known,): where on the page each known series is, plus 1. Zeros at first.
        fresh: Out, shape (n, 3): where a wanted sample begins whose text is not known, where its value does, and the
            hash of its name and labels.
        fresh_values: Out, shape (n,).
        trail: Out, shape (lines,): `sequence` for this page; fresh sample i is the number known + i.
        state: In and out, shape (STATE,). Zeros at first, but for the seed.
        given: In, shape (1,): what the text at state[VALUE_AT] is.
        scratch: Shape (textlex.SPANS,).

    Returns: DONE; a failure; or what to do before calling again: FULL, enlarge `fresh` or `trail`; NO_INDEX, make the
        index; INEXACT, convert the text at state[VALUE_AT : VALUE_END].
    """
    pos, lines, fresh_count = state[POSITION], state[LINES], state[FRESH]
    cursor, found, seed = state[CURSOR], state[FOUND], state[SEED]
    page, spans = data_of(body), data_of(scratch)
    names, names_at, table, name_slots = data_of(name_texts), data_of(name_ends), data_of(name_table), len(name_table)
    texts, text_at, index, slots = data_of(known_texts), data_of(text_ends), data_of(text_index), len(text_index)
    known = len(text_ends) - 1
    end = len(body)
    doubted = -1  # where a line was not what it seemed
    last_name, last_stop, last_wanted, last_hash = 0, 0, False, 0  # the name read last: many lines have the same
    astray = 0  # lines in a row that were elsewhere on the last page
    ended = False
    code = DONE
    while pos < end:
        line = start = pos
        if lines == len(trail) or fresh_count == len(fresh):
            code = FULL
            break
        entry = NEVER
        value_at = -1
        after = cursor
        tried = len(sequence) if astray < _ASTRAY or lines & 7 == 0 else 0
        while after < min(cursor + _AHEAD, tried) and value_at < 0 and line != doubted:
            entry = sequence[after]
            after += 1
            if entry >= 0:
                at = word_at(text_at, entry)
                length = word_at(text_at, entry + 1) - at
                if start + length < end and same(texts, at, page, start, length):
                    value_at = start + length
            else:
                length, whole = entry & _LENGTH, entry & _WHOLE
                inside = start + length <= end if whole else start + length < end
                if length and inside and _word(page, start, start + length, whole, seed) == entry:
                    value_at = start + length
        trusted = value_at >= 0
        identity = 0
        new = False
        if trusted:
            astray = 0
            if entry < 0 and entry & _WHOLE:
                trail[lines] = entry
                lines += 1
                pos = value_at
                cursor = after
                continue
        else:
            after = cursor
            pos, last = read_no_sample(page, end, start, strict)
            if pos < 0:
                return pos
            if byte_at(page, pos) == LF:
                pos += 1
                if last and pos < end:
                    return failure(pos, AFTER_END)
                ended |= last
                trail[lines] = NEVER if last else _word(page, line, pos, _WHOLE, seed)
                lines += 1
                continue
            stop = pos
            wanted = False
            if starts_metric(page, pos):
                stop = name_end(page, end, pos)
                if stop - pos != last_stop - last_name or not same(page, pos, page, last_name, stop - pos):
                    last_wanted = _wanted(page, pos, stop, names, names_at, table, name_slots)
                    last_hash = hash_of(page, pos, stop, seed) if last_wanted else 0
                last_name, last_stop, wanted = pos, stop, last_wanted
                if wanted and slots and line != doubted:
                    value_at = _value_at(page, end, stop)
                    entry = _find(page, pos, value_at, index, slots, texts, text_at, seed)
                    trusted = entry >= 0
                elif wanted and known and not slots:
                    code = NO_INDEX
                    pos = line
                    break
            elif byte_at(page, pos) != _OPEN:
                return failure(pos, METRIC_NAME)
            if trusted:
                after = places[entry] + 1
                astray += 1
                start = pos
            else:
                # What is known not to be wanted needs no hash.
                hashed = seed if wanted or stop == pos else 0
                value_at, name, name_stop, labels = read_head(page, end, pos, stop, strict, spans, hashed)
                if value_at < 0:
                    return value_at
                new = wanted or (stop == pos and _wanted(page, name, name_stop, names, names_at, table, name_slots))
                if new:
                    start = pos
                    identity = (last_hash if wanted else hash_of(page, name, name_stop, seed)) ^ mix(labels, seed)
                else:
                    entry = _word(page, line, value_at, 0, seed)
        pos, value, inexact = number(page, end, value_at)
        if pos < 0:
            if trusted:  # the line goes on where the known one had its value: `a {x="1"} 2` instead of `a 2`
                pos = doubted = line
                continue
            return failure(value_at, RANGE if pos == OUT_OF_RANGE else VALUE)
        if inexact and (new or entry >= 0):
            if state[VALUE_AT] != value_at:
                state[VALUE_AT], state[VALUE_END] = value_at, pos
                code = INEXACT
                pos = line
                break
            value = given[0]
        if byte_at(page, pos) != LF:
            pos = read_time_and_exemplar(page, end, pos, spans) if strict else read_timestamp(page, pos)
            if pos < 0:
                return pos
        pos += 1
        if new:
            fresh[fresh_count, 0], fresh[fresh_count, 1], fresh[fresh_count, 2] = start, value_at, identity
            fresh_values[fresh_count] = value
            entry = known + fresh_count
            fresh_count += 1
        elif entry >= 0:
            if seen[entry]:
                state[SERIES] = entry
                return failure(start, SERIES_TWICE)
            seen[entry] = start + 1
            values[entry] = value
            found += 1
        trail[lines] = entry
        lines += 1
        cursor = after
    state[POSITION], state[LINES], state[FRESH] = pos, lines, fresh_count
    state[CURSOR], state[FOUND] = cursor, found
    if code == DONE and strict and not ended:
        return failure(end - 1, NO_END)
    return code
