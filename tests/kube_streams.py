"""The API's watches: initial events, changes, bookmarks, and their ends."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from aiohttp import web

from tests.kube_faults import Faults
from tests.kube_kinds import Kind, Selection, selection
from tests.kube_rbac import Attributes
from tests.kube_request import whole_number
from tests.kube_status import Cause, Object, encoded, expired, invalid
from tests.kube_store import Store

_INITIAL_END = "k8s.io/initial-events-end"


@dataclass(eq=False)
class Watcher:
    """One open watch, and what is to happen to it."""

    request: web.Request
    bookmarks: bool
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    bookmark: bool = False
    end: str = ""


class Streams:
    """All open watches."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self.store = store
        self.faults = faults
        self.watchers: set[Watcher] = set()

    def wake(self) -> None:
        """Something was written."""
        for watcher in self.watchers:
            watcher.wake.set()

    def bookmark(self) -> None:
        """Send bookmarks to those who take them."""
        for watcher in self.watchers:
            watcher.bookmark = watcher.bookmarks
        self.wake()

    def end(self, how: str) -> int:
        """End all: "eof", "gone" (ERROR line), "reset" or "midway" (in the middle of a line). Returns how many."""
        for watcher in self.watchers:
            watcher.end = how
        self.wake()
        return len(self.watchers)

    async def watch(self, request: web.Request, kind: Kind, asked: Attributes) -> web.StreamResponse:
        """Answer a watch."""
        wanted = selection_of(request, kind, asked.namespace)
        query = request.query
        initial = query.get("sendInitialEvents") == "true"
        if initial and query.get("resourceVersionMatch") != "NotOlderThan":
            text = "Forbidden: resourceVersionMatch must be set to NotOlderThan with sendInitialEvents"
            cause = Cause("FieldValueForbidden", text, "resourceVersionMatch")
            raise invalid("ListOptions", "meta.k8s.io", "", [cause])
        seconds = whole_number(request, "timeoutSeconds") or random.randrange(1800, 3600)
        since = whole_number(request, "resourceVersion")
        response = web.StreamResponse(
            headers={"Cache-Control": "no-cache, private", "Content-Type": "application/json"}
        )
        response.enable_chunked_encoding()
        await response.prepare(request)
        watcher = Watcher(request, query.get("allowWatchBookmarks") == "true")
        self.watchers.add(watcher)
        try:
            async with asyncio.timeout(seconds):
                await self._follow(response, watcher, wanted, since, initial=initial)
        except TimeoutError:
            pass
        finally:
            self.watchers.discard(watcher)
        await response.write_eof()
        return response

    async def _follow(
        self, response: web.StreamResponse, watcher: Watcher, wanted: Selection, since: int, *, initial: bool
    ) -> None:
        cursor = since
        if initial or not since:
            page = self.store.page(wanted)
            cursor = page.version
            for obj in page.items:
                await self._line(response, "ADDED", obj)
            if initial and watcher.bookmarks:
                await self._line(response, "BOOKMARK", _bookmark(wanted.kind, cursor, initial=True))
        elif since < self.store.oldest - 1:
            gone = expired(f"too old resource version: {since} ({self.store.oldest})")
            await self._line(response, "ERROR", gone.status())
            return
        while True:
            watcher.wake.clear()
            events, cursor = self.store.events(wanted, cursor)
            for kind, obj in events:
                await self._line(response, kind, obj)
            if watcher.bookmark:
                watcher.bookmark = False
                await self._line(response, "BOOKMARK", _bookmark(wanted.kind, cursor))
            if watcher.end:
                await self._end(response, watcher, wanted, cursor)
                return
            await watcher.wake.wait()

    async def _end(self, response: web.StreamResponse, watcher: Watcher, wanted: Selection, cursor: int) -> None:
        if watcher.end == "gone":
            gone = expired(f"too old resource version: {cursor} ({cursor + 1})")
            await self._line(response, "ERROR", gone.status())
        if watcher.end == "midway":
            line = _line("MODIFIED", _bookmark(wanted.kind, cursor))
            await response.write(line[: len(line) // 2])
            await asyncio.sleep(0)
        if watcher.end in ("reset", "midway"):
            if watcher.request.transport is not None:
                watcher.request.transport.abort()
            raise ConnectionResetError

    async def _line(self, response: web.StreamResponse, kind: str, obj: Object) -> None:
        await self.write(response, _line(kind, obj))

    async def write(self, response: web.StreamResponse, content: bytes) -> None:
        """Write at once, or drop by drop."""
        size = self.faults.drip_bytes or len(content)
        for start in range(0, len(content), size):
            await response.write(content[start : start + size])
            if self.faults.drip_bytes:
                await asyncio.sleep(self.faults.drip_pause_s)


def selection_of(request: web.Request, kind: Kind, namespace: str) -> Selection:
    """Return what a list or a watch asks for; raises StatusError 400."""
    labels, fields = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
    return selection(kind, namespace, labels, fields)


def _line(kind: str, obj: Object) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + encoded(obj).rstrip(b"\n") + b"}\n"


def _bookmark(kind: Kind, version: int, *, initial: bool = False) -> Object:
    metadata: Object = {"annotations": {_INITIAL_END: "true"}} if initial else {}
    return {
        "kind": kind.kind,
        "apiVersion": kind.api_version,
        "metadata": {**metadata, "resourceVersion": str(version)},
    }
