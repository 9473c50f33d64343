"""The way to a Redis, and what goes wrong on it, against real servers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.sources.redis_access import Credentials
from adapter.sources.resp import encode
from tests.redis_reading import Reader, reading, readings_of, redis_metric, source_error
from tests.redis_server import RedisServer, free_port
from tests.scripted import Script, answering, scripted_server
from tests.waiting import until, until_sync

ACL_LINE = next(
    line
    for line in (Path(__file__).parent.parent / "docs" / "redis.md").read_text().splitlines()
    if line.startswith("ACL SETUSER")
)
RIGHTS = [word for word in ACL_LINE.split() if word.startswith("+")]
LIST = {"list": "k"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, maxclients=64) as server:
        server.run("RPUSH k a b")
        yield server


def read_one(url: str, **kwargs: Any) -> object:
    """Return what one read of the list `k` by a new endpoint says."""

    async def main() -> object:
        async with reading(redis_metric(url, LIST, **kwargs)) as reader:
            return await reader.one()

    return asyncio.run(main())


def no_perm(command: str, key: str) -> object:
    return source_error(f'NOPERM: the user may not run {command} on key "{key}"')


# Rights and credentials.

EVERYTHING: list[dict[str, Any]] = [
    {"list": "orders", "onMissing": "unknown"},
    {"set": "orders:set"},
    {"sortedSet": "orders:sorted"},
    {"hash": "orders:hash"},
    {"stream": "orders:stream", "group": "g"},
    {"glob": "orders:h*", "type": "hash", "labels": {"queue": "$0 by glob"}},
]


def fill_everything(server: RedisServer) -> None:
    server.run("CONFIG SET requirepass root", "ACL SETUSER default >root")
    server.password = "root"
    with server.client(db=1) as client:
        client.rpush("orders", 1)
        client.sadd("orders:set", 1)
        client.zadd("orders:sorted", {"a": 1})
        client.hset("orders:hash", "f", "v")
        for i in range(1, 4):
            client.xadd("orders:stream", {"f": "v"}, id=f"{i}-0")
        client.xgroup_create("orders:stream", "g", "1-5")


def with_rights(server: RedisServer, tmp_path: Path, line: str) -> list[object]:
    """Return what a user with these rights can read of everything."""
    password_file = tmp_path / "password"
    password_file.write_text("PASSWORD\n")
    server.run("ACL DELUSER spillway", line)
    url = f"redis://127.0.0.1:{server.port}/1"
    auth = {"username": "spillway", "passwordFile": str(password_file)}

    async def main() -> list[object]:
        async with reading(redis_metric(url, *EVERYTHING, auth=auth)) as reader:
            (batch,) = await reader.batches()
            return list(readings_of(batch).values()) if batch.failure is None else [batch.failure]

    return asyncio.run(main())


def test_the_documented_rights_are_enough(server: RedisServer, tmp_path: Path) -> None:
    """With the ACL line of the docs everything is read, and the server logs no refusal."""
    fill_everything(server)
    server.run("ACL LOG RESET")
    assert with_rights(server, tmp_path, ACL_LINE) == [1, 1, 1, 1, 2, 0, 1]
    assert server.run("ACL LOG") == [[]]


@pytest.mark.parametrize("right", RIGHTS)
def test_each_documented_right_is_needed(server: RedisServer, tmp_path: Path, right: str) -> None:
    """Without any one of the documented rights something becomes unknown, and says which command was refused."""
    fill_everything(server)
    if right == "+exists":  # it is asked always, but matters only for a list of length 0
        with server.client(db=1) as client:
            client.delete("orders")
    values = with_rights(server, tmp_path, ACL_LINE.replace(right + " ", ""))
    command = right.removeprefix("+").replace("|", " ").upper()
    assert any(f"NOPERM: the user may not run {command}" in str(value) for value in values)


def test_the_documented_rights_are_nothing_more(server: RedisServer, tmp_path: Path) -> None:
    """The user of the docs can neither read other keys nor change, list or fetch anything."""
    fill_everything(server)
    with_rights(server, tmp_path, ACL_LINE)
    others = (
        "LLEN other|RPUSH orders 1|LRANGE orders 0 -1|KEYS *|INFO|XINFO STREAM orders:stream|XLEN other|TYPE orders"
    )
    for command in others.split("|"):
        (verdict,) = server.run(f"ACL DRYRUN spillway {command}")
        assert verdict != b"OK"


def test_noperm_is_a_matter_of_one_key(server: RedisServer, tmp_path: Path) -> None:
    """A key that the user may not read is unknown by itself."""
    password_file = tmp_path / "password"
    password_file.write_text("pw")
    server.run("ACL SETUSER u on >pw +llen ~k", "RPUSH k2 a")

    async def main() -> None:
        auth = {"username": "u", "passwordFile": str(password_file)}
        async with reading(redis_metric(server.url, LIST, {"list": "k2"}, auth=auth)) as reader:
            assert await reader.all() == [2, no_perm("LLEN", "k2")]

    asyncio.run(main())


def test_a_password_that_is_rotated(server: RedisServer, tmp_path: Path) -> None:
    """A refused password is unknown with one constant reason; the new one in the file is used at the next read."""
    password_file = tmp_path / "password"
    password_file.write_text("old\n")
    server.run("CONFIG SET requirepass old")
    server.password = "old"

    async def main() -> None:
        auth = {"passwordFile": str(password_file)}
        async with reading(redis_metric(server.url, LIST, auth=auth)) as reader:
            assert await reader.one() == 2
            server.run("CONFIG SET requirepass new", "CLIENT KILL TYPE normal SKIPME yes")
            server.password = "new"
            for _ in range(2):
                assert await reader.one() == source_error("WRONGPASS: the server refuses this user and password")
            password_file.write_text("new\n")
            assert await reader.one() == 2
            password_file.unlink()
            assert await reader.one() == 2  # the open connection needs none
            server.run("CLIENT KILL TYPE normal SKIPME yes")
            assert await reader.one() == source_error(
                f"reading password file {password_file}: No such file or directory"
            )

    asyncio.run(main())


def test_no_password_where_one_is_wanted(server: RedisServer) -> None:
    """A server with a password says so to a user without one."""
    server.run("CONFIG SET requirepass pw")
    expected = source_error("NOAUTH: the server wants a password, and none is configured")
    assert read_one(server.url) == expected
    assert read_one(server.url.replace("/0", "/1")) == expected


def test_a_password_where_none_is_wanted(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password for a server that has none set is an error of the configuration, and never shown."""
    monkeypatch.setenv("SPILLWAY_TEST_PASSWORD", "hunter2")
    assert read_one(server.url, auth={"passwordEnv": "SPILLWAY_TEST_PASSWORD"}) == source_error(
        "AUTH: the server does not know this kind of login, or has no password set for the user default"
    )


def test_credentials_are_read_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's first line or a variable is the credential; neither the user nor the password is in a repr."""
    user, password = tmp_path / "user", tmp_path / "password"
    user.write_bytes(b"alice\r\n")
    password.write_bytes(b" hunter2 \n\n")
    credentials = Credentials(None, str(user), str(password))
    assert credentials.read() == (b"alice", b" hunter2 ")
    monkeypatch.setenv("SPILLWAY_TEST_PASSWORD", "hunter2")
    named = Credentials("alice", password_env="SPILLWAY_TEST_PASSWORD")
    assert named.read() == (b"alice", b"hunter2")
    assert "alice" not in repr(named)
    assert "hunter2" not in repr(named)


def test_credentials_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty or endless file and a variable that is not set are named, not used."""
    monkeypatch.delenv("SPILLWAY_TEST_PASSWORD", raising=False)
    file = tmp_path / "password"
    file.write_text("\n")
    auth = {"passwordFile": str(file)}
    assert read_one("redis://127.0.0.1:1", auth=auth) == source_error(f"reading password file {file}: empty")
    file.write_bytes(b"x" * 70_000)
    detail = f"reading password file {file}: larger than 65536 bytes"
    assert read_one("redis://127.0.0.1:1", auth=auth) == source_error(detail)
    detail = "the environment variable SPILLWAY_TEST_PASSWORD is not set or empty"
    assert read_one("redis://127.0.0.1:1", auth={"passwordEnv": "SPILLWAY_TEST_PASSWORD"}) == source_error(detail)


# States of a real server.


def test_one_connection_serves_all_reads(server: RedisServer) -> None:
    """The connection stays open from read to read."""

    async def main() -> None:
        async with reading(redis_metric(server.url, LIST)) as reader:
            with server.client() as client:
                before = client.info("stats")["total_connections_received"]
                for _ in range(5):
                    assert await reader.one() == 2
                assert client.info("stats")["total_connections_received"] == before + 1

    asyncio.run(main())


def test_an_idle_connection_that_was_closed_costs_no_read(server: RedisServer) -> None:
    """A server that dropped its clients, or was restarted, is connected to again within the read."""

    async def main() -> None:
        async with reading(redis_metric(server.url, LIST)) as reader:
            assert await reader.one() == 2
            server.run("CLIENT KILL TYPE normal SKIPME yes")
            assert await reader.one() == 2
            server.kill()
            server.start().run("RPUSH k a b c")
            assert await reader.one() == 3

    asyncio.run(main())


def test_a_server_that_is_killed_and_comes_back(server: RedisServer) -> None:
    """While it is gone every queue is unknown with one reason; then the values are there again."""

    async def main() -> None:
        async with reading(redis_metric(server.url, LIST, {"stream": "s", "group": "g"})) as reader:
            await reader.all()
            server.kill()
            for _ in range(2):
                assert await reader.all() == [source_error("connection refused")] * 3
            server.start().run("RPUSH k a")
            assert (await reader.all())[0] == 1

    asyncio.run(main())


def test_a_server_that_hangs(server: RedisServer) -> None:
    """A stopped server is a timeout, and the late answers are never taken for the next read's."""

    async def main() -> None:
        async with reading(redis_metric(server.url, LIST, timeout_ms=300)) as reader:
            assert await reader.one() == 2
            server.pause()
            try:
                for _ in range(2):
                    assert await reader.one() == source_error("timeout")
            finally:
                server.resume()
            server.run("RPUSH k c")
            assert await reader.one() == 3

    asyncio.run(main())


def test_a_server_that_is_loading(tmp_path: Path) -> None:
    """A server that reads its data set says so, and gives no size of what it has so far."""
    with RedisServer(tmp_path, enable_debug_command="yes", dbfilename="dump.rdb") as server:
        server.run("DEBUG POPULATE 3000 key 200", "RPUSH k a b", "SAVE")
        server.kill()
        server.start(ready=False, key_load_delay=5_000, loading_process_events_interval_bytes=1024)

        async def main() -> None:
            async with reading(redis_metric(server.url, LIST)) as reader:
                loading = source_error("LOADING: the server is still reading its data into memory")
                assert await reader.one() == loading
                assert await reader.one() == loading
                server.run("CONFIG SET key-load-delay 0")
                await until(becomes(reader, 2.0))

        asyncio.run(main())


def becomes(reader: Reader, value: object) -> Callable[[], Any]:
    """Return the condition that a read gives this."""

    async def condition() -> bool:
        return await reader.one() == value

    return condition


def test_a_server_that_is_busy_with_a_script(tmp_path: Path) -> None:
    """A script that does not end makes every queue unknown until it does."""
    with RedisServer(tmp_path, lua_time_limit=1) as server:
        server.run("RPUSH k a b")

        async def main() -> None:
            async with reading(redis_metric(server.url, LIST)) as reader:
                with socket.create_connection(("127.0.0.1", server.port)) as other:
                    other.sendall(encode("EVAL", "while true do end", 0))
                    busy = source_error("BUSY: the server is busy with a script")
                    await until(becomes(reader, busy))
                    assert await reader.one() == busy
                    server.run("SCRIPT KILL")
                    await until(becomes(reader, 2.0))

        asyncio.run(main())


def test_a_replica_without_its_master(tmp_path: Path) -> None:
    """A replica that may not serve old data serves none."""
    with RedisServer(tmp_path, replicaof=f"127.0.0.1 {free_port()}", replica_serve_stale_data="no") as server:
        detail = "MASTERDOWN: this replica has lost its master and does not serve old data"
        assert read_one(server.url) == source_error(detail)


def test_a_cluster_node(tmp_path: Path) -> None:
    """A node of a cluster that does not serve the key's slot says so for that key."""
    with RedisServer(tmp_path, cluster_enabled="yes", cluster_port=free_port()) as server:
        assert read_one(server.url) == source_error(
            'CLUSTERDOWN: key "k": the Redis Cluster does not serve it at present'
        )


def test_a_server_with_all_the_clients_it_takes(server: RedisServer) -> None:
    """The reason for which a server turned us away at the door is told."""
    server.run("CONFIG SET maxclients 1")
    with server.client() as client:
        client.ping()
        assert until_sync(lambda: read_one(server.url)) == source_error("max number of clients reached")


def test_a_unix_socket(tmp_path: Path) -> None:
    """A server on this machine is read over its socket; one that is not there has a reason of its own."""
    path = tmp_path / "redis.sock"
    with RedisServer(tmp_path, unixsocket=path, maxclients=64) as server:
        with server.client(db=2) as client:
            client.rpush("k", "a", "b")

        async def main() -> None:
            async with reading(redis_metric(None, LIST, socket={"path": str(path), "database": 2})) as reader:
                assert reader.spec.name == f"unix:{path}/2"
                assert await reader.one() == 2
                server.kill()
                assert "SourceError" in str(await reader.one())
                path.unlink(missing_ok=True)
                assert await reader.one() == source_error("No such file or directory")

        asyncio.run(main())


def test_addresses_that_lead_nowhere() -> None:
    """A port that nobody listens on and a name that does not exist have their own reasons."""
    assert read_one(f"redis://127.0.0.1:{free_port()}") == source_error("connection refused")
    assert read_one(f"redis://localhost:{free_port()}") == source_error("connection refused")
    unresolved = read_one("redis://no-such-host.invalid")
    assert unresolved == read_one("redis://no-such-host.invalid")
    assert "DNS: " in str(unresolved)


# Replies that a real server gives rarely, or never.

SCRIPTED: list[tuple[bytes, str]] = [
    (b"-DENIED Redis is running in protected mode because ...\r\n", "DENIED: the server is in protected mode"),
    (b"-MOVED 3999 10.0.0.7:6381\r\n", 'MOVED: key "k": another node of a Redis Cluster holds it'),
    (b"-ASK 3999 10.0.0.7:6381\r\n", 'ASK: key "k": another node of a Redis Cluster is taking it over'),
    (b"-ERR upstream\x1bfailure\r\n", 'LLEN on key "k": ERR upstream?failure'),
    (b"-oops\r\n", 'LLEN on key "k": oops'),
    (b"$1\r\n5\r\n", "protocol error: LLEN was not answered with an integer"),
    (b"$-1\r\n", "protocol error: LLEN was not answered with an integer"),
    (b"#t\r\n", "protocol error: LLEN was not answered with an integer"),
    (b",5.5\r\n", "protocol error: LLEN was not answered with an integer"),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol error: not RESP"),
    (b":1\r\n:2\r\n", "protocol error: more replies than questions"),
    (b"*4294967295\r\n", "protocol error: an array of 100000 elements or more"),
]


@pytest.mark.parametrize(("reply", "detail"), SCRIPTED)
def test_odd_replies(reply: bytes, detail: str) -> None:
    """Whatever is not the size of the key is unknown, never a number."""

    async def main() -> None:
        async with (
            scripted_server(answering(reply)) as port,
            reading(redis_metric(f"redis://127.0.0.1:{port}", LIST)) as reader,
        ):
            for _ in range(2):
                assert detail in str(await reader.one())

    asyncio.run(main())


def test_a_server_that_always_cuts_the_connection() -> None:
    """A reply cut in the middle is no reply; one new attempt is made where the connection had been used before."""
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(100)
        writer.write(b":1\r\n:" if connections > 1 else b":1\r\n:2\r\n")
        await writer.drain()
        if connections == 1:
            await reader.read(100)

    async def main() -> None:
        async with (
            scripted_server(script) as port,
            reading(redis_metric(f"redis://127.0.0.1:{port}", LIST, {"list": "l"})) as reader,
        ):
            assert await reader.all() == [1, 2]
            assert await reader.all() == [source_error("closed by the server")] * 2
            assert connections == 2

    asyncio.run(main())


def test_a_reply_that_drips_too_slowly() -> None:
    """The deadline is for the whole read, however steadily bytes come."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b":")
        while not writer.is_closing():
            writer.write(b"0")
            await writer.drain()
            await asyncio.sleep(0.01)

    assert asyncio.run(read_scripted(script, timeout_ms=300)) == source_error("timeout")


async def read_scripted(script: Script, **kwargs: Any) -> object:
    async with (
        scripted_server(script) as port,
        reading(redis_metric(f"redis://127.0.0.1:{port}", LIST, **kwargs)) as reader,
    ):
        return await reader.one()


def test_a_server_that_repeats_the_password_in_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of an error to AUTH is never passed on: some servers repeat the command."""
    monkeypatch.setenv("SPILLWAY_TEST_PASSWORD", "hunter2")
    reply = b"-ERR unknown command `AUTH`, with args beginning with: `hunter2`\r\n"
    auth = {"passwordEnv": "SPILLWAY_TEST_PASSWORD"}
    assert "hunter2" not in str(asyncio.run(read_scripted(answering(reply), auth=auth)))
