"""Find series by what is written of them: the tables behind `textscan`, and whether two spellings mean the same."""

from __future__ import annotations

import numba

from scaler.jit import inner, kernel
from scaler.model import F64, I64, U8
from scaler.simd import byte_at, copy, data_of, word_at
from scaler.textbytes import blank, hash_of, name_end, same
from scaler.textcodes import SERIES_TWICE, failure
from scaler.textlex import forget_labels, read_labels
from scaler.textscan import DONE, SERIES, SERIES_MASK, entry_of, first_slot

_BYTES = numba.types.Array(numba.uint8, 1, "C", readonly=True)
_INTS = numba.int64[::1]
_ROWS = numba.int64[:, ::1]
_N, _OPEN, _BACKSLASH, _QUOTE = b'n{\\"'


@inner
def _put(table: I64, text_hash: int, series: int) -> None:
    slot = first_slot(text_hash, len(table))
    while table[slot]:
        slot = (slot + 1) & (len(table) - 1)
    table[slot] = entry_of(text_hash, series)


@kernel(_BYTES, _INTS, numba.int64, _INTS)
def index_texts(known_texts: U8, text_at: I64, seed: int, index: I64) -> None:
    """Fill `index`, zeros, for `textscan.scan`. Its length is a power of two and more than that of `text_at`."""
    texts = data_of(known_texts)
    for series in range(len(text_at) - 1):
        _put(index, hash_of(texts, text_at[series], text_at[series + 1], seed), series)


@kernel(_INTS, _INTS)
def index_identities(identities: I64, table: I64) -> None:
    """Fill `table`, zeros, for `resolve`. Its length is a power of two."""
    for series in range(len(identities)):
        _put(table, identities[series], series)


@inner
def _unescaped(data: U8, pos: int, end: int) -> tuple[int, int]:
    """Read one byte of a label value. Returns: it, 256 more for an escaped line feed, -1 at the end; what is next."""
    if pos == end:
        return -1, pos
    byte, following = byte_at(data, pos), byte_at(data, pos + 1)  # at the end of the value: its quote
    if byte == _BACKSLASH and pos + 1 < end:
        if following == _N:
            return 256 + _N, pos + 2
        if following in (_QUOTE, _BACKSLASH):
            return following, pos + 2
    return byte, pos + 1


@inner
def _same_value(left: U8, start: int, stop: int, right: U8, other: int, other_stop: int) -> bool:
    """Compare two label values, in which backslashes that need not be there may stand."""
    if stop - start == other_stop - other and same(left, start, right, other, stop - start):
        return True
    while True:
        byte, start = _unescaped(left, start, stop)
        counterpart, other = _unescaped(right, other, other_stop)
        if byte != counterpart:
            return False
        if byte < 0:
            return True


@inner
def _parts(data: U8, size: int, pos: int, end: int, strict: bool, spans: I64) -> tuple[int, int, int]:
    """Take apart a valid sample up to its value. Returns: how many labels it has; where its name begins and ends."""
    stop = name_end(data, size, pos)
    at = stop if strict else blank(data, stop)
    if at >= end or byte_at(data, at) != _OPEN:
        return 0, pos, stop
    forget_labels(spans)
    _, count, _, name, name_stop = read_labels(data, size, at + 1, strict, spans, 0)
    return (count, pos, stop) if name < 0 else (count, name, name_stop)


@inner
def _same_labels(left: U8, count: int, spans: I64, right: U8, others: int, more: I64) -> bool:
    """Tell whether two samples, taken apart, have the same labels, in any order; an empty one is an absent one."""
    unmatched = 0
    for i in range(others):
        unmatched += word_at(more, 5 * i + 3) > word_at(more, 5 * i + 2)
    for i in range(count):
        name, stop = word_at(spans, 5 * i), word_at(spans, 5 * i + 1)
        value, value_stop = word_at(spans, 5 * i + 2), word_at(spans, 5 * i + 3)
        if value == value_stop:
            continue
        found = False
        for j in range(others):
            other, end = word_at(more, 5 * j), word_at(more, 5 * j + 1)
            if end - other == stop - name and same(left, name, right, other, stop - name):
                start, end = word_at(more, 5 * j + 2), word_at(more, 5 * j + 3)
                found = end > start and _same_value(left, value, value_stop, right, start, end)
        if not found:
            return False
        unmatched -= 1
    return unmatched == 0


@inner
def _same_series(
    left: U8,
    left_size: int,
    start: int,
    end: int,
    right: U8,
    right_size: int,
    other: int,
    other_end: int,
    strict: bool,
    spans: I64,
    more: I64,
) -> bool:
    """Tell whether two valid samples, up to their values, have the same name and labels, however they are spelled.

    `spans` and `more` are scratch space for their labels, shape (SPANS,).
    """
    if end - start == other_end - other and same(left, start, right, other, end - start):
        return True
    count, name, stop = _parts(left, left_size, start, end, strict, spans)
    others, other_name, other_stop = _parts(right, right_size, other, other_end, strict, more)
    if stop - name != other_stop - other_name or not same(left, name, right, other_name, stop - name):
        return False
    return _same_labels(left, count, spans, right, others, more)


@kernel(
    *(_BYTES, numba.boolean, _ROWS, _BYTES, _INTS, numba.float64[::1]),
    *(_INTS, numba.float64[::1], _INTS, _INTS, _INTS, _INTS, _INTS),
)
def resolve(
    body: U8,
    strict: bool,
    fresh: I64,
    known_texts: U8,
    text_at: I64,
    fresh_values: F64,
    seen: I64,
    values: F64,
    table: I64,
    matched: I64,
    state: I64,
    scratch: I64,
    more_scratch: I64,
) -> int:
    """Find out which fresh samples are known series in another spelling, and refuse any that is there twice.

    Args:
        body: The page.
        strict: It is OpenMetrics.
        fresh: What `textscan.scan` brought out, shape (n, 3), with its values.
        known_texts: What the known series were written as; with `text_at` as for `scan`.
        text_at: Shape (known + 1,).
        fresh_values: Shape (n,).
        seen: In and out, as for `scan`, with the values: known series are added.
        values: In and out, shape (known,).
        table: In and out: from the hash of name and labels to `entry_of` the known series; the fresh ones are added.
        matched: Out, shape (n,): the known series that each fresh sample is; -1: none.
        state: Out: state[SERIES] is the series that is there twice; fresh sample i is known + i.
        scratch: Shape (textlex.SPANS,).
        more_scratch: Likewise.

    Returns: DONE or a failure.
    """
    known = len(text_at) - 1
    page, texts, size, text_size = data_of(body), data_of(known_texts), len(body), len(known_texts)
    spans, more = data_of(scratch), data_of(more_scratch)
    for i in range(len(fresh)):
        start, end, identity = fresh[i, 0], fresh[i, 1], fresh[i, 2]
        matched[i] = -1
        slot = first_slot(identity, len(table))
        while table[slot]:
            if (table[slot] ^ identity) & ~SERIES_MASK == 0:
                series = (table[slot] & SERIES_MASK) - 1
                if series >= known:
                    other, stop = fresh[series - known, 0], fresh[series - known, 1]
                    if _same_series(page, size, start, end, page, size, other, stop, strict, spans, more):
                        state[SERIES] = series
                        return failure(start, SERIES_TWICE)
                else:
                    other, stop = text_at[series], text_at[series + 1]
                    if _same_series(page, size, start, end, texts, text_size, other, stop, strict, spans, more):
                        if seen[series]:
                            state[SERIES] = series
                            return failure(start, SERIES_TWICE)
                        matched[i] = series
                        seen[series] = start + 1
                        values[series] = fresh_values[i]
                        break
            slot = (slot + 1) & (len(table) - 1)
        if matched[i] < 0:
            table[slot] = entry_of(identity, known + i)
    return DONE


@kernel(_BYTES, _ROWS, _BYTES, _INTS, _INTS, _INTS, numba.uint8[::1])
def gather(body: U8, fresh: I64, known_texts: U8, text_at: I64, order: I64, out_at: I64, out: U8) -> None:
    """Put texts one after another.

    Args:
        body: The page.
        fresh: The fresh samples of the page, as for `resolve`.
        known_texts: What the known series were written as.
        text_at: Shape (known + 1,).
        order: Which texts: a known series, or known + i for fresh sample i; shape (n,).
        out_at: Where each goes in `out`, shape (n + 1,).
        out: Out.
    """
    page, texts, target = data_of(body), data_of(known_texts), data_of(out)
    known = len(text_at) - 1
    for i in range(len(order)):
        length = out_at[i + 1] - out_at[i]
        if order[i] < known:
            copy(target, out_at[i], texts, text_at[order[i]], length)
        else:
            copy(target, out_at[i], page, fresh[order[i] - known, 0], length)
