"""Breaks a third of the sources, again and again, each in its own rhythm."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

from tests.faults.proxy import FaultProxy, Mode
from tests.soak.page_side import Page
from tests.soak.redis_side import Queues
from tests.soak.truth import Source

_MODES = {
    "refuse": Mode.REFUSE,
    "hang": Mode.HANG,
    "drip": Mode.DRIP,
    "cut": Mode.CUT,
    "garbage": Mode.GARBAGE,
    "flap": Mode.FLAP,
    "absent": Mode.ABSENT,
}


@dataclass(slots=True)
class _Victim:
    """A source that is broken from time to time."""

    source: Source
    proxy: FaultProxy
    queues: Queues | None
    next_s: float
    heal: Callable[[], None] | None = None


class Faults:
    """Breaks and heals.

    Args:
        quiet_s, broken_s: How long a source works, and how long it is then broken, at most.
    """

    def __init__(self, redis: Sequence[Queues], pages: Sequence[Page], quiet_s: float, broken_s: float) -> None:
        self._random = random.Random(5)
        self._quiet_s, self._broken_s = quiet_s, broken_s
        proxied = [(page.source, page.proxy) for page in pages if page.proxy is not None]
        self._victims = [
            *(_Victim(queues.source, queues.proxy, queues, self._quiet()) for queues in redis),
            *(_Victim(source, proxy, None, self._quiet()) for source, proxy in proxied),
        ]
        self.count: dict[str, int] = {}
        """How often each kind of fault has been made."""

    def run(self, stop: Event) -> None:
        """Break and heal until `stop`, then heal everything."""
        while not stop.wait(0.1):
            for victim in self._victims:
                if time.monotonic() >= victim.next_s:
                    self._turn(victim)
        for victim in self._victims:
            self._heal(victim)

    def _quiet(self) -> float:
        return time.monotonic() + self._random.uniform(0.2, 1.0) * self._quiet_s

    def _turn(self, victim: _Victim) -> None:
        if victim.heal is not None:
            self._heal(victim)
            victim.next_s = self._quiet()
            return
        kinds = [*_MODES, *(["stopped", "killed"] * 2 if victim.queues is not None else [])]
        kind = self._random.choice(kinds)
        self.count[kind] = self.count.get(kind, 0) + 1
        victim.source.faults.begin(kind, time.time())
        queues, proxy = victim.queues, victim.proxy
        if queues is not None and kind == "stopped":
            queues.stop()
            victim.heal = queues.resume
        elif queues is not None and kind == "killed":
            queues.kill()
            victim.heal = queues.restart
        else:
            proxy.become(_MODES[kind])
            victim.heal = lambda: proxy.become(Mode.FORWARD)
        victim.next_s = time.monotonic() + self._random.uniform(0.1, 1.0) * self._broken_s

    def _heal(self, victim: _Victim) -> None:
        if victim.heal is not None:
            victim.heal()
            victim.heal = None
            victim.source.faults.end(time.time())
