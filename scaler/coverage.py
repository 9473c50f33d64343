"""Which targets count: those that are current, or why too few of them are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scaler.answer import time_of_day
from scaler.model import Reason, Unknown
from scaler.rules import MetricRule
from scaler.tables import Block, Roster, Table

_NOISE = 1 - 1e-12
_NAMED = 3
"""How many unknown targets a detail names."""


def current_targets(table: Table | None, rule: MetricRule, now_ms: int) -> Roster | Unknown:
    """Return the targets that count, or why too few of them do.

    A target whose series are known by configuration counts even when it cannot be read: its series are then unknown
    one by one.
    """
    if not rule.targets:
        return Unknown(Reason.NO_DATA, rule.waiting or "there are no targets")
    if table is None:
        return Unknown(Reason.NO_DATA, f"{names(rule.targets)}: not read yet")
    everyone = _at_a_glance(table, rule, now_ms)
    if everyone is not None:
        return everyone
    good: dict[str, Block] = {}
    bad: list[tuple[str, Unknown]] = []
    for target in rule.targets:
        block = table.blocks.get(target)
        if block is not None and block.failure is not None and block.failure.reason is Reason.TOO_MANY_SERIES:
            return block.failure  # whatever minCoverage allows: the target can be read, and not be added
        why = Unknown(Reason.NO_DATA, "not read yet") if block is None else _lost(table, block, rule, now_ms)
        if why is not None:
            bad.append((target, why))
        elif block is not None:
            good[target] = block
    if sum(block.used - len(block.ended) for block in good.values()) > rule.max_series:
        return Unknown(Reason.TOO_MANY_SERIES, f"more than {rule.max_series} series (spec.maxSeries)")
    wanted = rule.min_coverage * len(rule.targets) * _NOISE  # 0.28 of 25 is 7, and a little more as floats go
    if not bad or len(good) >= max(wanted, 1):
        return table.roster(tuple(good))
    _, first = bad[0]
    if len(good) and rule.min_coverage < 1:
        share = f"fewer targets are current than minCoverage {rule.min_coverage:g} asks for; "
        return Unknown(Reason.LOW_COVERAGE, f"{share}{names([t for t, _ in bad])}: {first.detail}", first.since_ms)
    return Unknown(first.reason, f"{names([t for t, _ in bad])}: {first.detail}", first.since_ms)


def _lost(table: Table, block: Block, rule: MetricRule, now_ms: int) -> Unknown | None:
    """Say why a target does not count; None: it does."""
    each_for_itself = block.failure is None and block.problems
    if not each_for_itself and (block.last_good_ms is None or block.last_good_ms + rule.max_age_ms < now_ms):
        return block.failure or _stale(block)
    return _filling(table, block, rule)


def _at_a_glance(table: Table, rule: MetricRule, now_ms: int) -> Roster | None:
    """Return all targets if each of them was read, nothing failed, nothing is old, and there are not many series."""
    try:
        everyone = table.roster(rule.targets)
    except KeyError:
        return None
    if rule.signal.full_window and any(_filling(table, block, rule) for _, block in everyone.targets):
        return None
    oldest_ms = int(np.min(everyone.last_good_ms(), initial=now_ms))
    fine = not table.troubled and oldest_ms + rule.max_age_ms >= now_ms and everyone.series <= rule.max_series
    return everyone if fine else None


_REACH = 1.1
"""Steps between samples within which a window's first one is taken to be at its start, as Prometheus does."""


def _filling(table: Table, block: Block, rule: MetricRule) -> Unknown | None:
    """Say why a target has not been read for a whole window, if that is asked for.

    A process that has started since we watch has no past that we could have missed.
    """
    window_ms, last_ms = rule.signal.window_ms, block.last_good_ms
    if not rule.signal.full_window or window_ms is None or last_ms is None:
        return None
    begin_ms = last_ms - window_ms
    times_ms = table.arena.times_ms(block.row)
    times_ms = times_ms[times_ms > begin_ms]
    first_ms = int(times_ms[0])
    spacing_ms = max(rule.interval_ms, (last_ms - first_ms) / max(times_ms.size - 1, 1))
    if first_ms - begin_ms < spacing_ms * _REACH or (block.start_ms is not None and block.start_ms > begin_ms):
        return None
    return Unknown(Reason.TOO_FEW_SAMPLES, f"the window is not full: first read at {time_of_day(first_ms)}")


def _stale(block: Block) -> Unknown:
    return Unknown(Reason.STALE, "no read has ended", block.last_good_ms)


def names(targets: Sequence[str]) -> str:
    """Return the first few targets, for a sentence."""
    more = " and others" if len(targets) > _NAMED else ""
    return ", ".join(targets[:_NAMED]) + more
