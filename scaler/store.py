"""SeriesStore: samples in time-major columns, in one arena, with the facts that numbers alone do not carry.

A table is a metric; a block is one of its targets; a column is one good read of it. Only reads that brought at least
one reading make a column: a failed read must not let a window drain. Not thread-safe: one owner at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from scaler import kernels as k
from scaler.arena import Arena
from scaler.model import F64, Batch, MetricRef, Reason, Unknown
from scaler.tables import Block, Table, TableSpec


class SeriesStore:
    """The samples of all metrics.

    `append` takes what a source brought; `configure`, `retain` and `drop` follow the configuration. Readers
    (evaluate, explain) look at `tables` and `arena`.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        """`max_bytes`: about the most memory for the metrics of one namespace; None: no bound."""
        self.arena = Arena()
        self.tables: dict[MetricRef, Table] = {}
        self._max_bytes = max_bytes
        self.bytes_of: Counter[str] = Counter()
        """About what the series of a namespace take once their windows are full."""
        self.refused = 0
        """Batches that were not taken because of the series they would have brought."""
        self.rejected = 0
        """Batches not newer than what was there: a clock that went back, a read that overtook another."""

    def configure(self, ref: MetricRef, spec: TableSpec, now_ms: int) -> None:
        """Make a metric's table what `spec` says. Samples are kept where they can still serve it."""
        table = self.tables.get(ref)
        if table is None:
            self.tables[ref] = Table(self.arena, spec, now_ms)
        elif replace(table.spec, **{name: getattr(spec, name) for name in _ONLY_SIZES}) != spec:
            self.drop(ref)
            self.tables[ref] = Table(self.arena, spec, now_ms)
        else:
            self.bytes_of[ref.namespace] += table.used * (spec.series_bytes - table.spec.series_bytes)
            table.spec = spec

    def drop(self, ref: MetricRef) -> None:
        """Forget a metric."""
        table = self.tables.pop(ref, None)
        if table is not None:
            for block in table.blocks.values():
                self.arena.free(block.row)
            self._use(ref, table, -table.used)

    def retain(self, ref: MetricRef, targets: Collection[str], now_ms: int, *, lingers: bool = True) -> None:
        """Forget the targets of a metric that are not named, once their samples have left the window.

        What a target did before it left stays true: an increase does not shrink because a pod is gone. One that the
        configuration does not name any more was not meant: without `lingers` it is forgotten at once.
        """
        table = self.tables.get(ref)
        if table is None:
            return
        named = frozenset(targets)
        for target, block in table.blocks.items():
            gone = target not in named
            if gone and not lingers:
                block.last_good_ms = None
            if gone != block.departed:
                block.departed = gone
                table.troubled.discard(target)
                block.problems, block.held, block.failure = {}, {}, None
                self.arena.end_failed(block.row)
        self._forget_departed(ref, table, now_ms)

    def _forget_departed(self, ref: MetricRef, table: Table, now_ms: int) -> None:
        latest_ms = now_ms + _back_ms(table.spec)
        for target, block in list(table.blocks.items()):
            last_ms = block.last_good_ms
            # One from the future was read before the clock was set back, and nobody will read it again.
            in_window = last_ms is not None and now_ms - table.spec.window_ms < last_ms < latest_ms
            if block.departed and not in_window:
                self.arena.free(block.row)
                self._use(ref, table, -block.used)
                del table.blocks[target]
                table.troubled.discard(target)
                table.version += 1
        table.looked_ms = now_ms
        table.departed = sum(block.departed for block in table.blocks.values())

    def append(self, batch: Batch) -> bool:
        """Take in a batch.

        Returns: Whether it was used; False for an unknown metric, one not newer than the newest good read, and what a
            target that is gone could not be asked any more.
        """
        table = self.tables.get(batch.metric)
        if table is None:
            return False
        block = table.blocks.get(batch.target)
        if block is not None and block.departed and (batch.failure is not None or batch.problems):
            return False  # it has left: that it cannot be read takes nothing away from what it did
        too_many = None
        if batch.failure is None and (block is None or batch.layout is not block.layout):
            too_many = self._too_many(table, block, batch)
        width = 0 if too_many is not None else len(batch.layout)
        if block is None:
            block = Block(self.arena.allocate(_columns(table.spec), width))
            table.blocks[batch.target] = block
            table.version += 1
        if block.last_good_ms is not None and batch.time_ms <= block.last_good_ms:
            self.rejected += 1
            if batch.time_ms > block.last_good_ms - _back_ms(table.spec):
                return False
            # The clock was set back: by it, what is known lies in the future and would stay current for ever.
            block = self._begin_anew(table, batch, width)
        failure = batch.failure or too_many
        if failure is not None:
            block.failure = since(failure, block.failure, batch.time_ms)
            self.refused += too_many is not None
            table.troubled.add(batch.target)
            return True
        block.failure = None
        self._take_in(table, block, batch)
        return True

    def _take_in(self, table: Table, block: Block, batch: Batch) -> None:
        """Take what a read of the target brought."""
        if batch.layout is not block.layout:
            self._adopt(table, block, batch)
        if len(batch.layout) and len(batch.problems) == len(batch.layout):
            self._note_problems(block, batch, column=None)
            table.troubled.add(batch.target)
            return
        self._add_column(table, block, batch)
        if block.problems:
            table.troubled.add(batch.target)
        else:
            table.troubled.discard(batch.target)
        if block.ended:
            self._reap(batch.metric, table, block)
        if table.departed and abs(batch.time_ms - table.looked_ms) >= _LOOK_EVERY_MS:
            self._forget_departed(batch.metric, table, batch.time_ms)

    def _begin_anew(self, table: Table, batch: Batch, width: int) -> Block:
        """Forget what is known of a target."""
        gone = table.blocks[batch.target]
        self.arena.free(gone.row)
        self._use(batch.metric, table, -gone.used)
        block = Block(self.arena.allocate(_columns(table.spec), width))
        table.blocks[batch.target] = block
        table.version += 1
        return block

    def _use(self, ref: MetricRef, table: Table, slots: int) -> None:
        """Count slots that come into use, or go out of it."""
        table.used += slots
        self.bytes_of[ref.namespace] += slots * table.spec.series_bytes
        if not self.bytes_of[ref.namespace]:
            del self.bytes_of[ref.namespace]

    def _too_many(self, table: Table, block: Block | None, batch: Batch) -> Unknown | None:
        """Return why a batch cannot be taken: nothing of it is in memory then. None if it can."""
        most, count = table.spec.max_series, len(batch.layout)
        held = self.bytes_of[batch.metric.namespace]
        room = held + count * table.spec.series_bytes
        if table.used + count <= most and (self._max_bytes is None or room <= self._max_bytes):
            return None  # as nearly always
        others = table.live() - (0 if block is None else block.used - len(block.ended))
        if others + count > most:
            return Unknown(Reason.TOO_MANY_SERIES, f"more than {most} series (spec.maxSeries)")
        if block is not None and batch.layout is block.layout:
            return None
        known = {} if block is None else block.index()
        fresh = sum(labels not in known for labels in batch.layout.series)
        if fresh and table.used + fresh > _CHURN * most:
            detail = f"more than {_CHURN * most} series within the window, {_CHURN} × spec.maxSeries: a label changes"
            return Unknown(Reason.TOO_MANY_SERIES, detail)
        if fresh and self._max_bytes is not None and held + fresh * table.spec.series_bytes > self._max_bytes:
            detail = f"the metrics of this namespace need more than {self._max_bytes >> 20} MiB (--max-namespace-mib)"
            return Unknown(Reason.TOO_MANY_SERIES, detail)
        return None

    def _adopt(self, table: Table, block: Block, batch: Batch) -> None:
        """Give every series of a new layout its slot. Series that are not in it end with the next column."""
        slots = np.empty(len(batch.layout), np.int64)
        self._reap(batch.metric, table, block)
        free = [s for s, labels in enumerate(block.labels) if labels is None]
        new = []
        index = block.index()
        for i, labels in enumerate(batch.layout.series):
            slot = index.get(labels)
            if slot is None:
                slot = free.pop() if free else len(block.labels)
                if slot == len(block.labels):
                    block.labels.append(labels)
                else:
                    block.labels[slot] = labels
                index[labels] = slot
                new.append((i, slot))
            slots[i] = slot
        if new:
            block.used += len(new)
            self._use(batch.metric, table, len(new))
            self.arena.widen(block.row, len(block.labels))
            groups = self.arena.groups_of(block.row)
            for i, slot in new:
                groups[slot] = table.group_of(batch.layout.series[i])
                if table.spec.from_zero and i not in batch.problems and hash(batch.layout.series[i]) not in block.known:
                    self.arena.set_newest(block.row, slot, 0.0)
            table.version += 1
        in_order = len(slots) == len(block.labels) and bool((slots == np.arange(len(slots))).all())
        block.layout, block.slots = batch.layout, None if in_order else slots

    def _add_column(self, table: Table, block: Block, batch: Batch) -> None:
        """Write one column and the facts beside it."""
        arena, spec = self.arena, table.spec
        if block.last_good_ms is None and spec.from_zero and _started_since(batch, table.since_ms):
            block.start_ms = batch.start_ms
            arena.append(block.row, batch.start_ms or 0, 0, np.zeros(len(block.labels)), counter=spec.counter)
            self._note_absent(block, batch)
        column = _column(block, batch)
        regular = arena.append(block.row, batch.time_ms, spec.window_ms, column, counter=spec.counter)
        if not regular or block.problems or block.held:
            self._note_problems(block, batch, column)
        self._note_ended(block, batch)
        block.last_good_ms = batch.time_ms

    def _note_absent(self, block: Block, batch: Batch) -> None:
        """Nothing is known of a series with a problem before its first reading, not even that it was zero."""
        for i in batch.problems:
            self.arena.clear_newest(block.row, i if block.slots is None else int(block.slots[i]))

    def _note_problems(self, block: Block, batch: Batch, column: F64 | None) -> None:
        """Keep why each failing series fails, since when, and its newest good sample."""
        problems = {i if block.slots is None else int(block.slots[i]): u for i, u in batch.problems.items()}
        if column is not None and not np.isfinite(batch.values).all():
            for i in np.flatnonzero(~np.isfinite(batch.values)).tolist():
                slot = i if block.slots is None else int(block.slots[i])
                if slot in problems:
                    continue
                problems[slot] = Unknown(Reason.NOT_FINITE, "the source says NaN or Inf")
                if np.isnan(batch.values[i]):  # it may carry the bits of what is ABSENT or FAILED
                    self.arena.set_newest(block.row, slot, np.nan)
        if column is not None:
            for slot in problems:
                before = self.arena.before_newest(block.row, slot)
                if before is not None and block.last_good_ms is not None:
                    block.held[slot] = (before, block.last_good_ms)
            block.held = {s: held for s, held in block.held.items() if s in problems}
        block.problems = {s: since(u, block.problems.get(s), batch.time_ms) for s, u in problems.items()}

    def _note_ended(self, block: Block, batch: Batch) -> None:
        """Note which series the batch no longer has."""
        if block.slots is None:
            block.ended.clear()
            return
        present = np.zeros(len(block.labels), np.bool_)
        present[block.slots] = True
        absent = [s for s in np.flatnonzero(~present).tolist() if block.labels[s] is not None]
        block.ended = {s: block.ended.get(s, batch.time_ms) for s in absent}

    def _reap(self, ref: MetricRef, table: Table, block: Block) -> None:
        """Free the slots of series that have no sample left."""
        oldest_ms = self.arena.oldest_ms(block.row)
        for slot, ended_ms in list(block.ended.items()):
            labels = block.labels[slot]
            if oldest_ms is not None and ended_ms <= oldest_ms and labels is not None:
                block.used -= 1
                del block.ended[slot]
                self._use(ref, table, -1)
                block.labels[slot] = None
                if table.spec.from_zero:
                    _remember(block.known, hash(labels))
                table.version += 1
        if len(table.group_index) > 2 * table.series() + 64:
            table.regroup()


_ONLY_SIZES = ("interval_ms", "window_ms", "max_series")
"""What of a table's specification may change without its samples meaning something else."""

_CHURN = 4
"""Times maxSeries that may be in memory, those that have ended within the window included: rollouts need some."""

_SMALL_STEP_MS = 5_000
"""A clock that is corrected by less only delays the next read."""

_LOOK_EVERY_MS = 1_000
"""Between two looks for targets that have left the window: each goes through all of them."""

_FIRST_COLUMNS = 32
"""A ring begins with at most so many columns, and doubles: a long window costs memory as it fills, not before."""


_MAX_KNOWN = 10_000
"""Series of a target that are remembered after their slot was freed; the oldest is forgotten."""


def _remember(known: dict[int, None], labels_hash: int) -> None:
    known.pop(labels_hash, None)
    known[labels_hash] = None
    if len(known) > _MAX_KNOWN:
        del known[next(iter(known))]


def since(unknown: Unknown, before: Unknown | None, now_ms: int) -> Unknown:
    """Return the unknown with the time its state began: that of `before`, whatever it says.

    An outage that shows itself as a timeout first and as a refusal later is one outage.
    """
    if before is not None and (before.reason, before.detail) == (unknown.reason, unknown.detail):
        return before
    if unknown.since_ms is not None:
        return unknown
    began_ms = before.since_ms if before is not None and before.since_ms is not None else now_ms
    return replace(unknown, since_ms=began_ms)


def _back_ms(spec: TableSpec) -> int:
    """Return by how much a clock is set back for what was read before to lie in the future."""
    return max(2 * spec.interval_ms, _SMALL_STEP_MS)


def _columns(spec: TableSpec) -> int:
    """Return how many columns to begin with: a window's worth, the one before, and one for a late read."""
    return 2 if spec.window_ms == 0 else min(spec.window_ms // spec.interval_ms + 3, _FIRST_COLUMNS)


def _column(block: Block, batch: Batch) -> F64:
    """Return a reading for each slot: what failed is FAILED, what the batch does not have is ABSENT."""
    if block.slots is None and not batch.problems:
        return np.ascontiguousarray(batch.values, np.float64)
    bits = np.full(len(block.labels), k.ABSENT_BITS, np.int64)
    slots = np.arange(len(batch.layout)) if block.slots is None else block.slots
    column = bits.view(np.float64)
    column[slots] = batch.values
    bits[slots[list(batch.problems)]] = k.FAILED_BITS
    return column


def _started_since(batch: Batch, since_ms: int) -> bool:
    return batch.start_ms is not None and since_ms < batch.start_ms < batch.time_ms
