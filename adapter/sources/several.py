"""Asks several servers at once and waits for no more of them than are needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def answers(
    questions: Sequence[Coroutine[Any, Any, T]], enough: Callable[[list[T]], bool], patience_s: float
) -> list[T | None]:
    """Return what each question brought; None for those that were no longer waited for.

    Args:
        questions: What is asked, all at once. What they raise is raised, in a group: expected failures are results.
        enough: Whether the results so far will do.
        patience_s: How long to wait at most.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(question) for question in questions]
        waiting = set(tasks)
        while waiting and not enough([task.result() for task in tasks if _has_result(task)]):
            done, waiting = await asyncio.wait(
                waiting, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
        for task in waiting:
            task.cancel()
    return [task.result() if _has_result(task) else None for task in tasks]


def _has_result(task: asyncio.Task[T]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
