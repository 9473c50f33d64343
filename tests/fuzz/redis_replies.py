"""What a server answers to the Redis source. Each input is a script: for each question the truth, or some other bytes.

Whatever the server says, a reading is what RESP by its letter (`tests.fuzz.naive_resp`) makes of the reply to that very
question, or unknown. After the script the server tells the truth, and the next read has all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import hiredis

from scaler.model import Labels, Unknown
from tests.fuzz.choices import Choices
from tests.fuzz.naive_resp import RespFormatError, leading, replies
from tests.redis_reading import reading, redis_metric
from tests.scripted import scripted_server

_QUEUES = (
    {"list": "a"},
    {"sortedSet": "z", "onMissing": "unknown"},
    {"hash": "h"},
    {"stream": "s", "group": "g"},
)
_TRUTH: dict[tuple[bytes, bytes], bytes] = {
    (b"LLEN", b"a"): b":7\r\n",
    (b"ZCARD", b"z"): b":3\r\n",
    (b"HLEN", b"h"): b":0\r\n",
    (b"EXISTS", b"z"): b":1\r\n",
    (b"XLEN", b"s"): b":50\r\n",
    (b"XINFO", b"s"): (
        b"*1\r\n*12\r\n$4\r\nname\r\n$1\r\ng\r\n$9\r\nconsumers\r\n:1\r\n$7\r\npending\r\n:4\r\n"
        b"$17\r\nlast-delivered-id\r\n$4\r\n30-1\r\n$12\r\nentries-read\r\n:30\r\n$3\r\nlag\r\n:20\r\n"
    ),
}
_MORE = object()
_EXPECTED = {"a": 7.0, "z": 3.0, "h": 0.0, "waiting": 20.0, "inFlight": 4.0}
_ODD = (
    b":-0\r\n",
    b": 12\r\n",
    b":+5\r\n",
    b":-1\r\n",
    b":9223372036854775808\r\n",
    b":\r\n",
    b":1\n",
    b"$-1\r\n",
    b"$-2\r\n",
    b"$1\r\n5\r\n",
    b"$9223372036854775807\r\n",
    b"$536870913\r\nx",
    b"*-1\r\n",
    b"*-2\r\n",
    b"*0\r\n",
    b"*99999\r\n",
    b"*1000000000\r\n",
    b"%1000000000\r\n",
    b"|1\r\n+a\r\n:1\r\n",
    b"*1\r\n" * 12,
    b"#t\r\n",
    b",1.5\r\n",
    b"(12\r\n",
    b"(" + b"9" * 400 + b"\r\n",
    b">2\r\n+invalidate\r\n*0\r\n",
    b"~1\r\n:1\r\n",
    b"=5\r\ntxt:1\r\n",
    b"_\r\n",
    b"+OK\r\n",
    b"-ERR no\r\n",
    b"-WRONGTYPE x\r\n",
    b"-MOVED 1 127.0.0.1:1\r\n",
    b"-LOADING x\r\n",
    b"-NOPERM 'asking'\r\n",
    b"-\r\n",
    b"",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
)


class _Server:
    """Answers as the script says, and remembers what it answered to which question."""

    def __init__(self) -> None:
        self.choices = Choices(b"")
        self.honest = True
        self.said: list[tuple[bytes, bytes]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        questions = hiredis.Reader(notEnoughData=_MORE)
        self.said.clear()  # readings come from the last connection
        while data := await reader.read(65536):
            questions.feed(data)
            for question in iter(questions.gets, _MORE):
                answer = self._answer(question)
                self.said.append((_kind(question), answer))
                if not self._whole(answer):
                    writer.write(answer)
                    await writer.drain()
                    return  # nothing that follows would be an answer
                for part in self._parts(answer):
                    writer.write(part)
                    await writer.drain()

    def _answer(self, question: list[bytes]) -> bytes:
        truth = _truth(question)
        if self.honest or self.choices.over:
            return truth
        match self.choices.below(6):
            case 0:
                return truth
            case 1:
                return self.choices.pick(_ODD)
            case 2:
                return truth + self.choices.pick(_ODD)
            case 3:
                return self.choices.take(self.choices.below(32))
            case 4:
                at = self.choices.below(len(truth))
                return truth[:at] + self.choices.take(self.choices.below(4)) + truth[at + self.choices.below(4) :]
            case _:
                return truth.replace(b"\r\n:", b"\r\n" + self.choices.pick(_ODD), 1)

    def _parts(self, answer: bytes) -> list[bytes]:
        size = 1 if not self.honest and len(answer) % 3 == 1 else len(answer) or 1
        return [answer[at : at + size] for at in range(0, len(answer), size)]

    def _whole(self, answer: bytes) -> bool:
        try:
            return bool(replies(answer))
        except RespFormatError:
            return False


def _truth(question: list[bytes]) -> bytes:
    """Return the answer of a server that has two queues, and a stream of 50 entries of which a group was given 30."""
    if question[0].upper() != b"XRANGE":
        return _TRUTH.get((question[0].upper(), _key(question)), b"-ERR unknown\r\n")
    after = question[2].removeprefix(b"(").partition(b"-")[0]
    if question[2] != b"-" and not (after.isdigit() and len(after) < 19):
        return b"-ERR Invalid stream ID specified as stream command argument\r\n"
    start = int(after or b"0")
    found = range(start + 1, 51)[: int(question[5])]
    return b"*%d\r\n" % len(found) + b"".join(_entry(number) for number in found)


def _entry(number: int) -> bytes:
    entry_id = b"%d-1" % number
    return b"*2\r\n$%d\r\n%b\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n" % (len(entry_id), entry_id)


def _key(question: list[bytes]) -> bytes:
    return question[2] if question[0].upper() == b"XINFO" else question[1]


def _kind(question: list[bytes]) -> bytes:
    return question[0].upper() + b" " + _key(question)


def _name(labels: Labels) -> str:
    found = dict(labels)
    return found.get("state", found["queue"])


def _allowed(said: list[tuple[bytes, bytes]]) -> dict[str, set[float]]:
    """Return the values that each series may have after what was said on one connection."""
    answers = leading(b"".join(answer for _, answer in said))
    told: dict[bytes, Any] = dict(zip([kind for kind, _ in said], answers, strict=False))
    allowed: dict[str, set[float]] = {name: set() for name in _EXPECTED}
    for name, kind in (("a", b"LLEN a"), ("z", b"ZCARD z"), ("h", b"HLEN h")):
        if type(told.get(kind)) is int:
            allowed[name].add(told[kind])
    groups = told.get(b"XINFO s")
    for group in groups if isinstance(groups, list) else ():
        fields = dict(zip(group[::2], group[1::2], strict=False)) if isinstance(group, list) else {}
        if fields.get(b"name") == b"g":
            if type(fields.get(b"pending")) is int:
                allowed["inFlight"].add(fields[b"pending"])
            length, lag = told.get(b"XLEN s"), fields.get(b"lag")
            if type(length) is int:
                allowed["waiting"] |= {0, length} if b"XRANGE s" in told else set()
                if type(lag) is int and 0 <= lag <= length:
                    allowed["waiting"].add(lag)
                if b"XRANGE s" in told:
                    allowed["waiting"] |= set(range(1, 50))
    return allowed


@asynccontextmanager
async def _source() -> AsyncIterator[Callable[[bytes], Any]]:
    server = _Server()
    async with scripted_server(server) as port:
        url = f"redis://127.0.0.1:{port}/0"

        async def check(data: bytes) -> None:
            async with reading(redis_metric(url, *_QUEUES, timeout_ms=60_000)) as reader:
                server.choices = Choices(data)
                if not server.choices.below(2):
                    server.honest = True
                    assert await _read(reader) == _EXPECTED
                server.honest = False
                for _ in range(3):
                    found = await _read(reader)
                    allowed = _allowed(server.said)
                    for name, value in found.items():
                        assert isinstance(value, Unknown) or value in allowed[name], (name, value, server.said)
                server.honest = True
                recovered = await _read(reader)
                if recovered != _EXPECTED:  # the reply to the last question of the script may not have been seen yet
                    recovered = await _read(reader)
                assert recovered == _EXPECTED, (recovered, server.said)

        yield check


async def _read(reader: Any) -> dict[str, float | Unknown]:
    (batch,) = await reader.batches()
    assert batch.failure is None
    readings = [batch.problems.get(i, float(batch.values[i])) for i in range(len(batch.layout))]
    for unknown in batch.problems.values():
        assert "internal error" not in unknown.detail, unknown
    return {_name(labels): value for labels, value in zip(batch.layout.series, readings, strict=True)}


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Keep a server for as long as inputs come."""
    with asyncio.Runner() as runner:
        source = _source()
        check = runner.run(source.__aenter__())
        try:
            yield lambda data: runner.run(check(data))
        finally:
            runner.run(source.__aexit__(None, None, None))


def seeds() -> list[bytes]:
    """Return inputs to start from."""
    odd = [bytes([i % 2]) + b"\x01" + bytes([i]) for i in range(len(_ODD))]
    shifted = [b"\0\0\x02" + bytes([i]) for i in range(0, len(_ODD), 3)]
    inside = [b"\0\0\0\0\0\0\x05" + bytes([i]) for i in range(0, len(_ODD), 3)]
    return [*odd, *shifted, *inside, b"\x01\x03\x05:12\r\n", b"\x01\x00\x00\x00\x04\x01\x00\x01", b""]
