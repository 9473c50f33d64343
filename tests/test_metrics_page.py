"""The page of /metrics, written in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from adapter.collect import Collector as Collecting
from adapter.metrics_page import MetricsPage
from adapter.pipeline import Pipeline
from adapter.telemetry import Telemetry
from tests.api_fixtures import ref

PARTS, SERIES = 200, 7


class InParts(Collector):
    """Two families whose parts come by turns; the last ones are empty."""

    def collect(self) -> Iterator[Metric]:
        for part in range(PARTS + 1):
            gauge = GaugeMetricFamily("some", "Some \\ of\nthem.", labels=["n"])
            counter = CounterMetricFamily("more", "More.", labels=["n"])
            for n in range(SERIES if part < PARTS else 0):
                gauge.add_metric([f"{part}-{n}"], n)
                counter.add_metric([f"{part}-{n}"], n)
            yield gauge
            yield counter


def test_a_page_is_what_the_library_writes() -> None:
    """Without families in parts the page is the library's, byte by byte."""
    registry = CollectorRegistry()
    Gauge("a_gauge", "With\nlines.", ["x"], registry=registry).labels('"\\\n').set(1.5)
    Counter("a_counter", "Counts.", registry=registry).inc()
    Histogram("a_histogram", "Spreads.", ["x"], registry=registry).labels("y").observe(0.3)
    Gauge("unused", "None.", ["x"], registry=registry)
    assert asyncio.run(MetricsPage(registry).read()) == generate_latest(registry)


def test_parts_are_put_together() -> None:
    """A family that comes in parts is one family on the page, with all its series."""
    registry = CollectorRegistry()
    registry.register(InParts())
    page = asyncio.run(MetricsPage(registry).read()).decode()
    assert [line for line in page.splitlines() if line.startswith("#")] == [
        r"# HELP some Some \\ of\nthem.",
        "# TYPE some gauge",
        "# HELP more_total More.",
        "# TYPE more_total counter",
    ]
    families = {family.name: family.samples for family in text_string_to_metric_families(page)}
    wanted = [(f"{part}-{n}", float(n)) for part in range(PARTS) for n in range(SERIES)]
    assert [(sample.labels["n"], sample.value) for sample in families["some"]] == wanted
    assert [(sample.labels["n"], sample.value) for sample in families["more"]] == wanted


def test_the_loop_goes_on_meanwhile() -> None:
    """While 10,000 metrics are written the event loop turns after every hundred, and none is missing."""
    metrics = 10_000

    async def run() -> tuple[bytes, int]:
        telemetry, turns = Telemetry(), 0
        async with Pipeline(lambda: 0, telemetry) as pipeline, asyncio.TaskGroup() as tasks:
            pipeline.reads.update({(ref(f"m{n}"), "ok"): n for n in range(1, metrics + 1)})
            telemetry.watch(pipeline, Collecting(tasks, pipeline.submit, lambda: 0, telemetry))
            reading = tasks.create_task(MetricsPage(telemetry.registry).read())
            while not reading.done():
                await asyncio.sleep(0)
                turns += 1
            return await reading, turns

    page, turns = asyncio.run(run())
    assert page.count(b"\nspillway_metric_reads_total{") == metrics
    assert turns >= metrics // 100


def test_those_who_wait_share_a_page() -> None:
    """Whoever asks while a page is written gets the next one, all of them the same; who asks later a new one."""
    registry = CollectorRegistry()
    registry.register(InParts())
    page = MetricsPage(registry)

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(page.read())
            others = [tasks.create_task(page.read()) for _ in range(20)]
        assert page.begun == 2
        assert len({id(other.result()) for other in others}) == 1
        assert first.result() is not others[0].result()
        await page.read()
        assert page.begun == 3

    asyncio.run(run())
