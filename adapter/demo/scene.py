"""Everything there is to look at while the demo runs."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import NoReturn

from adapter.demo.autoscaler import HPA, Autoscaler, Reading, total
from adapter.demo.load import Customers
from adapter.demo.orders import Account
from adapter.demo.spillway import BACKLOG, RATE, Addresses, metric_path
from adapter.demo.web import SPIN_PATH
from adapter.demo.workers import Workers

_KEPT = 600
Samples = deque[float | None]


def _samples() -> Samples:
    return deque(maxlen=_KEPT)


@dataclass(frozen=True, slots=True)
class Trace:
    """One sample a second of each, the newest last; None: unknown."""

    load: Samples = field(default_factory=_samples)
    backlog: Samples = field(default_factory=_samples)
    rate: Samples = field(default_factory=_samples)
    workers: Samples = field(default_factory=_samples)


@dataclass(frozen=True, slots=True)
class Scene:
    """The running shop, as those who show it see it. `began_s` is on the event loop's clock."""

    account: Account
    customers: Customers
    workers: Workers
    autoscaler: Autoscaler
    addresses: Addresses
    redis_pid: int
    web_url: str
    began_s: float
    trace: Trace = field(default_factory=Trace)

    def reading(self, metric: str) -> Reading | None:
        """Return what was read of a metric at the last sync. None: there was none yet."""
        for spec, reading in zip(HPA.metrics, self.autoscaler.readings, strict=False):
            if spec.name == metric:
                return reading
        return None

    def value(self, metric: str) -> float | None:
        """Return the value of a metric at the last sync. None: unknown."""
        reading = self.reading(metric)
        return None if reading is None else total(reading)

    async def sample(self) -> NoReturn:
        """Take a sample a second, for ever."""
        loop = asyncio.get_running_loop()
        arrived, last_s = self.customers.arrived, loop.time()
        while True:
            await asyncio.sleep(1 - (loop.time() - self.began_s) % 1)
            now_s = loop.time()
            self.trace.load.append((self.customers.arrived - arrived) / (now_s - last_s))
            arrived, last_s = self.customers.arrived, now_s
            if self.autoscaler.readings:  # before the first sync nothing is known, and nothing is wrong
                self.trace.backlog.append(self.value(BACKLOG))
                self.trace.rate.append(self.value(RATE))
            self.trace.workers.append(self.workers.ready)


@dataclass(frozen=True, slots=True)
class Hint:
    """A command to try, and what it shows. Its parts are words with a space between them, or `glued` ones of a word."""

    parts: tuple[str, ...]
    why: str
    glued: bool = False


def hints(addresses: Addresses, redis_pid: int, web_url: str) -> tuple[Hint, ...]:
    """Return what to try in another terminal, the most telling first."""
    path = metric_path(BACKLOG)
    return (
        Hint((f"curl --cacert {addresses.ca_file} {addresses.server}", path), "what an HPA reads", glued=True),
        Hint((f"kubectl --kubeconfig {addresses.kubeconfig} get --raw", path), "the same with kubectl"),
        Hint((f"curl {addresses.metrics_url}",), "Spillway's own metrics"),
        Hint((f"curl {addresses.explain_url(BACKLOG)}",), "why this value"),
        Hint((f"curl '{web_url}{SPIN_PATH}'",), "a slow web server"),
        Hint((f"kill -STOP {redis_pid}; sleep 20; kill -CONT {redis_pid}",), "Redis hangs: unknown, not 0"),
    )


def fold(hint: Hint, width: int) -> list[str]:
    """Return the command in as many lines of at most `width` characters as it needs, to be pasted together.

    Lines end between parts if possible, else anywhere: for a shell, a backslash at the end of a line joins even a
    word. A command of one part is not broken; quotes would keep the backslash.
    """
    gap = "" if hint.glued else " "
    whole = gap.join(hint.parts)
    if len(whole) <= width or len(hint.parts) == 1:
        return [whole]
    room = max(width - 1, 1)
    pieces = [*(part + gap for part in hint.parts[:-1]), hint.parts[-1]]
    lines = [piece[start : start + room] for piece in pieces for start in range(0, len(piece), room)]
    return [*(f"{line}\\" for line in lines[:-1]), lines[-1]]
