"""One block of memory for all samples, so that a kernel call can cover any blocks.

A block is a segment of `values` (capacity × width float64, a ring of columns), of `times` (one a column), of
`irregular` and `groups` (one a series) and of `events` (resets); its row in `rows` says where. A block that outgrows a
segment gets another at the end; when a fifth of what is used lies fallow, everything moves together again, in place.
"""

from __future__ import annotations

import numpy as np

from scaler import kernels as k
from scaler import kernels_store
from scaler.model import F64, I32, I64
from scaler.reserve import Reserved

_FALLOW = 1 << 15
"""So many words may lie fallow before it is worth while to move what is used."""

_FIRST_ROOM = 8
_MAX_ROOM = 8192
"""A block has room for so many resets, at most for one a series; more in a window make their series irregular."""


class Arena:
    """Segments of samples, times, per-series facts and events; see `scaler.kernels` for what the numbers mean."""

    def __init__(self) -> None:
        self._samples = Reserved(np.int64, 1 << 31)
        self._times = Reserved(np.int64, 1 << 27)
        self._irregular = Reserved(np.int64, 1 << 27)
        self._groups = Reserved(np.int32, 1 << 27)
        self._events = Reserved(np.int64, 1 << 27)
        self._name()
        self.rows: I64 = np.zeros((16, k.ROW_FIELDS), np.int64)
        self._used = np.zeros(4, np.int64)  # of samples, times, per-series facts, events
        self._live = np.zeros(4, np.int64)  # of it in segments of blocks
        self._free_rows: list[int] = list(range(15, -1, -1))

    def _name(self) -> None:
        self.bits: I64 = self._samples.array
        self.values: F64 = self.bits.view(np.float64)
        self.times: I64 = self._times.array
        self.irregular: I64 = self._irregular.array
        self.groups: I32 = self._groups.array
        self.events: I64 = self._events.array
        self.dropped: F64 = self.events.view(np.float64)

    def allocate(self, columns: int, series: int) -> int:
        """Return a new row without series, with room for this many columns of this many series."""
        if not self._free_rows:
            old = len(self.rows)
            self.rows = np.vstack([self.rows, np.zeros((old, k.ROW_FIELDS), np.int64)])
            self._free_rows = list(range(2 * old - 1, old - 1, -1))
        row = self._free_rows.pop()
        self.rows[row] = 0
        self.rows[row, [k.IRREGULAR, k.NEWEST]] = k.NEVER
        self._place(row, columns, series)
        return row

    def free(self, row: int) -> None:
        """Give a row back."""
        self._live -= _lengths(self.rows[row])
        self.rows[row] = 0
        self._free_rows.append(row)

    def widen(self, row: int, series: int) -> None:
        """Make room for more series; their past is ABSENT, and no look at two of its columns would do."""
        size, width = int(self.rows[row, k.SIZE]), int(self.rows[row, k.WIDTH])
        if series > width:
            self._place(row, int(self.rows[row, k.CAPACITY]), max(series, width + width // 4))
        r = self.rows[row]
        r[k.SIZE] = max(series, size)
        self.irregular[r[k.SERIES] + size : r[k.SERIES] + series] = k.NEVER
        self.groups[r[k.SERIES] + size : r[k.SERIES] + series] = 0
        if r[k.COUNT] and series > size:
            self._columns(row)[:, size:series] = k.ABSENT_BITS
            self._break(row, slice(size, series))

    def append(self, row: int, time_ms: int, window_ms: int, column: F64, *, counter: bool) -> bool:
        """Add a column, shape (size,). The oldest makes room once it has left the window (time - window, time].

        Returns: Whether every sample goes on from the one before: all are finite, and a counter has not been reset.

        Raises:
            ValueError: The column has not a sample for each series.
        """
        if column.size != self.rows[row, k.SIZE]:
            raise ValueError(f"{column.size} samples for {self.rows[row, k.SIZE]} series")
        while True:
            odd = kernels_store.write_column(
                self.values, self.times, self.rows, row, time_ms, window_ms, counter, column
            )
            if odd >= 0:
                break
            self._place(row, int(self.rows[row, k.CAPACITY]) * 2, int(self.rows[row, k.WIDTH]))
        if odd:
            if counter and self.rows[row, k.RESETS] + odd > self.rows[row, k.ROOM]:
                self._make_room(row, odd)
            kernels_store.mark(self.values, self.irregular, self.events, self.dropped, self.rows, row, counter)
        return odd == 0

    def groups_of(self, row: int) -> I32:
        """Return the group of each series of a row, as a view that lasts until something is added."""
        r = self.rows[row]
        return self.groups[r[k.SERIES] : r[k.SERIES] + r[k.SIZE]]

    def set_newest(self, row: int, series: int, value: float) -> None:
        """Set a sample of the newest column after the fact; nothing without a column."""
        r = self.rows[row]
        if r[k.COUNT]:
            self.values[r[k.OFFSET] + r[k.HEAD] * r[k.WIDTH] + series] = value
            self._break(row, slice(series, series + 1))

    def clear_newest(self, row: int, series: int) -> None:
        """Make a sample of the newest column ABSENT after the fact."""
        r = self.rows[row]
        self.bits[r[k.OFFSET] + r[k.HEAD] * r[k.WIDTH] + series] = k.ABSENT_BITS
        self._break(row, slice(series, series + 1))

    def end_failed(self, row: int) -> None:
        """Make what failed in the newest column ABSENT: nobody will read it again."""
        r = self.rows[row]
        if r[k.COUNT]:
            at = int(r[k.OFFSET] + r[k.HEAD] * r[k.WIDTH])
            newest = self.bits[at : at + int(r[k.SIZE])]
            newest[newest == k.FAILED_BITS] = k.ABSENT_BITS

    def before_newest(self, row: int, series: int) -> float | None:
        """Return a series' sample in the column before the newest, if there is one and it is finite."""
        r = self.rows[row]
        if r[k.COUNT] < 2:
            return None
        before = int((r[k.HEAD] - 1) % r[k.CAPACITY])
        value = float(self.values[r[k.OFFSET] + before * r[k.WIDTH] + series])
        return value if np.isfinite(value) else None

    def oldest_ms(self, row: int) -> int | None:
        """Return the time of the oldest column kept."""
        r = self.rows[row]
        if not r[k.COUNT]:
            return None
        return int(self.times[r[k.TIMES] + (r[k.HEAD] - r[k.COUNT] + 1) % r[k.CAPACITY]])

    def times_ms(self, row: int) -> I64:
        """Return the times of the columns kept, oldest first."""
        r = self.rows[row]
        columns = (r[k.HEAD] - r[k.COUNT] + 1 + np.arange(r[k.COUNT])) % max(r[k.CAPACITY], 1)
        times: I64 = self.times[r[k.TIMES] + columns]
        return times

    def nbytes(self) -> int:
        """Return the memory held."""
        samples, times, series, events = self._used.tolist()
        return int(8 * (samples + times + series + events) + 4 * series + self.rows.nbytes)

    def _columns(self, row: int) -> I64:
        """Return the columns of a row as bits, in no order, shape (count, width)."""
        r = self.rows[row]
        width, capacity, at = int(r[k.WIDTH]), int(r[k.CAPACITY]), int(r[k.OFFSET])
        return self.bits[at : at + width * capacity].reshape(capacity, width)[: int(r[k.COUNT])]

    def _break(self, row: int, series: slice) -> None:
        """Note that these series are irregular up to the newest column."""
        r = self.rows[row]
        self.irregular[r[k.SERIES] + series.start : r[k.SERIES] + series.stop] = r[k.NEWEST]
        r[k.IRREGULAR] = max(r[k.IRREGULAR], r[k.NEWEST])

    def _make_room(self, row: int, count: int) -> None:
        """Forget resets before the columns that are kept, and make room for more."""
        r = self.rows[row]
        begin, held = int(r[k.EVENTS]), int(r[k.RESETS])
        kept = self.events[begin : begin + held * k.EVENT_WORDS].reshape(held, k.EVENT_WORDS)
        kept = kept[kept[:, 0] > (self.oldest_ms(row) or 0)].copy()
        needed = len(kept) + count
        most = min(int(r[k.SIZE]), _MAX_ROOM)
        if needed * 4 > int(r[k.ROOM]) * 3 and r[k.ROOM] < most:
            self._live[3] -= int(r[k.ROOM]) * k.EVENT_WORDS
            r[k.ROOM] = r[k.RESETS] = 0
            room = min(max(needed + needed // 2, _FIRST_ROOM), max(most, _FIRST_ROOM))
            self._reserve((0, 0, 0, room * k.EVENT_WORDS))
            begin = int(self._used[3])
            r[k.EVENTS], r[k.ROOM] = begin, room
            self._used[3] += room * k.EVENT_WORDS
            self._live[3] += room * k.EVENT_WORDS
        self.events[begin : begin + kept.size] = kept.ravel()
        r[k.RESETS] = len(kept)

    def _place(self, row: int, columns: int, width: int) -> None:
        """Give a row segments of this shape and bring its columns along, oldest first."""
        needed = (columns * width, columns, width)
        self._reserve((*needed, 0))
        r = self.rows[row]
        old = r.copy()
        r[k.OFFSET], r[k.TIMES], r[k.SERIES] = self._used[:3]
        r[k.CAPACITY], r[k.WIDTH], r[k.HEAD] = columns, width, max(int(old[k.COUNT]) - 1, 0)
        self._used[:3] += needed
        self._live += _lengths(r) - _lengths(old)
        kernels_store.move_block(self.bits, self.times, self.irregular, self.groups, old, r)

    def _reserve(self, needed: tuple[int, int, int, int]) -> None:
        """Make room at the end, and before that use what lies fallow."""
        fallow = self._used - self._live
        if (fallow > np.maximum(self._live // 4, _FALLOW)).any():
            self._compact()
        moved = False
        arrays = (self._samples, self._times, self._irregular, self._groups, self._events)
        for reserved, kind in zip(arrays, (0, 1, 2, 2, 3), strict=True):
            used = int(self._used[kind])
            moved |= reserved.grow(used, used + needed[kind])
        if moved:
            self._name()

    def _compact(self) -> None:
        """Move the segments of all blocks together and give back what is free then."""
        placed = np.flatnonzero(self.rows[:, k.CAPACITY])
        noted = np.flatnonzero(self.rows[:, k.ROOM])
        kernels_store.compact(
            self.bits,
            self.times,
            self.irregular,
            self.groups,
            self.events,
            self.rows,
            placed[np.argsort(self.rows[placed, k.TIMES])],
            noted[np.argsort(self.rows[noted, k.EVENTS])],
            self._used,
        )
        for reserved, kind in zip(
            (self._samples, self._times, self._irregular, self._groups, self._events), (0, 1, 2, 2, 3), strict=True
        ):
            reserved.shrink(int(self._used[kind]))


def _lengths(row: I64) -> I64:
    """Return how much of samples, times, facts and events a row's segments hold."""
    return np.array(
        [row[k.CAPACITY] * row[k.WIDTH], row[k.CAPACITY], row[k.WIDTH], row[k.ROOM] * k.EVENT_WORDS], np.int64
    )
