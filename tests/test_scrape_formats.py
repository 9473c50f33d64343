"""The formats a page may be in, which of them is asked for, and what only some of them say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from adapter.schema.policy import ALLOW_ALL
from adapter.sources.scrape import ScrapeSpec, target_at
from adapter.sources.scrape_page import Wanted
from scaler.model import EXTERNAL_METRICS_GROUP, Batch, MetricRef
from tests.pages import PageServer, http, serving

REF = MetricRef(EXTERNAL_METRICS_GROUP, "shop", "requests")
OPENMETRICS = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT_FIRST = (
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.9,text/plain;version=0.0.4;escaping=allow-utf-8;q=0.8,"
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,application/openmetrics-text;version=0.0.1;"
    "q=0.6,*/*;q=0.1"
)
OPENMETRICS_FIRST = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.9,application/openmetrics-text;version=0.0.1;"
    "q=0.8,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.7,text/plain;version=0.0.4;escaping=allow-utf-8;q=0.6,"
    "*/*;q=0.1"
)


def wanted(name: str = "http_requests_total", *, match: str = "", from_zero: bool = False) -> Wanted:
    return Wanted(REF, name, match, 100, from_zero)


def spec(server: PageServer, *wants: Wanted) -> ScrapeSpec:
    return ScrapeSpec("shop", target_at(server.url), 1_000, 10_000, 1 << 20, ALLOW_ALL, wants)


async def read(of: ScrapeSpec, times: int = 1) -> list[Batch]:
    endpoint = of.open()
    try:
        for now_ms in range(times):
            batches = await endpoint.collect(now_ms)
        return batches
    finally:
        await endpoint.close()


def batch_of(answer: bytes, *wants: Wanted) -> Batch:
    async def run() -> Batch:
        async with serving(answer) as server:
            return (await read(spec(server, *wants)))[0]

    return asyncio.run(run())


def series_of(batch: Batch) -> dict[tuple[tuple[str, str], ...], float]:
    """Return the series without their instance, and their values."""
    found = [tuple(pair for pair in labels if pair[0] != "instance") for labels in batch.layout.series]
    return dict(zip(found, batch.values.tolist(), strict=True))


@pytest.mark.parametrize(
    ("wants", "accept"),
    [
        ([wanted()], TEXT_FIRST),
        ([wanted(from_zero=True)], OPENMETRICS_FIRST),
        ([wanted("h_bucket", from_zero=True), wanted()], OPENMETRICS_FIRST),
        ([wanted("requests", from_zero=True)], TEXT_FIRST),
        ([wanted(from_zero=True), wanted("connections")], TEXT_FIRST),
    ],
)
def test_what_is_asked_for(wants: Sequence[Wanted], accept: str) -> None:
    """OpenMetrics comes first only for the times series were created, and where no metric can change its name."""

    async def run() -> bytes:
        async with serving(http(b"up 1\n")) as server:
            await read(spec(server, *wants))
            return server.requests[0]

    assert f"\r\nAccept: {accept}\r\n".encode() in asyncio.run(run())


@pytest.mark.parametrize("end", ["# EOF", "# EOF\n"])
def test_openmetrics(end: str) -> None:
    """A page of OpenMetrics is read by its content type; exemplars and timestamps are ignored."""
    page = (
        "# TYPE http_requests counter\n# HELP http_requests x\n"
        'http_requests_total{code="200"} 10.0 1395066363.000 # {trace_id="KOO"} 0.67 1.5\n'
        'http_requests_total{code="500"} 2 # {} 1\n'
    )
    for version in ("1.0.0", "0.0.1"):
        batch = batch_of(
            http((page + end).encode(), f"Content-Type: application/openmetrics-text; version={version}"), wanted()
        )
        assert series_of(batch) == {(("code", "200"),): 10, (("code", "500"),): 2}


def test_a_target_that_changes_its_format() -> None:
    """A target that answers in one format and then in the other keeps its layout."""

    async def run() -> None:
        text = http(b'http_requests_total { code="200", } 1\n', "Content-Type: text/plain; version=0.0.4")
        openmetrics = http(b'http_requests_total{code="200"} 2\n# EOF\n', OPENMETRICS)
        async with serving() as server:
            endpoint = spec(server, wanted()).open()
            try:
                found: list[Batch] = []
                for answer in (text, openmetrics, openmetrics, text):
                    server.say(answer)
                    found += await endpoint.collect(len(found))
            finally:
                await endpoint.close()
        assert [batch.values.tolist() for batch in found] == [[1], [2], [2], [1]]
        assert len({id(batch.layout) for batch in found}) == 1

    asyncio.run(run())


PARTS = 'http_requests_total{code="200"} 1\nhttp_requests_total{code="500"} 2\n'
CREATED = 'http_requests_created{code="200"} 1700000200\nhttp_requests_created{code="500"} 1700000100.5\n'
PROCESS = "process_start_time_seconds 1700000000\n"


@pytest.mark.parametrize(
    ("page", "start_ms"),
    [
        (PARTS + CREATED + PROCESS, 1_700_000_100_500),
        (PARTS + CREATED, 1_700_000_100_500),
        (PARTS + CREATED.partition("\n")[0] + "\n" + PROCESS, 1_700_000_000_000),
        (PARTS + CREATED.partition("\n")[0] + "\n", None),
        (PARTS + CREATED.replace("1700000200", "NaN") + PROCESS, 1_700_000_000_000),
        (PARTS + CREATED.replace("1700000200", "0"), None),
        (PARTS + CREATED + PROCESS.replace("1700000000", "1700000300"), 1_700_000_300_000),
        (PARTS + PROCESS, 1_700_000_000_000),
    ],
)
def test_when_the_series_were_created(page: str, start_ms: int | None) -> None:
    """A target's counters began with the first of its series, if of each it says when, and not before its process."""
    for answer in (http(page.encode()), http(f"{page}# EOF\n".encode(), OPENMETRICS)):
        assert batch_of(answer, wanted(from_zero=True)).start_ms == start_ms
        assert batch_of(answer, wanted()).start_ms is None


def test_when_the_matching_series_were_created() -> None:
    """Only the series that a metric takes count; those of a histogram share one time."""
    answer = http((PARTS + CREATED).encode())
    assert batch_of(answer, wanted(match='code="200"', from_zero=True)).start_ms == 1_700_000_200_000
    histogram = (
        b'h_bucket{path="/",le="1.0"} 1\nh_bucket{path="/",le="+Inf"} 2\nh_count{path="/"} 2\nh_sum{path="/"} 3\n'
        b'h_created{path="/"} 1.7e9\ns{quantile="0.5"} 1\ns_count 2\ns_created 1.8e9\n# EOF\n'
    )
    for name in ("h_bucket", "h_count", "h_sum"):
        batch = batch_of(http(histogram, OPENMETRICS), wanted(name, from_zero=True))
        assert batch.start_ms == 1_700_000_000_000
    assert batch_of(http(histogram, OPENMETRICS), wanted("s_count", from_zero=True)).start_ms == 1_800_000_000_000


def test_histograms_and_summaries() -> None:
    """Their lines are series like all others, with the labels le and quantile as they are written."""
    page = (
        b'# TYPE h histogram\nh_bucket{le="0.5"} 1\nh_bucket{le="+Inf"} 3\nh_sum 2.5\nh_count 3\n'
        b'# TYPE s summary\ns{quantile="0.99"} NaN\ns_sum 0\ns_count 0\n'
    )
    assert series_of(batch_of(http(page), wanted("h_bucket"))) == {(("le", "+Inf"),): 3, (("le", "0.5"),): 1}
    assert series_of(batch_of(http(page), wanted("h_sum"))) == {(): 2.5}
    assert repr(series_of(batch_of(http(page), wanted("s")))) == "{(('quantile', '0.99'),): nan}"
    assert series_of(batch_of(http(page), wanted("s_count"))) == {(): 0}


def test_names_in_utf8() -> None:
    """Metrics and labels with any name are read as they are called, and matchers can name such labels."""
    page = (
        '{"my.metric","label.with.dots"="x",plain="1"} 1\n{"my.metric","label.with.dots"="y"} 2\n'
        '{"http.größe"} 3\nmy_metric{label_with_dots="x"} 4\n'
    ).encode()
    for answer in (
        http(page, "Content-Type: text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
        http(page + b"# EOF\n", OPENMETRICS + "; escaping=allow-utf-8"),
    ):
        batch = batch_of(answer, wanted("my.metric", match='"label.with.dots"="x"'))
        assert series_of(batch) == {(("label.with.dots", "x"), ("plain", "1")): 1}
        assert series_of(batch_of(answer, wanted("http.größe"))) == {(): 3}


def test_a_page_that_is_different_each_time() -> None:
    """Series that come and go with every read are read right, and what is remembered does not grow."""

    async def run() -> None:
        async with serving() as server:
            endpoint = spec(server, wanted(match='keep="1"')).open()
            try:
                for now_ms in range(60):
                    lines = [f'http_requests_total{{id="{now_ms * 7 + i}",keep="{i % 2}"}} {i}\n' for i in range(50)]
                    order = lines[now_ms % 50 :] + lines[: now_ms % 50]
                    server.say(http("".join([f"# HELP x {now_ms}\n", *order]).encode()))
                    (batch,) = await endpoint.collect(now_ms)
                    expected = {(("id", str(now_ms * 7 + i)), ("keep", "1")): i for i in range(1, 50, 2)}
                    assert series_of(batch) == expected
                reader = endpoint._reader
                assert len(reader._series) == len(reader._parser._sequence) - 1 == 50
            finally:
                await endpoint.close()

    asyncio.run(run())
