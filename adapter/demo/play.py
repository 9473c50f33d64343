"""The shop in motion: customers come, the autoscaling loop follows, someone watches; then everything settles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import aiohttp
from rich.console import Console

from adapter.demo.api import ExternalMetrics
from adapter.demo.autoscaler import Autoscaler, Reading
from adapter.demo.ending import Ending
from adapter.demo.load import customers_of
from adapter.demo.orders import Orders
from adapter.demo.redis_server import RedisServer
from adapter.demo.report import Outcome, introduction, progress
from adapter.demo.scene import Scene
from adapter.demo.spillway import BACKLOG, Spillway
from adapter.demo.view import show
from adapter.demo.web import WebTier
from adapter.demo.workers import Workers
from scaler.hpa_model import MetricError

_LINE_EVERY_S = 5.0
_FRESH_S = 6.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Stage:
    """All that runs, before the first customer comes."""

    redis: RedisServer
    orders: Orders
    web: WebTier
    workers: Workers
    spillway: Spillway


async def play(stage: Stage, ending: Ending, duration_s: float | None, live: bool, console: Console) -> Outcome:
    """Let customers come until the end, let everything settle, and say how it was.

    Raises:
        ExceptionGroup: Of a DemoError: Spillway ended by itself.
    """
    loop, account = asyncio.get_running_loop(), stage.orders.account
    async with aiohttp.ClientSession() as session:
        api = ExternalMetrics(session, stage.spillway.addresses)
        autoscaler = Autoscaler(api, stage.workers)
        async with customers_of(stage.web.urls, account) as customers:
            scene = Scene(
                account=account,
                customers=customers,
                workers=stage.workers,
                autoscaler=autoscaler,
                addresses=stage.spillway.addresses,
                redis_pid=stage.redis.pid,
                web_url=stage.web.urls[0],
                began_s=loop.time(),
            )
            async with ending.limit(duration_s), asyncio.TaskGroup() as tasks:
                tasks.create_task(stage.spillway.child.ended())
                tasks.create_task(customers.come())
                tasks.create_task(autoscaler.follow())
                tasks.create_task(scene.sample())
                tasks.create_task(show(scene, console) if live else _tell(scene, console.print))
            seconds = loop.time() - scene.began_s
            await stage.web.quiet()
        left = await _settle(stage)
        last = None if ending.asked or left is None else await _fresh(api, time.time())
    return Outcome(seconds, ending.asked, autoscaler.tally, account, left, last)


async def _tell(scene: Scene, write: Callable[[str], None]) -> NoReturn:
    for line in introduction(scene):
        write(line)
    while True:
        await asyncio.sleep(_LINE_EVERY_S)
        write(progress(scene, asyncio.get_running_loop().time()))


async def _settle(stage: Stage) -> int | None:
    """Return the depth of the queue once nothing moves any more. None: Redis does not answer."""
    await stage.web.quiet()
    await stage.workers.drain()
    return await stage.orders.depth()


async def _fresh(api: ExternalMetrics, after_s: float) -> Reading | None:
    """Return the first answer about the queue made of a sample from after that moment, or the last error. None: none.

    Args:
        after_s: Seconds since the Unix epoch.
    """
    reading: Reading = ()
    deadline_s = asyncio.get_running_loop().time() + _FRESH_S
    while asyncio.get_running_loop().time() < deadline_s:
        reading = await api.read(BACKLOG)
        # Times on the wire are cut to the second, so that a later one is later in truth.
        if not isinstance(reading, MetricError) and reading and all(item.time_s > after_s for item in reading):
            return reading
        await asyncio.sleep(_POLL_S)
    return reading if isinstance(reading, MetricError) else None
