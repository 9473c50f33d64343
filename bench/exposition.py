"""Reading a page of Prometheus text: our parser, prometheus_client's, and memcpy as the floor."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from bench.exposition_page import Family, families, text
from bench.measure import interleave, seconds_a_call, spread
from bench.report import Curve, Result, Row, row
from bench.script import Options, main, require
from scaler.jit import compile_all
from scaler.model import labels_of
from scaler.textparse import Page, TextParser

UNIT = "GB/s"
PEER = "prometheus_client"
FLOOR = "memcpy"
_FAMILIES = 480
_MOST = 1_000_000


def run(options: Options) -> Result:
    """Measure the four ways in which a page is met."""
    compile_all()
    of = families(6 if options.quick else _FAMILIES)
    page = text(of, 1)
    checked = _check(of, page)
    long = sum(_digits(line) > 15 for line in page.splitlines()) / sum(len(family.lines) for family in of)
    cases = {**_ours(of), PEER: _peer(page), FLOOR: _memcpy(page)}
    found = _speeds(cases, len(page), options)
    peers, floors = {PEER: found[PEER]}, {FLOOR: found[FLOOR]}
    rows: list[Row] = [
        row(name, UNIT, found[name], peers=peers, floors=floors, more_is_better=True) for name in _ours(of)
    ]
    return Result(
        title=f"Prometheus text: a page of {len(page) / 1e6:.2f} MB, {sum(len(f.lines) for f in of):,} samples",
        about=f"Every page has other values than the one before; {long:.0%} of them have more than 15 digits. "
        "× the floor is how many times slower than copying the page.",
        rows=tuple(rows),
        curves=(_curve(options),),
        checked=(checked,),
    )


def _ours(of: Sequence[Family]) -> dict[str, Callable[[], object]]:
    """Return our parser in four situations, each with two pages in turn."""
    names = sorted(set[str]().union(*(family.names for family in of)))
    first, second = text(of, 1), text(of, 2)
    shuffled, again = text(of, 3, shuffled=True), text(of, 4, shuffled=True)
    few = names[:: max(1, len(names) // 5)][:5]

    def known(wanted: Sequence[str], *pages: bytes) -> Callable[[], object]:
        parser, turn = TextParser(wanted, _MOST), cycle(pages)
        for page in pages:
            parser.parse(page)
        return lambda: parser.parse(next(turn))

    return {
        "layout as last time": known(names, first, second),
        "any order": known(names, shuffled, again),
        "first sight": lambda: TextParser(names, _MOST).parse(first),
        f"only {len(few)} of {len(names)} names": known(few, first, second),
    }


def _peer(page: bytes) -> Callable[[], object]:
    decoded = page.decode()
    return lambda: list(_samples(decoded))


def _samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _memcpy(page: bytes) -> Callable[[], object]:
    source = np.frombuffer(page, np.uint8)
    target = np.empty_like(source)
    return lambda: np.copyto(target, source)


def _digits(line: bytes) -> int:
    return sum(byte in b"0123456789" for byte in line.rpartition(b" ")[2].partition(b"e")[0])


def _speeds(cases: dict[str, Callable[[], object]], size: int, options: Options) -> dict[str, list[float]]:
    """Return bytes a nanosecond."""

    def speed(call: Callable[[], object]) -> Callable[[], float]:
        return lambda: size / seconds_a_call(call, options.budget_s) / 1e9

    return interleave({name: speed(call) for name, call in cases.items()}, options.rounds)


def _check(of: Sequence[Family], page: bytes) -> str:
    """Every sample is the peer's, bit by bit, whichever way the page was met."""
    names = set[str]().union(*(family.names for family in of))
    parser = TextParser(names, _MOST)
    for each in (text(of, 3, shuffled=True), text(of, 2), page, page):
        last = parser.parse(each)
    wanted = {(name, labels_of(labels)): _bits(value) for name, labels, value in _samples(page.decode())}
    for found in (TextParser(names, _MOST).parse(page), last):
        require(_as_dict(found) == wanted, f"every sample equals {PEER}'s")
    return f"{len(wanted):,} samples equal {PEER}'s, their floats bit by bit"


def _as_dict(page: Page) -> dict[tuple[str, tuple[tuple[str, str], ...]], bytes]:
    keys = zip(page.layout.names, page.layout.series, strict=True)
    return dict(zip(keys, map(_bits, page.values.tolist()), strict=True))


def _bits(value: float) -> bytes:
    return b"NaN" if value != value else struct.pack("<d", value)


def _curve(options: Options) -> Curve:
    """Return the time a page against its size."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for count in (3, 6) if options.quick else (12, 48, 192, 768)[: 4 if options.full else 3]:
        of = families(count)
        size = len(text(of, 1))
        for name, found in _speeds({**_ours(of), FLOOR: _memcpy(text(of, 1))}, size, _shorter(options)).items():
            short = "only 5 names" if name.startswith("only") else name
            lines.setdefault(short, []).append((size / 1e6, size / 1e6 / spread(found).median))
    return Curve("Reading a page", "MB", "ms", lines)


def _shorter(options: Options) -> Options:
    return replace(options, rounds=min(options.rounds, 3))


if __name__ == "__main__":
    main("exposition", run)
