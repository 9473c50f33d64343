"""Events on ExternalMetric objects: what is told, how often, and as which request. Makes none itself."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from adapter.kube.client import MERGE_PATCH, api_path
from adapter.kube.conditions import ACCEPTED, AVAILABLE, DEGRADED, Condition
from adapter.schema.crd import GROUP, KIND, VERSION
from adapter.schema.finding import ObjectKey

SERIES_MS = 10 * 60_000
"""The same thing again within this time is counted in the first event."""

PER_OBJECT = 10
PER_OBJECT_MS = 10 * 60_000
"""At most PER_OBJECT requests an object in PER_OBJECT_MS: what comes and goes each second is told in its status."""

KEPT = 10_000
"""Objects and series of events that are remembered, the newest."""

_NOTE_BYTES = 1_024
_CONTROLLER = f"{GROUP}/adapter"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the events API."""

    method: str
    path: str
    body: Mapping[str, Any]
    content_type: str


@dataclass(slots=True)
class _Series:
    name: str
    count: int
    last_ms: int


class Recorder:
    """Turns transitions into requests. Holds what was told of late, of a bounded number of objects."""

    def __init__(self, instance: str) -> None:
        """`instance` is our pod's name."""
        self._instance = instance[:128] or "spillway"
        self._series: OrderedDict[tuple[str, str, str, str], _Series] = OrderedDict()
        self._told: OrderedDict[str, deque[int]] = OrderedDict()
        self._number = 0
        self.left_out = 0
        """Transitions that were not told because the object had enough of them."""

    def tell(self, key: ObjectKey, uid: str, condition: Condition, now_ms: int) -> Request | None:
        """Return the request that tells of a transition; None if nothing is to be told.

        Args:
            uid: Of the object.
            condition: What it is now.
            now_ms: Wall-clock time.
        """
        happened = _happened(condition)
        if happened is None:
            return None
        if not self._allowed(uid, now_ms):
            self.left_out += 1
            return None
        kind, action = happened
        same = (uid, condition.type, condition.reason, condition.message)
        series = self._series.get(same)
        if series is not None and now_ms - series.last_ms < SERIES_MS:
            series.count, series.last_ms = series.count + 1, now_ms
            self._series.move_to_end(same)
            again = {"count": series.count, "lastObservedTime": _micro_time(now_ms)}
            path = api_path("events.k8s.io", "v1", "events", namespace=key[0], name=series.name)
            return Request("PATCH", path, {"series": again}, MERGE_PATCH)
        self._number += 1
        name = f"{key[1][:200].rstrip('.-')}.{now_ms:x}.{self._number:x}"
        self._series[same] = _Series(name, 1, now_ms)
        self._series.move_to_end(same)
        if len(self._series) > KEPT:
            self._series.popitem(last=False)
        path = api_path("events.k8s.io", "v1", "events", namespace=key[0])
        return Request("POST", path, self._event(key, uid, name, condition, kind, action, now_ms), "application/json")

    def lost(self, request: Request) -> None:
        """Forget the event that a request was for: it is gone, and the next time is a first one again."""
        gone = [same for same, series in self._series.items() if request.path.endswith(f"/{series.name}")]
        for same in gone:
            del self._series[same]

    def _allowed(self, uid: str, now_ms: int) -> bool:
        told = self._told.setdefault(uid, deque(maxlen=PER_OBJECT))
        self._told.move_to_end(uid)
        if len(self._told) > KEPT:
            self._told.popitem(last=False)
        if len(told) == PER_OBJECT and now_ms - told[0] < PER_OBJECT_MS:
            return False
        told.append(now_ms)
        return True

    def _event(
        self, key: ObjectKey, uid: str, name: str, condition: Condition, kind: str, action: str, now_ms: int
    ) -> dict[str, Any]:
        regarding = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "namespace": key[0], "name": key[1], "uid": uid}
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": key[0]},
            "eventTime": _micro_time(now_ms),
            "reportingController": _CONTROLLER,
            "reportingInstance": self._instance,
            "action": action,
            "reason": str(condition.reason),
            "type": kind,
            "note": _cut(condition.message),
            "regarding": regarding,
        }


def _happened(condition: Condition) -> tuple[str, str] | None:
    """Return type and action of the event for a transition; None if it is none worth telling."""
    good = condition.status == "True"
    if condition.type == ACCEPTED:
        return ("Normal" if good else "Warning"), "Configure"
    if condition.type == AVAILABLE and condition.status != "Unknown":
        return ("Normal" if good else "Warning"), "Collect"
    if condition.type == DEGRADED and condition.status == "True":
        return "Warning", "Collect"
    return None


def _cut(note: str) -> str:
    encoded = note.encode()
    return note if len(encoded) <= _NOTE_BYTES else encoded[: _NOTE_BYTES - 3].decode(errors="ignore") + "…"


def _micro_time(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03}000Z"
