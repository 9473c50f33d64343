"""How many reads may be under way at once: in the process, for a namespace, for what fails in it, and at one host.

Whoever asks too much waits for its own: a namespace full of sources that hang leaves turns for the others, what fails
leaves turns for what works, and a host for the other hosts. Nobody waits longer than it says it can.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

DEFAULT_MAX_READS = 1_024

SHARES: Mapping[str, int] = {"host": 16, "failing": 8, "namespace": 4, "process": 1}
"""Who waits for whom → the part of all turns it may have at once: a sixteenth, an eighth, a quarter, all.

A read takes its turns in this order, so that it holds none that others need while it waits for its own kind.
"""


class NoTurnError(Exception):
    """A read has waited for its turn for as long as it can. The text is constant for a cause."""


@dataclass(slots=True)
class _Turns:
    """The turns of one host, namespace or process. `users` hold one or wait."""

    free: asyncio.Semaphore
    users: int = 0


@dataclass(eq=False)
class Budget:
    """Hands out turns, first come, first served.

    Args:
        max_reads: The most reads under way in the process.
    """

    max_reads: int = DEFAULT_MAX_READS
    reading: int = field(default=0, init=False)
    """Reads under way."""
    waiting: int = field(default=0, init=False)
    """Reads that wait for their turn."""
    refused: Counter[str] = field(default_factory=Counter, init=False)
    """Reads whose turn did not come in time, by what they waited for."""
    _turns: dict[tuple[str, ...], _Turns] = field(default_factory=dict, init=False)

    def limit(self, bound: str) -> int:
        """Return how many reads of one host, namespace … may be under way."""
        return max(1, self.max_reads // SHARES[bound])

    @asynccontextmanager
    async def turn(self, namespace: str, host: str, *, failing: bool, deadline: float) -> AsyncIterator[None]:
        """Hold a turn for as long as the block runs.

        Args:
            namespace: For whom is read.
            host: What is read.
            failing: The last read of it failed, or there was none yet.
            deadline: Until when to wait, in the loop's time.

        Raises:
            NoTurnError: The deadline has passed.
        """
        async with AsyncExitStack() as held:
            for bound, key, what in _keys(namespace, host, failing=failing):
                try:
                    await held.enter_async_context(self._one(bound, key, deadline))
                except TimeoutError:
                    self.refused[bound] += 1
                    raise NoTurnError(
                        f"no turn in time: {self.limit(bound)} reads {what} are under way, the most at once"
                    ) from None
            self.reading += 1
            try:
                yield
            finally:
                self.reading -= 1

    @asynccontextmanager
    async def _one(self, bound: str, key: tuple[str, ...], deadline: float) -> AsyncIterator[None]:
        turns = self._turns.setdefault(key, _Turns(asyncio.Semaphore(self.limit(bound))))
        turns.users += 1
        try:
            if turns.free.locked():
                self.waiting += 1
                try:
                    async with asyncio.timeout_at(deadline):
                        await turns.free.acquire()
                finally:
                    self.waiting -= 1
            else:
                await turns.free.acquire()  # at once
            try:
                yield
            finally:
                turns.free.release()
        finally:
            turns.users -= 1
            if not turns.users:
                del self._turns[key]


def _keys(namespace: str, host: str, *, failing: bool) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield what a read needs turns of, in order: the bound, whose turns they are, and what to call them."""
    yield "host", ("host", namespace, host), f"of {host} for this namespace"
    if failing:
        yield "failing", ("failing", namespace), "of sources of this namespace that fail or are new"
    yield "namespace", ("namespace", namespace), "for this namespace"
    yield "process", ("process",), "in this adapter"
