"""What the redis source reads of each server at hand, Redis 6.2 to 8 and Valkey: the same, whatever it can tell."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapter.sources.redis_lag import MAX_ENTRIES, null_lag
from adapter.sources.redis_slots import HASH_SLOTS
from adapter.sources.redis_wanted import Group
from scaler.model import Unknown
from tests.redis_reading import reading, redis_metric
from tests.redis_sentinel import MASTER, Sentinel
from tests.redis_server import RedisServer
from tests.redis_versions import AT_HAND, NAMES
from tests.test_redis_connect import ACL_LINE
from tests.waiting import until_sync

EVERYTHING: list[dict[str, Any]] = [
    {"list": "orders", "onMissing": "unknown"},
    {"set": "orders:set"},
    {"sortedSet": "orders:sorted"},
    {"hash": "orders:hash"},
    {"stream": "orders:stream", "group": "g"},
    {"glob": "orders:*", "type": "hash", "labels": {"queue": "hash:$1"}},
]
FILL = (
    "RPUSH orders a b",
    "SADD orders:set a b c",
    "ZADD orders:sorted 1 a",
    "HSET orders:hash f v g v",
    *(f"XADD orders:stream {i}-0 f v" for i in range(1, 4)),
    "XGROUP CREATE orders:stream g 0",
    "XREADGROUP GROUP g c COUNT 1 STREAMS orders:stream >",
)
VALUES = [2, 3, 1, 2, 2, 1, 2]


@dataclass(frozen=True)
class Version:
    """A running server and the number of its release, as Redis 7.0.15 → (7, 0)."""

    server: RedisServer
    release: tuple[int, int]


@pytest.fixture(scope="module", params=AT_HAND)
def version(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Version]:
    with RedisServer(tmp_path_factory.mktemp("redis"), executable=AT_HAND[request.param]) as server:
        (info,) = server.run("INFO server")
        major, minor = str(info.get("valkey_version", info["redis_version"])).split(".")[:2]
        yield Version(server, (int(major), int(minor)))


@pytest.fixture
def server(version: Version) -> RedisServer:
    version.server.run("FLUSHALL")
    return version.server


def test_servers_that_are_not_at_hand() -> None:
    """Which versions these tests could not look at."""
    missing = [name for name in NAMES if name not in AT_HAND]
    if missing:
        pytest.skip(f"not here: {', '.join(missing)}; tests/fetch-redis-servers fetches some")


def read_all(url: str | None, *queues: dict[str, Any], **kwargs: Any) -> list[float | Unknown]:
    """Return what a second read says: before it, a lag of Redis 7.0 can be too high without anyone knowing."""

    async def main() -> list[float | Unknown]:
        async with reading(redis_metric(url, *queues, **kwargs)) as reader:
            await reader.batches()
            return await reader.all()

    return asyncio.run(main())


def test_everything_is_read(server: RedisServer) -> None:
    """Every type of queue, and a glob, is read from every server."""
    server.run(*FILL)
    assert read_all(server.url, *EVERYTHING) == VALUES


def test_the_documented_rights(version: Version, server: RedisServer, tmp_path: Path) -> None:
    """The rights of the docs are enough on every server that can hold them."""
    server.run(*FILL)
    (tmp_path / "password").write_text("PASSWORD\n")
    acl = ACL_LINE if version.release >= (7, 0) else ACL_LINE.replace("%R~", "~")
    server.run(acl)
    auth = {"username": "spillway", "passwordFile": str(tmp_path / "password")}
    assert read_all(server.url, *EVERYTHING, auth=auth) == VALUES


def lag(server: RedisServer) -> object:
    """Return the lag of a group as the server itself has it; "absent" where it has none."""
    ((fields,),) = server.run("XINFO GROUPS k")
    return dict(zip(fields[::2], fields[1::2], strict=True)).get(b"lag", "absent")


WAITING = {"stream": "k", "group": "g", "count": ["waiting"]}


def test_waiting_entries_are_right_whatever_the_server_says(version: Version, server: RedisServer) -> None:
    """Deleted, trimmed and never delivered entries: each server gives another lag, and the number is the same."""
    server.run(*(f"XADD k {i}-0 f v" for i in range(1, 11)), "XGROUP CREATE k g 0")
    server.run("XREADGROUP GROUP g c COUNT 2 STREAMS k >")
    assert (lag(server) == "absent") is (version.release < (7, 0))
    assert read_all(server.url, WAITING) == [8]
    server.run("XDEL k 5-0")
    assert read_all(server.url, WAITING) == [7]
    server.run("XTRIM k MAXLEN = 4")
    assert read_all(server.url, WAITING) == [4]
    server.run("XREADGROUP GROUP g c COUNT 9 STREAMS k >")
    assert read_all(server.url, WAITING) == [0]


def test_many_waiting_entries(version: Version, server: RedisServer) -> None:
    """More entries than are counted: known where the server has a lag, NullLag where it has none."""
    with server.client() as client, client.pipeline() as pipeline:
        for i in range(1, MAX_ENTRIES + 10):
            pipeline.xadd("k", {"f": "v"}, id=f"{i}-0")
        pipeline.execute()
    server.run("XGROUP CREATE k g 0")
    assert read_all(server.url, WAITING) == [MAX_ENTRIES + 9]
    server.run("XREADGROUP GROUP g c COUNT 1 STREAMS k >")
    group = Group("k", "g", missing_stream_is_empty=False, missing_group_waits_for_all=False)
    expected = MAX_ENTRIES + 8 if version.release >= (7, 0) else null_lag(group)
    assert read_all(server.url, WAITING) == [expected]


def test_sentinels(server: RedisServer, tmp_path: Path) -> None:
    """A sentinel of every version tells where the master is."""
    server.run("RPUSH k a b")
    with Sentinel(tmp_path, server.port, executable=server.executable) as sentinel:
        place = {"addresses": [f"127.0.0.1:{sentinel.port}"], "master": MASTER}
        assert read_all(None, {"list": "k"}, sentinel=place) == [2]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RedisServer]]:
    """A cluster of one node for each server at hand; they start together, since each takes seconds."""
    started: dict[str, RedisServer] = {}
    try:
        for name, path in AT_HAND.items():
            node = RedisServer(tmp_path_factory.mktemp("node"), executable=path, cluster_enabled="yes")
            # Before version 7 a node talks to the others on its port + 10000, and cannot be told otherwise.
            node.port = node.options["port"] = low_port()
            started[name] = node.start()
            node.run(f"CLUSTER ADDSLOTS {' '.join(map(str, range(HASH_SLOTS)))}")
        until_sync(lambda: all(b"cluster_state:ok" in node.run("CLUSTER INFO")[0] for node in started.values()))
        yield started
    finally:
        for node in started.values():
            node.kill()


def low_port() -> int:
    """Return a port that is free, as is the one 10000 above."""
    for port in range(21_000, 31_000):
        try:
            for number in (port, port + 10_000):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port
    raise AssertionError("no free pair of ports")


@pytest.mark.parametrize("name", AT_HAND)
def test_clusters(nodes: dict[str, RedisServer], name: str) -> None:
    """A cluster of every version tells who has which slot."""
    nodes[name].run(*FILL)
    assert read_all(None, *EVERYTHING, cluster={"addresses": [f"127.0.0.1:{nodes[name].port}"]}) == VALUES
