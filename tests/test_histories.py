"""Long random lives of a metric's targets, evaluated after each round, against a model that keeps every sample."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from unittest.mock import patch

import numpy as np
import pytest

from scaler import arena, store
from scaler.evaluate import evaluate, table_spec
from scaler.model import EMPTY_SNAPSHOT, Batch, Labels, Layout, MetricResult, Reason, Unknown, UnknownItem, labels_of
from scaler.rules import COUNTER, EXTRAPOLATED, Aggregate, AggregateOp, CounterStart, Function, MetricRule, Signal
from scaler.store import SeriesStore
from tests import naive
from tests.builders import REF

INTERVAL_MS = 10_000
BACK_MS = 2 * INTERVAL_MS
FAILED = Unknown(Reason.WRONG_TYPE, "x")
NO_LIMIT_MS = 10**12
Page = dict[Labels, float | str]


@dataclass
class Target:
    """Everything that was ever read of a target; of a departed one no failure lasts."""

    columns: list[tuple[int, Page]] = field(default_factory=list)
    seen: set[Labels] = field(default_factory=set)
    departed: bool = False

    @property
    def last_ms(self) -> int:
        return self.columns[-1][0]

    def read(self, time_ms: int, page: Page, *, from_zero: bool, start_ms: int | None) -> None:
        numbers = [labels for labels, value in page.items() if not isinstance(value, str)]
        if from_zero and self.columns:
            self.columns[-1][1].update({labels: 0.0 for labels in numbers if labels not in self.seen})
        elif from_zero and start_ms is not None:
            self.columns.append((start_ms, dict.fromkeys(numbers, 0.0)))
        self.columns.append((time_ms, page))
        self.seen |= page.keys()

    def leave(self) -> None:
        time_ms, page = self.columns[-1]
        self.columns[-1] = time_ms, {labels: value for labels, value in page.items() if value != naive.FAILED}


class Life:
    """A store and the model of it, and what happens to both."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        pick = self.random.choice
        function = pick((Function.RATE, Function.INCREASE, Function.DELTA, Function.MAX_OVER_TIME))
        self.from_zero = function in COUNTER and pick((True, False))
        start = CounterStart.ZERO if self.from_zero else CounterStart.FIRST
        signal = Signal(function, pick((30_000, 60_000, 100_000)), start)
        op = pick((AggregateOp.SUM, AggregateOp.SUM, AggregateOp.MAX, AggregateOp.AVG))
        names = tuple("abcd"[: pick((1, 2, 4))])
        by = Aggregate(pick(((), ("group",))), op)
        self.rule = MetricRule(REF, "m", "s", INTERVAL_MS, names, signal, by, max_age_ms=NO_LIMIT_MS, lingers=True)
        self.names, self.phase_ms = names, {name: self.random.randrange(INTERVAL_MS) for name in names}
        self.count, self.churn = pick((2, 6, 30)), pick((0, 0.2))
        self.falls, self.gaps, self.fails, self.odd = pick((0, 0.05, 0.5)), pick((0, 0.02, 0.3)), pick((0, 0.02)), 0.001
        self.store, self.now_ms, self.generation = SeriesStore(), 10**9, 0
        self.store.configure(REF, table_spec(self.rule), 0)
        self.targets: dict[str, Target] = {}
        self.counters: dict[tuple[str, Labels], float] = {}
        self.layouts: dict[tuple[Labels, ...], Layout] = {}

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def round(self) -> None:
        """Targets come and go, the clock jumps now and then, and most targets are read."""
        self.now_ms += INTERVAL_MS
        self.generation += self.chance(self.churn)
        if self.chance(0.05):
            present = tuple(name for name in self.names if self.chance(0.7)) or self.names[:1]
            self.rule = replace(self.rule, targets=present)
            self.store.retain(REF, present, self.now_ms)
            for name, target in self.targets.items():
                if name not in present and not target.departed:
                    target.leave()
                target.departed = name not in present
            self.forget(self.now_ms)
        if self.chance(0.05):
            self.now_ms += self.random.choice((-1_000_000, -300_000, 15_000, 200_000))
        for name in self.rule.targets:
            if self.chance(0.92):
                self.read(name, self.now_ms + self.phase_ms[name])

    def forget(self, now_ms: int) -> None:
        """What a departed target did is over once it has left the window, and never was if the clock is set back."""
        window_ms = self.rule.signal.window_ms or 0
        for name, target in list(self.targets.items()):
            if target.departed and not now_ms - window_ms < target.last_ms < now_ms + BACK_MS:
                del self.targets[name]

    def page(self, name: str) -> Page:
        page: Page = {}
        for i in range(self.count):
            labels = labels_of({"group": str(i % 3), "n": f"{i}.{self.generation if i % 3 == 0 else 0}"})
            if self.chance(self.gaps):
                continue
            before = self.counters.get((name, labels), 0.0)
            value = float(self.random.randrange(5)) if self.chance(self.falls) else before + self.random.randrange(9)
            self.counters[name, labels] = value
            page[labels] = naive.FAILED if self.chance(self.fails) else float("nan") if self.chance(self.odd) else value
        return page

    def read(self, name: str, time_ms: int) -> None:
        page = self.page(name)
        if page and set(page.values()) == {naive.FAILED}:
            return
        start_ms = time_ms - self.random.randrange(1, 9_000) if self.chance(0.3) else None
        layout = self.layouts.setdefault(tuple(page), Layout(tuple(page)))
        values = np.array([0.0 if isinstance(value, str) else value for value in page.values()])
        problems = {i: FAILED for i, value in enumerate(page.values()) if isinstance(value, str)}
        used = self.store.append(Batch(REF, name, time_ms, layout, values, problems, start_ms=start_ms))
        target = self.targets.setdefault(name, Target())
        back_ms = target.last_ms - time_ms if target.columns else -1
        assert used == (not 0 <= back_ms < BACK_MS)
        if not used:
            return
        if back_ms >= BACK_MS:
            target = self.targets[name] = Target()
        self.forget(time_ms)
        target.read(time_ms, page, from_zero=self.from_zero, start_ms=start_ms)

    def wanted(self) -> dict[Labels, tuple[float | str, int, int]]:
        """Return what each group comes to, and its newest and oldest read."""
        moment_ms = max(target.last_ms for target in self.targets.values())
        found: dict[Labels, list[tuple[float | str, int]]] = {}
        for target in self.targets.values():
            last_ms = moment_ms if target.departed else target.last_ms
            end_ms = moment_ms if moment_ms - last_ms <= INTERVAL_MS * 1.1 else last_ms
            for labels in target.seen:
                said = self.one([(t, page.get(labels, naive.ABSENT)) for t, page in target.columns], end_ms)
                gone = said == "gone" or (target.departed and said == "too few")
                group = tuple(pair for pair in labels if self.rule.aggregate and pair[0] in self.rule.aggregate.by)
                if not gone:
                    found.setdefault(group, []).append((said, last_ms))
        op = self.rule.aggregate.op.value if self.rule.aggregate else ""
        folded = {group: naive.fold([said for said, _ in of], op) for group, of in found.items()}
        times = {group: [last_ms for _, last_ms in of] for group, of in found.items()}
        return {group: (v, max(times[group]), min(times[group])) for group, v in folded.items() if v is not None}

    def one(self, samples: list[naive.Sample], end_ms: int) -> float | str:
        function, window_ms = self.rule.signal.function, self.rule.signal.window_ms or 0
        if function not in EXTRAPOLATED:
            return naive.over_time(samples, end_ms, window_ms, function.value)
        counter, rate = function in COUNTER, function is Function.RATE
        return naive.extrapolated(samples, end_ms, window_ms, counter=counter, per_second=rate)

    def told(self) -> MetricResult:
        return evaluate(self.store, {REF: self.rule}, EMPTY_SNAPSHOT, {REF}, self.now_ms + INTERVAL_MS).results[REF]


def differences(life: Life) -> Iterator[str]:
    """Yield what is served and is not what the model says."""
    result, wanted = life.told(), life.wanted()
    items = {item.labels: item for item in result.items}
    if (result.unknown is None) != bool(wanted) or items.keys() != wanted.keys():
        yield f"{result.unknown} {items.keys()}, wanted {wanted.keys()}"
        return
    for labels, (value, newest_ms, oldest_ms) in wanted.items():
        item = items[labels]
        if isinstance(item, UnknownItem) or isinstance(value, str) or value < 0:
            if not (isinstance(item, UnknownItem) and (isinstance(value, str) or value < 0)):
                yield f"{item}, wanted {value}"
        elif (item.timestamp_ms, item.valid_until_ms) != (newest_ms, oldest_ms + NO_LIMIT_MS + 1):
            yield f"{item}, wanted the times {newest_ms} and {oldest_ms}"
        elif abs(item.milli - value * 1000) > 1 + 1e-9 * value * 1000:
            yield f"{item}, wanted {value}"


@pytest.mark.parametrize("seed", range(40))
def test_a_long_life_is_what_every_sample_says(seed: int) -> None:
    """Resets, gaps, failures, series and targets that come and go, a clock that jumps, memory that moves all the
    time: number, times and unknown of each group are those of a model that keeps every sample."""
    with (
        patch.object(arena, "_FALLOW", 4),
        patch.object(arena, "_FIRST_ROOM", 1),
        patch.object(store, "_FIRST_COLUMNS", 3),
    ):
        life = Life(seed)
        for _ in range(60):
            life.round()
            if life.targets.keys() >= set(life.rule.targets):
                assert not list(differences(life))
