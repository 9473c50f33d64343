"""Pages that real programs served, recorded by tests/exposition/record.py, against two other parsers."""

from __future__ import annotations

import gzip
import math
import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from scaler.textparse import TextParser
from tests import naive_text

REAL = Path(__file__).parent / "testdata" / "exposition" / "real"
Samples = dict[naive_text.Series, bytes]


def recordings() -> dict[str, list[Path]]:
    """Return the pages of each program in each format, in the order they were recorded."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(REAL.glob("*.gz")):
        program, _, form = path.name.removesuffix(".gz").split(".", 2)
        found[f"{program}.{form}"].append(path)
    return found


def bits(value: float) -> bytes:
    """Return the bits of a value; every NaN counts as the same."""
    return b"NaN" if math.isnan(value) else struct.pack("<d", value)


def by_twin(page: bytes, *, openmetrics: bool) -> Samples:
    return {key: bits(value) for key, value in naive_text.parse(page, None, openmetrics=openmetrics).items()}


def by_prometheus_client(page: bytes, *, openmetrics: bool) -> Samples:
    text = page.decode()
    return dict(_samples((openmetrics_families if openmetrics else text_families)(text), text))


def _samples(families: Iterable[Metric], text: str) -> Iterator[tuple[naive_text.Series, bytes]]:
    written = set(re.findall(r'(?m)^(?:\{")?([^\s{"]+)', text))
    for family in families:
        for sample in family.samples:
            labels = tuple(sorted((name, value) for name, value in sample.labels.items() if value))
            # The library gives every counter the ending _total, whether the page has it or not.
            name = sample.name if sample.name in written else sample.name.removesuffix("_total")
            yield (name, labels), bits(sample.value)


@pytest.mark.parametrize("paths", recordings().values(), ids=recordings().keys())
def test_recorded_pages(paths: list[Path]) -> None:
    """One parser reads the pages of a program, one after another, as two others do: every sample, every bit."""
    pages = [gzip.decompress(path.read_bytes()) for path in paths]
    openmetrics = paths[0].name.endswith(".om.gz")
    expected = [by_prometheus_client(page, openmetrics=openmetrics) for page in pages]
    names = {name for samples in expected for name, _ in samples}
    parser = TextParser(names, 10_000)
    for page, samples in zip(pages, expected, strict=True):
        assert by_twin(page, openmetrics=openmetrics) == samples
        found = parser.parse(page, openmetrics=openmetrics)
        keys = zip(found.layout.names, found.layout.series, strict=True)
        assert dict(zip(keys, map(bits, found.values.tolist()), strict=True)) == samples
        again = parser.parse(page, openmetrics=openmetrics)
        assert again.layout is found.layout
        assert again.values.tobytes() == found.values.tobytes()


@pytest.mark.parametrize("paths", recordings().values(), ids=recordings().keys())
def test_some_of_a_recorded_page(paths: list[Path]) -> None:
    """Of any few metrics the same is read as of all of them."""
    openmetrics = paths[0].name.endswith(".om.gz")
    pages = [gzip.decompress(path.read_bytes()) for path in paths]
    every = [by_twin(page, openmetrics=openmetrics) for page in pages]
    names = sorted({name for samples in every for name, _ in samples})
    for few in (names[::17], names[5:6], names[-3:]):
        parser = TextParser(few, 10_000)
        for page, samples in zip(pages, every, strict=True):
            found = parser.parse(page, openmetrics=openmetrics)
            keys = zip(found.layout.names, found.layout.series, strict=True)
            values = dict(zip(keys, map(bits, found.values.tolist()), strict=True))
            assert values == {key: value for key, value in samples.items() if key[0] in few}


def test_there_are_enough() -> None:
    """The recordings are of eight kinds of programs, in three formats, and more than 10,000 lines."""
    paths = [path for paths in recordings().values() for path in paths]
    assert len({path.name.split(".")[0] for path in paths}) >= 8
    assert {key.partition(".")[2] for key in recordings()} == {"txt", "quoted.txt", "om"}
    assert sum(gzip.decompress(path.read_bytes()).count(b"\n") for path in paths) > 10_000
