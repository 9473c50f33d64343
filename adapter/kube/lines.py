"""The connection of a watch: its lines, and its end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncGenerator, Iterator

import aiohttp

from adapter.kube.errors import TOO_LARGE, KubeError, malformed, translated

MAX_LINE_BYTES = 32 * 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


@contextlib.contextmanager
def aborted(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Drop the connection of an answer that was not read to its end, without waiting for TLS to say goodbye."""
    try:
        yield
    finally:
        if (connection := response.connection) is not None and connection.transport is not None:
            connection.transport.abort()
        response.close()


async def content_of(response: aiohttp.ClientResponse) -> bytes:
    """Return a whole answer of up to 64 MiB.

    Raises:
        KubeError: It is larger.
    """
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise KubeError(0, TOO_LARGE, f"the Kubernetes API answered with more than {MAX_ANSWER_BYTES} bytes")
        parts.append(chunk)
    return b"".join(parts)


async def lines_of(response: aiohttp.ClientResponse) -> AsyncGenerator[list[bytes], None]:
    """Yield lines of up to 32 MiB. An unfinished last one is dropped: its connection was cut."""
    parts: list[bytes] = []
    size = 0
    with translated():
        async for chunk in response.content.iter_any():
            *complete, rest = chunk.split(b"\n")
            if complete:
                complete[0] = b"".join((*parts, complete[0]))
                parts, size = [], 0
            parts.append(rest)
            size += len(rest)
            if size > MAX_LINE_BYTES:
                raise malformed(f"a line of more than {MAX_LINE_BYTES} bytes")
            if complete := [line for line in complete if line]:
                yield complete


def keep_alive(response: aiohttp.ClientResponse) -> None:
    """Notice within a minute that the other side of an idle watch is gone; Linux's own default is two hours."""
    connection = response.connection
    sock = connection.transport.get_extra_info("socket") if connection and connection.transport else None
    if sock is None:
        return
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):  # not everywhere
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
