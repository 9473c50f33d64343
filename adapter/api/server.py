"""The secure port: listens, bounds what clients may take, and answers by the API, which decides everything else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import astuple
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from adapter.api.connection import Connection, State
from adapter.api.headers import Headers
from adapter.api.limits import DEFAULT, Limits
from adapter.api.peer import chain
from adapter.api.plain import PlainReader
from adapter.api.request import Request, Response, Undecided
from adapter.api.wire import BUG, SERVER

_MAX_HEADERS = 512  # kube-apiserver sends one X-Remote-Group a group of the user
_LINGERING_S = 1.0  # nothing we serve reads a body
_DRAIN_S = 5.0  # an answer is ready at once; only a slow reader can take longer
_SURPLUS = 100  # connections above the bound that are told so; any more are closed unheard
_BACKLOG = 512
_AGAIN_S = 1.0  # after what kept us from taking a connection: there may be no descriptors left
_EVICTABLE = (State.READING, State.HANDED)

logger = logging.getLogger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Drop what aiohttp logs of a malformed request: anybody can send one, and it quotes the header, a token maybe."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


logger.addFilter(_is_ours)


class _Aiohttp(web.RequestHandler):
    """aiohttp's part of a connection, which does not name itself and its version where it answers by itself."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is malformed."""
        response = super().handle_error(request, status, exc, message)
        response.headers["Server"] = SERVER
        return response


class ApiServer:
    """Listens while its `async with` block runs.

    Args:
        respond: Answers one request from memory, or says what to wait for first.
        host: The IP address to bind.
        port: 0 takes a free one.
        ssl_context: None serves plain HTTP, for tests.
        limits: What clients may take.
        drain_s: How long answers under way may take once the block is left.
        on_refused: Told why a request was shed or a connection ended for want of room or time.
    """

    def __init__(
        self,
        respond: Callable[[Request], Response | Undecided],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        limits: Limits = DEFAULT,
        drain_s: float = _DRAIN_S,
        on_refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._respond = respond
        self._host = host
        self._ssl_context = ssl_context
        self._drain_s = drain_s
        self._connections: dict[Connection, None] = {}
        self._none_left = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._arriving: dict[asyncio.Task[None], None] = {}
        self._listener: socket.socket
        self._listening_again: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._aiohttp: web.Server
        self.limits = limits
        self.reader = PlainReader()
        self.refused = on_refused
        self.port = port
        """The port that is bound, once it is."""
        self.stopping = False
        """Set it and each answer asks the client to take its next request elsewhere."""
        self.in_flight = 0
        """How many requests wait to be decided."""

    @property
    def connections(self) -> int:
        """How many are open, handshakes aside."""
        return len(self._connections)

    async def __aenter__(self) -> Self:
        self._aiohttp = web.Server(
            self._handle,
            handler_cancellation=True,  # who has gone waits for nothing, and keeps nobody from stopping
        )
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = socket.create_server((self._host, self.port), family=family, backlog=_BACKLOG)
        self._listener.settimeout(0)
        self.port = self._listener.getsockname()[1]
        await self._tasks.__aenter__()
        self._listen()
        self._sweep()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stopping = True
        asyncio.get_running_loop().remove_reader(self._listener)
        if self._listening_again is not None:
            self._listening_again.cancel()
        self._listener.close()
        await asyncio.sleep(0)  # all that was accepted has begun, or its socket would be left open
        for arriving in list(self._arriving):
            arriving.cancel()
        for connection in list(self._connections):
            connection.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                while self._connections:
                    self._none_left.clear()
                    await self._none_left.wait()
        for connection in list(self._connections):
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._aiohttp.shutdown(0)
        # Not told of the block's own error, which it would wrap.
        await self._tasks.__aexit__(None, None, None)

    def _listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """Take a connection that has come. Of handshakes there are as many as connections; then the oldest ends."""
        loop = asyncio.get_running_loop()
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it has gone
            return
        except OSError as error:
            logger.warning("no connection can be taken", extra={"reason": error.strerror})
            loop.remove_reader(self._listener)
            self._listening_again = loop.call_later(_AGAIN_S, self._listen)
            return
        arriving = self._tasks.create_task(self._arrive(accepted), name="handshake")
        self._arriving[arriving] = None
        arriving.add_done_callback(lambda done: self._arriving.pop(done, None))
        if len(self._arriving) > self.limits.connections:
            self.refused("handshakes")
            oldest = next(iter(self._arriving))
            del self._arriving[oldest]
            oldest.cancel()

    async def _arrive(self, accepted: socket.socket) -> None:
        """Make a connection of what was accepted, if it becomes TLS."""
        loop = asyncio.get_running_loop()
        tls = self._ssl_context is not None
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # not every event loop does
            await loop.connect_accepted_socket(
                lambda: Connection(self, loop),
                accepted,
                ssl=self._ssl_context,
                ssl_handshake_timeout=self.limits.handshake_s if tls else None,
                ssl_shutdown_timeout=self._drain_s if tls else None,
            )
        except OSError:  # the client's doing; an SSLError is one
            pass
        except Exception:  # the barrier around one connection
            logger.exception("a bug: a connection could not be made")

    def opened(self, connection: Connection) -> None:
        """Take note of a connection, and make room for it."""
        self._connections[connection] = None
        if len(self._connections) <= self.limits.connections:
            return
        # A client that means well sends all of it at once: what is half sent or odd goes first, then the longest idle.
        waiting = [each for each in self._connections if each.state in _EVICTABLE and each is not connection]
        if waiting:
            self.refused("evicted")
            min(waiting, key=lambda each: each.deadline_s).abort()
        elif len(self._connections) <= self.limits.connections + _SURPLUS:
            connection.surplus = True
        else:
            self.refused("connections")
            connection.abort()

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        del self._connections[connection]
        if not self._connections:
            self._none_left.set()

    def respond(self, request: Request) -> Response | Undecided:
        """Answer a request; a refusal if too many wait already. A bug of ours costs this one answer."""
        try:
            found = self._respond(request)
            if isinstance(found, Undecided) and self.in_flight >= self.limits.in_flight:
                request = request._replace(shed=True)
                found = self._respond(request)
        except Exception:  # the barrier around one request
            logger.exception("a bug: a request could not be answered")
            return BUG
        if request.shed and isinstance(found, Response) and found.status == 429:
            self.refused("in-flight" if self.in_flight >= self.limits.in_flight else "connections")
        return found

    def settle(self, request: Request, undecided: Undecided) -> asyncio.Task[Response]:
        """Have a request decided, and answer it."""
        self.in_flight += 1
        task = self._tasks.create_task(self._settle(request, undecided), name="request")
        task.add_done_callback(self._settled)
        return task

    def other(self) -> asyncio.Protocol:
        """Return aiohttp's part of a connection."""
        return _Aiohttp(
            self._aiohttp,
            loop=asyncio.get_running_loop(),
            logger=logger,
            access_log=None,  # type: ignore[arg-type] # it is none
            keepalive_timeout=self.limits.other_s,
            lingering_time=_LINGERING_S,
            max_headers=_MAX_HEADERS,
            auto_decompress=False,
        )

    async def _settle(self, request: Request, undecided: Undecided) -> Response:
        found: Response | Undecided = undecided
        while isinstance(found, Undecided):
            try:
                decided = await found.decide()
            except Exception:  # the same barrier
                logger.exception("a bug: a request could not be decided")
                return BUG
            if isinstance(decided, Response):
                return decided
            request = request._replace(verdict=decided)
            found = self.respond(request)
        return found

    def _settled(self, _: asyncio.Task[Response]) -> None:
        self.in_flight -= 1

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        """Answer what came through aiohttp: the last request of its connection."""
        headers = Headers(request.headers.items())
        transport = request.transport
        peer = () if transport is None else chain(transport.get_extra_info("ssl_object"))
        asked = Request(request.method, request.raw_path, headers, headers.get("audit-id"), peer)
        found = self.respond(asked)
        status, fields, body = await self.settle(asked, found) if isinstance(found, Undecided) else found
        response = web.Response(status=status, headers=fields, body=body)
        # aiohttp would name itself and its version.
        response.headers["Server"] = SERVER
        response.force_close()
        return response

    def _sweep(self) -> None:
        """End the connections that have let their deadline pass."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in [each for each in self._connections if each.deadline_s <= now_s]:
            connection.expire()
        _, _, _, *bounds_s = astuple(self.limits)
        self._sweeping = loop.call_later(min(1.0, *(bound_s / 4 for bound_s in bounds_s)), self._sweep)
