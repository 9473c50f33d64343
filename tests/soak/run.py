"""One run: warm up, break and change everything, heal, and see whether all is as before."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from bench.machine import machine
from tests.adapter_process import Adapter
from tests.faults.proxy import Proxies
from tests.soak.asking import Asking
from tests.soak.faults import Faults
from tests.soak.leaks import Holding, growth, holding
from tests.soak.oracle import RATE_ERROR, RATES_OFF, RECOVER_S, Oracle
from tests.soak.page_side import Page, Pages
from tests.soak.redis_side import Queues, write
from tests.soak.starved import Starved
from tests.soak.world import Sources, World

_SLACK = {"descriptors": 4, "threads": 4, "tasks": 2, "redis_connections": 0}
"""How much more there may be at the end: a thread pool that has not grown to its size, a probe under way."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How large and how long a run is. Times in seconds.

    `settle_s`: how long it may take at the end until everything is known again and no more is held than before; 0: that
    is not looked at.
    """

    metrics: int = 2_000
    seconds: float = 1_800
    redis_servers: int = 6
    pages: int = 60
    change_s: float = 10
    cadence_s: float = 15
    open_loop: float = 30
    writes: float = 60
    quiet_s: float = 40
    broken_s: float = 60
    settle_s: float = 2 * RECOVER_S
    growth_limit: float = 0.02

    @property
    def warm_s(self) -> float:
        """How long everything is healthy at first."""
        return min(120.0, self.seconds * 0.2)

    @property
    def learning_s(self) -> float:
        """How long it then takes until each kind of trouble has been met: the first of each takes memory that stays."""
        return min(300.0, self.seconds * 0.2)


def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Run, and return what was found: `violations` empty, all is well."""
    oracle = Oracle()
    with contextlib.ExitStack() as stack:
        proxies = stack.enter_context(Proxies())
        redis = [_queues(number, plan, folder, proxies, stack) for number in range(plan.redis_servers)]
        served = stack.enter_context(Pages())
        width = 8
        for number in range(plan.pages):
            served.pages[number] = Page(number, width, served.port, proxies, troubled=number % 3 == 0)
        pages = list(served.pages.values())
        world = World(folder / "config", plan.metrics, Sources(redis, pages, width), oracle)
        adapter = Adapter(folder, folder / "config", "--log-format", "json")
        stack.push(adapter.__exit__)
        adapter.start()
        assert adapter.process is not None
        oracle.starved = stack.enter_context(Starved([adapter.process.pid, os.getpid()])).during
        oracle.began_s = time.time()
        say(f"{plan.metrics} metrics, {len(redis)} Redis servers, {len(pages)} pages; the adapter is ready")
        course = _Course(plan, adapter, redis, world, oracle, say)
        stop = Event()
        stack.enter_context(_thread(lambda: write(redis, plan.writes, stop), stop))
        asking = Asking(
            adapter.port("secure_port"),
            adapter.context(),
            oracle,
            lambda: world.names,
            cadence_s=plan.cadence_s,
            rate=plan.open_loop,
        )
        asking.start()
        stack.callback(asking.stop)
        course.warm_up()
        faults = Faults(redis[::3], pages, plan.quiet_s, plan.broken_s)
        course.trouble(faults)
        course.settle()
        asking.stop()
        own = resource.getrusage(resource.RUSAGE_SELF)
        return course.result(faults) | {"driver_cpu_s": round(own.ru_utime + own.ru_stime, 1)}


def _queues(number: int, plan: Plan, folder: Path, proxies: Proxies, stack: contextlib.ExitStack) -> Queues:
    lists = max(3, plan.metrics // 20)
    queues = Queues(number, folder / f"redis{number}", proxies, lists, max(1, lists // 4))
    stack.callback(queues.close)
    return queues


@contextlib.contextmanager
def _thread(work: Callable[[], None], stop: Event) -> Iterator[Thread]:
    thread = Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join()


class _Course:
    """The phases of a run, and what is held in each."""

    def __init__(
        self,
        plan: Plan,
        adapter: Adapter,
        redis: list[Queues],
        world: World,
        oracle: Oracle,
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._adapter = adapter
        self._redis = redis
        self._world = world
        self._oracle = oracle
        self._say = say
        self._began_s = time.time()
        self._held: list[Holding] = []
        self._before: Holding | None = None
        self._after: Holding | None = None
        self._changes: dict[str, int] = {}

    def warm_up(self) -> None:
        """Everything works, and changes: reading a configuration anew takes memory that stays taken."""
        self._for(self._plan.warm_s * 0.75, "warm", self._change)
        self._world.restore()
        self._for(self._plan.warm_s * 0.25, "warm")
        self._before = self._look()

    def trouble(self, faults: Faults) -> None:
        """A third of the sources fail, and the configuration changes."""
        stop = Event()
        with _thread(lambda: faults.run(stop), stop):
            self._for(self._plan.learning_s, "learning", self._change)
            self._held.clear()
            self._for(self._plan.seconds - self._plan.warm_s - self._plan.learning_s, "trouble", self._change)

    def settle(self) -> None:
        """Everything works again: wait until all is known, and as little is held as before."""
        self._world.restore()
        assert self._before is not None
        deadline = time.time() + self._plan.settle_s
        while True:
            self._after = self._look()
            if not self._unsettled() or time.time() > deadline:
                break
            self._tell("settle")
            time.sleep(2)
        self._tell("end")

    def result(self, faults: Faults) -> dict[str, Any]:
        """Return everything that was found."""
        verdicts = self._oracle.verdicts
        assert self._before is not None
        assert self._after is not None
        grown = growth([one.own_kib for one in self._held])
        violations = list(verdicts.wrong)
        if verdicts.wrong_count > len(violations):
            violations.append(f"and {verdicts.wrong_count - len(violations)} more")
        violations += self._unsettled()
        if verdicts.rates_off > RATES_OFF * verdicts.rates:
            off = f"{verdicts.rates_off} of {verdicts.rates} rates are off by more than {RATE_ERROR:.0%}"
            violations.append(f"{off}, the worst by {verdicts.worst_rate_error:.1%}")
        if grown > self._plan.growth_limit:
            violations.append(f"memory grew by {grown:.1%}, and may by {self._plan.growth_limit:.0%}")
        if self._adapter.ended():
            violations.append("the adapter has ended")
        log = self._adapter.log()
        violations += [f"logged: {line[:500]}" for line in log.splitlines() if "bug in" in line or "Traceback" in line]
        seconds = self._after.at_s - self._began_s
        return {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "seconds": round(seconds),
            "metrics": self._plan.metrics,
            "sources": {"redis": len(self._redis), "pages": self._plan.pages},
            "checked": dict(verdicts.checked),
            "faults": faults.count,
            "changes": self._changes,
            "worst_age_s": round(verdicts.worst_age_s, 1),
            "worst_healthy_age_s": round(verdicts.worst_healthy_age_s, 1),
            "rates": {
                "checked": verdicts.rates,
                "off_by_more_than_3_percent": verdicts.rates_off,
                "late": verdicts.rates_late,
                "worst_error": round(verdicts.worst_rate_error, 4),
                "examples": verdicts.off,
            },
            "memory_growth": round(grown, 4),
            "own_memory_mib": [round(one.own_kib / 1024, 1) for one in self._held],
            "before": self._before.as_json(),
            "after": self._after.as_json(),
            "adapter_cores": round(
                (self._after.cpu_s - self._before.cpu_s) / (self._after.at_s - self._before.at_s), 3
            ),
            "violations": violations,
        }

    def _for(self, seconds: float, phase: str, act: Callable[[], None] = lambda: None) -> None:
        """Look at what is held, tell and act once in a while, until a time has passed."""
        end_s = time.time() + seconds
        while (left_s := end_s - time.time()) > 0:
            time.sleep(min(left_s, self._plan.change_s))
            act()
            self._held.append(self._look())
            self._tell(phase)
            if self._adapter.ended():
                raise RuntimeError(f"the adapter has ended: {self._adapter.log()[-2000:]}")

    def _change(self) -> None:
        done = self._world.change().split()[0]
        self._changes[done] = self._changes.get(done, 0) + 1

    def _look(self) -> Holding:
        process = self._adapter.process
        assert process is not None
        connections = [queues.connections() for queues in self._redis]
        tasks = int(self._adapter.metrics()["spillway_event_loop_tasks"])
        return holding(process.pid, time.time(), tasks, -1 if -1 in connections else sum(connections))

    def _unsettled(self) -> list[str]:
        """Return what is held more than before, and what is still unknown."""
        if not self._plan.settle_s:
            return []
        assert self._before is not None
        assert self._after is not None
        before, after = self._before.as_json(), self._after.as_json()
        found = [
            f"{name}: {before[name]:g} before, {after[name]:g} at the end"
            for name, slack in _SLACK.items()
            if after[name] > before[name] + slack
        ]
        known = self._adapter.metrics()
        return found + [f"unknown at the end: {name}" for name in known if name.startswith("spillway_metric_unknown{")]

    def _tell(self, phase: str) -> None:
        verdicts, held = self._oracle.verdicts, self._held[-1] if self._held else self._before
        assert held is not None
        unknown = sum(count for kind, count in verdicts.checked.items() if kind.startswith("unknown"))
        self._say(
            f"{time.time() - self._began_s:5.0f} s {phase:8} {verdicts.checked['value']:7} values "
            f"{unknown:6} unknown {verdicts.checked['not found']:5} not found {verdicts.wrong_count:3} WRONG  "
            f"{held.own_kib / 1024:.1f} MiB of RSS {held.rss_kib / 1024:.1f}, {held.descriptors} fds, "
            f"{held.threads} threads, {held.tasks} tasks, "
            f"{held.redis_connections} to Redis, oldest {verdicts.worst_age_s:.1f} s"
        )
