"""What was learnt, for a while; and asking a question once for all who wait for its answer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class Entry(Generic[V]):
    """A value, when it was learnt and last used, and from when on it counts for nothing; monotonic seconds."""

    value: V
    learnt_s: float
    used_s: float
    expires_s: float
    renewing: bool = False


class TtlCache(Generic[K, V]):
    """The newest `size` values by use, each for `ttl_s` seconds; 0 remembers nothing."""

    def __init__(self, size: int, ttl_s: float) -> None:
        self._size = size
        self.ttl_s = ttl_s
        self._entries: OrderedDict[K, Entry[V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now_s: float) -> Entry[V] | None:
        """Return a value that still counts, and note that it was used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now_s >= entry.expires_s:
            del self._entries[key]
            return None
        entry.used_s = now_s
        self._entries.move_to_end(key)
        return entry

    def peek(self, key: K) -> Entry[V] | None:
        """Return an entry as it is, expired or not."""
        return self._entries.get(key)

    def put(self, key: K, value: V, now_s: float, used_s: float | None = None) -> None:
        """Remember a value. `used_s` is when it was last used, if that is not now."""
        if self.ttl_s <= 0:
            return
        self._entries[key] = Entry(value, now_s, now_s if used_s is None else used_s, now_s + self.ttl_s)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def discard(self, key: K) -> None:
        """Forget a value, if there is one."""
        self._entries.pop(key, None)

    def items(self) -> Iterable[tuple[K, Entry[V]]]:
        """Return all entries, expired ones too, the longest unused first."""
        return self._entries.items()


class SingleFlight(Generic[K, V]):
    """Lets one call a key run at a time; whoever asks meanwhile gets its result."""

    def __init__(self) -> None:
        self._flying: dict[K, asyncio.Future[V]] = {}
        self.waiting = 0
        """How many wait for a call of somebody else."""

    def __len__(self) -> int:
        return len(self._flying)

    async def share(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        """Return the result of the call under way, or of this one."""
        while (flying := self._flying.get(key)) is not None:
            self.waiting += 1
            try:
                await asyncio.wait([flying])
            finally:
                self.waiting -= 1
            if not flying.cancelled():
                return flying.result()
        future = self._flying[key] = asyncio.get_running_loop().create_future()
        try:
            value = await call()
            future.set_result(value)
            return value
        finally:
            del self._flying[key]
            future.cancel()  # nothing once there is a result; otherwise those who wait ask for themselves
