"""The text of `/metrics`, written in pieces: with 10,000 metrics the event loop has other things to do meanwhile.

Not in a thread: a thread that runs Python code makes each request of the loop's wait for its turn, several times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector


class _Only(Collector):
    """A family as if it were all there is."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        """Return it."""
        yield self._family


class MetricsPage:
    """Writes the page of a registry. Families may come in parts, which are put together.

    Whoever asks while a page is being written gets the next one, and all who wait for that get the same.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._writing = asyncio.Lock()
        self._page = b""
        self._number = 0  # of that page
        self.begun = 0
        """How many pages have been begun."""

    async def read(self) -> bytes:
        """Return the page of now, or of a moment since this was called."""
        before = self.begun
        async with self._writing:
            if self._number <= before:
                self.begun = number = self.begun + 1
                self._page, self._number = await self._write(), number
            return self._page

    async def _write(self) -> bytes:
        families: dict[str, list[bytes]] = {}
        for family in self._registry.collect():
            written = families.setdefault(family.name, [])
            text = generate_latest(_Only(family))
            if written:
                text = text.removeprefix(_head(family))
            written.append(text)
            await asyncio.sleep(0)
        return b"".join([text for written in families.values() for text in written])


def _head(family: Metric) -> bytes:
    """Return the lines that say what a family is."""
    return generate_latest(_Only(Metric(family.name, family.documentation, family.type)))
