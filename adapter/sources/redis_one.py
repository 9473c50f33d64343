"""A database on one server: a fixed one, or the one that is the master at the moment."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from adapter.sources import SourceFailureError
from adapter.sources.redis_access import Access
from adapter.sources.redis_address import Address, Socket
from adapter.sources.redis_connect import explain, open_connection
from adapter.sources.redis_globs import Catalog
from adapter.sources.redis_lag import Memory
from adapter.sources.redis_plan import Order, ReadPlan, read_plan
from adapter.sources.redis_read import Link, Way, carried, read
from adapter.sources.redis_replies import Readings
from adapter.sources.redis_search import Search
from adapter.sources.resp import Connection, RespError


class Servers(Protocol):
    """Whom an endpoint asks."""

    async def search(self, catalog: Catalog, now_ms: int, deadline: float) -> None:
        """Look for the keys of globs, as far as it is time to, until about `deadline` of the loop's clock at most.

        Raises: As `read`.
        """
        ...

    async def read(self, order: Order, now_ms: int, deadline: float) -> Readings:
        """Read everything once. `values` and `problems` of what is returned have the order's slots.

        Raises:
            SourceFailureError: Nothing could be read.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class DirectWay:
    """The way to a server whose address never changes."""

    def __init__(self, address: Address | Socket, access: Access, patience_s: float) -> None:
        self._address = address
        self._access = access
        self._patience_s = patience_s

    async def open(self, now_ms: int) -> Connection:
        """Return a connection. See `Way`."""
        del now_ms
        return await open_connection(self._address, self._access, self._patience_s)

    async def confirm(self, connection: Connection, now_ms: int) -> bool:
        """Return True: there is no other. See `Way`."""
        del connection, now_ms
        return True


class OneServer:
    """Asks one server everything. The caller's deadline is the only one."""

    def __init__(self, way: Way, catalog: Catalog) -> None:
        self._link = Link(way)
        self._search = Search(catalog.limits)
        self._order: Order | None = None
        self._plan: ReadPlan = read_plan(())
        self._memory: Memory = {}

    async def search(self, catalog: Catalog, now_ms: int, deadline: float) -> None:
        """Look for keys. See `Servers`."""
        if not self._search.due(now_ms):
            return

        async def search(connection: Connection) -> None:
            catalog.searched(await self._search.go_on(connection, catalog, now_ms, deadline), now_ms)

        try:
            await self._link.use(search, now_ms)
        except (OSError, RespError) as exc:
            raise SourceFailureError(explain(exc)) from exc
        if self._search.finished_once:
            catalog.finished()

    async def read(self, order: Order, now_ms: int, deadline: float) -> Readings:
        """Read once. See `Servers`."""
        del deadline
        if order is not self._order:
            plan = await asyncio.to_thread(read_plan, order.slots)  # 20 ms for 10,000 queues
            self._order, self._memory, self._plan = order, carried(self._memory, self._plan, plan), plan
        try:
            return await self._link.use(partial(read, plan=self._plan, memory=self._memory), now_ms)
        except (OSError, RespError) as exc:
            raise SourceFailureError(explain(exc)) from exc

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()
