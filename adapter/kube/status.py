"""Writes the status of ExternalMetric objects, and Events on them: the Lease's holder only, and never too much."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adapter.kube.client import MERGE_PATCH, Kube, KubeError, api_path
from adapter.kube.conditions import Condition, wanted
from adapter.kube.events import Recorder, Request
from adapter.kube.turns import Limit, Queues
from adapter.schema.crd import GROUP, PLURAL, VERSION
from adapter.schema.finding import Finding, ObjectKey
from scaler.model import MetricRef, MetricResult

log = logging.getLogger(__name__)

WRITES_A_SECOND = 10
URGENT_MS = 5_000
"""The least time between two writes of one object's conditions: a source may come and go at each read."""

REFRESH_MS = 60_000
"""The least time between two writes of one object's values, times and messages."""

_TICK_S = 0.1
_LOOKED_AT_ONCE = 200  # some 5 ms of the event loop
_TRIES = 3
_REFUSED_MS = 300_000
_MAX_PAUSE_MS = 60_000


@dataclass(frozen=True, slots=True)
class View:
    """What is known now. Taken anew at each look, so it may be replaced at any time.

    Args:
        objects: The objects as the API has them.
        findings: What became of each.
        results: The newest result of each metric.
    """

    objects: Mapping[ObjectKey, Mapping[str, Any]]
    findings: Mapping[ObjectKey, Finding]
    results: Mapping[MetricRef, MetricResult]


@dataclass(slots=True)
class _Memory:
    """What was done for one object. `ours` stands in for the copy whose version is `over` until a newer one comes."""

    written_ms: int = -REFRESH_MS
    refused_ms: int = -_REFUSED_MS
    refused_version: str = ""
    over: str = ""
    ours: Mapping[str, Any] | None = None


class StatusWriter:
    """Keeps every object's status what `wanted` says, by merge patches that name the version they are based on."""

    def __init__(
        self,
        kube: Kube,
        look: Callable[[], View],
        holder: Callable[[], bool],
        now_ms: Callable[[], int],
        instance: str,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Write nothing yet.

        Args:
            kube: The API.
            look: What is known now.
            holder: Whether we hold the Lease now; asked right before each write.
            now_ms: Wall-clock time.
            instance: Our pod's name, for Events.
            sleep: Waits seconds of that time.
        """
        self._kube = kube
        self._look = look
        self._holder = holder
        self._now_ms = now_ms
        self._sleep = sleep
        self._recorder = Recorder(instance)
        self._limit = Limit(WRITES_A_SECOND)
        self._memory: dict[ObjectKey, _Memory] = {}
        self._queues = Queues()
        self._round: deque[ObjectKey] = deque()
        self._failures = 0
        self._paused_until_ms = 0
        self.writes = 0
        """Requests that changed something, statuses and Events together."""

    @property
    def events_left_out(self) -> int:
        """Events not sent because the object had enough of them."""
        return self._recorder.left_out

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self.step()
            await self._sleep(_TICK_S)

    async def step(self) -> None:
        """Look at the next objects, then write those whose turn it is until nothing more may be written now."""
        if not self._holder():
            self._queues.clear()
            self._round.clear()
            return
        self._scan()
        while self._now_ms() >= self._paused_until_ms and self._limit.wait_ms(self._now_ms()) == 0:
            key = self._queues.take()
            if key is None or not self._holder():
                return
            try:
                await self._write(key)
            except KubeError as error:
                self._failed(error)
            else:
                self._failures = 0

    def _scan(self) -> None:
        """Queue what needs a write among the next objects of the round."""
        view, now_ms = self._look(), self._now_ms()
        if not self._round:
            self._round.extend(view.findings)
            for gone in self._memory.keys() - view.findings.keys():
                del self._memory[gone]
        for _ in range(min(_LOOKED_AT_ONCE, len(self._round))):
            key = self._round.popleft()
            memory = self._memory.setdefault(key, _Memory())
            need = self._needed(view, key, now_ms)
            if need is None:
                continue
            since_ms = now_ms - memory.written_ms
            if since_ms >= (URGENT_MS if need else REFRESH_MS):
                self._queues.add(key, urgent=need)

    def _needed(self, view: View, key: ObjectKey, now_ms: int) -> bool | None:
        """Return whether a write is needed, True for an urgent one; None if not, or if it was refused of late."""
        data, finding = self._newest(view, key), view.findings.get(key)
        memory = self._memory[key]
        if data is None or finding is None:
            return None
        if memory.refused_version == _version(data) and now_ms - memory.refused_ms < _REFUSED_MS:
            return None
        what = wanted(data.get("status") or {}, finding, _result(view, finding), now_ms)
        return None if what is None else what.urgent

    def _newest(self, view: View, key: ObjectKey) -> Mapping[str, Any] | None:
        """Return the object: what our last write made of it while the copy still is the one from before."""
        data, memory = view.objects.get(key), self._memory.get(key)
        if data is None or memory is None or memory.ours is None:
            return data
        if _version(data) == memory.over:
            return memory.ours
        memory.ours = None
        return data

    async def _write(self, key: ObjectKey) -> None:
        """Write one object's status, and tell of its transitions.

        Raises:
            KubeError: The API cannot be written to, in a way that concerns every object.
        """
        memory = self._memory.setdefault(key, _Memory())
        data = self._newest(self._look(), key)
        for _ in range(_TRIES):
            view = self._look()
            finding, copy = view.findings.get(key), view.objects.get(key)
            if data is None or finding is None or copy is None or _uid(copy) != _uid(data):
                return
            now_ms = self._now_ms()
            what = wanted(data.get("status") or {}, finding, _result(view, finding), now_ms)
            if what is None:
                return
            if not await self._may_write():
                return
            memory.written_ms = self._now_ms()
            path = _path(key, "status")
            body = {"metadata": {"resourceVersion": _version(data)}, "status": what.patch}
            try:
                memory.ours = await self._kube.request("PATCH", path, body=body, content_type=MERGE_PATCH)
            except KubeError as error:
                if error.code != 409:
                    self._refused(key, _version(data), error)
                    return
                data = await self._fresh(key)
                continue
            memory.over = _version(copy)
            await self._tell(key, _uid(data), what.transitions)
            return

    async def _may_write(self) -> bool:
        """Wait for our turn; return whether we still hold the Lease then. Counts the write."""
        while wait_ms := self._limit.wait_ms(self._now_ms()):
            await self._sleep(wait_ms / 1000)
        if not self._holder():
            return False
        self._limit.spend(self._now_ms())
        self.writes += 1
        return True

    async def _fresh(self, key: ObjectKey) -> Mapping[str, Any] | None:
        try:
            return await self._kube.request("GET", _path(key))
        except KubeError as error:
            if error.code == 404:
                return None
            raise

    async def _tell(self, key: ObjectKey, uid: str, transitions: tuple[Condition, ...]) -> None:
        for condition in transitions:
            request = self._recorder.tell(key, uid, condition, self._now_ms())
            if request is not None and await self._may_write():
                await self._send(request)

    async def _send(self, request: Request) -> None:
        """Send an Event. One that is not taken is left out: the status says it too."""
        try:
            await self._kube.request(request.method, request.path, body=request.body, content_type=request.content_type)
        except KubeError as error:
            self._recorder.lost(request)
            if error.code == 0 or error.code >= 429:
                raise
            log.debug("event not taken", extra={"error": str(error)})

    def _refused(self, key: ObjectKey, version: str, error: KubeError) -> None:
        """Take note that an object's status was not taken; raises what concerns every object."""
        if error.code == 404:
            return  # deleted meanwhile
        if error.code not in {400, 413, 422}:
            raise error
        memory = self._memory[key]
        memory.refused_version, memory.refused_ms = version, self._now_ms()
        log.warning("status not taken", extra={"object": "/".join(key), "error": str(error)})

    def _failed(self, error: KubeError) -> None:
        """Leave the API alone for a while, longer each time."""
        if self._failures == 0:
            log.warning("statuses cannot be written", extra={"error": str(error)})
        pause_ms = min(_MAX_PAUSE_MS, 1_000 << min(self._failures, 6))
        self._failures += 1
        self._paused_until_ms = self._now_ms() + pause_ms


def _result(view: View, finding: Finding) -> MetricResult | None:
    return None if finding.ref is None else view.results.get(finding.ref)


def _path(key: ObjectKey, subresource: str = "") -> str:
    return api_path(GROUP, VERSION, PLURAL, namespace=key[0], name=key[1], subresource=subresource)


def _version(data: Mapping[str, Any]) -> str:
    return str(data["metadata"].get("resourceVersion", ""))


def _uid(data: Mapping[str, Any]) -> str:
    return str(data["metadata"].get("uid", ""))
