"""Globs: which keys are queues, when they become known, and when they go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter.config.files import File
from adapter.config.load import parse
from adapter.schema.redis_glob import fill, glob_problem, parse_glob, parse_template
from adapter.sources.redis_access import Access
from adapter.sources.redis_address import parse_url
from adapter.sources.redis_globs import FORGET_MS, RESCAN_MS, Catalog
from adapter.sources.redis_one import DirectWay
from adapter.sources.redis_read import Link
from adapter.sources.redis_search import COUNT, Search
from adapter.sources.redis_wanted import Pattern
from adapter.sources.resp import Connection
from scaler.model import Reason, Unknown
from tests.builders import Bench
from tests.redis_reading import Reader, reading, readings_of, redis_metric, source_error
from tests.redis_server import RedisServer

JOBS = {"glob": "jobs:*", "labels": {"queue": "$1"}}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), enable_debug_command="yes") as server:
        yield server


@pytest.fixture
def server(process: RedisServer) -> RedisServer:
    process.run("FLUSHALL", "CONFIG RESETSTAT", "ACL LOG RESET")
    return process


async def queues(reader: Reader) -> dict[str, float | Unknown]:
    """Read once and return what is known of each queue."""
    return {dict(labels)["queue"]: value for labels, value in (await reader.readings()).items()}


# The language.


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(st.data())
def test_globs_match_as_in_redis(process: RedisServer, data: st.DataObject) -> None:
    """A key matches here if and only if it matches for a real server."""
    text = st.text(alphabet="aab-^]é", min_size=1, max_size=6)
    part = st.sampled_from(
        ["*", "?", "**", "[ab]", "[^a]", "[a-b]", "[b-a]", "[-b]", "[a-", "]", "[]", "\\*", "\\a", "["]
    )
    pattern = "".join(data.draw(st.lists(part | text, min_size=1, max_size=5)))
    if glob_problem(pattern) is not None:
        return
    keys = data.draw(st.lists(text | st.sampled_from(["*", "[", "a*b", "\\"]), min_size=1, max_size=12))
    with process.client() as client:
        client.flushall()
        client.mset(dict.fromkeys(keys, "x"))
        found = set(client.keys(pattern.encode()))
    assert {key.encode() for key in keys if parse_glob(pattern).match(key.encode()) is not None} == found


@pytest.mark.parametrize(
    ("pattern", "key", "parts"),
    [
        ("jobs:*", "jobs:mail", ["mail"]),
        ("jobs:*", "jobs:", [""]),
        ("*:*", "a:b:c", ["a", "b:c"]),
        ("bull:*:wait", "bull:a:b:wait", ["a:b"]),
        ("q[0-9]?", "q7x", ["7", "x"]),
        ("*", "a\nb", ["a\nb"]),
        ("{*}:q", "{shop}:q", ["shop"]),
    ],
)
def test_what_wildcards_stand_for(pattern: str, key: str, parts: list[str]) -> None:
    """Each wildcard is a part, earlier ones as short as possible."""
    assert parse_glob(pattern).match(key.encode()) == tuple(part.encode() for part in parts)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("jobs", "must have a wildcard"),
        ("jobs\\*", "must have a wildcard"),
        ("jobs:[a", "must close each ["),
        ("jobs:*[]", "must have something between"),
        ("jobs:*[^]", "must have something between"),
        ("jobs:[é]", "must have nothing but ASCII"),
        ("jobs:*\\", "must not end with"),
    ],
)
def test_globs_that_are_refused(pattern: str, problem: str) -> None:
    """A glob that Redis would take for something else than was meant is refused."""
    assert problem in str(glob_problem(pattern))


def test_templates() -> None:
    """$1 and ${1} are parts of the key, $0 is the key, $$ a dollar; anything else with a dollar is refused."""
    for text, expected in (("$1", "a"), ("${2}0", "b0"), ("$0", "a:b"), ("$$1", "$1"), ("x", "x"), ("$1-$1", "a-a")):
        assert fill(parse_template(text, 2), "a:b", ["a", "b"]) == expected
    for text in ("$3", "$", "$x", "${1", "$-1", "a$"):
        with pytest.raises(ValueError, match="must"):
            parse_template(text, 2)


def document(*queues: str) -> str:
    head = "apiVersion: spillway.dev/v1alpha1\nkind: ExternalMetric\nmetadata: {name: a, namespace: shop}\n"
    return f"{head}spec: {{source: {{redis: {{url: 'redis://r', queues: [{', '.join(queues)}]}}}}}}\n"


@pytest.mark.parametrize(
    ("queue", "error"),
    [
        ("{glob: 'a*', list: b}", "must name one of list, set, sortedSet, hash, stream and glob, got list and glob"),
        ("{list: a, type: list}", "type: must not be set for a list: it is for glob"),
        ("{glob: 'a*', group: g}", "group: must not be set for a list: it is for streams"),
        ("{glob: 'a*', type: stream}", "group: is required with stream"),
        ("{glob: 'a*', labels: {q: $2}}", "labels.q: must not name $2: the glob has 1 wildcard"),
        ("{glob: 'a*'}, {glob: 'a*'}", 'has the same series as queues[0] (queue="a*"): give it labels of its own'),
    ],
)
def test_what_does_not_go_with_a_glob(queue: str, error: str) -> None:
    """A glob goes with a type, and with a group only where it is for streams."""
    (found,) = parse([File("f.yaml", document(queue).encode())]).errors
    assert error in found


# Keys that come and go.


def test_keys_are_found(server: RedisServer) -> None:
    """Every key of the type that matches is a queue, labelled by what its wildcard stands for; no other is."""
    server.run("RPUSH jobs:mail a b", "RPUSH jobs:video a", "SADD jobs:set a", "RPUSH other a", "SET jobs:text a")
    with server.client() as client:
        client.rpush(b"jobs:\xff\x00", 1)

    async def main() -> None:
        async with reading(redis_metric(server.url, JOBS, {"list": "other"})) as reader:
            expected = {"mail": 2.0, "video": 1.0, "\\xff\x00": 1.0, "other": 1.0}
            assert await queues(reader) == expected
        whole = {"glob": "jobs:*", "type": "set"}
        async with reading(redis_metric(server.url, whole)) as reader:
            assert await queues(reader) == {"jobs:set": 1.0}

    asyncio.run(main())


def test_keys_are_looked_for_every_30_seconds(server: RedisServer) -> None:
    """Known keys are read each time, new ones are found with the next search, and nothing else is asked."""
    server.run("RPUSH jobs:a 1", "CONFIG RESETSTAT")

    async def main() -> None:
        async with reading(redis_metric(server.url, JOBS)) as reader:
            (first,) = await reader.batches()
            server.run("RPUSH jobs:b 1", "RPUSH jobs:a 2")
            assert await queues(reader) == {"a": 2.0}
            (again,) = await reader.batches()
            assert again.layout is first.layout
            assert server.calls() == {"scan": 1, "llen": 3, "rpush": 2}
            reader.now_ms += RESCAN_MS
            assert await queues(reader) == {"a": 2.0, "b": 1.0}

    asyncio.run(main())


def test_a_key_that_vanishes(server: RedisServer) -> None:
    """It is zero for ten minutes and then gone; one that comes back in time stays."""
    server.run("RPUSH jobs:a 1", "RPUSH jobs:b 1")

    async def main() -> None:
        async with reading(redis_metric(server.url, JOBS)) as reader:
            assert await queues(reader) == {"a": 1.0, "b": 1.0}
            server.run("DEL jobs:a jobs:b")
            assert await queues(reader) == {"a": 0.0, "b": 0.0}
            reader.now_ms += FORGET_MS - 1_000
            server.run("RPUSH jobs:b 1")
            assert await queues(reader) == {"a": 0.0, "b": 1.0}
            server.run("DEL jobs:b")
            reader.now_ms += RESCAN_MS
            assert await queues(reader) == {"b": 0.0}
            reader.now_ms += FORGET_MS
            assert list(await queues(reader)) == ["*"]  # nothing matches any more
            server.run("RPUSH jobs:a 1")
            reader.now_ms += RESCAN_MS
            assert await queues(reader) == {"a": 1.0}

    asyncio.run(main())


def test_a_key_that_is_there_only_between_searches_stays(server: RedisServer) -> None:
    """A queue that is empty whenever keys are looked for is known as long as reads find something in it."""
    server.run("RPUSH jobs:a 1")

    async def main() -> None:
        async with reading(redis_metric(server.url, JOBS)) as reader:
            await reader.all()
            for _ in range(2 * FORGET_MS // (5 * RESCAN_MS)):
                server.run("DEL jobs:a")
                reader.now_ms += 4 * RESCAN_MS
                assert await queues(reader) == {"a": 0.0}
                server.run("RPUSH jobs:a 1")
                assert await queues(reader) == {"a": 1.0}

    asyncio.run(main())


def test_a_key_of_another_type_now(server: RedisServer) -> None:
    """A key that has become something else is unknown until the next search, and then no queue."""
    server.run("RPUSH jobs:a 1", "RPUSH jobs:b 1")

    async def main() -> None:
        async with reading(redis_metric(server.url, JOBS)) as reader:
            await reader.all()
            server.run("DEL jobs:a", "SADD jobs:a 1")
            wrong = Unknown(Reason.WRONG_TYPE, 'WRONGTYPE: key "jobs:a" is not a list')
            assert await queues(reader) == {"a": wrong, "b": 1.0}
            reader.now_ms += RESCAN_MS
            assert await queues(reader) == {"b": 1.0}

    asyncio.run(main())


def test_streams_by_glob(server: RedisServer) -> None:
    """A stream without entries is there and stays; one that is deleted is zero, as it was a queue."""
    server.run(
        "XADD s:a 1-1 f v", "XGROUP CREATE s:a g 0", "XGROUP CREATE s:b g 0 MKSTREAM", "XADD s:c 1-1 f v", "RPUSH s:d 1"
    )
    queue = {"glob": "s:*", "type": "stream", "group": "g", "count": ["waiting"], "labels": {"queue": "$1"}}
    no_group = Unknown(Reason.MISSING_GROUP, 'stream "s:c" has no group "g"')

    async def main() -> None:
        async with reading(redis_metric(server.url, queue)) as reader:
            assert await queues(reader) == {"a": 1.0, "b": 0.0, "c": no_group}
            server.run("DEL s:a")
            for _ in range(FORGET_MS // RESCAN_MS - 1):
                reader.now_ms += RESCAN_MS
                assert await queues(reader) == {"a": 0.0, "b": 0.0, "c": no_group}
            reader.now_ms += 2 * RESCAN_MS
            assert await queues(reader) == {"b": 0.0, "c": no_group}

    asyncio.run(main())


# No key, too many keys, keys that clash.


def test_a_glob_that_matches_nothing(server: RedisServer) -> None:
    """By default nothing waits, and a sum says so; with onMissing: unknown, and for streams, it is unknown."""

    async def main() -> None:
        metric = redis_metric(server.url, JOBS)
        async with reading(metric) as reader:
            assert await queues(reader) == {"*": 0.0}
            (batch,) = await reader.batches()
            result = Bench(metric.rule).at(reader.now_ms / 1000, batch)
            assert [getattr(item, "milli", None) for item in result.items] == [0]
        for queue, kind in (
            ({**JOBS, "onMissing": "unknown"}, "list"),
            ({**JOBS, "type": "stream", "group": "g"}, "stream"),
        ):
            async with reading(redis_metric(server.url, queue, {"list": "other"})) as reader:
                nothing = Unknown(Reason.MISSING_KEY, f'no {kind} matches "jobs:*"')
                assert await reader.failure() == nothing
                assert await reader.failure() == nothing

    asyncio.run(main())


def test_a_key_without_end_is_no_label(server: RedisServer) -> None:
    """A key longer than any label makes the metric unknown as long as it is there; others on the server go on."""
    long = "jobs:" + "x" * 2_000
    server.run(f"RPUSH {long} 1", "RPUSH jobs:0 1")

    async def main() -> None:
        async with reading(
            redis_metric(server.url, JOBS), redis_metric(server.url, {"list": "jobs:0"}, name="o")
        ) as it:
            globs, other = sorted(await it.batches(), key=lambda batch: batch.metric.name)
            detail = 'a key of more than 1024 bytes matches "jobs:*"'
            assert globs.failure == Unknown(Reason.TOO_MANY_SERIES, detail)
            assert list(readings_of(other).values()) == [1]
            server.run(f"DEL {long}")
            it.now_ms += RESCAN_MS
            assert {batch.failure for batch in await it.batches()} == {None}

    asyncio.run(main())


def test_more_keys_than_series_allowed(server: RedisServer) -> None:
    """A metric with more keys than maxSeries is unknown, and its keys are not read; others on the server go on."""
    for i in range(11):
        server.run(f"RPUSH jobs:{i} 1")
    metrics = [
        redis_metric(server.url, JOBS, name="few", max_series=10),
        redis_metric(server.url, {"list": "jobs:0"}, name="other"),
    ]

    async def main() -> None:
        async with reading(*metrics) as reader:
            server.run("CONFIG RESETSTAT")
            by_name = {batch.metric.name: batch for batch in await reader.batches()}
            too_many = Unknown(Reason.TOO_MANY_SERIES, 'more than 10 keys match "jobs:*" (spec.maxSeries)')
            assert by_name["few"].failure == too_many
            assert list(readings_of(by_name["other"]).values()) == [1]
            assert server.calls() == {"scan": 1, "llen": 1}
            server.run("DEL jobs:10")
            reader.now_ms += RESCAN_MS
            by_name = {batch.metric.name: batch for batch in await reader.batches()}
            assert list(readings_of(by_name["few"]).values()) == [1.0] * 10

    asyncio.run(main())


def test_keys_that_give_the_same_series(server: RedisServer) -> None:
    """Two keys with the same labels are told, not added up or dropped; a key that is also listed is one series."""
    server.run("RPUSH jobs:a:1 1", "RPUSH jobs:a:2 1 2", "RPUSH listed 1")
    short = {"glob": "jobs:*:*", "labels": {"queue": "$1"}}

    async def main() -> None:
        async with reading(redis_metric(server.url, short)) as reader:
            clash = '"jobs:a:1" and "jobs:a:2" give the same series (queue=a): give labels that tell them apart'
            assert await reader.failure() == Unknown(Reason.INVALID_SPEC, clash)
        metric = redis_metric(server.url, {"list": "listed"}, {"glob": "list*"}, {"glob": "*ted"})
        async with reading(metric) as reader:
            assert await queues(reader) == {"listed": 1.0}

    asyncio.run(main())


# Searches that fail, and long ones.


def with_user(server: RedisServer, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "password").write_text("pw")
    return {"username": "u", "passwordFile": str(tmp_path / "password")}


def test_a_search_that_fails(server: RedisServer, tmp_path: Path) -> None:
    """Without a first search the series are unknown; later known keys are kept, for ten minutes of failing."""
    server.run("RPUSH jobs:a 1", "ACL SETUSER u reset on >pw +llen ~*")
    metrics = [
        redis_metric(server.url, JOBS, auth=with_user(server, tmp_path)),
        redis_metric(server.url, {"list": "jobs:a"}, auth=with_user(server, tmp_path), name="other"),
    ]
    refused = source_error("NOPERM: the user may not run SCAN")

    async def main() -> None:
        async with reading(*metrics) as reader:
            for _ in range(2):
                first, other = sorted(await reader.batches(), key=lambda batch: batch.metric.name)
                assert first.failure == refused
                assert list(readings_of(other).values()) == [1]
            server.run("ACL SETUSER u +scan")
            found = sorted(await reader.batches(), key=lambda batch: batch.metric.name)
            assert [list(readings_of(batch).values()) for batch in found] == [[1], [1]]
            server.run("ACL SETUSER u -scan", "RPUSH jobs:a 2")
            for ago_ms in (RESCAN_MS, FORGET_MS - RESCAN_MS):
                reader.now_ms += ago_ms
                found = sorted(await reader.batches(), key=lambda batch: batch.metric.name)
                assert [list(readings_of(batch).values()) for batch in found] == [[2], [2]]
            reader.now_ms += 2 * RESCAN_MS
            first, other = sorted(await reader.batches(), key=lambda batch: batch.metric.name)
            assert first.failure == refused
            assert list(readings_of(other).values()) == [2]
            server.run("ACL SETUSER u +scan")
            found = sorted(await reader.batches(), key=lambda batch: batch.metric.name)
            assert [list(readings_of(batch).values()) for batch in found] == [[2], [2]]

    asyncio.run(main())


def test_a_failed_read_keeps_the_keys(server: RedisServer) -> None:
    """While the server hangs each known queue is unknown for the same reason; the set of series stays."""
    server.run("RPUSH jobs:a 1", "RPUSH jobs:b 1")

    async def main() -> None:
        async with reading(redis_metric(server.url, JOBS, timeout_ms=300)) as reader:
            (before,) = await reader.batches()
            server.pause()
            try:
                (hanging,) = await reader.batches()
            finally:
                server.resume()
            assert hanging.layout is before.layout
            assert hanging.problems == dict.fromkeys(range(2), source_error("timeout"))

    asyncio.run(main())


def test_a_long_search_goes_on_from_read_to_read(server: RedisServer) -> None:
    """A search takes no more than its share of a read, ends all the same, and begins anew on another connection."""
    keys = 5 * COUNT
    server.run(f"DEBUG POPULATE {keys} other", "RPUSH jobs:a 1", "RPUSH jobs:b 1")
    pattern = Pattern("jobs:*", "list")

    async def main() -> None:
        catalog, search = Catalog({pattern: 10}), Search({pattern: 10})
        link = Link(DirectWay(parse_url(server.url), Access(), 5.0))
        try:

            async def step(connection: Connection) -> object:
                return await search.go_on(connection, catalog, 0, until=0.0)

            for _ in range(2):
                await link.use(step, 0)
            await link.close()
            steps = 0
            while not search.finished_once:
                assert await link.use(step, 0) is None
                steps += 1
            assert steps >= 4
            catalog.finished()
            assert catalog.state(pattern) == [b"jobs:a", b"jobs:b"]
            assert not search.due(RESCAN_MS - 1)
            assert search.due(RESCAN_MS)
        finally:
            await link.close()

    asyncio.run(main())


def test_thousands_of_keys_and_many_globs(server: RedisServer) -> None:
    """Thousands of keys of twenty globs are found in one read, and each is one series."""
    with server.client() as client, client.pipeline() as pipeline:
        for i in range(6_000):
            pipeline.rpush(f"q{i % 20}:{i}", *range(i % 3 + 1))
        pipeline.execute()
    globs = [{"glob": f"q{i}:*"} for i in range(20)]

    async def main() -> None:
        async with reading(redis_metric(server.url, *globs)) as reader:
            assert await queues(reader) == {f"q{i % 20}:{i}": float(i % 3 + 1) for i in range(6_000)}

    asyncio.run(main())


def test_the_least_rights(server: RedisServer, tmp_path: Path) -> None:
    """SCAN beside the rights to read is enough to use a glob."""
    server.run("RPUSH jobs:a 1", "ACL SETUSER u reset on >pw +llen +scan %R~jobs:*")

    async def main() -> None:
        async with reading(redis_metric(server.url, JOBS, auth=with_user(server, tmp_path))) as reader:
            assert await queues(reader) == {"a": 1.0}

    asyncio.run(main())
    assert server.run("ACL LOG") == [[]]
