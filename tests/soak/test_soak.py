"""The soak in small, and that its oracle sees what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.soak.leaks import growth
from tests.soak.oracle import NOTICE_S, READ_S, RECOVER_S, Answer, Oracle, number
from tests.soak.report import page
from tests.soak.run import Plan, run
from tests.soak.starved import Starved
from tests.soak.truth import Constant, Definition, History, Labels, Rate, Source, Steps, Truth
from tests.waiting import until_sync

NOW_S = 1_700_000_000.0
A: Labels = frozenset({("queue", "a")})
B: Labels = frozenset({("queue", "b")})


def history() -> History:
    """Return a queue that was 3 for 50 s, then 7 for 50 s, and is 9 for 10 s."""
    found = History(3.0, NOW_S - 110)
    for value, since_s in ((7.0, NOW_S - 60), (9.0, NOW_S - 10)):
        found.begin(value, since_s)
        found.settle(since_s + 0.1)
    return found


def oracle(truths: Mapping[Labels, Truth] | None = None) -> tuple[Oracle, Source]:
    """Return an oracle that knows the metric "m", defined long ago, and its source."""
    found, source = Oracle(), Source("redis0")
    definition = Definition("m", truths or {A: history()}, source, 5, 20)
    found.timeline("m").change(definition, NOW_S - 1000)
    return found, source


def listed(*values: tuple[str, str], age_s: float = 3) -> bytes:
    """Return a body with these (queue, value) items."""
    moment = f"2023-11-14T22:13:{20 - age_s:02.0f}Z" if age_s <= 20 else "2023-11-14T22:12:50Z"
    items = [{"metricLabels": {"queue": q}, "timestamp": moment, "value": value} for q, value in values]
    return json.dumps({"items": items}).encode()


def unknown(reason: str) -> bytes:
    """Return a body that says why."""
    return json.dumps({"message": f"metric shop/m is unknown: queue=a:b: {reason}: x"}).encode()


def verdict(found: Oracle, status: int, body: bytes) -> str:
    """Return what the oracle has against an answer, or ""."""
    found.judge(Answer("m", NOW_S, NOW_S + 0.01, status, body))
    wrong = found.verdicts.wrong
    assert len(wrong) + sum(found.verdicts.checked.values()) == 1
    return wrong[0] if wrong else ""


def test_a_right_value_is_right() -> None:
    """What is true now, and what was true when the answer says so, are both right."""
    assert verdict(oracle()[0], 200, listed(("a", "9"))) == ""
    assert verdict(oracle()[0], 200, listed(("a", "7"), age_s=18)) == ""


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (listed(("a", "7")), "was not true"),
        (listed(("a", "9"), age_s=18), "was not true"),
        (listed(("a", "0")), "was not true"),
        (listed(("a", "9001m")), "was not true"),
        (listed(("a", "3"), age_s=30), "s old, and maxAge is 20 s"),
        (listed(), "0 of 1 items"),
        (listed(("a", "9"), ("b", "9")), "2 of 1 items"),
        (listed(("a", "9"), ("a", "9")), "2 of 1 items"),
        (listed(("b", "9")), "1 of 1 items"),
    ],
)
def test_a_wrong_value_is_seen(body: bytes, why: str) -> None:
    """A value of another moment, of another metric, too old, a part or too much is a violation."""
    assert why in verdict(oracle()[0], 200, body)


def test_a_part_is_seen() -> None:
    """An answer without one of its items is a violation."""
    assert "1 of 2 items" in verdict(oracle({A: Constant(1), B: Constant(1)})[0], 200, listed(("a", "1")))


def test_unknown_needs_a_fault() -> None:
    """503 is right while its source is broken and shortly after, with a reason that fits."""
    assert "nothing was broken" in verdict(oracle()[0], 503, unknown("SourceError"))
    for end_s, reason, right in (
        (None, "SourceError", True),
        (NOW_S - RECOVER_S + 1, "Stale", True),
        (NOW_S - RECOVER_S - 1, "SourceError", False),
        (None, "WrongType", False),
    ):
        found, source = oracle()
        source.faults.begin("hang", NOW_S - 100)
        if end_s is not None:
            source.faults.end(end_s)
        assert (verdict(found, 503, unknown(reason)) == "") is right


def test_not_found_needs_a_change() -> None:
    """404 is right only if the metric was not defined a moment ago; an error of any other kind never is."""
    assert "404, and it is defined" in verdict(oracle()[0], 404, b"{}")
    assert "neither" in verdict(oracle()[0], 500, b"{}")
    for since_s, right in ((NOW_S - 1000, False), (NOW_S - NOTICE_S + 1, True)):
        found = Oracle()
        found.timeline("m").change(Definition("m", {A: history()}, Source("s"), 5, 20), since_s)
        assert (verdict(found, 404, b"{}") == "") is right
    gone, _ = oracle()
    gone.timeline("m").change(None, NOW_S - NOTICE_S - 1)
    assert "it is not defined" in verdict(gone, 200, listed(("a", "9")))


def test_a_new_version_may_not_be_noticed_yet() -> None:
    """Shortly after a change the old version and the new one are right, and nothing else."""
    for value, right in (("9", True), ("5", True), ("7", False)):
        found, source = oracle()
        found.timeline("m").change(Definition("m", {A: Constant(5)}, source, 5, 20), NOW_S - 5)
        assert (verdict(found, 200, listed(("a", value))) == "") is right


def test_truths() -> None:
    """A step is true in its time, a rate within its tolerance, and less only before its window is full."""
    steps = Steps(100, 10, 0)
    assert steps.was(steps.at(NOW_S), NOW_S, NOW_S + READ_S)
    assert not steps.was(steps.at(NOW_S - 20), NOW_S, NOW_S + READ_S)
    rate = Rate(50, 0.03)
    assert rate.may_be(20, full=False)
    assert not rate.may_be(20, full=True)
    assert not rate.may_be(52, full=True)
    assert rate.may_be(53, full=False)
    assert not rate.may_be(54, full=False)
    assert (number("1500m"), number("2k"), number("7")) == (1.5, 2000, 7)
    assert growth([100] * 10 + [150] * 80 + [103] * 10) == pytest.approx(0.03)


@pytest.mark.skipif(sys.platform != "linux", reason="what the adapter holds is read from /proc")
def test_soak_in_small(tmp_path: Path) -> None:
    """Some seconds of everything at once, every answer checked: no violation, and the page of it can be written."""
    plan = Plan(
        metrics=30,
        seconds=6,
        redis_servers=2,
        pages=3,
        change_s=1,
        cadence_s=2,
        quiet_s=2,
        broken_s=3,
        settle_s=0,
        growth_limit=0.5,
    )
    told: list[str] = []
    found = run(plan, tmp_path, told.append)
    assert found["violations"] == []
    assert found["checked"]["value"] > 50
    assert sum(found["faults"].values()) > 0
    assert "| of them wrong | 0 |" in page(found)
    assert any("trouble" in line for line in told)


def test_who_waits_for_a_processor_is_seen() -> None:
    """Of four processes on one processor each is kept waiting, from then on and not before."""
    busy = f"import os\nos.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\nwhile True: pass"
    began_s = time.time()
    processes = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(4)]
    try:
        with Starved([processes[0].pid]) as starved:
            until_sync(lambda: starved.during(began_s, time.time()), 60)
            assert not starved.during(0, began_s)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_rate_that_the_machine_bent_is_not_held_to_its_slope() -> None:
    """A rate that is too low counts as wrong, unless a read within its window may have come late."""
    for kept_waiting, wrong in ((False, 1), (True, 0)):
        found = Oracle()
        if kept_waiting:
            found.starved = lambda from_s, to_s: from_s < NOW_S - 3 < to_s
        definition = Definition("m", {A: Rate(100, 0.2)}, Source("s"), 5, 20, window_s=30)
        found.timeline("m").change(definition, NOW_S - 1000)
        found.judge(Answer("m", NOW_S, NOW_S + 0.01, 200, listed(("a", "70"))))
        assert (found.verdicts.wrong_count, found.verdicts.rates_late) == (wrong, int(kept_waiting))
