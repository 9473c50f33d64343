"""TCP proxies on loopback that break what passes through them, in every way a network and a server can."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.redis_server import free_port

T = TypeVar("T")

_CHUNK = 64 * 1024


class Mode(StrEnum):
    """How a proxy treats its clients."""

    FORWARD = "forward"
    ABSENT = "absent"  # nobody answers a SYN; what was open is silent
    REFUSE = "refuse"
    HANG = "hang"
    DRIP = "drip"
    CUT = "cut"
    GARBAGE = "garbage"
    FLOOD = "flood"
    FLAP = "flap"  # forwards and refuses in turn, a second each


@dataclass(frozen=True)
class Words:
    """What a proxy says in the server's place: `garbage` once for each question, `flood` and then `more` for ever."""

    garbage: bytes
    flood: bytes
    more: bytes


class Proxies:
    """A thread with an event loop for proxies: `with Proxies() as proxies: proxy = proxies.add(…)`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._open: list[FaultProxy] = []

    def add(self, upstream: int, words: Words, tls: ssl.SSLContext | None = None, **more: Any) -> FaultProxy:
        """Return a proxy that listens on a port of its own and forwards to a port of loopback."""
        proxy = FaultProxy(self, upstream, words, tls, **more)
        self._open.append(proxy)
        self.run(proxy.start())
        return proxy

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the proxies' loop, and wait."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for proxy in self._open:
            self.run(proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class FaultProxy:
    """One proxy. `become` may be called from any thread.

    Args:
        proxies: Where it runs.
        upstream: The port of loopback that it forwards to.
        words: What it says when it lies.
        tls: What clients see; None: they speak as they do with the server. TLS ends here.
        upstream_tls: How the server is spoken to; None: plainly.
        drip_pause_s: Between two bytes of an answer that drips.
    """

    def __init__(
        self,
        proxies: Proxies,
        upstream: int,
        words: Words,
        tls: ssl.SSLContext | None = None,
        *,
        upstream_tls: ssl.SSLContext | None = None,
        drip_pause_s: float = 0.4,
    ) -> None:
        self.port = free_port()
        self.mode = Mode.FORWARD
        self.accepted = 0
        self._proxies = proxies
        self._upstream = upstream
        self._words = words
        self._tls = tls
        self._upstream_tls = upstream_tls
        self._drip_pause_s = drip_pause_s
        self._server: asyncio.Server | None = None
        self._deaf: list[socket.socket] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._flapping: asyncio.Task[None] | None = None

    def become(self, mode: Mode) -> None:
        """Treat clients like this from now on. What a fault has left half done is cut when it ends."""
        self._proxies.run(self._become(mode))

    def cut(self) -> None:
        """Cut all connections; new ones are welcome."""

        async def cut() -> None:
            for task in self._connections:
                task.cancel()

        self._proxies.run(cut())

    def present(self, tls: ssl.SSLContext) -> None:
        """Show another certificate from now on; connections are cut."""

        async def present() -> None:
            self._tls = tls
            await self.stop()
            await self._listen()

        self._proxies.run(present())

    async def start(self) -> None:
        """Listen."""
        await self._listen()

    async def stop(self) -> None:
        """Cut everything, and no longer listen."""
        if self._flapping is not None:
            self._flapping.cancel()
            self._flapping = None
        await self._be_silent()

    async def _become(self, mode: Mode) -> None:
        self.mode = mode
        if mode is Mode.FORWARD:
            await self.stop()
            await self._listen()
        elif mode is Mode.REFUSE:
            await self._be_silent()
        elif mode is Mode.ABSENT:
            self._close_listener()
            self._listen_deaf()
        elif mode is Mode.FLAP:
            self._flapping = asyncio.create_task(self._flap())

    async def _flap(self) -> None:
        while True:
            await self._be_silent()
            await asyncio.sleep(1)
            await self._listen()
            await asyncio.sleep(1)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)

    def _listen_deaf(self) -> None:
        """Listen with a queue that is full, so that the kernel drops every SYN as if there were no such host."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(0)
        self._deaf = [listener]
        for _ in range(4):
            filler = socket.socket()
            filler.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))
            self._deaf.append(filler)

    def _close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for each in self._deaf:
            each.close()
        self._deaf = []

    async def _be_silent(self) -> None:
        self._close_listener()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.accepted += 1
        upstream: asyncio.StreamWriter | None = None
        try:
            theirs, upstream = await asyncio.open_connection("127.0.0.1", self._upstream, ssl=self._upstream_tls)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._questions(reader, upstream, writer))
                pumps.create_task(self._answers(theirs, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()
            if upstream is not None:
                upstream.transport.abort()

    async def _questions(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            if self.mode in (Mode.HANG, Mode.ABSENT):
                await asyncio.Event().wait()
            elif self.mode is Mode.GARBAGE:
                writer.write(self._words.garbage)
                await writer.drain()
            elif self.mode is Mode.FLOOD:
                await self._flood(writer)
            else:
                upstream.write(chunk)
                await upstream.drain()
        raise ConnectionResetError

    async def _flood(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self._words.flood)
        more = self._words.more * (_CHUNK // len(self._words.more))
        while True:
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(0)

    async def _answers(self, theirs: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await theirs.read(_CHUNK):
            if self.mode in (Mode.HANG, Mode.ABSENT):
                await asyncio.Event().wait()
            elif self.mode is Mode.DRIP:
                for byte in chunk:
                    writer.write(bytes((byte,)))
                    await asyncio.sleep(self._drip_pause_s)
            elif self.mode is Mode.CUT:
                writer.write(chunk[: len(chunk) // 2])
                await writer.drain()
                writer.close()
                raise ConnectionResetError
            else:
                writer.write(chunk)
                await writer.drain()
        raise ConnectionResetError
