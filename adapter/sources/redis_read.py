"""Asks one server everything of a plan, over one connection that stays open from read to read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import zip_longest
from typing import Protocol, TypeVar

from adapter.sources.redis_address import Server
from adapter.sources.redis_lag import Memory
from adapter.sources.redis_plan import GroupPlan, ReadPlan
from adapter.sources.redis_replies import Readings, fill_depths, fold_counts
from adapter.sources.redis_settle import settle
from adapter.sources.redis_streams import fold_streams
from adapter.sources.resp import ClosedError, Connection, Reply

T = TypeVar("T")


class Way(Protocol):
    """How to get to a server."""

    async def open(self, now_ms: int) -> Connection:
        """Return a connection that may be asked.

        Raises:
            SourceFailureError: There is none to be had; says why.
            ClosedError, RespError, OSError: For `explain`.
        """
        ...

    async def confirm(self, connection: Connection, now_ms: int) -> bool:
        """Return whether a connection that was opened earlier still leads to the right server."""
        ...


class Link:
    """The connection to a server. Opened when it is needed, again when it was lost."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._connection: Connection | None = None
        self._confirmed_ms: int | None = None
        self._turn = asyncio.Lock()

    async def use(self, act: Callable[[Connection], Awaitable[T]], now_ms: int) -> T:
        """Return what `act` does with the connection, which is its own meanwhile.

        Raises: What `act` does, and `Way.open`. The connection is then closed: no answer may be left on the way, and
        the next read starts afresh, with the credentials of then.
        """
        async with self._turn:
            reused = self._connection is not None and self._connection.is_open
            try:
                return await self._use(act, now_ms)
            except ClosedError:
                if not reused:
                    raise
                # The server closed an idle connection, or restarted: that must not cost a read.
                return await self._use(act, now_ms)

    async def _use(self, act: Callable[[Connection], Awaitable[T]], now_ms: int) -> T:
        connection = self._connection
        if connection is None or not connection.is_open:
            connection = self._connection = await self._way.open(now_ms)
            self._confirmed_ms = now_ms
        try:
            if self._confirmed_ms != now_ms and not await self._way.confirm(connection, now_ms):
                connection.abort()
                connection = self._connection = await self._way.open(now_ms)
            self._confirmed_ms = now_ms
            return await act(connection)
        except BaseException:
            connection.abort()
            raise

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


async def read(connection: Connection, plan: ReadPlan, memory: Memory, asked: Server | None = None) -> Readings:
    """Ask everything of a plan.

    Args:
        connection: The server.
        plan: What to ask.
        memory: What is known of groups from earlier reads of the same plan.
        asked: The node of a cluster that is asked; None: a server that is no part of one.

    Raises:
        SourceFailureError: The server as a whole is not ready to answer.
        ClosedError, RespError, OSError: For `explain`.
    """
    readings = Readings.empty(plan, asked)
    await _ask_all(connection, plan, memory, readings)
    fill_depths(plan, readings)
    if readings.doubts:
        await settle(connection, readings, memory, asking=plan.asking)
    return readings


async def _ask_all(connection: Connection, plan: ReadPlan, memory: Memory, readings: Readings) -> None:
    """Send the plan's chunks. The server works on the next one while we take in the last one's replies."""
    if not plan.chunks:
        return
    first = 0
    connection.ask(plan.chunks[0])
    for chunk, following in zip_longest(plan.chunks, plan.chunks[1:]):
        replies = await connection.answer()
        if following is not None:
            connection.ask(following)
        _fold(plan, first, replies, memory, readings)
        first += chunk.replies


def _fold(plan: ReadPlan, first: int, replies: Sequence[Reply], memory: Memory, readings: Readings) -> None:
    """Take in the replies to the commands from `first` on."""
    counts = len(plan.counts)
    counted = max(0, min(counts - first, len(replies)))
    if counted:
        fold_counts(plan, first, replies[:counted], readings)
    if counted < len(replies):
        start, stop = (first + counted - counts) // 2, (first + len(replies) - counts) // 2
        fold_streams(plan.streams[start:stop], replies[counted:], memory, readings)


def carried(memory: Memory, old: ReadPlan, new: ReadPlan) -> Memory:
    """Return what is known of groups, for a plan in which they have other slots."""
    seen = {group.group: memory[group.waiting_slot] for group in _groups(old) if group.waiting_slot in memory}
    return {group.waiting_slot: seen[group.group] for group in _groups(new) if group.group in seen}


def _groups(plan: ReadPlan) -> list[GroupPlan]:
    return [group for stream in plan.streams for group in stream.groups]
