"""How the demo ends: its time is over, or a signal comes."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Ending:
    """SIGINT, SIGTERM and SIGHUP cut short what runs inside `limit`, now or later.

    The signals are heard from now on until the event loop is closed, so that a second Ctrl-C interrupts nothing that
    is being put away.
    """

    def __init__(self) -> None:
        self.asked = False
        """A signal has come."""
        self._scope: asyncio.Timeout | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._ask)

    @asynccontextmanager
    async def limit(self, seconds: float | None = None) -> AsyncIterator[None]:
        """Run the body until it ends, the time is over, or a signal comes. Not to be nested."""
        try:
            async with asyncio.timeout(0 if self.asked else seconds) as scope:
                self._scope = scope
                yield
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._scope = None

    def _ask(self) -> None:
        self.asked = True
        if self._scope is not None:
            self._scope.reschedule(-math.inf)
