"""What goes wrong on purpose."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

from tests.kube_rbac import Attributes
from tests.kube_status import StatusError, qualified


@dataclass
class Failure:
    """The next `times` requests that match fail: with an answer, or cut in the middle of their own."""

    error: StatusError | None
    times: int
    verb: str = ""
    resource: str = ""

    def matches(self, asked: Attributes) -> bool:
        resource = qualified(asked.resource, asked.group)
        return self.times > 0 and self.verb in ("", asked.verb) and self.resource in ("", resource)


@dataclass
class Faults:
    """What a test has switched on. `answering` is cleared while requests hang."""

    failures: list[Failure] = field(default_factory=list)
    drip_bytes: int = 0
    drip_pause_s: float = 0.0
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, failure: Failure) -> None:
        with self._lock:
            self.failures.append(failure)

    def take(self, asked: Attributes) -> Failure | None:
        """Return how this request fails, if it does, and count it."""
        with self._lock:
            for failure in self.failures:
                if failure.matches(asked):
                    failure.times -= 1
                    return failure
        return None
