"""The series of a metric's targets, and what its function makes of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaler import kernels as k
from scaler import signals
from scaler.model import F64, I32, I64, U8, Labels
from scaler.rules import Function, MetricRule
from scaler.store import Block, SeriesStore

_LATE = 1.1
"""Intervals since a target's newest read after which it has missed one: as late as Prometheus takes to be regular."""


@dataclass(frozen=True, slots=True)
class Members:
    """Every series slot of the targets that count: its number, and from when it is."""

    targets: Sequence[tuple[str, Block]]
    value: F64
    state: U8
    newest_ms: I64
    groups: I32

    def locate(self, i: int) -> tuple[str, Block, int]:
        """Return the target, block and slot of a member."""
        for target, block in self.targets:
            if i < len(block.labels):
                return target, block, i
            i -= len(block.labels)
        raise IndexError(i)

    def labels(self) -> list[Labels | None]:
        """Return each slot's labels; None for a free slot."""
        return [labels for _, block in self.targets for labels in block.labels]

    @property
    def oldest_ms(self) -> I64:
        """A series has one time."""
        return self.newest_ms


def members_of(
    store: SeriesStore,
    rule: MetricRule,
    targets: Sequence[tuple[str, Block]],
    gone: Sequence[tuple[str, Block]],
    now_ms: int,
) -> Members:
    """Run the rule's function over every series of some targets, and of those that left within the window.

    The window of a target that is gone ends with the newest of the others': its past slides out, as time goes on.
    """
    targets = [*targets, *gone]
    blocks = [block for _, block in targets]
    sizes = [len(block.labels) for block in blocks]
    ids = np.array([block.row for block in blocks], np.int64)
    last_good_ms = np.array([-1 if b.last_good_ms is None else b.last_good_ms for b in blocks], np.int64)
    if gone:
        last_good_ms[-len(gone) :] = last_good_ms.max()
    end_ms = ends(last_good_ms, rule.interval_ms)
    value = np.zeros(sum(sizes), np.float64)
    state = np.empty(sum(sizes), np.uint8)
    signals.run(store.arena, rule.signal, ids, end_ms, value, state)
    newest_ms = np.repeat(last_good_ms, sizes)
    groups = np.concatenate([block.groups for block in blocks]) if blocks else np.empty(0, np.int32)
    if gone:
        last = state[-sum(sizes[-len(gone) :]) or len(state) :]
        last[last == k.TOO_FEW] = k.GONE  # it will never have more
    members = Members(targets, value, state, newest_ms, groups)
    if any(block.problems for block in blocks):
        _admit_failing(members)
        if rule.signal.function is Function.VALUE:
            _hold(members)
        state[(state == k.OK) & (newest_ms + rule.max_age_ms < now_ms)] = k.READ_FAILED
    return members


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


def _admit_failing(members: Members) -> None:
    """A series whose every read has failed has no sample, but it exists: it is unknown, not gone."""
    start = 0
    for _, block in members.targets:
        for slot in block.problems:
            if members.state[start + slot] == k.GONE:
                members.state[start + slot] = k.READ_FAILED
        start += len(block.labels)


def _hold(members: Members) -> None:
    """Put the newest good sample of a series in the place of a failed or non-finite one."""
    start = 0
    for _, block in members.targets:
        for slot, (held, time_ms) in block.held.items():
            members.value[start + slot] = held
            members.state[start + slot] = k.OK
            members.newest_ms[start + slot] = time_ms
        start += len(block.labels)
