"""The shop's web tier: a few instances that take orders, count requests and can be made slow."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest

from adapter.demo.orders import Orders
from adapter.demo.processes import LOOPBACK
from adapter.side import serving

INSTANCES = 3
SPIN_PATH = "/faults/spin?seconds=20"
_SLOW_REQUEST_S = 0.3
_MAX_WAITING = 20
_MAX_SPIN_S = 300.0


class WebInstance:
    """One process of the web tier, as far as anyone outside can tell.

    While it spins, its one CPU is busy with something else: requests, and reads of /metrics, wait in line for a little
    of it each, and those that find the line full get 503.
    """

    def __init__(self, name: str, orders: Orders) -> None:
        self._name = name
        self._orders = orders
        self._registry = CollectorRegistry()
        self._requests = Counter("http_requests", "Requests answered.", ["code"], registry=self._registry)
        self._requests.labels("200")  # so that it counts from 0
        self._cpu = asyncio.Lock()
        self._ordering = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._slow_until_s = -math.inf

    def app(self) -> web.Application:
        """Return its routes."""
        app = web.Application()
        app.router.add_get("/", self._order)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/faults/spin", self._spin)
        return app

    async def quiet(self) -> None:
        """Spin no more, and wait until every order that was asked for is answered: its customer may be long gone."""
        self._slow_until_s = -math.inf
        await self._idle.wait()

    async def _order(self, _: web.Request) -> web.Response:
        if self._ordering >= _MAX_WAITING:
            return self._answer(503, "too many requests wait")
        self._ordering += 1
        self._idle.clear()
        try:
            await self._some_cpu()
            if not await self._orders.put():
                return self._answer(503, "the queue does not answer")
        finally:
            self._ordering -= 1
            if not self._ordering:
                self._idle.set()
        return self._answer(200, "thank you")

    async def _metrics(self, _: web.Request) -> web.Response:
        await self._some_cpu()
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _spin(self, request: web.Request) -> web.Response:
        try:
            seconds = float(request.query.get("seconds", "20"))
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= _MAX_SPIN_S:
            return web.Response(status=400, text=f"seconds: must be above 0 and at most {_MAX_SPIN_S:.0f}\n")
        self._slow_until_s = asyncio.get_running_loop().time() + seconds
        return web.Response(text=f"{self._name} is slow for {seconds:g} s\n")

    async def _some_cpu(self) -> None:
        async with self._cpu:
            if asyncio.get_running_loop().time() < self._slow_until_s:
                await asyncio.sleep(_SLOW_REQUEST_S)

    def _answer(self, code: int, text: str) -> web.Response:
        self._requests.labels(str(code)).inc()
        return web.Response(status=code, text=f"{self._name}: {text}\n")


@dataclass(frozen=True, slots=True)
class WebTier:
    """The instances and their base URLs, in the same order."""

    instances: tuple[WebInstance, ...]
    urls: tuple[str, ...]

    async def quiet(self) -> None:
        """Wait until no order is on its way to the queue."""
        for instance in self.instances:
            await instance.quiet()


@asynccontextmanager
async def web_tier(orders: Orders) -> AsyncIterator[WebTier]:
    """Serve the instances while the context lasts."""
    instances = tuple(WebInstance(f"web-{number}", orders) for number in range(1, INSTANCES + 1))
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(serving(each.app(), LOOPBACK, 0)) for each in instances]
        yield WebTier(instances, tuple(f"http://{LOOPBACK}:{port}" for port in ports))
