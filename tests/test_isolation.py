"""What one source does to another: nothing. Read once, pauses that sources ask for, breakers in the open."""

from __future__ import annotations

import asyncio
import http.server
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.collect import read_once
from adapter.schema.metric import Metric
from adapter.schema.model import ScrapeSource
from adapter.sources import SourceFailureError
from adapter.sources.plan import endpoints, source_id, targets_of
from adapter.sources.retry_after import retry_after_ms
from scaler.model import EXTERNAL_METRICS_GROUP, MetricRef
from scaler.rules import MetricRule
from tests.adapter_process import VALUES, Adapter
from tests.pages import http as answer
from tests.pages import serving
from tests.redis_reading import redis_metric
from tests.redis_server import RedisServer
from tests.test_app import metric, write
from tests.test_explain_process import said
from tests.test_scrape import opened, spec
from tests.waiting import until_sync

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
READS = 5


def scrape_metric(url: str, name: str, namespace: str = "shop", interval_ms: int = 1_000) -> Metric:
    source = ScrapeSource.model_validate({"targets": {"urls": [url]}, "metric": "up"})
    ref = MetricRef(EXTERNAL_METRICS_GROUP, namespace, name)
    rule = MetricRule(ref, name, source_id(source), interval_ms, targets_of(source))
    return Metric(rule, source, 5_000, "test")


async def read_all(metrics: list[Metric]) -> int:
    """Read everything READS times; return how many endpoints that takes."""
    specs = endpoints(metrics)
    async with AsyncExitStack() as stack:
        for each in specs:
            endpoint = await stack.enter_async_context(opened(each))
            for time_ms in range(READS):
                outcome = await read_once(each, endpoint, time_ms)
                assert outcome.unknown is None
    return len(specs)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def test_a_queue_is_read_once_a_namespace_and_interval(redis_server: RedisServer) -> None:
    """However many metrics share it: one connection and one LLEN a read; another namespace has its own of both."""
    url = redis_server.url
    shared = [redis_metric(url, {"list": "orders"}, name=f"m{n}") for n in range(3)]
    shared.append(redis_metric(url.removesuffix("/0"), {"list": "orders"}, name="same-place"))
    elsewhere = redis_metric(url, {"list": "orders"}, namespace="web")
    slower = redis_metric(url, {"list": "orders"}, name="slower", interval_ms=15_000)
    for metrics, places in ((shared, 1), ([*shared, elsewhere], 2), ([*shared, slower], 2)):
        redis_server.run("CONFIG RESETSTAT")
        assert asyncio.run(read_all(metrics)) == places
        assert redis_server.calls() == {"llen": READS * places}
        with redis_server.client() as client:
            # One each, and the two that look.
            assert client.info("stats")["total_connections_received"] == places + 2


def test_a_page_is_fetched_once_a_namespace_and_interval() -> None:
    """One connection and one GET a read for all metrics of a namespace; another namespace has its own of both."""

    async def scenario() -> None:
        async with serving(answer(b"up 1\n")) as server:
            shared = [scrape_metric(server.url, f"m{n}") for n in range(3)]
            elsewhere = scrape_metric(server.url, "m0", "web")
            slower = scrape_metric(server.url, "slower", interval_ms=15_000)
            for metrics, places in ((shared, 1), ([*shared, elsewhere], 2), ([*shared, slower], 2)):
                server.requests.clear()
                server.connections.clear()
                assert await read_all(metrics) == places
                assert (len(server.requests), len(server.connections)) == (READS * places, places)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "date", "expected"),
    [
        ("120", "", 120_000),
        (" 0 ", "", 0),
        (format_datetime(NOON + timedelta(seconds=90), usegmt=True), "", 90_000),
        # An hour apart are the clocks, not the moments.
        (
            format_datetime(NOON + timedelta(seconds=3_690), usegmt=True),
            format_datetime(NOON + timedelta(seconds=3_600), usegmt=True),
            90_000,
        ),
        (format_datetime(NOON - timedelta(days=400), usegmt=True), "", 0),
        ("Friday, 20-Nov-26 12:00:30 GMT", "", 30_000),
        ("soon", "", None),
        ("", "", None),
        ("-5", "", None),
        ("1.5", "", None),
        ("Fri, 99 Foo 2026 12:00:00 GMT", "", None),
    ],
)
def test_both_forms_of_retry_after(text: str, date: str, expected: int | None) -> None:
    """Seconds and a date are understood, the date by the server's own clock; nonsense is none."""
    assert retry_after_ms(text, date, NOON_MS) == expected


@given(text=st.text(), date=st.text())
def test_no_retry_after_does_harm(text: str, date: str) -> None:
    """Whatever a header holds becomes a time or nothing, never an error."""
    found = retry_after_ms(text, date, NOON_MS)
    assert found is None or found >= 0
    assert (retry_after_ms("9" * 5_000, date, NOON_MS) or 0) > 10**12


@pytest.mark.parametrize(
    ("status", "headers", "detail", "asked"),
    [
        ("429 Too Many Requests", ("Retry-After: 30",), "HTTP 429: it is asked more often than it allows", 30_000),
        ("429 Too Many Requests", (), "HTTP 429: it is asked more often than it allows", 0),
        ("429 Too Many Requests", ("Retry-After: later",), "HTTP 429: it is asked more often than it allows", 0),
        ("503 Service Unavailable", ("Retry-After: 7",), "HTTP 503", 7_000),
        ("503 Service Unavailable", (), "HTTP 503", None),
        ("500 Internal Server Error", ("Retry-After: 7",), "HTTP 500", None),
    ],
)
def test_what_asks_for_a_pause(status: str, headers: tuple[str, ...], detail: str, asked: int | None) -> None:
    """429 asks, with or without a time; 503 asks with one; the detail is the same whatever time it says."""

    async def scenario() -> None:
        async with serving(answer(b"", *headers, status=status)) as server, opened(spec(server)) as endpoint:
            with pytest.raises(SourceFailureError) as caught:
                await endpoint.collect(5)
        assert (caught.value.unknown.detail, caught.value.retry_after_ms) == (detail, asked)

    asyncio.run(scenario())


@contextmanager
def shop() -> Iterator[tuple[int, Counter[str]]]:
    """Serve /busy, which asks to be left alone for an hour, /down, which is none, and /fine; count what is asked."""
    asked = Counter[str]()

    class Page(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked[self.path] += 1
            self.send_response({"/busy": 429, "/down": 500}.get(self.path, 200))
            if self.path == "/busy":
                self.send_header("Retry-After", "3600")
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"up 1\n")

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_pause_is_kept_and_shown_and_costs_the_neighbour_nothing(tmp_path: Path) -> None:
    """A page that asks for an hour is read once, one that fails backs off, their neighbour on the host is read on."""
    with shop() as (port, asked):
        metrics = [
            metric(name, {"scrape": {"targets": {"urls": [f"http://127.0.0.1:{port}/{name}"]}, "metric": "up"}})
            for name in ("busy", "down", "fine")
        ]
        with Adapter(tmp_path, write(tmp_path / "m.yaml", *metrics)) as adapter:
            until_sync(lambda: asked["/fine"] >= 12)
            assert asked["/busy"] == 1
            assert 3 <= asked["/down"] <= 7
            assert adapter.get(VALUES + "fine").status == 200
            found = json.loads(said(adapter, "shop/busy", "--json")[1])
            (busy,) = found["endpoints"]
            assert (busy["state"], busy["consecutiveFailures"], busy["opened"]) == ("open", 1, 1)
            assert 290_000 < busy["askedUntilMs"] - busy["failingSinceMs"] < 302_000
            assert busy["askedUntilMs"] <= busy["nextReadMs"] <= busy["askedUntilMs"] + 1_000
            text = " ".join(said(adapter, "shop/busy")[1].split())
            assert f"http://127.0.0.1:{port}/busy open: 1 failed read since" in text
            assert "it asked to be left alone until" in text
            (down,) = json.loads(said(adapter, "shop/down", "--json")[1])["endpoints"]
            assert down["failure"]["detail"] == "HTTP 500"
            own = adapter.metrics()
            by_state = {s: own[f'spillway_source_endpoints{{source="scrape",state="{s}"}}'] for s in ("closed", "open")}
            assert by_state["closed"] >= 1
            assert by_state["open"] >= 1
            assert own['spillway_source_endpoints_failing{source="scrape"}'] == 2
            assert own['spillway_source_consecutive_failures{source="scrape"}'] >= 3
            assert own['spillway_source_breaker_opened_total{source="scrape"}'] >= 2
            assert own['spillway_source_reads_refused_total{bound="process"}'] == 0
            assert own["spillway_source_reads_limit"] == 1_024


@contextmanager
def hanging() -> Iterator[int]:
    """Accept connections on every loopback address and never answer; the port."""
    with socket.create_server(("0.0.0.0", 0), backlog=256) as server:
        yield server.getsockname()[1]


def test_a_namespace_full_of_sources_that_hang_takes_its_own_turns_only(tmp_path: Path) -> None:
    """With more hanging pages than turns, neither another namespace nor what works in their own misses a read."""
    with shop() as (port, _), hanging() as silent:
        page = {"scrape": {"targets": {"urls": [f"http://127.0.0.1:{port}/fine"]}, "metric": "up"}}
        urls = [f"http://127.0.0.{n + 2}:{silent}/" for n in range(40)]
        sources = [{"scrape": {"targets": {"urls": [url]}, "metric": "up"}} for url in urls]
        noisy = [metric(f"slow-{n}", source) for n, source in enumerate(sources)]
        calm = metric("calm", page)
        for each in (calm, *noisy):
            each["metadata"]["namespace"] = "noisy"
        config = write(tmp_path / "m.yaml", metric("fine", page), calm)
        with Adapter(tmp_path, config, "--max-reads", "16") as adapter:

            def reads(namespace: str, name: str) -> dict[str, float]:
                """Return the reads of a metric by outcome."""
                start = f'spillway_metric_reads_total{{metric="{name}",namespace="{namespace}",outcome="'
                own = adapter.metrics().items()
                return {key.removeprefix(start)[:-2]: count for key, count in own if key.startswith(start)}

            until_sync(lambda: reads("noisy", "calm").get("ok", 0) >= 2)
            write(config, metric("fine", page), calm, *noisy)
            until_sync(lambda: reads("noisy", "slow-39"))
            before = reads("shop", "fine")["ok"]
            until_sync(lambda: reads("shop", "fine")["ok"] >= before + 10, 60)
            assert set(reads("shop", "fine")) == set(reads("noisy", "calm")) == {"ok"}
            assert reads("noisy", "calm")["ok"] >= before + 8
            own = adapter.metrics()
            assert own['spillway_source_reads_refused_total{bound="failing"}'] > 40
            assert own["spillway_source_reads_under_way"] <= 4
            said = "no turn in time: 2 reads of sources of this namespace that fail or are new are under way"
            assert said in adapter.log()
