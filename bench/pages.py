"""Many targets on one port: /t/N shows counters that grow with the wall clock, a gauge of N, and a lot more."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable

from bench.processes import LOOPBACK

PATHS = ("/", "/cart", "/checkout", "/search", "/api")
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n"


def bulk(size: int, seed: int = 1) -> bytes:
    """Return about `size` bytes of lines that no metric wants, as most of a page is. A seed changes values only."""
    rng, values = random.Random(1), random.Random(seed)
    lines = ["# HELP shop_cache_bytes What the caches hold.\n# TYPE shop_cache_bytes gauge\n"]
    length = 0
    while length < size:
        lines.append(
            f'shop_cache_bytes{{cache="c{len(lines)}",shard="{rng.randrange(64)}"}} {values.randrange(10**9)}\n'
        )
        length += len(lines[-1])
    return "".join(lines).encode()


class Pages(asyncio.Protocol):
    """One connection. `page` gives the page for a request's path and our address on it."""

    def __init__(self, page: Callable[[bytes, str], bytes]) -> None:
        self._page = page
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self._address = transport.get_extra_info("sockname")[0]

    def data_received(self, data: bytes) -> None:
        """Answer each request."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[:end], self._received[end + 4 :]
            page = self._page(head.split(b" ", 2)[1], self._address)
            if self._transport is not None:
                self._transport.write(_HEAD % len(page) + page)


def _page(number: int, now: float) -> bytes:
    """Return what changes: requests grow by number + 1 a second, one in five of them fails."""
    share = now % 1e6 * (number + 1) / len(PATHS)
    lines = ["# TYPE http_requests_total counter\n"]
    for path in PATHS:
        lines.append(f'http_requests_total{{code="200",path="{path}"}} {share * 0.8:.3f}\n')
        lines.append(f'http_requests_total{{code="500",path="{path}"}} {share * 0.2:.3f}\n')
    lines.append(f'# TYPE up gauge\nup{{page="{number}"}} {number}\n')
    return "".join(lines).encode()


async def _serve(size: int) -> None:
    rest = bulk(size)

    def page(path: bytes, _address: str) -> bytes:
        return _page(int(path.rpartition(b"/")[2]), time.time()) + rest

    server = await asyncio.get_running_loop().create_server(lambda: Pages(page), LOOPBACK, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
