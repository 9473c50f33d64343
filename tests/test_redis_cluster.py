"""The redis source against a real Redis Cluster: keys that move, masters that go, replicas that take over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest

from adapter.schema.metric import Metric
from adapter.sources.redis_address import Server
from adapter.sources.redis_slots import HASH_SLOTS, hash_slot, read_slot_map, redirect_of
from adapter.sources.resp import Reply, RespError
from scaler.model import Reason, Unknown, labels_of
from tests.builders import Bench, milli, reasons
from tests.redis_cluster import RedisCluster, begin_move, cancel_move, end_move, move_keys
from tests.redis_reading import Reader, reading, redis_metric, source_error
from tests.redis_server import RedisServer, free_port
from tests.waiting import until

ASKED = Server("10.0.0.1", 7000)


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: RedisCluster) -> RedisCluster:
    _cluster.mend()
    for node in _cluster.nodes:
        node.run("FLUSHALL", "CONFIG RESETSTAT")
    return _cluster


def cluster_metric(addresses: list[str], *queues: dict[str, Any], **kwargs: Any) -> Metric:
    return redis_metric(None, *queues, cluster={"addresses": addresses}, **kwargs)


def lists(keys: list[str]) -> list[dict[str, Any]]:
    return [{"list": key} for key in keys]


def becomes(reader: Reader, expected: list[float | Unknown]) -> Callable[[], Any]:
    async def condition() -> bool:
        return await reader.all() == expected

    return condition


def test_each_key_is_asked_of_the_master_that_has_it(cluster: RedisCluster) -> None:
    """Keys of all masters are read, each command sent once, to one node, over one connection a node."""
    keys = [f"orders:{i}" for i in range(60)] + ["{tag}:a", "{tag}:b"]
    for i, key in enumerate(keys):
        cluster.run(f"RPUSH {key} {' '.join('x' * (i % 3 + 1))}")
    cluster.run("XADD s 1-1 f v", "XADD s 2-1 f v", "XGROUP CREATE s g 0")
    for node in cluster.nodes:
        node.run("CONFIG RESETSTAT")

    async def main() -> None:
        metric = cluster_metric(cluster.addresses, *lists(keys), {"stream": "s", "group": "g"})
        async with reading(metric) as reader:
            for _ in range(3):
                assert await reader.all() == [float(i % 3 + 1) for i in range(62)] + [2.0, 0.0]

    asyncio.run(main())
    calls = [node.calls() for node in cluster.nodes]
    assert sum(call["llen"] for call in calls) == 3 * 62
    assert all(call["llen"] > 3 for call in calls)
    assert sum(call.get("xinfo|groups", 0) for call in calls) == 3
    assert sum(call.get("cluster|slots", 0) for call in calls) == 1
    for node in cluster.nodes:
        with node.client() as client:
            # Ours, the one that asks here, and the one of `calls`; the seed's is not kept twice.
            assert client.info("stats")["total_connections_received"] <= 4


def test_slots_that_are_moved_while_they_are_read(cluster: RedisCluster) -> None:
    """At no step of a resharding is a key unknown or another's: not before, while, or after it moves."""
    source, target = cluster.nodes[0], cluster.nodes[1]
    key = cluster.key_at(0)
    slot = hash_slot(key)
    pair = [key, f"{{{key}}}:b"]
    source.run(f"RPUSH {pair[0]} a b", f"RPUSH {pair[1]} a b c")
    others = [cluster.key_at(1), cluster.key_at(2)]
    cluster.run(*(f"RPUSH {other} a" for other in others))
    queues = [*lists(pair + others), {"list": f"{{{key}}}:none", "onMissing": "unknown"}]
    missing = Unknown(Reason.MISSING_KEY, f'key "{{{key}}}:none" does not exist')
    expected: list[float | Unknown] = [2, 3, 1, 1, missing]

    async def main() -> None:
        async with reading(cluster_metric(cluster.addresses, *queues)) as reader:
            assert await reader.all() == expected
            begin_move(source, target, slot)
            assert await reader.all() == expected
            for moved in pair:
                move_keys(source, target, [moved])
                assert await reader.all() == expected
            end_move(cluster.nodes, target, slot)
            assert await reader.all() == expected
            for node in cluster.nodes:
                node.run("CONFIG RESETSTAT")
            assert await reader.all() == expected
            assert source.calls().get("llen", 0) == 0  # the map is known again
            begin_move(target, source, slot)
            move_keys(target, source, pair)
            assert await reader.all() == expected
            end_move(cluster.nodes, source, slot)
            assert await reader.all() == expected

    asyncio.run(main())


def test_a_resharding_at_full_speed(cluster: RedisCluster) -> None:
    """However reads and the moves of dozens of slots fall together, no reading is ever unknown or wrong."""
    source, target = cluster.nodes[0], cluster.nodes[1]
    keys = [key for i in range(200) if cluster.master_of(key := f"moving:{i}") is source][:40]
    for i, key in enumerate(keys):
        source.run(f"RPUSH {key} {' '.join('x' * (i % 4 + 1))}")
    expected: list[float | Unknown] = [float(i % 4 + 1) for i in range(40)]

    def move(one: RedisServer, other: RedisServer) -> None:
        for key in keys:
            begin_move(one, other, hash_slot(key))
            move_keys(one, other, [key])
            end_move(cluster.nodes, other, hash_slot(key))

    async def main() -> None:
        queues = [{"list": key, "onMissing": "unknown"} for key in keys]
        async with reading(cluster_metric(cluster.addresses, *queues)) as reader:
            for pair in ((source, target), (target, source)):
                moving = asyncio.create_task(asyncio.to_thread(move, *pair))
                while not moving.done():
                    assert await reader.all() == expected
                await moving

    asyncio.run(main())


def test_a_stream_that_is_being_moved(cluster: RedisCluster) -> None:
    """The entries of a stream are counted where the stream is, even while its slot is only being taken over."""
    source, target = cluster.nodes[0], cluster.nodes[2]
    key = cluster.key_at(0, "stream")
    slot = hash_slot(key)
    source.run(*(f"XADD {key} {i}-0 f v" for i in range(1, 8)), f"XGROUP CREATE {key} g 2-5")

    async def main() -> None:
        async with reading(cluster_metric(cluster.addresses, {"stream": key, "group": "g"})) as reader:
            assert await reader.all() == [5, 0]
            begin_move(source, target, slot)
            move_keys(source, target, [key])
            assert await reader.all() == [5, 0]
            cancel_move(source, target, slot, [key])
            assert await reader.all() == [5, 0]

    asyncio.run(main())


def test_a_master_that_is_lost(cluster: RedisCluster) -> None:
    """Only the keys of a master that is gone are unknown, with its address, and once maxAge has passed their items;
    when it is back, so are they."""
    keys = [cluster.key_at(0), cluster.key_at(1)]
    cluster.run(*(f"RPUSH {key} a" for key in keys))
    lost = cluster.nodes[1]
    address = f"127.0.0.1:{lost.port}"

    async def main() -> None:
        metric = cluster_metric(cluster.addresses, *lists(keys), timeout_ms=1_000)
        queues = [labels_of({"queue": key}) for key in keys]
        async with reading(metric) as reader:
            assert await reader.all() == [1, 1]
            lost.pause()
            try:
                for _ in range(2):
                    assert await reader.all() == [1, source_error(f"{address}: timeout")]
            finally:
                lost.resume()
            await until(becomes(reader, [1, 1]))
            bench = Bench(metric.rule, reader.now_ms / 1000)
            bench.at(reader.now_ms / 1000, *await reader.batches())
            lost.kill()
            for _ in range(2):
                assert await reader.all() == [1, source_error(f"{address}: connection refused")]
            assert milli(bench.at(reader.now_ms / 1000, *await reader.batches())) == dict.fromkeys(queues, 1000)
            reader.now_ms += metric.rule.max_age_ms
            late = bench.at(reader.now_ms / 1000 + 1, *await reader.batches())
            assert reasons(late) == {queues[1]: "SourceError"}
            cluster.mend()
            await until(becomes(reader, [1, 0]))

    asyncio.run(main())


def test_a_replica_that_takes_over(tmp_path: Path) -> None:
    """When a replica is promoted its keys are known again, without a restart, under the same target."""
    with RedisCluster(tmp_path, replicas=True) as cluster:
        keys = [cluster.key_at(i) for i in range(3)]
        cluster.run(*(f"RPUSH {key} a" for key in keys))
        with cluster.nodes[1].client() as client:
            client.wait(1, 5_000)

        async def main() -> None:
            async with reading(cluster_metric(cluster.addresses, *lists(keys), timeout_ms=2_000)) as reader:
                (before,) = await reader.batches()
                cluster.nodes[1].kill()
                values = await reader.all()
                assert values[0] == values[2] == 1
                assert isinstance(values[1], Unknown)
                await until(becomes(reader, [1, 1, 1]))
                (after,) = await reader.batches()
                assert before.target == after.target == reader.spec.name
                assert before.layout is after.layout

        asyncio.run(main())


def test_a_hash_slot_that_nobody_serves(cluster: RedisCluster) -> None:
    """A key of a hash slot without a master is unknown, by itself."""
    key, lost = cluster.key_at(1), cluster.key_at(0)
    owner, slot = cluster.nodes[0], hash_slot(lost)
    cluster.run(f"RPUSH {key} a")
    owner.run(f"CLUSTER DELSLOTS {slot}")
    try:
        nobody = source_error(f'key "{lost}": no node of the Redis Cluster serves its hash slot')
        assert read_all(cluster_metric(cluster.addresses, *lists([key, lost]))) == [1, nobody]
    finally:
        owner.run(f"CLUSTER ADDSLOTS {slot}")


def read_all(metric: Metric) -> list[float | Unknown]:
    async def main() -> list[float | Unknown]:
        async with reading(metric) as reader:
            return await reader.all()

    return asyncio.run(main())


def test_any_node_will_do(cluster: RedisCluster) -> None:
    """The map comes from whichever of the addresses answers; if none does, the first says why."""
    cluster.run("RPUSH k a")
    dead = f"127.0.0.1:{free_port()}"
    assert read_all(cluster_metric([dead, cluster.addresses[2]], {"list": "k"})) == [1]
    assert read_all(cluster_metric([dead], {"list": "k"})) == [source_error(f"{dead}: connection refused")]


def test_what_is_no_cluster(tmp_path: Path) -> None:
    """A server on its own says so where a cluster is configured."""
    with RedisServer(tmp_path) as server:
        address = f"127.0.0.1:{server.port}"
        detail = f"{address}: is no node of a Redis Cluster: use url, not cluster"
        assert read_all(cluster_metric([address], {"list": "k"})) == [source_error(detail)]


def test_a_cluster_where_one_server_is_configured(cluster: RedisCluster) -> None:
    """A node asked by its URL says which keys it has not, and what to configure."""
    key = cluster.key_at(1)
    (found,) = read_all(redis_metric(cluster.nodes[0].url, {"list": key}))
    assert "use cluster, not url" in str(found)


CLUSTER_ACL = "ACL SETUSER spillway on >PASSWORD resetchannels -@all +cluster|slots +asking +llen %R~orders*"


def test_the_documented_rights(cluster: RedisCluster, tmp_path: Path) -> None:
    """The rights of the docs are enough, even for a key that is being moved, and each of them is needed."""
    assert CLUSTER_ACL in (Path(__file__).parent.parent / "docs" / "redis.md").read_text()
    (tmp_path / "password").write_text("PASSWORD\n")
    auth = {"username": "spillway", "passwordFile": str(tmp_path / "password")}
    metric = cluster_metric(cluster.addresses, {"list": "orders"}, auth=auth)
    source = cluster.master_of("orders")
    target = next(node for node in cluster.nodes if node is not source)
    begin_move(source, target, hash_slot("orders"))

    def read_with(acl: str) -> object:
        for node in cluster.nodes:
            node.run("ACL DELUSER spillway", acl, "ACL LOG RESET")
        return str(read_all(metric)[0])

    try:
        assert read_with(CLUSTER_ACL) == "0.0"
        assert [node.run("ACL LOG") for node in cluster.nodes] == [[[]]] * 3
        for right in ("CLUSTER|SLOTS", "ASKING", "LLEN"):
            refused = f"NOPERM: the user may not run {right.replace('|', ' ')}"
            assert refused in str(read_with(CLUSTER_ACL.replace(f"+{right.lower()} ", "")))
    finally:
        cancel_move(source, target, hash_slot("orders"), [])


def test_globs_look_on_every_master(cluster: RedisCluster) -> None:
    """The keys of all masters are found; one that is moved is neither lost nor counted twice."""
    keys = sorted(f"jobs:{i}" for i in range(40))
    cluster.run(*(f"RPUSH {key} a" for key in keys))
    assert len({cluster.master_of(key).port for key in keys}) == 3
    glob = {"glob": "jobs:*", "labels": {"queue": "$1"}}

    async def main() -> None:
        async with reading(cluster_metric(cluster.addresses, glob)) as reader:
            assert [dict(labels)["queue"] for labels in await reader.readings()] == [key[5:] for key in keys]
            key = next(key for key in keys if cluster.master_of(key) is cluster.nodes[0])
            begin_move(cluster.nodes[0], cluster.nodes[1], hash_slot(key))
            move_keys(cluster.nodes[0], cluster.nodes[1], [key])
            reader.now_ms += 30_000
            assert await reader.all() == [1.0] * 40
            cancel_move(cluster.nodes[0], cluster.nodes[1], hash_slot(key), [key])
            cluster.run("RPUSH jobs:new a b")
            reader.now_ms += 30_000
            assert await reader.all() == [1.0] * 40 + [2.0]

    asyncio.run(main())


def test_a_master_that_cannot_be_searched_leaves_the_series_unknown(cluster: RedisCluster) -> None:
    """Before every master has been searched nobody knows which queues there are; afterwards known keys are kept."""
    keys = sorted([cluster.key_at(0, "jobs"), cluster.key_at(1, "jobs")])
    cluster.run(*(f"RPUSH {key} a" for key in keys))
    lost = f"127.0.0.1:{cluster.nodes[1].port}: connection refused"
    metric = cluster_metric(cluster.addresses, {"glob": "jobs*"}, timeout_ms=2_000)
    cluster.nodes[1].kill()

    async def main() -> None:
        async with reading(metric) as reader:
            for _ in range(2):
                assert await reader.failure() == source_error(lost)
            cluster.mend()
            cluster.run(f"RPUSH {keys[1]} a b")
            await until(becomes(reader, [1, 2]))
            cluster.nodes[1].kill()
            reader.now_ms += 30_000
            assert await reader.all() == [1, source_error(lost)]
            cluster.run(f"RPUSH {cluster.key_at(0, 'jobsnew')} a b c")
            reader.now_ms += 30_000
            assert await reader.all() == [1, source_error(lost), 3]

    asyncio.run(main())


def test_hash_slots() -> None:
    """A key's slot is CRC16 of the key, or of what its first braces hold, if anything."""
    assert hash_slot("123456789") == 0x31C3 % HASH_SLOTS
    assert hash_slot("foo{bar}baz") == hash_slot("bar") == hash_slot("{bar}{foo}")
    assert hash_slot("foo{}{bar}") != hash_slot("bar")
    assert hash_slot("foo{{bar}}zap") == hash_slot("{bar")
    assert hash_slot(b"\xff{k}") == hash_slot("k")


def test_what_nodes_say_of_addresses() -> None:
    """An entry without an address is the asked node's own; one that could be nobody's is refused."""
    slot_map = read_slot_map([[0, 99, [None, 7001, b"id"]], [100, HASH_SLOTS - 1, [b"", 7002]]], ASKED)
    assert slot_map.masters == (("10.0.0.1", 7001), ("10.0.0.1", 7002))
    assert slot_map.complete
    for host, port in ((b"a b", 1), (b"a", 0), (b"a", 70_000), (b"a" * 300, 1), (b"\xff", 1)):
        with pytest.raises(RespError):
            read_slot_map([[0, 1, [host, port]]], ASKED)
    replies: list[Reply] = [None, [[0, HASH_SLOTS, [b"a", 1]]], [[2, 1, [b"a", 1]]], [b"x"], b"OK"]
    for reply in replies:
        with pytest.raises(RespError):
            read_slot_map(reply, ASKED)


def test_redirects() -> None:
    """MOVED and ASK name a server, an IPv6 address too, or none: the one that was asked."""

    def read(text: str) -> Any:
        return redirect_of(hiredis.ReplyError(text), ASKED)

    assert read("MOVED 3999 10.0.0.7:6381") == (False, ("10.0.0.7", 6381))
    assert read("ASK 3999 fd00::7:6381") == (True, ("fd00::7", 6381))
    assert read("MOVED 3999 :6381") == (False, ("10.0.0.1", 6381))
    assert read("MOVED 3999 ?:6381") == (False, ("10.0.0.1", 6381))
    for text in ("MOVED", "MOVED 1", "MOVED 1 a", "MOVED 1 a:b", "ERR MOVED 1 a:1", "CLUSTERDOWN"):
        assert read(text) is None
