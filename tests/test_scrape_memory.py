"""What many targets cost in memory: what their pages have in common is held once."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from adapter.schema.target import Target
from adapter.sources.scrape_page import PageReader, Wanted
from scaler.evaluate import table_spec
from scaler.model import EXTERNAL_METRICS_GROUP, Batch, MetricRef
from scaler.rules import Aggregate, Function, MetricRule, Signal
from scaler.store import SeriesStore
from scaler.textparse import TextParser

REF = MetricRef(EXTERNAL_METRICS_GROUP, "shop", "requests")
NAME = "http_requests_total"
TARGETS, SERIES, COLUMNS, INTERVAL_MS = 20, 500, 20, 15_000

MAX_BYTES_A_SERIES = 400 * 2**20 // 10**6
"""A million series with 20 samples each may take 400 MiB: 160 bytes are the samples."""


def page(number: int, more: str = "") -> bytes:
    """Return what a pod shows: `SERIES` counters that are called the same on every pod."""
    codes, methods = (200, 201, 301, 404, 500), ("GET", "POST", "PUT")
    lines = [
        f'{NAME}{{code="{codes[i % 5]}",handler="/api/v1/orders/{i // 5}",method="{methods[i % 3]}"}} {number * i}\n'
        for i in range(SERIES)
    ]
    return "".join([f"# TYPE {NAME} counter\n", *lines, more]).encode()


def reader(number: int) -> PageReader:
    """Return what reads a pod."""
    labels = (("instance", f"10.0.0.{number}:8080"), ("node", f"node-{number % 4}"), ("pod", f"web-{number}"))
    target = Target(f"web-{number}", f"http://10.0.0.{number}:8080/metrics", labels)
    return PageReader(target, (Wanted(REF, NAME, "", 10_000, from_zero=False),))


def batch(of: PageReader, text: bytes, now_ms: int = 0) -> Batch:
    """Return what a page brings."""
    (found,) = of.batches(of.parse(text, openmetrics=False), now_ms)
    return found


def test_parsers_of_the_same_page_share_what_they_remember() -> None:
    """Two targets with the same series hold one layout and one sequence of lines, and part when one gets another."""
    one, other = TextParser([NAME], 10_000), TextParser([NAME], 10_000)
    first = one.parse(page(1))
    assert other.parse(page(2)).layout is first.layout
    assert other._sequence is one._sequence
    changed = other.parse(page(2, f"{NAME} 1\n"))
    assert len(changed.layout) == SERIES + 1
    again = one.parse(page(3))
    assert again.layout is first.layout
    assert again.values.tolist() == [3.0 * i for i in range(SERIES)]
    assert one.parse(page(3, f"{NAME} 1\n")).layout is changed.layout


def test_labels_that_are_equal_are_one_object() -> None:
    """The pairs of a label are the same object on every series of every target."""
    layouts = [batch(reader(number), page(number)).layout for number in (1, 2)]
    pairs = [pair for layout in layouts for labels in layout.series for pair in labels]
    by_place = {pair: id(pair) for pair in pairs if pair[0] not in ("instance", "node", "pod")}
    assert all(by_place.get(pair, id(pair)) == id(pair) for pair in pairs)
    # The target's own are made once for all of its series.
    assert len({id(pair) for pair in pairs}) == len(set(pairs))


def test_a_metric_that_takes_all_of_a_page_copies_none_of_it() -> None:
    """The values of a batch are those of the page, not a copy."""
    of = reader(1)
    found = of.parse(page(1), openmetrics=False)
    (taken,) = of.batches(found, 0)
    assert np.shares_memory(taken.values, found.values)
    assert batch(of, page(2)).layout is taken.layout


def test_a_page_that_was_parsed_and_not_used_misleads_nobody() -> None:
    """When a read ends between parsing and taking, the next one still gives every series its own labels."""
    of, extra = reader(1), f'{NAME}{{code="999"}} 7\n'
    batch(of, page(1))
    of.parse(f'{NAME}{{code="1"}} 1\n'.encode() + page(1), openmetrics=False)  # everything is one place later
    found = batch(of, extra.encode() + page(1))
    fresh = batch(reader(1), extra.encode() + page(1))
    assert found.layout.series == fresh.layout.series
    assert found.values.tolist() == fresh.values.tolist()


@pytest.mark.parametrize("unwanted", [0, 5_000])
def test_a_page_with_the_layout_of_the_last_one_costs_its_numbers(unwanted: int) -> None:
    """One more page takes two numbers a wanted series and one a line while it is read, and nothing for its bytes."""
    more = "".join(f'other_metric_total{{shard="{i}",what="{"long" * 20}"}} 1\n' for i in range(unwanted))
    parser, pages = TextParser([NAME], 10_000), [page(number, more) for number in range(4)]
    for text in pages[:2]:
        parser.parse(text)
    tracemalloc.start()
    try:
        kept, _ = tracemalloc.get_traced_memory()
        parser.parse(pages[2])
        after, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    lines = SERIES + unwanted + 1
    assert after - kept < 1_000  # but for the values, which went with the page
    assert most - kept < 16 * SERIES + 8 * lines + 16_000
    assert len(parser._sequence) == lines


def test_bytes_a_series() -> None:
    """A series that all pods of a workload have costs less than the bound, with its labels and 20 samples."""
    targets = [f"web-{number}" for number in range(TARGETS)]
    signal = Signal(Function.RATE, window_ms=COLUMNS * INTERVAL_MS)
    rule = MetricRule(
        REF, "requests", "test", INTERVAL_MS, targets=tuple(targets), signal=signal, aggregate=Aggregate()
    )
    pages = [page(number) for number in range(COLUMNS)]
    batch(reader(0), pages[0])  # what is made once, whatever is read
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        store = SeriesStore()
        store.configure(REF, table_spec(rule), 0)
        readers = [reader(number) for number in range(TARGETS)]
        for number, text in enumerate(pages):
            for each in readers:
                store.append(batch(each, text, (number + 1) * INTERVAL_MS))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert store.tables[REF].series() == TARGETS * SERIES
    assert (after - before) / (TARGETS * SERIES) < MAX_BYTES_A_SERIES
