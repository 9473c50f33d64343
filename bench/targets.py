"""Thousands of targets, each with an address of its own in 127.0.0.0/8: pages whose counters grow a little each time.

    python -m bench.targets COUNT BYTES [SERIES]     # prints the port, which is the same on every address

A page is put together from bytes that were made before, because the servers must cost little beside who reads them.
"""

from __future__ import annotations

import asyncio
import sys
import time

from bench.pages import Pages, bulk
from bench.processes import free_port

SERIES = 100
"""Counters on each page that are wanted, if it is not said otherwise."""

METRIC = "http_requests_total"

_VARIANTS = 8  # of what nobody wants: the same lines with other values


def address(number: int) -> str:
    """Return the address of a target."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


def growth(series: int = SERIES) -> int:
    """Return what the counters of one page grow by in a second, together."""
    return sum(i % 10 + 1 for i in range(series))


def _template(series: int) -> bytes:
    lines = [f"# HELP {METRIC} Requests.\n# TYPE {METRIC} counter\n"]
    lines += [f'{METRIC}{{code="{200 + i % 3}",method="GET",path="/items/{i}"}} %d\n' for i in range(series)]
    return "".join(lines).encode()


async def _serve(count: int, size: int, series: int = SERIES) -> None:
    template = _template(series)
    rests = [bulk(size - len(template), seed) for seed in range(_VARIANTS)]
    numbers = {address(n): n for n in range(count)}
    began = time.monotonic()
    turn = 0

    def page(_path: bytes, at: str) -> bytes:
        nonlocal turn
        turn += 1
        seconds, number = time.monotonic() - began, numbers[at]
        values = tuple(100_000 + number * 37 + i * 1009 + int(seconds * (i % 10 + 1)) for i in range(series))
        return template % values + rests[turn % _VARIANTS]

    port = free_port()
    server = await asyncio.get_running_loop().create_server(lambda: Pages(page), list(numbers), port, backlog=16)
    print(port, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(*map(int, sys.argv[1:])))
