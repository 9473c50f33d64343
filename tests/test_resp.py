"""The RESP connection, against scripted servers on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.sources.resp import (
    MAX_COMMANDS,
    MAX_REQUEST_BYTES,
    Chunk,
    ClosedError,
    Connection,
    RespError,
    TooLargeError,
    encode,
    prepare,
)
from tests.scripted import Script, answering, scripted_server
from tests.waiting import until

PING = Chunk(encode("PING"), 1)


@asynccontextmanager
async def talking_to(script: Script, max_reply_bytes: int = 1 << 20) -> AsyncIterator[Connection]:
    """Connect to a server that does what the script says and then closes."""
    loop = asyncio.get_running_loop()
    async with scripted_server(script) as port:
        _, connection = await loop.create_connection(lambda: Connection(max_reply_bytes), "127.0.0.1", port)
        try:
            yield connection
        finally:
            await connection.close()


@given(st.lists(st.one_of(st.text(), st.binary(), st.integers()), min_size=1, max_size=5))
def test_encode_is_what_a_server_decodes(words: list[str | bytes | int]) -> None:
    """A command is an array of bulk strings, whatever bytes its words hold."""
    reader = hiredis.Reader()
    reader.feed(encode(*words))
    raw = [word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass") for word in words]
    assert reader.gets() == raw
    assert not reader.has_data()


@given(st.lists(st.lists(st.binary(min_size=1, max_size=200).map(encode), min_size=1, max_size=3), max_size=60))
def test_chunks_keep_order_units_and_bounds(units: list[list[bytes]]) -> None:
    """Chunks hold the commands in order; only a unit that is larger than a chunk may exceed its bounds."""
    chunks = prepare(units, max_commands=7)
    assert b"".join(chunk.request for chunk in chunks) == b"".join(b"".join(unit) for unit in units)
    assert all(chunk.replies <= 7 for chunk in chunks)
    ends, total = set(), 0
    for unit in units:
        total += len(unit)
        ends.add(total)
    position = 0
    for chunk in chunks:
        position += chunk.replies
        assert position in ends


def test_chunks_are_bounded_in_commands_and_bytes() -> None:
    """Many short commands are cut by number, long ones by size."""
    assert [chunk.replies for chunk in prepare([PING.request] for _ in range(2 * MAX_COMMANDS + 1))] == [500, 500, 1]
    long = [encode("LLEN", "k" * (MAX_REQUEST_BYTES // 2))]
    assert [chunk.replies for chunk in prepare([long] * 3)] == [1, 1, 1]


def test_a_chunk_does_not_show_its_request() -> None:
    """A request can hold a password; its repr does not."""
    assert "hunter2" not in repr(prepare([[encode("AUTH", "hunter2")]]))


def test_replies_of_every_kind_in_order() -> None:
    """Integers (also 0), strings, nil, arrays and errors come back as they were sent, error replies as values."""

    async def main() -> None:
        reply = b":0\r\n$2\r\nab\r\n$-1\r\n*2\r\n:7\r\n*0\r\n-WRONGTYPE no\r\n+OK\r\n"
        async with talking_to(answering(reply)) as connection:
            first, *middle, error, last = await connection.exchange(Chunk(PING.request, 6))
            assert [first, *middle, last] == [0, b"ab", None, [7, []], b"OK"]
            assert isinstance(error, hiredis.ReplyError)

    asyncio.run(main())


def test_a_reply_that_drips_in() -> None:
    """Replies cut at every byte are put together again."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        for byte in b"*2\r\n:12\r\n$3\r\na\r\n\r\n:5\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        await reader.read()

    async def main() -> None:
        async with talking_to(script) as connection:
            assert await connection.exchange(Chunk(PING.request, 2)) == [[12, b"a\r\n"], 5]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "not RESP"),
        (b"\x15\x03\x03\x00\x02\x02\x32", "not RESP"),
        (b":1\r\n:2\r\n", "more replies than questions"),
        (b":1\r\n:2", "more replies than questions"),
        (b"*4294967295\r\n", "an array of 100000 elements or more"),
        (b"*1\r\n*100000\r\n", "an array of 100000 elements or more"),
        (b">2000000000\r\n", "an array of 100000 elements or more"),
        (b"~2000000000\r\n", "an array of 100000 elements or more"),
    ],
)
def test_what_is_not_an_answer_ends_the_connection(reply: bytes, text: str) -> None:
    """Garbage, surplus and claims of endless arrays are refused, and nothing is asked on that connection again."""

    async def main() -> None:
        async with talking_to(answering(reply)) as connection:
            with pytest.raises(RespError, match=text):
                await connection.exchange(PING)
            assert not connection.is_open
            with pytest.raises(RespError, match=text):
                await connection.exchange(PING)

    asyncio.run(main())


def test_an_array_header_cut_in_two_is_still_seen() -> None:
    """The bound on arrays does not depend on how the bytes arrive."""

    async def main() -> None:
        async with talking_to(answering(b"")) as connection:
            asked = asyncio.ensure_future(connection.exchange(PING))
            await asyncio.sleep(0)
            for part in (b"*1\r", b"\n*10", b"0000\r", b"\n"):
                connection.data_received(part)
            with pytest.raises(RespError, match="100000"):
                await asked

    asyncio.run(main())


def test_an_endless_reply_is_refused() -> None:
    """A reply larger than the bound ends the connection long before it is complete."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"$2000000000\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65536)
            await writer.drain()

    async def main() -> None:
        async with talking_to(script) as connection:
            with pytest.raises((TooLargeError, RespError)):
                await connection.exchange(PING)
            assert not connection.is_open

    asyncio.run(main())


def test_a_connection_cut_in_the_middle_of_a_reply() -> None:
    """Half an answer is no answer."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b":1\r\n*2\r\n:1\r\n")

    async def main() -> None:
        async with talking_to(script) as connection:
            with pytest.raises(ClosedError, match="closed by the server"):
                await connection.exchange(Chunk(PING.request, 2))

    asyncio.run(main())


def test_the_last_words_of_a_server_are_kept() -> None:
    """A server that refuses a client says why and closes; the reason is not lost, asked or unasked."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-ERR max number of clients reached\r\n")

    async def main(*, asked: bool) -> None:
        async with talking_to(script) as connection:
            if not asked:
                await until(lambda: not connection.is_open)
            with pytest.raises(ClosedError) as caught:
                await connection.exchange(Chunk(PING.request, 2))
            assert str(caught.value.farewell) == "ERR max number of clients reached"

    asyncio.run(main(asked=True))
    asyncio.run(main(asked=False))


def test_an_interrupted_question_closes_the_connection() -> None:
    """The answer to a question nobody waits for any more is never taken for the next one's."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b":1\r\n")
        await reader.read()

    async def main() -> None:
        async with talking_to(script) as connection:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await connection.exchange(Chunk(PING.request, 2))
            assert not connection.is_open
            with pytest.raises(ClosedError, match="interrupted"):
                await connection.exchange(PING)

    asyncio.run(main())


def test_one_question_at_a_time() -> None:
    """A second question before the first one's answer is a bug, and says so."""

    async def main() -> None:
        async with talking_to(answering(b"")) as connection:
            first = asyncio.ensure_future(connection.exchange(PING))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError):
                await connection.exchange(PING)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first

    asyncio.run(main())
