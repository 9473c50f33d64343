"""Whose turn it is to be written, and when. Holds no clock."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from adapter.schema.finding import ObjectKey


class Limit:
    """At most `most` in any second."""

    def __init__(self, most: int) -> None:
        self._times: deque[int] = deque(maxlen=most)

    def wait_ms(self, now_ms: int) -> int:
        """Return how long to wait for the next one; 0: not at all."""
        if len(self._times) < (self._times.maxlen or 0):
            return 0
        return max(0, self._times[0] + 1_000 - now_ms)

    def spend(self, now_ms: int) -> None:
        """Count one."""
        self._times.append(now_ms)


@dataclass(slots=True)
class Queues:
    """Objects to write, first come first served; every fifth place is for one that is not urgent."""

    urgent: OrderedDict[ObjectKey, None] = field(default_factory=OrderedDict)
    later: OrderedDict[ObjectKey, None] = field(default_factory=OrderedDict)
    turn: int = 0

    def add(self, key: ObjectKey, *, urgent: bool) -> None:
        """Put an object at the end of its queue; one that waits keeps its place."""
        if urgent:
            self.later.pop(key, None)
            self.urgent.setdefault(key)
        elif key not in self.urgent:
            self.later.setdefault(key)

    def take(self) -> ObjectKey | None:
        """Return whose turn it is; None if nobody waits."""
        self.turn = (self.turn + 1) % 5
        first, second = (self.later, self.urgent) if self.turn == 0 else (self.urgent, self.later)
        queue = first or second
        return queue.popitem(last=False)[0] if queue else None

    def clear(self) -> None:
        """Forget everybody."""
        self.urgent.clear()
        self.later.clear()
