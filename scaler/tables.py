"""A metric's table: its targets' blocks, its groups, and where their series are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from scaler import kernels as k
from scaler.arena import Arena
from scaler.histograms import Histograms, arrange
from scaler.model import EMPTY_LAYOUT, I32, I64, Labels, Layout, Unknown

_LABEL_BYTES = 400
"""About what a series takes beside its samples."""

_MAX_ROSTERS = 4
"""Selections of targets that are remembered until a series comes or goes."""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What a table must remember.

    Args:
        window_ms: How far back range functions look; 0: only the newest sample counts.
        interval_ms: Expected time between columns; only sizes the first ring.
        counter: A drop is a counter reset.
        from_zero: A new series of a target that was read before started at zero then (counterStart: zero).
        by: Labels that name a group; None: each series is its own item.
        buckets: The series are buckets of histograms, and the groups their cells.
        max_series: More series than this at once, and the batches that would bring them are not taken.
    """

    window_ms: int
    interval_ms: int
    counter: bool
    from_zero: bool
    by: tuple[str, ...] | None
    buckets: bool = False
    max_series: int = 1 << 62

    @property
    def series_bytes(self) -> int:
        """About the memory that one series takes once the window is full."""
        return _LABEL_BYTES + 8 * (self.window_ms // self.interval_ms + 3)


@dataclass(slots=True)
class Block:
    """One target of a table. `row` is its row in the arena.

    Attributes:
        labels: Labels of each series slot; None: the slot is free.
        used: How many slots are not free.
        layout, slots: The last batch's layout and where its series stand; slots is None when they stand in order.
        problems: Slot → why its newest read failed, while it does.
        held: Slot → (value, time_ms) of its newest good sample, while it has a problem.
        ended: Slot → when its series was first absent.
        known: Hashes of the newest series that lost their slot: one that returns does not count from zero.
        failure: Why the newest read of the whole target failed, while it does.
        last_good_ms: When the target was last read well; None: never.
        start_ms: When its process started, if that was after we began to watch and before the first read.
        departed: The target is gone, and stays while the window holds samples of it.
    """

    row: int
    labels: list[Labels | None] = field(default_factory=list)
    used: int = 0
    layout: Layout = EMPTY_LAYOUT
    slots: I64 | None = None
    problems: dict[int, Unknown] = field(default_factory=dict)
    held: dict[int, tuple[float, int]] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    known: dict[int, None] = field(default_factory=dict)
    failure: Unknown | None = None
    last_good_ms: int | None = None
    start_ms: int | None = None
    departed: bool = False

    def index(self) -> dict[Labels, int]:
        """Return where each series is. Made when series come or go: kept, it would take 40 bytes a series."""
        return {labels: slot for slot, labels in enumerate(self.labels) if labels is not None}


@dataclass(frozen=True, eq=False)
class Roster:
    """Some targets of a metric and where their series are, as long as none comes or goes.

    Attributes:
        targets: The targets and their blocks; the series of one follow those of the one before.
        ids: Their rows in the arena, shape (targets,).
        begin: Where the series of each begin, and the last one's end; shape (targets + 1,).
        series: How many series the targets have, at most: one that has ended may still have a slot.
    """

    targets: Sequence[tuple[str, Block]]
    ids: I64
    begin: I64
    series: int
    _arena: Arena
    _groups: int

    @classmethod
    def of(cls, table: Table, names: Collection[str]) -> Roster:
        """Return the roster of some targets of a table."""
        targets = [(name, table.blocks[name]) for name in names]
        ids = np.array([block.row for _, block in targets], np.int64)
        begin = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(block.labels) for _, block in targets], out=begin[1:])
        series = sum(block.used for _, block in targets)
        return cls(targets, ids, begin, series, table.arena, len(table.group_index))

    def last_good_ms(self) -> I64:
        """Return when each target was last read well; -1: never."""
        newest_ms: I64 = np.maximum(self._arena.rows[self.ids, k.NEWEST], -1)
        return newest_ms

    @cached_property
    def groups(self) -> I32:
        """The group of each series, shape (series,)."""
        parts = [self._arena.groups_of(row) for row in self.ids.tolist()]
        return np.concatenate(parts) if parts else np.empty(0, np.int32)

    @cached_property
    def slots(self) -> I64:
        """How many series slots each group has, shape (groups,)."""
        return np.bincount(self.groups, minlength=self._groups)


@dataclass(slots=True)
class Table:
    """One metric: its blocks by target, and its groups.

    Attributes:
        version: Grows when a slot, a block or a group comes or goes.
        departed: How many blocks are of targets that are gone.
        looked_ms: When it was last looked which of them have left the window.
        used: How many series slots are in use.
        troubled: The other targets whose newest read failed, in whole or in part.
    """

    arena: Arena
    spec: TableSpec
    since_ms: int
    blocks: dict[str, Block] = field(default_factory=dict)
    group_index: dict[Labels, int] = field(default_factory=dict)
    departed: int = 0
    looked_ms: int = 0
    used: int = 0
    version: int = 0
    troubled: set[str] = field(default_factory=set)
    _histograms: tuple[int, Histograms] | None = None  # of a version
    _rosters: tuple[int, dict[tuple[str, ...], Roster]] | None = None  # likewise
    _ordered: tuple[int, tuple[tuple[Labels, ...], I64]] | None = None  # likewise

    def histograms(self) -> Histograms:
        """Return the groups arranged as histograms."""
        if self._histograms is None or self._histograms[0] != self.version:
            self._histograms = self.version, arrange(self.group_index)
        return self._histograms[1]

    def roster(self, names: tuple[str, ...]) -> Roster:
        """Return the roster of some targets.

        Raises:
            KeyError: One of them was not read yet.
        """
        if self._rosters is None or self._rosters[0] != self.version or len(self._rosters[1]) > _MAX_ROSTERS:
            self._rosters = self.version, {}
        rosters = self._rosters[1]
        if names not in rosters:
            rosters[names] = Roster.of(self, names)
        return rosters[names]

    def ordered_groups(self) -> tuple[tuple[Labels, ...], I64]:
        """Return the labels of the groups, sorted, and the number of each."""
        if self._ordered is None or self._ordered[0] != self.version:
            pairs = sorted(self.group_index.items())
            numbers = np.array([number for _, number in pairs], np.int64)
            self._ordered = self.version, (tuple(labels for labels, _ in pairs), numbers)
        return self._ordered[1]

    def group_of(self, labels: Labels) -> int:
        """Return the number of the group these labels fall into, a new one if need be."""
        by = self.spec.by
        if by is None and not self.spec.buckets:
            return 0  # each series is an item of its own, and nobody asks
        key = labels if by is None else tuple((name, value) for name, value in labels if name in by)
        return self.group_index.setdefault(key, len(self.group_index))

    def regroup(self) -> None:
        """Number the groups anew, without those that have no series left."""
        self.group_index = {}
        for block in self.blocks.values():
            numbers = [0 if labels is None else self.group_of(labels) for labels in block.labels]
            self.arena.groups_of(block.row)[:] = numbers
        self.version += 1

    def series(self) -> int:
        """Count the series slots in use."""
        return self.used

    def live(self) -> int:
        """Count the series that have not ended, of targets that are not gone."""
        return sum(block.used - len(block.ended) for block in self.blocks.values() if not block.departed)
