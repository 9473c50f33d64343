"""The redis source behind real sentinels: whoever is the master is read, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.schema.metric import Metric
from adapter.sources.redis_sentinel import ASK_AGAIN_MS
from scaler.model import Unknown
from tests.redis_reading import Reader, reading, redis_metric, source_error
from tests.redis_sentinel import MASTER, Sentinel, SentinelSet, say
from tests.redis_server import RedisServer, free_port
from tests.scripted import answering, scripted_server
from tests.waiting import until

LIST = {"list": "k"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        server.run("RPUSH k a b")
        yield server


def sentinel_metric(addresses: list[str], *, auth: Any = None, sentinel: Any = None, **kwargs: Any) -> Metric:
    fields = {"addresses": addresses, "master": MASTER, **(sentinel or {})}
    return redis_metric(None, LIST, sentinel=fields, auth=auth, **kwargs)


def read_one(metric: Metric) -> object:
    async def main() -> object:
        async with reading(metric) as reader:
            first = await reader.one()
            assert await reader.one() == first
            return first

    return asyncio.run(main())


def becomes(reader: Reader, value: float) -> Callable[[], Any]:
    async def condition() -> bool:
        return await reader.one() == value

    return condition


# Real sentinels.


def test_a_failover_is_followed(tmp_path: Path) -> None:
    """The new master is read as soon as the sentinels are asked again, although the old one says that it is one. The
    target and the series stay."""
    with SentinelSet(tmp_path) as shop:
        first, second = shop.servers
        first.run("RPUSH k a", "WAIT 1 5000")

        async def main() -> None:
            async with reading(sentinel_metric(shop.addresses, timeout_ms=5_000)) as reader:
                (before,) = await reader.batches()
                assert before.values.tolist() == [1]
                assert before.target == f"sentinel://{','.join(shop.addresses)}/{MASTER}/0"

                await asyncio.to_thread(shop.failover)
                second.run("RPUSH k b c")
                assert first.run("ROLE")[0][0] == b"master"
                reader.now_ms += ASK_AGAIN_MS
                assert await reader.one() == 3
                (after,) = await reader.batches()
                assert (after.target, after.layout) == (before.target, before.layout)

        asyncio.run(main())


def test_a_master_that_dies(tmp_path: Path) -> None:
    """Between its death and the election the queue is unknown; then the promoted replica is read, and goes on being
    when the old master comes back and believes that it still is one."""
    with SentinelSet(tmp_path) as shop:
        first, second = shop.servers
        first.run("RPUSH k a", "WAIT 1 5000")

        async def main() -> None:
            async with reading(sentinel_metric(shop.addresses, timeout_ms=5_000)) as reader:
                assert await reader.one() == 1
                first.kill()
                refused = source_error(f"master 127.0.0.1:{first.port}: connection refused")
                assert await reader.one() == refused
                await until(becomes(reader, 1))
                first.start()
                second.run("RPUSH k b c", "CLIENT KILL TYPE normal SKIPME yes")
                assert await reader.one() == 3

        asyncio.run(main())


def test_the_sentinels_may_be_away_while_the_master_is_there(tmp_path: Path, server: RedisServer) -> None:
    """Sentinels that hang or are gone cost nothing as long as the master says that it is one."""
    with Sentinel(tmp_path / "sentinel", server.port) as sentinel:

        async def main() -> None:
            async with reading(sentinel_metric([f"127.0.0.1:{sentinel.port}"], timeout_ms=2_000)) as reader:
                assert await reader.one() == 2
                sentinel.pause()
                try:
                    reader.now_ms += ASK_AGAIN_MS
                    assert await reader.one() == 2
                finally:
                    sentinel.resume()
                sentinel.kill()
                reader.now_ms += ASK_AGAIN_MS
                assert await reader.one() == 2
                server.run("CLIENT KILL TYPE normal SKIPME yes")
                gone = f"no sentinel knows the master: 127.0.0.1:{sentinel.port} connection refused"
                assert await reader.one() == source_error(gone)

        asyncio.run(main())


def test_a_sentinel_that_hangs_is_not_waited_for(tmp_path: Path, server: RedisServer) -> None:
    """A majority of the sentinels is enough."""
    first, second, third = (Sentinel(tmp_path / name, server.port) for name in "abc")
    with first, second, third:
        third.pause()
        try:
            addresses = [f"127.0.0.1:{sentinel.port}" for sentinel in (third, first, second)]
            assert read_one(sentinel_metric(addresses, timeout_ms=60_000)) == 2
        finally:
            third.resume()


def test_a_master_that_the_sentinels_do_not_know(tmp_path: Path, server: RedisServer) -> None:
    """The name of a master that is not theirs is told, and what is no sentinel too."""
    with Sentinel(tmp_path / "sentinel", server.port) as sentinel:
        addresses = [f"127.0.0.1:{sentinel.port}", f"127.0.0.1:{server.port}"]
        expected = (
            f'no sentinel knows the master: {addresses[0]} knows no master "other", {addresses[1]} is no sentinel (ERR)'
        )
        assert read_one(sentinel_metric(addresses, sentinel={"master": "other"})) == source_error(expected)


SENTINEL_ACL = "ACL SETUSER spillway on >PASSWORD resetchannels -@all +sentinel|master"
MASTER_ACL = "ACL SETUSER spillway on >PASSWORD resetchannels -@all +role +llen %R~k"


def with_rights(tmp_path: Path, server: RedisServer, sentinel_acl: str, master_acl: str) -> object:
    password = tmp_path / "password"
    password.write_text("PASSWORD\n")
    auth = {"username": "spillway", "passwordFile": str(password)}
    with Sentinel(tmp_path / "sentinel", server.port) as sentinel:
        sentinel.run(sentinel_acl)
        server.run("ACL DELUSER spillway", master_acl)
        metric = sentinel_metric([f"127.0.0.1:{sentinel.port}"], auth=auth, sentinel={"auth": auth})
        found = read_one(metric)
        if isinstance(found, Unknown):
            return found.detail.replace(f"127.0.0.1:{sentinel.port}", "S").replace(f"127.0.0.1:{server.port}", "M")
        return found


def test_the_documented_rights(tmp_path: Path, server: RedisServer) -> None:
    """The rights of the docs are enough, of the sentinels and of the master, and each of them is needed."""
    docs = (Path(__file__).parent.parent / "docs" / "redis.md").read_text()
    assert SENTINEL_ACL in docs
    assert "`+role`" in docs
    assert with_rights(tmp_path, server, SENTINEL_ACL, MASTER_ACL) == 2
    found = with_rights(tmp_path, server, SENTINEL_ACL.replace("+sentinel|master", ""), MASTER_ACL)
    assert found == "no sentinel knows the master: S NOPERM: the user may not run SENTINEL MASTER"
    found = with_rights(tmp_path, server, SENTINEL_ACL, MASTER_ACL.replace("+role", ""))
    assert found == "master M: NOPERM: the user may not run ROLE"


# Sentinels that say what a test wants.


def read_through(*replies: bytes) -> object:
    """Return what is read through sentinels that give these answers."""

    async def main() -> object:
        async with (
            scripted_server(answering(replies[0])) as one,
            scripted_server(answering(replies[-1])) as other,
            reading(sentinel_metric([f"127.0.0.1:{one}", f"127.0.0.1:{other}"])) as reader,
        ):
            found = await reader.one()
            assert await reader.one() == found
            return found

    return asyncio.run(main())


def test_the_newest_word_counts(tmp_path: Path, server: RedisServer) -> None:
    """A sentinel that lags behind is outvoted, whichever is asked first, although its server says it is a master."""
    (tmp_path / "old").mkdir()
    with RedisServer(tmp_path / "old") as old:
        assert read_through(say(old.port, 3), say(server.port, 4)) == 2
        assert read_through(say(server.port, 4), say(old.port, 3)) == 2
        assert read_through(say(server.port, 10), say(old.port, 9)) == 2


def test_a_sentinel_that_lies(tmp_path: Path, server: RedisServer) -> None:
    """A server that is no master, or not there, is not read on a sentinel's word; an older word that is true is."""
    (tmp_path / "replica").mkdir()
    with RedisServer(tmp_path / "replica", replicaof=f"127.0.0.1 {server.port}") as replica:
        lie = f"the sentinels say that 127.0.0.1:{replica.port} is the master, and it says that it is not"
        assert read_through(say(replica.port, 4)) == source_error(lie)
        assert read_through(say(replica.port, 4), say(server.port, 3)) == 2
    nobody = free_port()
    assert read_through(say(nobody, 4)) == source_error(f"master 127.0.0.1:{nobody}: connection refused")
    assert read_through(say(nobody, 4), say(server.port, 3)) == 2


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (b"*2\r\n$2\r\nip\r\n$1\r\na\r\n", "protocol error: SENTINEL MASTER was not answered with a master"),
        (b"+OK\r\n", "protocol error: SENTINEL MASTER was not answered with a list"),
        (b"*1\r\n:1\r\n", "protocol error: SENTINEL MASTER was not answered with a master"),
        (say(0, 1), "protocol error: an address that cannot be one"),
        (say(1, 1, "a b"), "protocol error: an address that cannot be one"),
        (b"-NOAUTH Authentication required.\r\n", "NOAUTH: the server wants a password, and none is configured"),
    ],
)
def test_odd_sentinels(reply: bytes, detail: str) -> None:
    """Whatever is no master's address is none."""
    assert detail in str(read_through(reply))


def test_a_master_that_was_demoted(tmp_path: Path, server: RedisServer) -> None:
    """A server that has become a replica is not read on, even if no sentinel knows yet."""

    async def main() -> None:
        async with (
            scripted_server(answering(say(server.port, 1))) as port,
            reading(sentinel_metric([f"127.0.0.1:{port}"])) as reader,
        ):
            assert await reader.one() == 2
            server.run(f"REPLICAOF 127.0.0.1 {free_port()}")
            assert "says that it is not" in str(await reader.one())
            server.run("REPLICAOF NO ONE")
            assert await reader.one() == 2

    asyncio.run(main())
