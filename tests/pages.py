"""A small HTTP server over a raw socket that says exactly what a test tells it to, valid or not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[["Connection"], Awaitable[None]]


@dataclass(eq=False)
class Connection:
    """One connection of a client; `sent` counts the bytes that the kernel took from us."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent: int = 0

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.sent += len(data)

    def reset(self) -> None:
        self.writer.transport.abort()


@dataclass(eq=False)
class PageServer:
    """Answers each request with `answer`, which may be changed at any time."""

    answer: Answer
    port: int = 0
    scheme: str = "http"
    requests: list[bytes] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/metrics"

    def say(self, *parts: bytes) -> None:
        """Answer with these bytes from now on."""

        async def answer(connection: Connection) -> None:
            for part in parts:
                await connection.send(part)

        self.answer = answer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        connection = Connection(reader, writer)
        self.connections.append(connection)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await self.answer(connection)
                if writer.is_closing():
                    return


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return an answer with a Content-Length."""
    return head(*headers, f"Content-Length: {len(body)}", status=status) + body


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def chunked(*parts: bytes) -> bytes:
    """Return the body of an answer in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


@asynccontextmanager
async def serving(*parts: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[PageServer]:
    """Serve on a free port of the loopback."""
    server = PageServer(_silence, scheme="https" if tls else "http")
    if parts:
        server.say(*parts)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await server._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over; a cancelled handler would be logged as a failure
        finally:
            tasks.discard(task)
            writer.transport.abort()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


async def _silence(connection: Connection) -> None:
    await connection.reader.read()
