"""The autoscaling loop: what an HPA does with two External metrics, with nothing of it simplified but its period."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from adapter.demo.api import ExternalMetrics, Item
from adapter.demo.spillway import BACKLOG, NAMESPACE, RATE
from adapter.demo.workers import Workers
from scaler.hpa import decide
from scaler.hpa_model import (
    SCALE_UP_DEFAULTS,
    Behavior,
    Decision,
    ExternalMetric,
    History,
    HpaSpec,
    MetricError,
    Policy,
    PolicyType,
    ScalingRules,
    SelectPolicy,
    State,
)

SYNC_S = 2.0
"""Time between two syncs; a cluster's is 15 s."""

HPA = HpaSpec(
    min_replicas=1,
    max_replicas=10,
    metrics=(
        ExternalMetric(BACKLOG, average_value_milli=15_000),
        ExternalMetric(RATE, average_value_milli=6_000),
    ),
    behavior=Behavior(
        scale_up=SCALE_UP_DEFAULTS,
        scale_down=ScalingRules(10, SelectPolicy.MAX, (Policy(PolicyType.PODS, 2, 4),)),
    ),
    namespace=NAMESPACE,
)

Reading = tuple[Item, ...] | MetricError


def total(reading: Reading) -> float | None:
    """Return the sum of the items, in the metric's unit. None: unknown."""
    if isinstance(reading, MetricError) or not reading:
        return None
    return sum(item.milli for item in reading) / 1000


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the number of workers."""

    time_s: float
    before: int
    after: int
    reason: str


@dataclass(slots=True)
class Tally:
    """What was read and done so far. `backlog` are the depths served, in the order they were."""

    served: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    backlog: list[float] = field(default_factory=list)
    replicas: set[int] = field(default_factory=set)
    changes: list[Change] = field(default_factory=list)

    def count(self, readings: Sequence[Reading], change: Change) -> None:
        """Count one sync."""
        for reading in readings:
            if isinstance(reading, MetricError):
                self.errors[reading.message] += 1
            elif not reading:
                self.errors["an answer without items"] += 1
            else:
                self.served += 1
        backlog = total(readings[0])
        if backlog is not None:
            self.backlog.append(backlog)
        self.replicas |= {change.before, change.after}
        if change.after != change.before:
            self.changes.append(change)


class Autoscaler:
    """An HPA for the workers.

    `readings` are those of the last sync, one a metric of the HPA (none before the first), and `decision` is what it
    made of them.
    """

    def __init__(self, api: ExternalMetrics, workers: Workers) -> None:
        self._api = api
        self._workers = workers
        self._history = History()
        self.tally = Tally()
        self.readings: Sequence[Reading] = ()
        self.decision: Decision | None = None

    async def follow(self) -> NoReturn:
        """Sync for ever, at equal intervals; as in a cluster, the first one is an interval from now."""
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            next_s = max(next_s + SYNC_S, loop.time())
            await asyncio.sleep(next_s - loop.time())
            await self._sync(loop.time)

    async def _sync(self, clock: Callable[[], float]) -> None:
        before = self._workers.count
        conditions = self.decision.conditions if self.decision else ()
        state = State(before, before, before, self._workers.ready, conditions)
        self.readings = [await self._api.read(metric.name) for metric in HPA.metrics]
        decision = decide(HPA, state, [_for_hpa(each) for each in self.readings], self._history, clock())
        self._workers.scale(decision.replicas)
        self._history, self.decision = decision.history, decision
        self.tally.count(self.readings, Change(clock(), before, decision.replicas, decision.reason))


def _for_hpa(reading: Reading) -> list[int] | MetricError:
    return reading if isinstance(reading, MetricError) else [item.milli for item in reading]
