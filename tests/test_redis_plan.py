"""What is asked of a Redis and where the answers go, without a Redis."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytest

from adapter.schema.model import RedisQueue, RedisSource, ScrapeSource, StaticSource
from adapter.sources import redis as redis_source
from adapter.sources.plan import endpoints, source_id, targets_of
from adapter.sources.redis import RedisSpec
from adapter.sources.redis_address import Address, parse_url
from adapter.sources.redis_globs import Catalog, expanded
from adapter.sources.redis_plan import Order, order_of, read_plan
from adapter.sources.redis_wanted import Wanted, series_of, wanted
from scaler.model import MetricRef, labels_of
from tests.redis_reading import redis_metric

REF = MetricRef("external.metrics.k8s.io", "shop", "m")


def ordered(*metrics: Wanted) -> Order:
    """Return the order of metrics without globs."""
    catalog = Catalog({})
    return order_of({metric.ref: expanded(metric, catalog) for metric in metrics})


@pytest.mark.parametrize(
    ("url", "address", "target"),
    [
        ("redis://redis.shop", Address("redis.shop", 6379, 0, tls=False), "redis.shop:6379/0"),
        ("redis://redis.shop/", Address("redis.shop", 6379, 0, tls=False), "redis.shop:6379/0"),
        ("rediss://redis.shop:6380/15", Address("redis.shop", 6380, 15, tls=True), "redis.shop:6380/15"),
        ("redis://10.0.0.7:6379/0", Address("10.0.0.7", 6379, 0, tls=False), "10.0.0.7:6379/0"),
        ("redis://[::1]:6379/0", Address("::1", 6379, 0, tls=False), "[::1]:6379/0"),
    ],
)
def test_parse_url(url: str, address: Address, target: str) -> None:
    """A URL gives an address with Redis' defaults, and a target without the scheme."""
    assert parse_url(url) == address
    assert address.target == target


@pytest.mark.parametrize(
    "url",
    [
        "http://redis",
        "redis://",
        "redis://:hunter2@redis",
        "redis://redis:hunter2",
        "redis://redis:70000",
        "redis://redis:0",
        "redis://redis/db",
        "redis://redis/0/1",
        "redis://redis/-1",
        "redis://redis/0?db=hunter2",
        "redis://redis/0#",
        "redis",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    """What is not redis://host[:port][/db] is refused without repeating what may be a password."""
    with pytest.raises(ValueError, match="must") as caught:
        parse_url(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("queue", "series"),
    [
        ({"list": "a:b"}, [{"queue": "a:b"}]),
        ({"list": "a:b", "labels": {"queue": "b"}}, [{"queue": "b"}]),
        ({"list": "a:b", "labels": {}}, [{}]),
        (
            {"stream": "s", "group": "g"},
            [
                {"queue": "s", "group": "g", "state": "waiting"},
                {"queue": "s", "group": "g", "state": "inFlight"},
            ],
        ),
        (
            {"stream": "s", "group": "g", "labels": {"team": "x"}, "count": ["inFlight"]},
            [{"team": "x", "state": "inFlight"}],
        ),
    ],
)
def test_series_of(queue: dict[str, Any], series: list[dict[str, str]]) -> None:
    """A queue has its labels or its key, a stream its group as well, and always the state."""
    assert series_of(RedisQueue.model_validate(queue)) == [labels_of(labels) for labels in series]


def test_waiting_and_in_flight_are_different_slots() -> None:
    """The two readings of a group never share a slot; two metrics on the same reading do."""
    source = RedisSource.model_validate({"url": "redis://r", "queues": [{"stream": "s", "group": "g"}, {"list": "l"}]})
    order = ordered(wanted(REF, source), wanted(REF._replace(name="n"), source))
    assert len(order.slots) == 3
    for metric in order.metrics:
        assert sorted(metric.slots.tolist()) == [0, 1, 2]
    assert sum(chunk.replies for chunk in read_plan(order.slots).chunks) == 3


def test_a_stream_is_never_split_between_chunks() -> None:
    """A stream's two replies arrive together, whatever number of other commands precedes them."""
    streams = [{"stream": f"s{i}", "group": "g"} for i in range(700)]
    source = RedisSource.model_validate({"url": "redis://r", "queues": [{"list": "l"}, *streams]})
    plan = read_plan(ordered(wanted(REF, source)).slots)
    ends = []
    total = 0
    for chunk in plan.chunks:
        total += chunk.replies
        ends.append(total)
    assert total == 1 + 2 * 700
    assert all((end - 1) % 2 == 0 for end in ends)


def redis(**fields: Any) -> RedisSource:
    return RedisSource.model_validate({"url": "redis://r:6379/0", "queues": [{"list": "k"}], **fields})


def test_source_id_is_about_what_is_read() -> None:
    """Where credentials are does not make it another source; another key, database or meaning of missing does."""
    same = [redis(), redis(auth={"passwordFile": "/a"}), redis(auth={"passwordEnv": "B"}), redis()]
    assert len({source_id(source) for source in same}) == 1
    others = [
        redis(queues=[{"list": "l"}]),
        redis(queues=[{"set": "k"}]),
        redis(url="redis://r:6379/1"),
        redis(onMissing="unknown"),
        redis(queues=[{"list": "k", "labels": {"a": "b"}}]),
    ]
    assert len({source_id(source) for source in [redis(), *others]}) == 1 + len(others)
    first, second = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    assert source_id(redis(queues=[{"list": "k", "labels": first}])) == source_id(
        redis(queues=[{"list": "k", "labels": second}])
    )


def test_targets_of() -> None:
    """The targets of a source are the names its batches will carry."""
    pages = ScrapeSource.model_validate({"targets": {"urls": ["http://a/metrics", "http://b/metrics"]}, "metric": "m"})
    static = StaticSource.model_validate({"series": [{"value": 1}]})
    assert targets_of(redis()) == ("r:6379/0",)
    assert targets_of(pages) == ("http://a/metrics", "http://b/metrics")
    assert targets_of(static) == ("static",)


def test_equal_metrics_give_equal_endpoints() -> None:
    """A reload that changes nothing changes no endpoint; each knows its metrics."""
    metrics = [redis_metric("redis://r", {"list": "k"}, name=name) for name in ("a", "b")]
    first, second = endpoints(metrics), endpoints(list(metrics))
    assert first == second
    assert [spec.metrics for spec in first] == [{metric.rule.ref for metric in metrics}]


@pytest.mark.parametrize(
    ("queues", "commands"),
    [
        ([{"list": f"list:{n}"} for n in range(10_000)], 10_000),
        ([{"stream": f"stream:{n}", "group": "g"} for n in range(10_000)], 20_000),
    ],
)
def test_what_a_poll_of_many_queues_takes(queues: list[dict[str, Any]], commands: int) -> None:
    """One command a list and two a stream, prepared once and written 500 at a time, however many metrics read them."""
    source = RedisSource.model_validate({"url": "redis://redis", "queues": queues})
    metrics = [wanted(REF._replace(name=name), source, 100_000) for name in ("m", "n")]
    chunks = read_plan(ordered(*metrics).slots).chunks
    assert sum(chunk.replies for chunk in chunks) == commands
    assert len(chunks) == commands // 500
    words = [b"LLEN"] if "list" in queues[0] else [b"XINFO", b"XLEN"]
    assert sum(chunk.request.count(b"\r\n%b\r\n" % word) for chunk in chunks for word in words) == commands


def test_the_hash_of_an_endpoint_does_not_grow_with_what_it_reads() -> None:
    """Endpoints are looked up by it at every read; equal ones have the same, and others are told apart."""
    few, many, again = (
        endpoints([redis_metric("redis://redis", *({"list": f"l{n}"} for n in range(count)))])[0]
        for count in (1, 100, 100)
    )
    assert hash(few) == hash(many) == hash(again)
    assert many == again != few
    assert len({few, many, again}) == 2


def test_a_source_that_stays_is_planned_once() -> None:
    """What is made of a metric's queues is kept while its source is there, and made anew for another bound."""
    metric = redis_metric("redis://redis", {"list": "l"})
    (first,), (second,) = endpoints([metric]), endpoints([replace(metric, origin="elsewhere")])
    assert isinstance(first, RedisSpec)
    assert isinstance(second, RedisSpec)
    assert first.wanted[0] is second.wanted[0]
    (other,) = endpoints([replace(metric, rule=replace(metric.rule, max_series=5))])
    assert isinstance(other, RedisSpec)
    assert other.wanted[0].max_series == 5
    known = len(redis_source._known)
    del metric
    gc.collect()
    assert len(redis_source._known) < known
