"""What stands in for what is unknown: whenUnknown.then, judged at the moment of a read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scaler.answer import UnknownAnswer, answer
from scaler.model import Labels, MetricResult, Reason, Then, Unknown, WhenUnknown
from scaler.rules import Aggregate, MetricRule
from scaler.selector import parse
from tests.builders import REF, Bench, batch, failure, queue

MAX_AGE_MS, HOLD_MS, FLOOR_MILLI = 10_000, 7_000, 5_000
ERROR = WhenUnknown()
HOLD = WhenUnknown(Then.HOLD, hold_for_ms=HOLD_MS)
FLOOR = WhenUnknown(Then.FLOOR, floor_milli=FLOOR_MILLI, floor_after_ms=MAX_AGE_MS)
RULE = MetricRule(REF, "M", "s", interval_ms=5_000, targets=("t",), max_age_ms=MAX_AGE_MS)
SUM = replace(RULE, aggregate=Aggregate())
TIMEOUT = Unknown(Reason.SOURCE_ERROR, "timeout")
WRONG_TYPE = Unknown(Reason.WRONG_TYPE, "holds a string")

Served = dict[Labels, tuple[int, int]] | None
"""What a reader gets: milli-units and time by labels; None: an error."""


def served(result: MetricResult, selector: str, now_ms: int) -> Served:
    found = answer(result, parse(selector), now_ms)
    if isinstance(found, UnknownAnswer):
        return None
    assert all(item.valid_until_ms > now_ms for item in found)
    return {item.labels: (item.milli, item.timestamp_ms) for item in found}


# The slow twin: everything that happened is replayed, and a reader is told what the documents say.


@dataclass
class Known:
    """An item as it was made: its value and time, and its oldest reading, from which it ages."""

    milli: int
    time_ms: int
    oldest_ms: int


@dataclass
class Model:
    """One target, function value; with `summed` one item in all, else one a series."""

    policy: WhenUnknown
    summed: bool
    readings: dict[Labels, tuple[float, int]] = field(default_factory=dict)  # newest good one of each series there is
    bad_ms: dict[Labels, int] = field(default_factory=dict)  # since when a series cannot be read
    there: set[Labels] = field(default_factory=set)
    good_ms: int | None = None  # newest read of the target that brought anything
    fail_ms: int | None = None  # since when the target cannot be read
    last: dict[Labels, Known | None] = field(
        default_factory=dict
    )  # of each item there is, or was when the set was lost
    unknown_ms: dict[Labels | None, int] = field(default_factory=dict)  # since when; None: the set of items
    current: dict[Labels, Known] = field(default_factory=dict)

    def read(self, now_ms: int, readings: Mapping[Labels, int | None]) -> None:
        """The target was read; None: that series could not be."""
        self.fail_ms = None
        for labels in self.there - readings.keys():
            self.readings.pop(labels, None)
        self.there = set(readings)
        if not readings or any(value is not None for value in readings.values()):
            self.good_ms = now_ms
        self.bad_ms = {s: self.bad_ms.get(s, now_ms) for s, value in readings.items() if value is None}
        for labels, value in readings.items():
            if value is not None:
                self.readings[labels] = (value, now_ms)
        self.judge(now_ms)

    def fail(self, now_ms: int) -> None:
        """The target could not be read."""
        self.fail_ms = now_ms if self.fail_ms is None else self.fail_ms
        self.judge(now_ms)

    def judge(self, now_ms: int) -> None:
        """Work out each item, and whether it is known which there are."""
        stale = self.good_ms is None or self.good_ms + MAX_AGE_MS < now_ms
        if stale and (self.fail_ms is not None or not self.bad_ms):
            cause_ms = self.fail_ms if self.fail_ms is not None else self.good_ms
        elif not self.there:
            cause_ms = now_ms
        else:
            self.judge_items(now_ms)
            return
        if stale and self.current and all(now_ms <= i.oldest_ms + MAX_AGE_MS for i in self.current.values()):
            return  # cannot be: nothing is newer than the newest read
        assert cause_ms is not None
        self.current = {}
        self.unknown_ms[None] = min(self.unknown_ms.get(None, cause_ms), cause_ms)

    def judge_items(self, now_ms: int) -> None:
        began, before = self.unknown_ms, {} if None in self.unknown_ms else self.current
        self.current, self.unknown_ms = {}, {}
        fresh = self.items(now_ms)
        for labels, item in fresh.items():
            was = before.get(labels)
            if item is None and was is not None and now_ms <= was.oldest_ms + MAX_AGE_MS:
                item = was
            if item is None:
                causes = [self.bad_ms[s] for s in sorted(self.there) if s in self.bad_ms and labels in (s, ())]
                cause_ms = causes[0] if causes else now_ms
                self.unknown_ms[labels] = min(began.get(labels, cause_ms), began.get(None, cause_ms), cause_ms)
            else:
                self.current[labels] = item
        self.last = {labels: self.current.get(labels, self.last.get(labels)) for labels in fresh}

    def items(self, now_ms: int) -> dict[Labels, Known | None]:
        """Return what the readings make of each item; None: unknown."""
        fresh = {labels: r for labels, r in self.readings.items() if now_ms <= r[1] + MAX_AGE_MS}
        if not self.summed:
            return {
                labels: Known(int(fresh[labels][0] * 1000), fresh[labels][1], fresh[labels][1])
                if labels in fresh
                else None
                for labels in self.there
            }
        if fresh.keys() != self.there:
            return {(): None}
        times = [time_ms for _, time_ms in fresh.values()]
        return {(): Known(int(sum(value for value, _ in fresh.values()) * 1000), max(times), min(times))}

    def serve(self, selector: Labels, now_ms: int) -> Served:
        """Return what a reader is told whose selector asks for these labels."""
        found: dict[Labels, tuple[int, int]] = {}
        items = {labels: last for labels, last in self.last.items() if set(selector) <= set(labels)}
        lost = None in self.unknown_ms
        if lost and not items:
            items = {selector: None}
        for labels, last in items.items():
            known = self.current.get(labels)
            if not lost and known is not None and now_ms <= known.oldest_ms + MAX_AGE_MS:
                found[labels] = (known.milli, known.time_ms)
            elif self.policy.then is Then.HOLD and last is not None and now_ms <= last.oldest_ms + MAX_AGE_MS + HOLD_MS:
                found[labels] = (last.milli, last.time_ms)
            elif self.policy.then is Then.FLOOR and last is not None:
                found[labels] = (max(last.milli, FLOOR_MILLI), last.time_ms)
            elif self.policy.then is Then.FLOOR and now_ms > self.since(labels) + MAX_AGE_MS:
                found[labels] = (FLOOR_MILLI, self.since(labels))
            else:
                return None
        return found

    def since(self, labels: Labels) -> int:
        return min(self.unknown_ms[key] for key in (labels, None) if key in self.unknown_ms)


A, B = queue("a"), queue("b")
PAUSE = st.sampled_from((1, 1_000, 4_999, 5_000, 5_001, 6_999, 7_001, 10_000, 10_001, 17_000, 17_001, 30_000))
READINGS = st.dictionaries(st.sampled_from((A, B)), st.one_of(st.none(), st.integers(0, 9)), max_size=2)
EVENT = st.one_of(st.just("fail"), READINGS, READINGS)
QUESTIONS: list[tuple[str, Labels]] = [("", ()), ("queue=a", A), ("queue=c", queue("c"))]
STORY = st.lists(st.tuples(EVENT, PAUSE, st.lists(PAUSE, max_size=3)), min_size=1, max_size=8)


@pytest.mark.parametrize("policy", [ERROR, HOLD, FLOOR], ids=lambda policy: policy.then.value)
@pytest.mark.parametrize("rule", [RULE, SUM], ids=["singles", "sum"])
@pytest.mark.parametrize("prompt", [True, False], ids=["evaluated at deadlines", "evaluated with reads only"])
@given(story=STORY)
@example(story=[({A: 3, B: None}, 5_000, [1]), ("fail", 30_000, [10_001, 7_001])])
@example(story=[({}, 5_000, []), ("fail", 10_001, [1]), ({A: None}, 10_001, [17_001])])
def test_a_reader_is_told_what_the_slow_model_says(
    policy: WhenUnknown,
    rule: MetricRule,
    prompt: bool,
    story: list[tuple[str | dict[Labels, int | None], int, list[int]]],
) -> None:
    """Whatever happened, whenever it is read, and whether or not it was evaluated since: value and time are right."""
    bench = Bench(replace(rule, when_unknown=policy))
    model = Model(policy, summed=rule is SUM)
    now_ms = 1_000_000
    for event, pause_ms, reads in story:
        now_ms += pause_ms
        if isinstance(event, str):
            result = bench.at(now_ms / 1000, failure(now_ms / 1000, TIMEOUT))
            model.fail(now_ms)
        else:
            if event and not any(value is not None for value in event.values()):
                event = dict.fromkeys(model.there | event.keys())  # a read without a number ends no series
            readings = {labels: WRONG_TYPE if value is None else float(value) for labels, value in event.items()}
            result = bench.at(now_ms / 1000, batch(now_ms / 1000, readings))
            model.read(now_ms, event)
        at_ms = now_ms
        for wait_ms in (0, *reads):
            at_ms += wait_ms
            while prompt and result.recompute_at_ms is not None and result.recompute_at_ms <= at_ms:
                model.judge(result.recompute_at_ms)
                result = bench.at(result.recompute_at_ms / 1000)
            for text, labels in QUESTIONS:
                assert served(result, text, at_ms) == model.serve(labels, at_ms), (text, at_ms)
        now_ms = at_ms
