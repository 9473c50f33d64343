"""The shop's queue: a Redis list, and an account of what goes in and comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from adapter.demo.processes import LOOPBACK

QUEUE = "orders"
_REPLY_S = 2.0


@dataclass(slots=True)
class Account:
    """How many orders went where.

    Args:
        taken: In the queue, as Redis confirmed.
        processed: Taken out by a worker and done.
        failed: Customers who got no answer, or an error.
        uncertain: Redis did not say whether it did what it was asked.
    """

    taken: int = 0
    processed: int = 0
    failed: int = 0
    uncertain: int = 0

    def missing(self, left: int) -> int:
        """Return how many orders are neither processed nor left, less what nobody can know."""
        return max(0, abs(self.taken - self.processed - left) - self.uncertain)


class Orders:
    """The list `orders`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.account = Account()

    async def put(self) -> bool:
        """Queue an order. False: Redis did not confirm it."""
        try:
            await self._client.lpush(QUEUE, f"order {self.account.taken + 1}")
        except RedisError:
            self.account.uncertain += 1
            return False
        self.account.taken += 1
        return True

    async def get(self, wait_s: float) -> bool:
        """Take an order out of the queue. False: there was none for so long, or Redis did not answer."""
        try:
            return await self._client.brpop([QUEUE], timeout=wait_s) is not None
        except RedisError:
            self.account.uncertain += 1
            await asyncio.sleep(wait_s)
            return False
        except asyncio.CancelledError:
            self.account.uncertain += 1
            raise

    async def depth(self) -> int | None:
        """Return how many orders wait. None: Redis did not answer."""
        try:
            return await self._client.llen(QUEUE)
        except RedisError:
            return None


@asynccontextmanager
async def orders_in(port: int) -> AsyncIterator[Orders]:
    """Provide the queue in the Redis on this port of loopback."""
    # Never again by itself: an order would be queued twice, or lost.
    once = Retry(NoBackoff(), 0)
    async with Redis(
        host=LOOPBACK, port=port, socket_timeout=_REPLY_S, socket_connect_timeout=_REPLY_S, retry=once
    ) as client:
        yield Orders(client)
