"""The demo from start to end."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from adapter.demo.autoscaler import HPA
from adapter.demo.ending import Ending
from adapter.demo.orders import orders_in
from adapter.demo.play import Stage, play
from adapter.demo.processes import DemoError
from adapter.demo.redis_server import RedisServer, answers, find_redis, redis_server
from adapter.demo.report import Outcome, problem, summary
from adapter.demo.spillway import spillway
from adapter.demo.view import can_show
from adapter.demo.web import web_tier
from adapter.demo.workers import workers_on


async def run(duration_s: float | None, tty: bool) -> int:
    """Run the demo, for so long after everything is ready, or until SIGINT, SIGTERM or SIGHUP.

    Args:
        duration_s: None: until a signal.
        tty: Draw the live view if stdout is a terminal that can show it.

    Returns: The exit code. 1, after one line on stderr: the demo could not start, or what Spillway served was wrong.
    """
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    failure: str | None = None
    try:
        outcome = await _demo(duration_s, tty and can_show(console), console, Ending())
        if outcome is not None:
            for line in summary(outcome):
                # In a terminal an error's message may not push the rest of the summary out of sight.
                console.print(line, soft_wrap=not console.is_terminal, no_wrap=True, overflow="ellipsis")
            failure = problem(outcome)
    except* DemoError as failures:
        failure = str(next(_leaves(failures)))
    if failure is not None:
        sys.stderr.write(f"spillway demo: {failure}\n")
    return int(failure is not None)


async def _demo(duration_s: float | None, live: bool, console: Console, ending: Ending) -> Outcome | None:
    """Put everything up, play, and take it down again. None: a signal came before the beginning.

    Raises:
        DemoError, or a group of them: It could not start, or could not go on.
    """
    executable = find_redis()
    with tempfile.TemporaryDirectory(prefix="spillway-") as folder:
        console.print("spillway demo: starting Redis, a shop and Spillway")
        async with redis_server(executable, Path(folder)) as redis:
            async with ending.limit():
                await answers(redis)
            if ending.asked:
                return None
            return await _with_shop(Path(folder), redis, duration_s, live, console, ending)


async def _with_shop(
    folder: Path, redis: RedisServer, duration_s: float | None, live: bool, console: Console, ending: Ending
) -> Outcome | None:
    async with (
        orders_in(redis.port) as orders,
        web_tier(orders) as web,
        workers_on(orders, HPA.min_replicas) as workers,
        spillway(folder, redis.port, web.urls) as server,
    ):
        async with ending.limit():
            await server.ready(console.print)
        if ending.asked:
            return None
        return await play(Stage(redis, orders, web, workers, server), ending, duration_s, live, console)


def _leaves(group: BaseExceptionGroup[DemoError]) -> Iterator[DemoError]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
