"""One connection to the secure port: plain requests are answered here, any other is aiohttp's, and its last."""

from __future__ import annotations

import asyncio
import re
from enum import Enum, auto
from math import inf
from typing import Protocol, cast

from adapter.api.limits import Limits
from adapter.api.peer import chain
from adapter.api.plain import PlainReader
from adapter.api.request import Request, Response, Undecided
from adapter.api.wire import MALFORMED, TOO_LARGE, written

_END = b"\r\n\r\n"
_BARE_LINE_END = re.compile(rb"(?<!\r)\n")
_AT_A_TIME = 16  # requests of one connection; then others have their turn


class State(Enum):
    """What a connection is about."""

    READING = auto()  # waits for a request, or for the rest of its head
    WAITING = auto()  # for the Kubernetes API to say whether the request may go on
    HANDED = auto()  # to aiohttp
    CLOSING = auto()


class Server(Protocol):
    """What a connection needs of its server."""

    limits: Limits
    stopping: bool
    reader: PlainReader

    def opened(self, connection: Connection) -> None:
        """Take note of a connection."""
        ...

    def closed(self, connection: Connection) -> None:
        """Forget it."""
        ...

    def refused(self, reason: str) -> None:
        """Count something that was not done for want of room or time."""
        ...

    def respond(self, request: Request) -> Response | Undecided:
        """Answer a request. Never raises."""
        ...

    def settle(self, request: Request, undecided: Undecided) -> asyncio.Task[Response]:
        """Have a request decided, and answer it. Never raises."""
        ...

    def other(self) -> asyncio.Protocol:
        """Return aiohttp's part of a connection."""
        ...


class Connection(asyncio.Protocol):
    """Answers in the order of the requests, one at a time.

    What cannot be answered yet waits in the buffer: the beginning of a head, and whatever follows a request that waits
    itself. The server ends a connection that lets its `deadline_s` pass (the loop's clock).
    """

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = loop
        self._transport: asyncio.Transport
        self._peer: tuple[bytes, ...] = ()
        self._buffer = bytearray()
        self._looked = 0  # so much of the buffer holds no end of a head: a drip must not have us look again and again
        self._in_head = False
        self._close_after = False
        self._reading_paused = self._writing_paused = False
        self._settling: asyncio.Task[Response] | None = None
        self._other: asyncio.Protocol | None = None
        self.state = State.READING
        self.deadline_s = loop.time() + self._limits.idle_s
        self.surplus = False
        """There are too many connections: this one gets one answer, a refusal if need be."""

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self.state is State.READING and not self._buffer and not self._writing_paused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin. Called by the event loop, as all that follows."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._peer = chain(transport.get_extra_info("ssl_object"))
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.state = State.CLOSING
        self._buffer.clear()
        if self._settling is not None:
            self._settling.cancel()
        if self._other is not None:
            self._other.connection_lost(exc)
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._other is not None:
            self._other.data_received(data)
        elif self.idle and 0 <= data.find(_END) == len(data) - len(_END) <= self._limits.head_bytes:
            self._answer(data)  # one whole request and nothing else: the rule
        elif self.state is not State.CLOSING:
            self._buffer += data
            self._go_on()

    def eof_received(self) -> None:
        """Take note that the client will send no more. The transport then closes."""
        if self._other is not None:
            self._other.eof_received()

    def pause_writing(self) -> None:
        """Answer no more: the client does not take what it has been sent."""
        self._writing_paused = True
        self.deadline_s = self._loop.time() + self._limits.write_s
        if self._other is not None:
            self._other.pause_writing()

    def resume_writing(self) -> None:
        """Go on: it does."""
        self._writing_paused = False
        if self._other is not None:
            self.deadline_s = self._loop.time() + self._limits.other_s
            self._other.resume_writing()
        elif self.state is State.READING:
            self.deadline_s = self._loop.time() + self._limits.idle_s
            self._go_on()

    def end(self) -> None:
        """End at once if nothing is under way, else with the next answer."""
        if self.idle:
            self._close()
        else:
            self._close_after = True

    def expire(self) -> None:
        """End for lack of time."""
        if self.idle and not self._transport.get_write_buffer_size():
            self._close()
            return
        if self.state is not State.CLOSING:
            slow = "answer" if self._writing_paused or not self._in_head else "head"
            self._server.refused(f"slow-{slow if self.state is State.READING else 'request'}")
        self.abort()

    def abort(self) -> None:
        """End, whatever is under way."""
        self.state = State.CLOSING
        self._transport.abort()

    def _go_on(self) -> None:
        """Answer the requests that are whole in the buffer, some at a time."""
        for _ in range(_AT_A_TIME):
            if self.state is not State.READING or self._writing_paused or not self._buffer:
                break
            if self._transport.is_closing():  # the client has gone, and will be reported lost
                break
            end = self._buffer.find(_END, max(0, self._looked - len(_END) + 1)) + len(_END)
            if end < len(_END):
                self._await_head()
                break
            head = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._looked = 0
            if end > self._limits.head_bytes:
                self._too_large()
            else:
                self._answer(head)
        else:
            self._loop.call_soon(self._go_on)
        self._pace()

    def _await_head(self) -> None:
        if len(self._buffer) > self._limits.head_bytes:
            self._too_large()
        elif _BARE_LINE_END.search(self._buffer, self._looked):
            self._end_with(MALFORMED)
        else:
            self._looked = len(self._buffer)
            if not self._in_head:
                self._in_head = True
                self.deadline_s = self._loop.time() + self._limits.head_s

    def _answer(self, head: bytes) -> None:
        """Answer one request, or have somebody else do it."""
        self._in_head = False
        if head == _END:
            self._end_with(MALFORMED)
            return
        plain = self._server.reader.read(head[: -len(_END)])
        if plain is None:
            self._hand_over(head)
            return
        if plain.close or self.surplus:
            self._close_after = True
        request = Request("GET", plain.target, plain.headers, plain.audit_id, self._peer, shed=self.surplus)
        found = self._server.respond(request)
        if isinstance(found, Response):
            self._send(found)
            return
        self.state = State.WAITING
        self.deadline_s = inf  # a review has a deadline of its own
        self._settling = self._server.settle(request, found)
        self._settling.add_done_callback(self._settled)

    def _settled(self, task: asyncio.Task[Response]) -> None:
        self._settling = None
        if self.state is State.WAITING and not task.cancelled():
            self._send(task.result())
            self._go_on()

    def _send(self, response: Response) -> None:
        close = self._close_after or self._server.stopping or "Connection" in response.headers
        self.state = State.READING
        self.deadline_s = self._loop.time() + self._limits.idle_s
        self._transport.write(written(response, close=close))
        if close:
            self._close()

    def _too_large(self) -> None:
        self._server.refused("large-head")
        self._end_with(TOO_LARGE)

    def _end_with(self, response: Response) -> None:
        self._transport.write(written(response, close=True))
        self._close()

    def _hand_over(self, head: bytes) -> None:
        data = head + bytes(self._buffer)
        self._buffer.clear()
        self.state = State.HANDED
        self.deadline_s = self._loop.time() + self._limits.other_s
        self._other = self._server.other()
        self._other.connection_made(self._transport)
        self._other.data_received(data)

    def _close(self) -> None:
        self.state = State.CLOSING
        self.deadline_s = self._loop.time() + self._limits.write_s
        self._buffer.clear()
        self._transport.close()

    def _pace(self) -> None:
        """Read no more than may have to wait."""
        if self.state is State.CLOSING:
            return
        full = len(self._buffer) > self._limits.head_bytes
        if full and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        elif self._reading_paused and not full:
            self._reading_paused = False
            self._transport.resume_reading()
