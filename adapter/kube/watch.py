"""Keep a copy of a collection: list once, then watch, and list again only when history is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

from adapter.kube.backoff import Backoff
from adapter.kube.client import Kube, KubeError
from adapter.kube.errors import TOO_LARGE
from adapter.kube.state import (
    Change,
    Event,
    Expired,
    Keep,
    Key,
    Listed,
    Object,
    State,
    apply,
    change,
    parse_line,
    parse_page,
    within,
    without_managed_fields,
)

__all__ = ["Change", "Key", "Object", "Reflector", "State"]

log = logging.getLogger(__name__)

MAX_OBJECTS = 50_000
"""Objects kept of one collection, a few hundred bytes to a few kilobytes each."""

_LIST_S = 60.0
# The server ends a watch after this long, plus up to as much again so that a fleet does not come back at once.
_WATCH_S = 240
_SLACK_S = 30.0
# A watch that ends sooner and brought nothing is a failure, or a broken proxy would be asked without end.
_SHORTEST_WATCH_S = 1.0


class Reflector:
    """A copy of one collection that follows the server for as long as `run` runs.

    What has been seen once stays until the server says otherwise: no failure removes anything.

    Attributes:
        state: The newest copy.
        error: Why it does not follow the server now; None while it does, and before the first try.
    """

    def __init__(
        self,
        kube: Kube,
        path: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        keep: Keep = without_managed_fields,
        on_change: Callable[[Change], None] | None = None,
        page_size: int = 250,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
        watch_s: int = _WATCH_S,
        max_objects: int = MAX_OBJECTS,
    ) -> None:
        """Ask for nothing yet.

        Args:
            kube: Must live longer than `run`.
            path: Of the collection: `api_path`. One object is a collection with field_selector metadata.name=…
            label_selector: As Kubernetes writes it.
            field_selector: The same.
            keep: What of an object is kept. Pure. Give one that drops more for large collections.
            on_change: Called in the event loop after each change, and after the first list even if it was empty.
                It must not raise.
            page_size: Objects a page of a list.
            backoff: Waits after failures.
            watch_s: How long the server is asked to keep a watch open, at least.
            max_objects: The most objects kept. `left_out` says that there are more.
        """
        selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
        self._kube = kube
        self._path = path
        self._selectors = {name: text for name, text in selectors.items() if text}
        self._keep = keep
        self._on_change = on_change
        self._page_size = page_size
        self._backoff = backoff
        self._watch_s = watch_s
        self._max_objects = max_objects
        self._changed = asyncio.Event()
        self._failures = 0
        self.state = State()
        self.error: KubeError | None = None

    @property
    def objects(self) -> Mapping[Key, Object]:
        """The newest copy; the same mapping until something changes."""
        return self.state.objects

    @property
    def left_out(self) -> int:
        """At least so many objects are not in the copy: there are more than are kept."""
        return self.state.left_out

    @property
    def synced(self) -> bool:
        """Whether a complete list has been seen."""
        return self.state.synced

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            wait_s = 0.0
            try:
                if not self.state.version:
                    await self._list()
                if await self._watch():
                    self._failures = 0
                else:
                    wait_s = self._failed(None)
            except KubeError as error:
                wait_s = self._failed(error)
            await asyncio.sleep(wait_s)

    async def wait_synced(self) -> State:
        """Return the state once a complete list has been seen."""
        async for state in self.updates():
            return state
        raise AssertionError("updates never end")

    async def updates(self) -> AsyncIterator[State]:
        """Yield the state once it is synced, then whenever it has changed. A slow reader misses states between."""
        seen: Mapping[Key, Object] | None = None
        while True:
            changed = self._changed
            if self.state.synced and self.state.objects is not seen:
                seen = self.state.objects
                yield self.state
            else:
                await changed.wait()

    async def _list(self) -> None:
        self._take((await self._whole(self._page_size),))
        self._recovered()

    async def _whole(self, size: int, tries: int = 6) -> Listed:
        """Return the list, in other pages if these cannot be had."""
        try:
            return await self._pages(size)
        except KubeError as error:
            if tries and error.code == 410 and size:
                return await self._whole(0, tries - 1)  # the token of a page expired: all at once then
            if tries and error.reason == TOO_LARGE and size != 1:
                return await self._whole(max(1, (size or self._page_size) // 8), tries - 1)
            raise

    async def _pages(self, size: int) -> Listed:
        """Return the whole list, or raise: a part of it is nothing."""
        query = self._selectors | ({"limit": str(size)} if size else {})
        answer = await self._kube.request("GET", self._path, query=query, timeout_s=_LIST_S)
        first, token = parse_page(answer, self._keep)
        objects, left_out = within(dict(first.objects), self.state.objects, self._max_objects)
        while token:
            answer = await self._kube.request("GET", self._path, query=query | {"continue": token}, timeout_s=_LIST_S)
            page, token = parse_page(answer, self._keep)
            objects, more = within({**objects, **page.objects}, self.state.objects, self._max_objects)
            left_out += more
        return Listed(objects, first.version, left_out)

    async def _watch(self) -> bool:
        """Follow from our version on until the server ends it. Returns whether that was of any use."""
        loop = asyncio.get_running_loop()
        seconds = self._watch_s + random.randrange(self._watch_s + 1)  # noqa: S311 - spreads load, hides nothing
        query = self._selectors | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self.state.version,
            "timeoutSeconds": str(seconds),
        }
        opened_s = loop.time()
        async with self._kube.stream(self._path, query=query, idle_s=seconds + _SLACK_S) as batches:
            self._recovered()
            async for lines in batches:
                events = [parse_line(line, self._keep) for line in lines]
                self._take(events)
                if any(isinstance(event, Expired) for event in events):
                    raise KubeError(410, "Expired", "the watch's resourceVersion is too old")
                self._failures = 0
        if self.state.left_out:
            self.state = replace(self.state, version="")  # there may be room by now: list again
        return loop.time() - opened_s >= _SHORTEST_WATCH_S

    def _take(self, events: Sequence[Event]) -> None:
        """Publish what the events make of our copy."""
        before = self.state
        self.state = apply(before, events, self._max_objects)
        if self.state.left_out and not before.left_out:
            log.error("more objects than are kept", extra={"path": self._path, "kept": self._max_objects})
        if self.state.synced and not before.synced:
            made = change(before, self.state, events)
        else:
            made = change(before, self.state, events)
            if not made:
                # A list that says what we know already must not look like news.
                self.state = replace(self.state, objects=before.objects)
            if not made and self.state.left_out == before.left_out:
                return
        self._changed.set()
        self._changed = asyncio.Event()
        if self._on_change is not None:
            self._on_change(made)

    def _failed(self, error: KubeError | None) -> float:
        """Note a failure, decide whether the next step is a list, and return how long to wait before it."""
        self._failures += 1
        wait_s = self._backoff.wait_s(self._failures)
        if error is None:
            return wait_s
        if _loses_history(error):
            self.state = replace(self.state, version="")
        if error.code == 410:
            return wait_s  # all in a day's work
        if self.error is None or str(self.error) != str(error):
            log.warning("watch interrupted", extra={"path": self._path, "reason": str(error)})
        self.error = error
        return max(wait_s, min(error.retry_after_s or 0.0, self._backoff.cap_s))

    def _recovered(self) -> None:
        if self.error is not None:
            log.info("watch resumed", extra={"path": self._path})
        self.error = None


def _loses_history(error: KubeError) -> bool:
    """Whether our version may be the cause.

    Not where nobody answered, or said later. Everything else may be: 410, 504 "too large resource version" after a
    restore from backup, 404 while a definition is replaced.
    """
    return error.reason == "Malformed" or error.code not in (0, 429, 503)
