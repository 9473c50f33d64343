"""The shop's workers: tasks that behave like pods. They take time to start, and finish what they hold when stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from adapter.demo.orders import Orders

ORDERS_PER_S = 8.0
"""What one worker gets done."""
START_UP_S = 1.5
_POLL_S = 0.5
_DRAIN_S = 5.0


@dataclass(eq=False, slots=True)
class _Pod:
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    ready: bool = False


class Workers:
    """The deployment: so many pods as it was last scaled to, and those that are on their way out."""

    def __init__(self, orders: Orders, tasks: asyncio.TaskGroup) -> None:
        self._orders = orders
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()
        self._pods: list[_Pod] = []

    @property
    def count(self) -> int:
        """Pods there are, ready or not, less those told to stop."""
        return len(self._pods)

    @property
    def ready(self) -> int:
        """Those of them that work."""
        return sum(pod.ready for pod in self._pods)

    def scale(self, replicas: int) -> None:
        """Start pods, or stop the newest. A stopped pod finishes its order."""
        while len(self._pods) < replicas:
            pod = _Pod()
            self._pods.append(pod)
            task = self._tasks.create_task(self._work(pod))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        while len(self._pods) > replicas:
            self._pods.pop().stop.set()

    async def drain(self) -> None:
        """Stop all pods and wait until they are gone; after 5 s they are killed."""
        self.scale(0)
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=_DRAIN_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _work(self, pod: _Pod) -> None:
        try:
            async with asyncio.timeout(START_UP_S):
                await pod.stop.wait()
        except TimeoutError:
            pod.ready = True
        while not pod.stop.is_set():
            if await self._orders.get(_POLL_S):
                await self._process()

    async def _process(self) -> None:
        try:
            await asyncio.sleep(1 / ORDERS_PER_S)
        except asyncio.CancelledError:
            self._orders.account.uncertain += 1
            raise
        self._orders.account.processed += 1


@asynccontextmanager
async def workers_on(orders: Orders, replicas: int) -> AsyncIterator[Workers]:
    """Run the workers while the context lasts."""
    async with asyncio.TaskGroup() as tasks:
        workers = Workers(orders, tasks)
        workers.scale(replicas)
        try:
            yield workers
        finally:
            await workers.drain()
