"""The redis source against a real redis-server: what each state of a key becomes, and how much is asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis as redis_py

from adapter.sources.redis import plan
from scaler.model import Reason, Unknown, labels_of
from tests.redis_reading import reading, readings_of, redis_metric, source_error
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def _process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(_process: RedisServer) -> RedisServer:
    with _process.client() as client:
        client.flushall()
        client.config_resetstat()
    return _process


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis_py.Redis]:
    with server.client() as client:
        yield client


def missing_key(key: str) -> Unknown:
    return Unknown(Reason.MISSING_KEY, f'key "{key}" does not exist')


def wrong_type(key: str, expected: str) -> Unknown:
    return Unknown(Reason.WRONG_TYPE, f'WRONGTYPE: key "{key}" is not a {expected}')


NO_STREAM = Unknown(Reason.MISSING_GROUP, 'stream "k" does not exist')
NO_GROUP = Unknown(Reason.MISSING_GROUP, 'stream "k" has no group "g"')
GROUP = {"stream": "k", "group": "g"}

TRUTH: list[tuple[str, list[str], dict[str, Any], list[float | Unknown]]] = [
    ("a list", ["RPUSH k a b c"], {"list": "k"}, [3]),
    ("a set", ["SADD k a b"], {"set": "k"}, [2]),
    ("a sorted set", ["ZADD k 1 a 2 b 3 c 4 d"], {"sortedSet": "k"}, [4]),
    ("a hash", ["HSET k a 1"], {"hash": "k"}, [1]),
    ("a missing list", [], {"list": "k"}, [0]),
    ("a missing set", [], {"set": "k"}, [0]),
    ("a missing sorted set", [], {"sortedSet": "k"}, [0]),
    ("a missing hash", [], {"hash": "k"}, [0]),
    ("a missing list, unknown", [], {"list": "k", "onMissing": "unknown"}, [missing_key("k")]),
    ("a list that is there, unknown", ["RPUSH k a"], {"list": "k", "onMissing": "unknown"}, [1]),
    ("a set where a list is wanted", ["SADD k a"], {"list": "k"}, [wrong_type("k", "list")]),
    ("the same, unknown", ["SADD k a"], {"list": "k", "onMissing": "unknown"}, [wrong_type("k", "list")]),
    ("a list where a sorted set is wanted", ["RPUSH k a"], {"sortedSet": "k"}, [wrong_type("k", "sorted set")]),
    ("a list where a hash is wanted", ["RPUSH k a"], {"hash": "k"}, [wrong_type("k", "hash")]),
    ("a list where a set is wanted", ["RPUSH k a"], {"set": "k"}, [wrong_type("k", "set")]),
    ("a list where a stream is wanted", ["RPUSH k a"], GROUP, [wrong_type("k", "stream")] * 2),
    ("a missing stream", [], GROUP, [NO_STREAM] * 2),
    ("a missing stream, zero", [], {**GROUP, "onMissing": "zero"}, [0, 0]),
    ("a missing stream, all", [], {**GROUP, "onMissingGroup": "all"}, [NO_STREAM] * 2),
    ("a missing group", ["XADD k * f v"], GROUP, [NO_GROUP] * 2),
    ("a missing group, zero", ["XADD k * f v"], {**GROUP, "onMissing": "zero"}, [NO_GROUP] * 2),
    ("a missing group, all", ["XADD k 1-1 f v", "XADD k 2-1 f v"], {**GROUP, "onMissingGroup": "all"}, [2, 0]),
    (
        "another group, all",
        ["XADD k 1-1 f v", "XGROUP CREATE k h $"],
        {**GROUP, "onMissingGroup": "all"},
        [1, 0],
    ),
    ("an empty stream", ["XGROUP CREATE k g $ MKSTREAM"], GROUP, [0, 0]),
    ("a group at the start", ["XADD k 1-1 f v", "XADD k 2-1 f v", "XGROUP CREATE k g 0"], GROUP, [2, 0]),
    (
        "a group under way",
        ["XADD k 1-1 f v", "XADD k 2-1 f v", "XGROUP CREATE k g 0", "XREADGROUP GROUP g c COUNT 1 STREAMS k >"],
        GROUP,
        [1, 1],
    ),
    ("waiting only", ["XADD k 1-1 f v", "XGROUP CREATE k g 0"], {**GROUP, "count": ["waiting"]}, [1]),
    ("inFlight only", ["XADD k 1-1 f v", "XGROUP CREATE k g 0"], {**GROUP, "count": ["inFlight"]}, [0]),
]


@pytest.mark.parametrize(("commands", "queue", "expected"), [t[1:] for t in TRUTH], ids=[t[0] for t in TRUTH])
def test_truth_table(
    server: RedisServer,
    commands: list[str],
    queue: Mapping[str, Any],
    expected: list[float | Unknown],
) -> None:
    """Each state of a key becomes its number or its reason, and stays that from read to read."""
    server.run(*commands)

    async def main() -> None:
        async with reading(redis_metric(server.url, queue)) as reader:
            for _ in range(3):
                assert await reader.all() == expected

    asyncio.run(main())


def test_one_bad_key_leaves_the_others(server: RedisServer, client: redis_py.Redis) -> None:
    """A key of the wrong type is unknown by itself; the queues before and after it keep their numbers."""
    client.rpush("a", 1)
    client.sadd("b", 1)
    client.rpush("c", 1, 2)

    async def main() -> None:
        async with reading(redis_metric(server.url, {"list": "a"}, {"list": "b"}, {"list": "c"})) as reader:
            assert await reader.readings() == {
                labels_of({"queue": "a"}): 1.0,
                labels_of({"queue": "b"}): wrong_type("b", "list"),
                labels_of({"queue": "c"}): 2.0,
            }

    asyncio.run(main())


def test_keys_of_any_bytes(server: RedisServer, client: redis_py.Redis) -> None:
    """A key with spaces, line ends, quotes and other alphabets is that key."""
    keys = ["with space", "with\r\nline", 'quo"te', "очередь", "{tag}:wait", "x" * 1000]
    for size, key in enumerate(keys, 1):
        client.rpush(key, *range(size))

    async def main() -> None:
        async with reading(redis_metric(server.url, *({"list": key} for key in keys))) as reader:
            assert await reader.all() == [1, 2, 3, 4, 5, 6]

    asyncio.run(main())


def test_a_database_other_than_zero(server: RedisServer) -> None:
    """The number in the URL is the database read, and part of the target."""
    with server.client(db=3) as client:
        client.rpush("k", 1, 2)

    async def main() -> None:
        async with reading(redis_metric(f"redis://127.0.0.1:{server.port}/3", {"list": "k"})) as reader:
            (batch,) = await reader.batches()
            assert batch.target == f"127.0.0.1:{server.port}/3"
            assert list(readings_of(batch).values()) == [2]
        async with reading(redis_metric(f"redis://127.0.0.1:{server.port}/99", {"list": "k"})) as reader:
            assert await reader.one() == source_error(
                "SELECT 99: the server has no such database, or cannot select one"
            )

    asyncio.run(main())


def test_a_thousand_queues_in_five_metrics_are_one_round_trip(server: RedisServer, client: redis_py.Redis) -> None:
    """Each command is sent once a read, whoever shares it; nothing else is sent, and each value is its key's."""
    with client.pipeline() as pipeline:
        for i in range(1_000):
            pipeline.rpush(f"q{i}", *range(i % 7 + 1))
        pipeline.execute()
    shared = {"list": "q0", "labels": {"queue": "shared"}}
    metrics = [
        redis_metric(server.url, *({"list": f"q{i}"} for i in range(m, 1_000, 5)), shared, name=f"m{m}")
        for m in range(5)
    ]
    client.config_resetstat()

    async def main() -> None:
        async with reading(*metrics) as reader:
            for _ in range(2):
                for m, batch in enumerate(await reader.batches()):
                    assert list(readings_of(batch).values()) == [i % 7 + 1 for i in range(m, 1_000, 5)] + [1]

    asyncio.run(main())
    assert server.calls() == {"llen": 2 * 1_000}


def test_everything_shared_is_asked_once(server: RedisServer, client: redis_py.Redis) -> None:
    """Two groups of a stream, two policies for a list and two metrics on both cost one question each."""
    client.xadd("s", {"f": "v"})
    client.xgroup_create("s", "g", "0")
    client.xgroup_create("s", "h", "$")
    queues: list[dict[str, Any]] = [
        {"stream": "s", "group": "g"},
        {"stream": "s", "group": "h", "count": ["waiting"]},
        {"list": "k"},
        {"list": "k", "onMissing": "unknown", "labels": {"queue": "strict"}},
    ]
    client.config_resetstat()

    async def main() -> None:
        async with reading(*(redis_metric(server.url, *queues, name=name) for name in "ab")) as reader:
            for batch in await reader.batches():
                assert list(readings_of(batch).values()) == [1, 0, 0, 0, missing_key("k")]

    asyncio.run(main())
    assert server.calls() == {"llen": 1, "exists": 1, "xinfo|groups": 1, "xlen": 1}


def test_lists_and_streams_share_a_chunk(server: RedisServer, client: redis_py.Redis) -> None:
    """Whatever number of lists precedes them, and wherever a chunk ends, streams get their own answers."""
    client.rpush("l", 1)
    for i in range(3):
        client.xgroup_create(f"s{i}", "g", "0", mkstream=True)
        for _ in range(i + 1):
            client.xadd(f"s{i}", {"f": "v"})
    streams = [{"stream": f"s{i}", "group": "g", "count": ["waiting"]} for i in range(3)]

    async def main(lists: int) -> None:
        queues = [{"list": "l" if i == lists - 1 else f"l{i}"} for i in range(lists)]
        async with reading(redis_metric(server.url, *queues, *streams)) as reader:
            assert (await reader.all())[-4:] == [1, 1, 2, 3]

    for lists in (1, 2, 497, 498, 499, 500, 501):
        asyncio.run(main(lists))


def test_the_layout_is_the_same_object_from_read_to_read(server: RedisServer) -> None:
    """The layout of a metric never changes, so that the store copies a column; the values are new each time."""

    async def main() -> None:
        async with reading(redis_metric(server.url, {"list": "a"}, {"list": "b"})) as reader:
            (first,), (second,) = await reader.batches(), await reader.batches()
            (failed,) = reader.endpoint.failed(source_error("timeout"), 5)
        assert first.layout is second.layout is failed.layout
        assert not np.shares_memory(first.values, second.values)
        assert failed.problems == {0: source_error("timeout"), 1: source_error("timeout")}
        assert failed.failure is None

    asyncio.run(main())


def test_no_reply_shifts_after_an_interrupted_read(server: RedisServer, client: redis_py.Redis) -> None:
    """However a read is cut off, the next one's values belong to their keys."""
    keys = [f"q{i}" for i in range(1_200)]
    with client.pipeline() as pipeline:
        for i, key in enumerate(keys):
            pipeline.rpush(key, *range(i % 5 + 1))
        pipeline.execute()
    expected = [i % 5 + 1 for i in range(1_200)]

    async def main() -> None:
        async with reading(redis_metric(server.url, *({"list": key} for key in keys))) as reader:
            for turns in range(12):
                task = asyncio.ensure_future(reader.endpoint.collect(0))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert await reader.all() == expected

    asyncio.run(main())


def test_equal_metrics_share_an_endpoint_and_others_do_not() -> None:
    """Database, user, TLS, interval, timeout and namespace make an endpoint; equal configurations give equal specs."""

    def spec(url: str = "redis://r:6379/0", **kwargs: Any) -> Any:
        return redis_metric(url, {"list": "k"}, **kwargs)

    others = [
        spec("redis://r:6379/1"),
        spec("redis://r:6380"),
        spec("rediss://r:6379/0"),
        spec(auth={"username": "u", "passwordFile": "/p"}),
        spec(namespace="other"),
        spec(interval_ms=2_000),
        spec(timeout_ms=1_000),
    ]
    specs = plan([spec(name="a"), spec("redis://r", name="b"), *others])
    assert [len(s.metrics) for s in specs] == [2] + [1] * len(others)
    assert [s.name for s in specs[:3]] == ["r:6379/0", "r:6379/1", "r:6380/0"]
    assert specs[0] == plan([spec(name="a"), spec("redis://r", name="b")])[0]
    assert hash(specs[0]) == hash(plan([spec(name="a"), spec("redis://r", name="b")])[0])
    assert len(set(specs)) == len(specs)


def test_a_path_does_not_matter(tmp_path: Path) -> None:
    """A spec neither opens nor reads anything: files that are not there are a matter of the read."""
    missing = str(tmp_path / "missing")
    metric = redis_metric("redis://127.0.0.1:1", {"list": "k"}, auth={"passwordFile": missing})

    async def main() -> None:
        async with reading(metric) as reader:
            assert await reader.one() == source_error(f"reading password file {missing}: No such file or directory")

    asyncio.run(main())
