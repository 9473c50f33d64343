"""How many entries wait for a consumer group: a real server's lag where it is right, the truth where it is not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.sources.redis_lag import (
    MAX_BYTES,
    MAX_ENTRIES,
    Doubt,
    Memory,
    Tally,
    Trust,
    after_probe,
    ask_more,
    count_more,
    judge,
    null_lag,
    probe,
)
from adapter.sources.redis_wanted import Group
from adapter.sources.resp import Reply, encode
from scaler.model import Reason, Unknown
from tests.redis_reading import reading, redis_metric, source_error
from tests.redis_server import RedisServer

WAITING = {"stream": "k", "group": "g", "count": ["waiting"]}
GROUP = Group("k", "g", missing_stream_is_empty=False, missing_group_waits_for_all=False)


@pytest.fixture(scope="module")
def _process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(_process: RedisServer) -> RedisServer:
    _process.run("FLUSHALL", "CONFIG RESETSTAT")
    return _process


def waiting(server: RedisServer, reads: int = 1) -> float | Unknown:
    """Return what the last of some reads by one endpoint says."""

    async def main() -> float | Unknown:
        async with reading(redis_metric(server.url, WAITING)) as reader:
            for _ in range(reads - 1):
                await reader.one()
            return await reader.one()

    return asyncio.run(main())


def add(server: RedisServer, count: int, first: int = 1, payload: str = "v") -> None:
    with server.client() as client, client.pipeline() as pipeline:
        for i in range(first, first + count):
            pipeline.xadd("k", {"f": payload}, id=f"{i}-0")
        pipeline.execute()


def lag(server: RedisServer) -> int | None:
    """Return the lag that the server itself reports."""
    ((fields,),) = server.run("XINFO GROUPS k")
    value: int | None = dict(zip(fields[::2], fields[1::2], strict=True))[b"lag"]
    return value


CASES: list[tuple[str, int, list[str], int | None, float]] = [
    ("deleted ahead of the group", 10, ["XGROUP CREATE k g 2-0", "XDEL k 5-0"], None, 7),
    ("created at an arbitrary id", 10, ["XGROUP CREATE k g 3-0"], None, 7),
    ("created at an id that never was", 10, ["XGROUP CREATE k g 3-5"], None, 7),
    ("created beyond the end", 10, ["XGROUP CREATE k g 99-0"], None, 0),
    ("trimmed past the group", 10, ["XGROUP CREATE k g 0 ENTRIESREAD 0", "XTRIM k MAXLEN 4"], 10, 4),
    ("before the first entry, one deleted", 10, ["XGROUP CREATE k g 0", "XDEL k 5-0"], None, 9),
    ("all deleted", 3, ["XGROUP CREATE k g 1-0", "XDEL k 1-0 2-0 3-0"], 0, 0),
    ("more than is counted, before the first", 3000, ["XGROUP CREATE k g 0", "XDEL k 2000-0"], None, 2999),
    ("exactly as many as are counted", 1001, ["XGROUP CREATE k g 1-5"], None, 1000),
    ("a hundred", 101, ["XGROUP CREATE k g 1-5"], None, 100),
]


@pytest.mark.parametrize(
    ("entries", "commands", "reported", "truth"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_lag_is_derived(
    server: RedisServer, entries: int, commands: list[str], reported: int | None, truth: float
) -> None:
    """Where the server does not know the lag, or cannot be right, the entries are counted."""
    add(server, entries)
    server.run(*commands)
    assert lag(server) == reported
    assert waiting(server) == truth


def test_too_much_to_count_is_unknown(server: RedisServer) -> None:
    """More than 1,000 entries, or than 1 MiB of them, are not counted: the lag is unknown, not 1,000."""
    add(server, 1_002)
    server.run("XGROUP CREATE k g 1-5")
    assert waiting(server) == null_lag(GROUP)
    server.run("FLUSHALL")
    add(server, 20, payload="x" * 100_000)
    server.run("XGROUP CREATE k g 1-5")
    assert waiting(server) == null_lag(GROUP)
    server.run("XGROUP SETID k g 12-5")
    assert waiting(server) == 8


def test_an_entry_too_large_to_read_costs_only_its_group(server: RedisServer) -> None:
    """An entry larger than any reply we take makes that group's lag unknown; the rest of the read stands."""
    with server.client() as client:
        client.xadd("k", {"f": "v"}, id="1-0")
        client.xadd("k", {"f": b"x" * 9 * 1024 * 1024}, id="2-0")
        client.xadd("k", {"f": "v"}, id="3-0")
        client.rpush("list", 1)
    server.run("XGROUP CREATE k g 1-5")

    async def main() -> None:
        async with reading(redis_metric(server.url, {"stream": "k", "group": "g"}, {"list": "list"})) as reader:
            for _ in range(2):
                assert await reader.all() == [null_lag(GROUP), 0, 1]

    asyncio.run(main())


def test_a_lag_that_counts_what_was_trimmed_ends_with_the_group_at_rest(server: RedisServer) -> None:
    """A group that has read everything, and whose lag the server believes to be 5, has nothing waiting."""
    add(server, 10)
    server.run("XGROUP CREATE k g 0 ENTRIESREAD 0", "XTRIM k MAXLEN 5", "XREADGROUP GROUP g c STREAMS k >")
    if lag(server) != 5:
        pytest.skip("this server has no such mistake")
    assert waiting(server, reads=2) == 0
    assert waiting(server, reads=4) == 0
    add(server, 3, first=11)

    async def main() -> None:
        async with reading(redis_metric(server.url, WAITING)) as reader:
            server.run("XREADGROUP GROUP g c STREAMS k >")
            assert await reader.one() == 5  # nothing tells it from a lag that is right
            assert await reader.one() == 0
            add(server, 2, first=14)
            assert await reader.one() == 2  # known to be wrong by now: counted

    asyncio.run(main())


def test_a_lag_that_is_right_is_checked_once_and_counted_never(server: RedisServer) -> None:
    """A backlog that nobody works on costs one entry once, not a count at each read."""
    add(server, 500)
    server.run("XGROUP CREATE k g 0")
    assert waiting(server, reads=10) == 500
    assert server.calls()["xrange"] == 1


def test_many_groups_in_doubt(server: RedisServer) -> None:
    """Hundreds of groups whose lag must be counted are all counted in one read."""
    add(server, 40)
    queues = []
    for i in range(300):
        server.run(f"XGROUP CREATE k g{i} {i % 39 + 1}-5")
        queues.append({"stream": "k", "group": f"g{i}", "count": ["waiting"]})

    async def main() -> None:
        async with reading(redis_metric(server.url, *queues)) as reader:
            assert await reader.all() == [39 - i % 39 for i in range(300)]

    asyncio.run(main())


def test_rights_that_lack_xrange(server: RedisServer) -> None:
    """Without XRANGE a lag that must be derived is unknown, saying so; one that the server knows is not touched."""
    server.run("ACL SETUSER default -xrange")
    try:
        add(server, 10)
        server.run("XGROUP CREATE k g 0")
        assert waiting(server, reads=3) == 10
        server.run("XDEL k 5-0")
        assert waiting(server) == source_error('NOPERM: the user may not run XRANGE on key "k"')
    finally:
        server.run("ACL SETUSER default +xrange")


def test_lag_on_a_random_walk_of_a_real_server(server: RedisServer) -> None:
    """Whatever is added, read, deleted and trimmed: waiting is never too small, and is right once lag was in doubt."""
    chance = random.Random(7)
    with server.client(decode_responses=True) as client:

        def step(last: int) -> int:
            match chance.randrange(6):
                case 0 | 1:
                    count = chance.randint(1, 6)
                    add(server, count, first=last + 1)
                    return last + count
                case 2 | 3:
                    client.xreadgroup("g", "c", {"k": ">"}, count=chance.randint(1, 6))
                case 4:
                    client.xdel("k", f"{chance.randint(1, last)}-0")
                case _:
                    client.xtrim("k", maxlen=chance.randint(0, 12), approximate=False)
            return last

        async def walk() -> None:
            last = 1
            add(server, 1)
            client.xgroup_create("k", "g", f"{chance.randint(0, 1)}-0")
            async with reading(redis_metric(server.url, WAITING)) as reader:
                for _ in range(30):
                    last = step(last)
                    (group,) = client.xinfo_groups("k")
                    truth = len(client.xrange("k", f"({group['last-delivered-id']}"))
                    seen = [await reader.one(), await reader.one()]
                    assert all(isinstance(value, float) and value >= truth for value in seen)
                    if group["lag"] is None or group["lag"] > client.xlen("k"):
                        assert seen == [truth, truth]
                    if truth == 0:
                        assert seen[1] == 0

        for _ in range(12):
            client.delete("k")
            asyncio.run(walk())


# The derivation by itself, against a stream in memory.


def answer(stream: Sequence[tuple[int, int]], command: bytes) -> Reply:
    """Answer XRANGE and XLEN as a server would from (id, size of the entry's one value)."""
    words = command.split(b"\r\n")[2::2]
    if words[0] == b"XLEN":
        return len(stream)
    start = 0 if words[2] == b"-" else int(words[2].removeprefix(b"(").partition(b"-")[0]) + 1
    found = [(i, size) for i, size in stream if i >= start][: int(words[5])]
    return [[b"%d-0" % i, [b"f", b"x" * size]] for i, size in found]


def derive(stream: Sequence[tuple[int, int]], last_id: int) -> int | Unknown:
    doubt = Doubt(GROUP, 0, None, b"%d-0" % last_id, derive=True)
    memory: Memory = {}
    outcome = after_probe(doubt, [answer(stream, command) for command in probe(doubt)], memory)
    steps = 0
    while isinstance(outcome, Tally):
        steps += 1
        assert steps <= 2 * MAX_ENTRIES / 100 + 20
        counted = count_more(outcome, answer(stream, ask_more(outcome)), memory)
        assert isinstance(counted, int | Tally | Unknown)
        if isinstance(counted, Unknown):
            return counted
        outcome = counted
    assert isinstance(outcome, int)
    return outcome


@given(
    length=st.integers(0, 1_300),
    last_id=st.integers(0, 1_400),
    holes=st.sets(st.integers(1, 1_300), max_size=50),
    trimmed=st.integers(0, 1_300),
    sizes=st.sampled_from([(0,), (1, 900), (5_000, 10), (20_000,)]),
)
def test_derived_lag_is_the_number_of_entries_after_the_group(
    length: int, last_id: int, holes: set[int], trimmed: int, sizes: tuple[int, ...]
) -> None:
    """The count is exact, or unknown because 1,000 entries or 1 MiB were passed; before the first entry it is exact."""
    stream = [(i, sizes[i % len(sizes)]) for i in range(trimmed + 1, length + 1) if i not in holes]
    after = [(i, size) for i, size in stream if i > last_id]
    found = derive(stream, last_id)
    if isinstance(found, Unknown):
        assert found.reason is Reason.NULL_LAG
        assert len(after) > MAX_ENTRIES or sum(size + 10 for _, size in after) >= MAX_BYTES
        assert len(after) < len(stream)
    else:
        assert found == len(after)


@given(
    lag=st.none() | st.integers(-1, 5),
    length=st.integers(0, 4),
    moved=st.booleans(),
    trust=st.none() | st.sampled_from(Trust),
)
def test_judge(lag: int | None, length: int, moved: bool, trust: Trust | None) -> None:
    """A lag that can be right is used if it is zero, its group has moved, or it was checked."""
    memory: Memory = {} if trust is None else {3: (b"1-0", trust)}
    doubt = judge(GROUP, 3, lag, b"2-0" if moved else b"1-0", length, memory)
    possible = lag is not None and 0 <= lag <= length
    if not possible:
        assert doubt is not None
        assert doubt.derive
    elif lag == 0:
        assert doubt is None
    elif trust is Trust.WRONG:
        assert doubt is not None
        assert doubt.derive
    elif trust is Trust.PLAUSIBLE and not moved:
        assert doubt is not None
        assert not doubt.derive
    else:
        assert doubt is None


def test_a_count_that_agrees_restores_trust() -> None:
    """A group whose lag was wrong once is believed again when a count finds the same."""
    stream = [(i, 1) for i in range(1, 6)]
    doubt = Doubt(GROUP, 0, 5, b"0-0", derive=True)
    memory: Memory = {0: (b"0-0", Trust.WRONG)}
    assert after_probe(doubt, [answer(stream, command) for command in probe(doubt)], memory) == 5
    assert memory[0] == (b"0-0", Trust.PLAUSIBLE)
    assert encode("XLEN", "k") in probe(doubt)
