"""Histograms from a page to what an HPA is told."""

from __future__ import annotations

import asyncio

from adapter.schema.metric import Metric
from adapter.schema.model import ScrapeSource, ScrapeTargets
from adapter.sources.scrape import ScrapeSpec, plan
from scaler.model import EXTERNAL_METRICS_GROUP, ExternalMetricValue, MetricRef, MetricResult, UnknownItem
from scaler.rules import Aggregate, Function, MetricRule, Signal
from tests.builders import Bench
from tests.pages import http, serving

LATENCY = MetricRef(EXTERNAL_METRICS_GROUP, "shop", "latency")
PAGE = """# TYPE latency_seconds histogram
latency_seconds_bucket{{path="/",le="0.1"}} {0}
latency_seconds_bucket{{path="/",le="1.0"}} {1}
latency_seconds_bucket{{path="/",le="+Inf"}} {2}
latency_seconds_sum{{path="/"}} 7.5
latency_seconds_count{{path="/"}} {2}
latency_seconds{{path="/"}} 3
"""


def metric(urls: tuple[str, ...]) -> Metric:
    signal = Signal(Function.HISTOGRAM_QUANTILE, 60_000, quantile=0.9)
    rule = MetricRule(LATENCY, "latency", "s", 15_000, urls, signal, Aggregate(("path",)))
    return Metric(rule, ScrapeSource(targets=ScrapeTargets(urls=urls), metric="latency_seconds"), 10_000, "here")


def told(*pages: str) -> MetricResult:
    """Return what is known after these pages were read, 15 s apart."""

    async def run() -> MetricResult:
        async with serving() as server:
            wanted = metric((server.url,))
            bench = Bench(wanted.rule)
            (spec,) = plan([wanted])
            assert isinstance(spec, ScrapeSpec)
            endpoint = spec.open()
            try:
                for at, page in enumerate(pages):
                    server.say(http(page.encode()))
                    result = bench.at(15 * at, *await endpoint.collect(15_000 * at))
            finally:
                await endpoint.close()
            return result

    return asyncio.run(run())


def test_a_histogram_is_read_by_the_name_of_its_buckets() -> None:
    """Buckets are what is read, by the base name; sum, count and a series of the plain name are not."""
    result = told(PAGE.format(0, 0, 0), PAGE.format(0, 10, 10))
    (item,) = result.items
    assert isinstance(item, ExternalMetricValue)
    assert (item.labels, item.milli, item.window_s) == ((("path", "/"),), 910, 60)


def why(*pages: str) -> tuple[str, str]:
    (item,) = told(*pages).items
    assert isinstance(item, UnknownItem)
    detail = item.unknown.detail.partition(": ")[2].partition(": ")[2]
    return item.unknown.reason.value, detail


def test_a_bucket_whose_bound_is_no_number_makes_its_histogram_unknown() -> None:
    """A bound that cannot be read, or none, is never left out: the others would be a smaller histogram."""
    wrong = [PAGE.format(n, n, n).replace('le="1.0"', 'le="a while"') for n in (0, 10)]
    assert why(*wrong) == ("WrongType", 'not a bucket of a histogram: le="a while" is not a number')
    without = [PAGE.format(n, n, n).replace(',le="1.0"', "") for n in (0, 10)]
    assert why(*without) == ("WrongType", "not a bucket of a histogram: has no label le")


def test_a_histogram_without_its_last_bucket_is_none() -> None:
    """A page that leaves out +Inf gives no quantile."""
    short = [PAGE.format(n, n, n).replace('le="+Inf"', 'le="2"') for n in (0, 10)]
    assert why(*short)[0] == "WrongType"
