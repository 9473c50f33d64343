"""One RESP connection: prebuilt requests out, in chunks; replies in, bounded, and never shifted by one question.

A connection that was interrupted, or that got a reply it cannot account for, is closed at once: what is still under
way on it would be taken for the answer to the next question.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import hiredis

Reply: TypeAlias = "int | bytes | list[Reply] | hiredis.ReplyError | None"

MAX_COMMANDS = 500
"""Commands in a chunk. The server answers them in about 0.1 ms (LLEN) to 0.4 ms (XINFO GROUPS) and then turns to
other clients; parsing the replies holds our loop for as long."""

MAX_REQUEST_BYTES = 64 * 1024
MAX_REPLY_BYTES = 8 * 1024 * 1024
"""Bytes of all replies to one chunk."""

_MORE = object()
# hiredis allocates an array when it sees its header, before the elements are there, so that a header of 12 bytes could
# cost gigabytes. No reply we ask for has 100,000 elements on one level.
_LONG_ARRAY = re.compile(rb"\n\*\d{6}")
_LONG_RESP3_ARRAY = re.compile(rb"\n[>~]\d{6}")
_HEADER_BYTES = 8


class RespError(Exception):
    """What the other side sent is not RESP, or not an answer to what was asked. The text is constant for a cause."""


class TooLargeError(RespError):
    """The replies to one chunk are larger than the bound."""


class ClosedError(ConnectionError):
    """The connection is gone.

    `farewell` is an error the server sent before it closed, such as "ERR max number of clients reached".
    """

    def __init__(self, text: str, farewell: hiredis.ReplyError | None = None) -> None:
        super().__init__(text)
        self.farewell = farewell


@dataclass(frozen=True, slots=True)
class Chunk:
    """Commands written at once, and how many replies they get.

    `asking`: each command has an ASKING of its own before it, whose reply is left out.
    """

    request: bytes
    replies: int
    asking: bool = False

    def __repr__(self) -> str:
        # Not the request: it may be an AUTH.
        return f"Chunk({self.replies} commands)"


PreparedCommands: TypeAlias = tuple[Chunk, ...]


def encode(*words: str | bytes | int) -> bytes:
    """Return one command as RESP bytes. Text is UTF-8."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        # surrogatepass: a key that is not Unicode must not break the plan of all the others.
        raw = word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass")
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


_ASKING = encode("ASKING")


def prepare(
    units: Iterable[Sequence[bytes]], max_commands: int = MAX_COMMANDS, *, asking: bool = False
) -> PreparedCommands:
    """Return encoded commands as chunks. The commands of one unit stay together, even past a chunk's bounds.

    Args:
        units: Commands that belong together.
        max_commands: Commands in a chunk.
        asking: Ask a node of a cluster for keys that it is only taking over.
    """
    if asking:
        units = ([_ASKING + command for command in unit] for unit in units)
    chunks: list[Chunk] = []
    pending: list[bytes] = []
    size = 0
    for unit in units:
        unit_bytes = sum(map(len, unit))
        if pending and (len(pending) + len(unit) > max_commands or size + unit_bytes > MAX_REQUEST_BYTES):
            chunks.append(Chunk(b"".join(pending), len(pending), asking))
            pending, size = [], 0
        pending.extend(unit)
        size += unit_bytes
    if pending:
        chunks.append(Chunk(b"".join(pending), len(pending), asking))
    return tuple(chunks)


class Connection(asyncio.Protocol):
    """A connection for one task: one question at a time."""

    def __init__(self, max_reply_bytes: int = MAX_REPLY_BYTES) -> None:
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.get_running_loop().create_future()
        self._error: ClosedError | RespError | None = None
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._max_reply_bytes = max_reply_bytes
        self._answer: asyncio.Future[list[Reply]] | None = None
        self._replies: list[Reply] = []
        self._wanted = 0
        self._asking = False
        self._received = 0
        self._tail = b"\n"
        self._heard = False

    @property
    def is_open(self) -> bool:
        """Whether a question may be asked. The other side may have closed without our knowing yet."""
        return self._transport is not None and self._error is None

    def ask(self, chunk: Chunk) -> None:
        """Write the commands. `answer` must follow before anything else is asked.

        Raises:
            ClosedError, RespError: The connection has ended since the last question.
        """
        if self._answer is not None:
            raise RuntimeError("a connection answers one question at a time")
        if self._transport is None or self._error is not None:
            raise self._error or ClosedError("not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._asking = chunk.asking
        self._wanted, self._received = chunk.replies << chunk.asking, 0
        self._transport.write(chunk.request)

    async def answer(self) -> list[Reply]:
        """Return the replies to what was asked, in order; an error reply is a hiredis.ReplyError in the list.

        Raises:
            ClosedError: The connection is gone.
            RespError: The other side does not speak RESP, sent too much, or sent what nobody asked for.
        """
        if self._answer is None:
            raise RuntimeError("nothing was asked")
        answer = self._answer
        try:
            replies = await answer
            return _asked(replies) if self._asking else replies
        finally:
            self._answer = None
            if answer.cancelled():
                self.abort("interrupted")
            elif answer.done():
                answer.exception()  # retrieved, even if we were cancelled at the same moment

    async def exchange(self, chunk: Chunk) -> list[Reply]:
        """Ask and return the replies. Raises as `answer`."""
        self.ask(chunk)
        return await self.answer()

    async def roundtrip(self, commands: PreparedCommands) -> list[Reply]:
        """Ask chunk after chunk and return all replies. Raises as `exchange`."""
        replies: list[Reply] = []
        for chunk in commands:
            replies += await self.exchange(chunk)
        return replies

    def abort(self, why: str = "closed") -> None:
        """Close at once, without waiting for anything, not even for the answer to what was asked."""
        if self._answer is not None:
            self._answer.cancel()
        self._fail(ClosedError(why))

    async def close(self) -> None:
        """Close and wait until the socket is."""
        self.abort()
        if self._transport is not None:
            await self._gone

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and answer when it is complete."""
        if self._error is not None:
            return
        self._heard = True
        self._received += len(data)
        if self._received > self._max_reply_bytes:
            self._fail(TooLargeError(f"replies of more than {self._max_reply_bytes} bytes"))
            return
        window = self._tail + data
        if _declares_too_much(window):
            self._fail(RespError("an array of 100000 elements or more"))
            return
        self._tail = window[-_HEADER_BYTES:]
        try:
            self._reader.feed(data)
            self._replies.extend(iter(self._reader.gets, _MORE))
        except hiredis.ProtocolError:
            self._fail(RespError("not RESP"))
            return
        self._settle()

    def _settle(self) -> None:
        answer, count = self._answer, len(self._replies)
        if answer is None or answer.done():
            # Before it refuses a client a server says why, without being asked.
            if count and isinstance(self._replies[0], hiredis.ReplyError):
                self._fail(ClosedError("refused by the server", self._replies[0]))
            else:
                self._fail(RespError("a reply nobody asked for"))
        elif count > self._wanted or (count == self._wanted and self._reader.has_data()):
            self._fail(RespError("more replies than questions"))
        elif count == self._wanted:
            self._replies, replies = [], self._replies
            self._tail = b"\n"
            answer.set_result(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        last = self._replies[-1] if self._replies else None
        text = "closed by the server" if exc is None else "connection reset"
        if not self._heard and self._transport is not None and self._transport.get_extra_info("sslcontext") is not None:
            # Since TLS 1.3 a client certificate is refused after the handshake, and a reset can overtake the alert.
            text = "TLS: closed by the server after the handshake: it may want a client certificate, or another one"
        self._fail(ClosedError(text, last if isinstance(last, hiredis.ReplyError) else None))
        if not self._gone.done():
            self._gone.set_result(None)

    def _fail(self, error: ClosedError | RespError) -> None:
        if self._error is None:
            self._error = error
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(self._error)
        if self._transport is not None:
            self._transport.abort()


def _asked(replies: list[Reply]) -> list[Reply]:
    """Leave out the replies to ASKING; one that was refused stands for its command's."""
    pairs = zip(replies[::2], replies[1::2], strict=True)
    return [asking if isinstance(asking, hiredis.ReplyError) else reply for asking, reply in pairs]


def _declares_too_much(window: bytes) -> bool:
    if _LONG_ARRAY.search(window):
        return True
    # Two passes: the search for RESP3 types, which nobody sends us, has no literal prefix and costs four times as much.
    return (b"\n>" in window or b"\n~" in window) and _LONG_RESP3_ARRAY.search(window) is not None
