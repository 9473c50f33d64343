"""The shop's customers: a load that rises and falls."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from typing import NoReturn

import aiohttp
import numpy as np

from adapter.demo.orders import Account

_SEED = 7
_TICK_S = 0.05
_PATIENCE_S = 4.0
_MAX_WAITING = 400

_WAVE_S, _LOW, _HIGH = 60.0, 6.0, 46.0
_SPIKE_EVERY_S, _SPIKE_FROM_S, _SPIKE_S, _SPIKE = 60.0, 40.0, 6.0, 60.0


def load_per_s(elapsed_s: float) -> float:
    """Return how many customers come in a second: a wave from 6 to 46 a minute long, and a spike of 60 more in it."""
    wave = (1 - math.cos(2 * math.pi * elapsed_s / _WAVE_S)) / 2
    into_spike_s = elapsed_s % _SPIKE_EVERY_S - _SPIKE_FROM_S
    return _LOW + (_HIGH - _LOW) * wave + (_SPIKE if 0 <= into_spike_s < _SPIKE_S else 0.0)


class Customers:
    """They come whether or not the last ones were served, each to the next instance of the web tier."""

    def __init__(
        self, urls: Sequence[str], account: Account, session: aiohttp.ClientSession, tasks: asyncio.TaskGroup
    ) -> None:
        self._urls = cycle(urls)
        self._account = account
        self._session = session
        self._tasks = tasks
        self._waiting = 0
        self.arrived = 0
        """Customers so far."""

    async def come(self) -> NoReturn:
        """Send customers for ever."""
        random = np.random.default_rng(_SEED)
        loop = asyncio.get_running_loop()
        begin_s = last_s = loop.time()
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = loop.time()
            expected = load_per_s(now_s - begin_s) * (now_s - last_s)
            last_s = now_s
            for _ in range(int(random.poisson(expected))):
                self._admit()

    def _admit(self) -> None:
        self.arrived += 1
        if self._waiting >= _MAX_WAITING:
            self._account.failed += 1
            return
        self._waiting += 1
        self._tasks.create_task(self._order(next(self._urls)))

    async def _order(self, url: str) -> None:
        try:
            async with self._session.get(f"{url}/") as response:
                self._account.failed += not response.ok
        except (aiohttp.ClientError, TimeoutError):
            self._account.failed += 1
        finally:
            self._waiting -= 1


@asynccontextmanager
async def customers_of(urls: Sequence[str], account: Account) -> AsyncIterator[Customers]:
    """Provide the customers. The context ends when the last of them has been served or has lost patience."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=_PATIENCE_S)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        asyncio.TaskGroup() as tasks,
    ):
        yield Customers(urls, account, session, tasks)
