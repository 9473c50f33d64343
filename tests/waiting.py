"""Waiting for a condition, with a deadline; the only place in the tests that sleeps."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], T | Awaitable[T]], seconds: float = 20.0) -> T:
    """Return the condition's first true value, looking every 10 ms."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        found = await value if inspect.isawaitable(value) else value
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {_text(condition)}")
        await asyncio.sleep(0.01)


def until_sync(condition: Callable[[], T], seconds: float = 20.0) -> T:
    """Return the condition's first true value, looking every 10 ms."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {_text(condition)}")
        time.sleep(0.01)


def _text(condition: Callable[[], object]) -> str:
    """Return what was waited for, as it stands in the test."""
    return inspect.getsource(condition).strip() if inspect.isfunction(condition) else repr(condition)
