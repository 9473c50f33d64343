"""The course of a cell: healthy, broken, healthy again; and what is asserted and measured of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from tests.adapter_process import VALUES, Adapter
from tests.faults.judge import INTERVAL_MS, neighbour, reads, reason_of
from tests.faults.matrix import Cell, Served
from tests.faults.stage import MAX_AGE_S, Broken, Stage
from tests.faults.truth import now_ms
from tests.faults.watcher import Seen
from tests.waiting import until_sync

_MAX_AGE_MS = MAX_AGE_S * 1000
_DWELL = 15
"""Answers during a state, to see that it stays the same."""

_LONGEST_PAUSE = 8
"""Intervals between two reads of a source that keeps failing, at most."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run of a cell found. Times in intervals; None where there was nothing to measure.

    Args:
        reason, detail: Of the 503.
        unknown_after: From the newest good read to the first 503.
        oldest: The greatest age of a value that was served.
        back_after: From the end of the fault to the first value read after it.
        answers: How many were judged, of the metric and of its neighbours.
        neighbour_oldest: The greatest age of a neighbour's value.
        neighbour_reads: How often neighbours were read meanwhile; none was missed.
        wrong: What must not be; empty unless the test fails.
    """

    reason: str = ""
    detail: str = ""
    unknown_after: float | None = None
    oldest: float | None = None
    back_after: float | None = None
    answers: int = 0
    neighbour_oldest: float | None = None
    neighbour_reads: int = 0
    wrong: tuple[str, ...] = field(default=(), compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {name: value for name, value in asdict(self).items() if name != "wrong"}


def course(stage: Stage, pairs: Sequence[tuple[Broken, Cell]]) -> dict[str, Measured]:
    """Break some things at once, wait for what must come of it, mend them, and wait until all is well again.

    Returns: What was found, by the metric's name.
    """
    names = [broken.name for broken, _ in pairs]
    for broken, _ in pairs:
        until_sync(lambda broken=broken: _is_back(stage, broken, 0), 30)  # type: ignore[misc]
    near = [each.name for each in stage.neighbours]
    stage.watcher.asked_again([*names, *near])
    began_ms, before = now_ms(), {name: stage.reads(name) for name in near}
    for broken, _ in pairs:
        broken.break_it()
    broken_ms = now_ms()
    for broken, cell in pairs:
        _wait_for(stage, broken, cell, broken_ms)
    counts = [(broken, len(stage.answers(broken))) for broken, _ in pairs]
    until_sync(lambda: all(len(stage.answers(broken)) >= count + _DWELL for broken, count in counts), 60)
    lasts_ms = max(cell.lasts_ms for _, cell in pairs)
    until_sync(lambda: now_ms() > broken_ms + lasts_ms, 60)
    mending_ms = now_ms()
    for broken, _ in pairs:
        broken.mend()
    mended_ms = now_ms()
    for broken, _ in pairs:
        # As long as it may take, and as this machine may need: what it took is measured, and judged, below.
        until_sync(lambda broken=broken: _is_back(stage, broken, mended_ms), 60)  # type: ignore[misc]
    ended_ms, after = now_ms(), {name: stage.reads(name) for name in near}
    oldest, count, wrong = _neighbours(stage, began_ms, ended_ms)
    total, missed = _missed(before, after, ended_ms - began_ms)
    found = {}
    for broken, cell in pairs:
        seen = [each for each in stage.answers(broken) if began_ms <= each.asked_ms <= ended_ms]
        own, bad = _own(broken, cell, seen, Times(broken_ms, mending_ms, mended_ms))
        found[broken.name] = Measured(
            **own,
            neighbour_oldest=oldest / INTERVAL_MS,
            neighbour_reads=total,
            answers=len(seen) + count,
            wrong=(*bad, *wrong, *missed),
        )
    return found


def _is_back(stage: Stage, broken: Broken, since_ms: float) -> bool:
    """Tell whether the newest answer is a value that was read since a moment."""
    seen = stage.answers(broken)[-1:]
    return bool(seen) and seen[0].status == 200 and broken.is_back(seen[0], since_ms)


def _wait_for(stage: Stage, broken: Broken, cell: Cell, broken_ms: float) -> None:
    if cell.served is Served.UNKNOWN:
        until_sync(lambda: _said(stage.answers(broken)[-1], cell), 30)
    else:
        until_sync(lambda: now_ms() > broken_ms + 2 * _MAX_AGE_MS, 30)


def _said(seen: Seen, cell: Cell) -> bool:
    return seen.status == 503 and reason_of(seen.message)[0] == cell.reason


def started(adapter: Adapter, cell: Cell) -> Measured:
    """Start an adapter; it must serve, or say in one line why it does not."""
    try:
        with adapter:
            found = adapter.get(VALUES + "near-static").status
        return Measured(wrong=() if (found, cell.served) == (200, Served.STARTED) else (f"it has started: {found}",))
    except RuntimeError as error:
        said = str(error).splitlines()
    good = (cell.served, len(said), adapter.wait()) == (Served.NOT_STARTED, 1, 1) and cell.detail in said[-1]
    return Measured(detail=said[-1].rsplit(": ", 1)[-1], wrong=() if good else tuple(said))


class Times(NamedTuple):
    """When everything was broken, and when mending began and ended."""

    broken_ms: float
    mending_ms: float
    mended_ms: float


def _own(broken: Broken, cell: Cell, seen: Sequence[Seen], times: Times) -> tuple[dict[str, Any], list[str]]:
    """Judge the answers of what was broken. Returns figures, and what is wrong."""
    values, wrong = reads(seen, broken.was)
    wrong += [f"{each.age_ms:.0f} ms old: {each}" for each in values if each.age_ms > _MAX_AGE_MS + each.starved_ms]
    wrong += [f"neither a value nor what it must be: {each}" for each in seen if each.status not in (200, 503)]
    figures: dict[str, Any] = {"oldest": max((each.age_ms for each in values), default=0.0) / INTERVAL_MS}
    refused = [each for each in seen if each.status == 503]
    if cell.served in (Served.CURRENT, Served.FOLLOWING):
        wrong += [f"503 instead of a value: {each}" for each in refused]
        during = [each for each in values if times.broken_ms < each.seen.asked_ms < times.mending_ms]
        if cell.served is Served.CURRENT and any(broken.is_back(each.seen, times.mended_ms) for each in during):
            wrong.append("the fault has broken nothing")
    else:
        causes, bad = _causes(cell, [each for each in refused if each.asked_ms < times.mending_ms])
        wrong += bad
        figures |= {"reason": causes[-1][0], "detail": causes[-1][1]} if causes else {}
    if cell.served is Served.UNKNOWN:
        wrong += _order(broken, seen, times.broken_ms)
        after = figures["unknown_after"] = _unknown_after(broken, seen)
        # A sample has the time at which its read began, and a read may take as long as an interval.
        if after is not None and after < MAX_AGE_S - 1:
            wrong.append(f"503 after {after:.1f} intervals, with a value that was still current")
    back = [each for each in seen if each.status == 200 and broken.is_back(each, times.mended_ms)]
    back_ms = max(0.0, back[0].asked_ms - times.mended_ms) if back else float("inf")
    figures["back_after"] = back_ms / INTERVAL_MS
    starved_ms = seen[-1].starved_ms - seen[0].starved_ms
    if back_ms > (_LONGEST_PAUSE + 2) * INTERVAL_MS + starved_ms:
        wrong.append(f"back only {back_ms:.0f} ms after the fault has ended")
    return figures, wrong


def _causes(cell: Cell, refused: Sequence[Seen]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return reason and detail of each 503 during the fault, and which are others than they must be, or change."""
    # Why is known once the read that is under way has ended; before, only that the value is too old.
    named = [each.message for each in refused if reason_of(each.message)[0] != "Stale"]
    nameless = [each.asked_ms for each in refused if reason_of(each.message)[0] == "Stale"]
    causes = [reason_of(message) for message in named]
    wrong = [
        f"503 with {reason}: {detail}"
        for reason, detail in causes
        if (reason, cell.detail in detail) != (cell.reason, True)
    ]
    if len(set(named)) > 1 and cell.served is Served.UNKNOWN:
        wrong.append(f"the message changes: {sorted(set(named))}")
    if cell.served is Served.UNKNOWN and nameless and nameless[-1] > refused[0].asked_ms + INTERVAL_MS:
        wrong.append(f"a 503 without a cause until {nameless[-1] - refused[0].asked_ms:.0f} ms after the first")
    return causes, wrong


def _order(broken: Broken, seen: Sequence[Seen], broken_ms: float) -> list[str]:
    """Check that there is no value between the first 503 and the first read after it."""
    first = next((i for i, each in enumerate(seen) if each.status == 503), len(seen))
    spans = [(each, broken.was(each)) for each in seen[first:] if each.status == 200]
    return [f"a value of before: {each}" for each, span in spans if span is not None and span.until_ms < broken_ms]


def _unknown_after(broken: Broken, seen: Sequence[Seen]) -> float | None:
    """Return how old the newest value was when it was no longer served, in intervals."""
    for before, after in pairwise(seen):
        if before.status == 200 and after.status == 503:
            span = broken.was(before)
            return None if span is None else (after.asked_ms - span.from_ms) / INTERVAL_MS
    return None


def _neighbours(stage: Stage, began_ms: float, ended_ms: float) -> tuple[float, int, list[str]]:
    oldest, count, wrong = 0.0, 0, list[str]()
    for near in stage.neighbours:
        seen = [each for each in stage.watcher.seen[near.name] if began_ms <= each.asked_ms <= ended_ms]
        age_ms, lost = neighbour(near.name, seen, near.was)
        oldest, count, wrong = max(oldest, age_ms), count + len(seen), wrong + lost
    return oldest, count, wrong


def _missed(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]], elapsed_ms: float
) -> tuple[int, list[str]]:
    """Return how often neighbours were read, and what collections failed or were left out."""
    total, wrong = 0, list[str]()
    for name, counts in after.items():
        grown = {outcome: int(count - before[name].get(outcome, 0)) for outcome, count in counts.items()}
        good = grown.pop("ok", 0)
        total += good
        if good < int(elapsed_ms / INTERVAL_MS) - 1 or any(grown.values()):
            wrong.append(f"{name} was read {good} times in {elapsed_ms:.0f} ms, and failed {grown}")
    return total, wrong
