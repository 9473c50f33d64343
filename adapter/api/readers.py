"""Who read a metric last, and what they got: for explain. Bounded, and one dict store a request."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from adapter.api.resolve import Route
from scaler.answer import answer
from scaler.model import ExternalMetricValue, MetricRef, MetricResult

_KEPT = 8
"""How many readers of one metric are kept, those that read last."""

_LONGEST = 256
"""Characters kept of a user agent: what a client says of itself."""


class _Read(NamedTuple):
    time_ms: int
    code: int
    route: Route
    result: MetricResult


class Readers:
    """The last readers of each metric, told apart by user agent and query.

    Not of undefined metrics: whoever may ask for names of their own must not fill our memory.
    """

    def __init__(self, defined: Callable[[], Collection[MetricRef]]) -> None:
        """Remember nobody yet.

        Args:
            defined: The metrics there are; reads of others are forgotten.
        """
        self._defined = defined
        self._of: dict[MetricRef, dict[tuple[str, str], _Read]] = {}

    def __len__(self) -> int:
        """Count the metrics that have readers."""
        return len(self._of)

    def note(self, ref: MetricRef, route: Route, user_agent: str, result: MetricResult, code: int, now_ms: int) -> None:
        """Note one read of a metric that is defined.

        Args:
            ref: The metric that was served; another namespace's than was asked for, where it is shared.
            route: What was asked for.
            user_agent: As the client says.
            result: What was known.
            code: HTTP status of the answer.
            now_ms: The time.
        """
        readers = self._of.get(ref)
        if readers is None:
            if len(self._of) > 2 * len(self._defined()) + 64:
                self._forget()
            readers = self._of[ref] = {}
        readers[user_agent[:_LONGEST], route.target.raw_query] = _Read(now_ms, code, route, result)
        if len(readers) > _KEPT:
            del readers[min(readers, key=lambda reader: readers[reader].time_ms)]

    def of(self, ref: MetricRef, now_ms: int) -> list[dict[str, Any]]:
        """Return who read a metric, the last one first, as JSON types. `milli` is the sum of what was served."""
        readers = sorted(self._of.get(ref, {}).items(), key=lambda reader: -reader[1].time_ms)
        return [
            {
                "userAgent": user_agent,
                "selector": str(read.route.selector),
                "namespace": read.route.ref.namespace,
                "ageMs": now_ms - read.time_ms,
                "code": read.code,
                **_served(read),
            }
            for (user_agent, _), read in readers
        ]

    def _forget(self) -> None:
        for ref in self._of.keys() - set(self._defined()):
            del self._of[ref]


def _served(read: _Read) -> dict[str, Any]:
    """Say again what the read got: it is the same answer, of the same result at the same time."""
    found = answer(read.result, read.route.selector, read.time_ms) if read.code == 200 else None
    if not isinstance(found, tuple):
        return {"items": None, "milli": None}
    items: tuple[ExternalMetricValue, ...] = found
    return {"items": len(items), "milli": sum(item.milli for item in items)}
