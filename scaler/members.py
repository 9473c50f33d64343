"""The series of a metric's targets, and what its function makes of each, or of each group of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from scaler import kernels as k
from scaler import kernels_groups, signals
from scaler.model import F64, I32, I64, U8, Labels
from scaler.rules import Function, MetricRule
from scaler.store import SeriesStore
from scaler.tables import Block, Roster, Table

_LATE = 1.1
"""Intervals since a target's newest read after which it has missed one: as late as Prometheus takes to be regular."""


class Each(NamedTuple):
    """What each series slot comes to, and the time of its newest sample; shape (series,)."""

    value: F64
    state: U8
    newest_ms: I64


class Folded(NamedTuple):
    """What each group comes to; see `kernels.fold`. The times are those of its known members; shape (groups,)."""

    value: F64
    members: I64
    unknown: I64
    newest_ms: I64
    oldest_ms: I64


@dataclass(frozen=True, eq=False)
class Members:
    """Every series slot of the targets that count.

    Attributes:
        roster: The targets and where their series are.
        last_good_ms: When each target was last read well; of one that is gone, what it is looked at from.
        end_ms: Where each target's window ends.
        gone_from: From this one on the targets are gone.
        troubled: The newest read of some series failed.
    """

    store: SeriesStore
    rule: MetricRule
    roster: Roster
    last_good_ms: I64
    end_ms: I64
    gone_from: int
    troubled: bool
    now_ms: int

    @property
    def targets(self) -> Sequence[tuple[str, Block]]:
        """The targets and their blocks."""
        return self.roster.targets

    @property
    def groups(self) -> I32:
        """The group of each series."""
        return self.roster.groups

    @cached_property
    def each(self) -> Each:
        """What the function makes of each series."""
        value, state = np.zeros(self.roster.begin[-1]), np.empty(self.roster.begin[-1], np.uint8)
        signals.run(self.store.arena, self.rule.signal, self.roster.ids, self.end_ms, value, state)
        newest_ms = np.repeat(self.last_good_ms, np.diff(self.roster.begin))
        if self.gone_from < len(self.targets):
            last = state[self.roster.begin[self.gone_from] :]
            last[last == k.TOO_FEW] = k.GONE  # it will never have more
        each = Each(value, state, newest_ms)
        if self.troubled:
            self._admit_failing(each)
            if self.rule.signal.function is Function.VALUE:
                self._hold(each)
            state[(state == k.OK) & (newest_ms + self.rule.max_age_ms < self.now_ms)] = k.READ_FAILED
        return each

    def fold(self, op: int) -> Folded:
        """Return what the function, and then the aggregation, makes of each group."""
        slots = self.roster.slots
        value, members, unknown = np.empty(slots.size), slots.copy(), np.empty(slots.size, np.int64)
        state = np.empty(self.roster.begin[-1], np.uint8)
        arena, signal, ids = self.store.arena, self.rule.signal, self.roster.ids
        if not self.troubled and signals.fold(
            arena, signal, op, ids, self.end_ms, self.gone_from, state, value, members, unknown
        ):
            times = times_of(state, self.groups, slots.size, self.last_good_ms, self.last_good_ms, self.roster.begin)
        else:
            of, state, newest_ms = self.each
            k.fold(of, state, self.groups, op, value, members, unknown)
            times = times_of(state, self.groups, slots.size, newest_ms, newest_ms)
        return Folded(value, members, unknown, *times)

    def locate(self, i: int) -> tuple[str, Block, int]:
        """Return the target, block and slot of a member."""
        at = int(np.searchsorted(self.roster.begin, i, side="right")) - 1
        return *self.targets[at], i - int(self.roster.begin[at])

    def labels(self) -> list[Labels | None]:
        """Return each slot's labels; None for a free slot."""
        return [labels for _, block in self.targets for labels in block.labels]

    def _admit_failing(self, each: Each) -> None:
        """A series whose every read has failed has no sample, but it exists: it is unknown, not gone."""
        for start, (_, block) in zip(self.roster.begin.tolist(), self.targets, strict=False):
            for slot in block.problems:
                if each.state[start + slot] == k.GONE:
                    each.state[start + slot] = k.READ_FAILED

    def _hold(self, each: Each) -> None:
        """Put the newest good sample of a series in the place of a failed or non-finite one."""
        for start, (_, block) in zip(self.roster.begin.tolist(), self.targets, strict=False):
            for slot, (held, time_ms) in block.held.items():
                each.value[start + slot] = held
                each.state[start + slot] = k.OK
                each.newest_ms[start + slot] = time_ms


def members_of(
    store: SeriesStore, table: Table, rule: MetricRule, roster: Roster, now_ms: int, *, gone: bool = True
) -> Members:
    """Return the series of some targets, and, with `gone`, of those that left within the window.

    The window of a target that is gone ends with the newest of the others': its past slides out, as time goes on.
    """
    count = len(roster.targets)
    gone = gone and table.departed > 0
    if gone:
        left = (name for name, block in table.blocks.items() if block.departed)
        roster = table.roster((*(name for name, _ in roster.targets), *left))
    last_good_ms = roster.last_good_ms()
    if gone:
        last_good_ms[count:] = last_good_ms.max()
    end_ms = ends(last_good_ms, rule.interval_ms)
    troubled = bool(table.troubled) and any(block.problems for _, block in roster.targets)
    return Members(store, rule, roster, last_good_ms, end_ms, count, troubled, now_ms)


def ends(last_good_ms: I64, interval_ms: int) -> I64:
    """Return where each target's window ends.

    Targets are read at different moments of an interval. All that were read within the last one are looked at from the
    newest of these moments, as Prometheus looks at all from one; a target that has missed a read is looked at from its
    own newest, or its window would drain.
    """
    if not last_good_ms.size:
        return last_good_ms
    moment_ms = last_good_ms.max()
    return np.where(moment_ms - last_good_ms <= interval_ms * _LATE, moment_ms, last_good_ms)


def times_of(
    state: U8, groups: I32, count: int, newest_ms: I64, oldest_ms: I64, begin: I64 | None = None
) -> tuple[I64, I64]:
    """Return the newest and the oldest time of the known members of each group.

    Args:
        newest_ms, oldest_ms: Of each series, or of each run of series that begin where `begin` says.
    """
    newest, oldest = np.full(count, k.NEVER, np.int64), np.full(count, k.FOREVER, np.int64)
    runs = np.arange(len(state) + 1) if begin is None else begin
    kernels_groups.times_of_groups(state, groups, runs, newest_ms, oldest_ms, newest, oldest)
    return newest, oldest
