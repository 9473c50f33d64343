"""One block of memory for all samples, so that a kernel call can cover any blocks.

A block is a segment of `values` (capacity × width float64, a ring of columns), of `times` (one a column) and of
`irregular` (one a series); its row in `rows` says where. A block that outgrows its segment moves to the end; when more
lies fallow than is used, everything moves together again.
"""

from __future__ import annotations

import numpy as np

from scaler import kernels as k
from scaler.model import F64, I64

_FIRST = 1024


class Arena:
    """Segments of samples, times and per-series facts; see `scaler.kernels` for what the numbers mean."""

    def __init__(self) -> None:
        self.values: F64 = np.empty(_FIRST, np.float64)
        self.bits: I64 = self.values.view(np.int64)
        self.times: I64 = np.empty(_FIRST, np.int64)
        self.irregular: I64 = np.empty(_FIRST, np.int64)
        self.rows: I64 = np.zeros((16, k.ROW_FIELDS), np.int64)
        self._used = [0, 0, 0]  # of values, times, irregular
        self._live = 0  # values in segments of live blocks
        self._free_rows: list[int] = list(range(15, -1, -1))
        self._live_rows: set[int] = set()

    def allocate(self, columns: int, series: int) -> int:
        """Return a new, empty row with room for this many columns of this many series."""
        if not self._free_rows:
            old = len(self.rows)
            self.rows = np.vstack([self.rows, np.zeros((old, k.ROW_FIELDS), np.int64)])
            self._free_rows = list(range(2 * old - 1, old - 1, -1))
        row = self._free_rows.pop()
        self._live_rows.add(row)
        self.rows[row] = 0
        self.rows[row, k.IRREGULAR] = k.NEVER
        self._place(row, columns, series)
        self.rows[row, k.SIZE] = series
        self._fill(row, 0)
        return row

    def free(self, row: int) -> None:
        """Give a row back."""
        self._live -= int(self.rows[row, k.CAPACITY] * self.rows[row, k.WIDTH])
        self.rows[row] = 0
        self._live_rows.remove(row)
        self._free_rows.append(row)

    def widen(self, row: int, series: int) -> None:
        """Make room for more series; their past is ABSENT, and no look at two of its columns would do."""
        size, width = int(self.rows[row, k.SIZE]), int(self.rows[row, k.WIDTH])
        if series > width:
            self._place(row, int(self.rows[row, k.CAPACITY]), max(series, width + width // 4))
        self.rows[row, k.SIZE] = max(series, size)
        self._fill(row, size)
        if self.rows[row, k.COUNT]:
            self._break(row, slice(size, series))

    def push(self, row: int, time_ms: int, window_ms: int) -> tuple[I64, F64]:
        """Begin a new column and return it, as bits and as values, shape (size,); its contents are not set.

        The oldest column makes room once it has left the window (time_ms - window_ms, time_ms].
        """
        r = self.rows[row]
        if r[k.COUNT] == r[k.CAPACITY]:
            oldest_ms = self.oldest_ms(row)
            if oldest_ms is not None and oldest_ms > time_ms - window_ms:
                self._place(row, int(r[k.CAPACITY]) * 2, int(r[k.WIDTH]))
            else:
                r[k.COUNT] -= 1
        r[k.HEAD] = (r[k.HEAD] + 1) % r[k.CAPACITY] if r[k.COUNT] else 0
        r[k.COUNT] += 1
        self.times[r[k.TIMES] + r[k.HEAD]] = time_ms
        at = int(r[k.OFFSET] + r[k.HEAD] * r[k.WIDTH])
        return self.bits[at : at + r[k.SIZE]], self.values[at : at + r[k.SIZE]]

    def mark(self, row: int, time_ms: int, counter: bool) -> None:
        """Note which series of the newest column break its regularity."""
        r = self.rows[row]
        size, at = int(r[k.SIZE]), int(r[k.SERIES])
        before = int(r[k.OFFSET] + self._before(row) * r[k.WIDTH]) if r[k.COUNT] > 1 else -1
        now = int(r[k.OFFSET] + r[k.HEAD] * r[k.WIDTH])
        irregular = self.irregular[at : at + size]
        if k.mark_irregular(self.values, before, now, size, time_ms, counter, irregular):
            r[k.IRREGULAR] = time_ms

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
        value = float(self.values[r[k.OFFSET] + self._before(row) * r[k.WIDTH] + series])
        return value if np.isfinite(value) else None

    def oldest_ms(self, row: int) -> int | None:
        """Return the time of the oldest column kept."""
        r = self.rows[row]
        if not r[k.COUNT]:
            return None
        return int(self.times[r[k.TIMES] + (r[k.HEAD] - r[k.COUNT] + 1) % r[k.CAPACITY]])

    def nbytes(self) -> int:
        """Return the memory held."""
        return self.values.nbytes + self.times.nbytes + self.irregular.nbytes + self.rows.nbytes

    def _before(self, row: int) -> int:
        return int((self.rows[row, k.HEAD] - 1) % self.rows[row, k.CAPACITY])

    def _break(self, row: int, series: slice) -> None:
        """Note that these series are irregular up to the newest column."""
        r = self.rows[row]
        time_ms = self.times[r[k.TIMES] + r[k.HEAD]]
        self.irregular[r[k.SERIES] + series.start : r[k.SERIES] + series.stop] = time_ms
        r[k.IRREGULAR] = max(r[k.IRREGULAR], time_ms)

    def _fill(self, row: int, since: int) -> None:
        """Make every column ABSENT and regular for the series from `since` on."""
        r = self.rows[row]
        width, capacity, size = int(r[k.WIDTH]), int(r[k.CAPACITY]), int(r[k.SIZE])
        at = int(r[k.OFFSET])
        self.bits[at : at + width * capacity].reshape(capacity, width)[:, since:size] = k.ABSENT_BITS
        self.irregular[r[k.SERIES] + since : r[k.SERIES] + size] = k.NEVER

    def _place(self, row: int, columns: int, width: int) -> None:
        """Give a row a segment of this shape and bring its columns along, oldest first."""
        needed = (columns * width, columns, width)
        self._reserve(needed)
        old = self.rows[row].copy()
        r = self.rows[row]
        r[k.OFFSET], r[k.TIMES], r[k.SERIES] = self._used
        r[k.CAPACITY], r[k.WIDTH], r[k.HEAD] = columns, width, max(int(old[k.COUNT]) - 1, 0)
        self._used = [used + n for used, n in zip(self._used, needed, strict=True)]
        self._live += columns * width - int(old[k.CAPACITY] * old[k.WIDTH])
        _copy(self.bits, self.times, self.irregular, old, r)

    def _reserve(self, needed: tuple[int, int, int]) -> None:
        """Make room at the end: by compaction where much lies fallow, by growth otherwise."""
        held = (self.values.size, self.times.size, self.irregular.size)
        if all(used + n <= have for used, n, have in zip(self._used, needed, held, strict=True)):
            return
        if not self._is_fallow():
            grown = [
                have if used + n <= have else max(used + n, have + have // 2)
                for used, n, have in zip(self._used, needed, held, strict=True)
            ]
            self._move(grown)
            return
        self._compact(needed)

    def _is_fallow(self) -> bool:
        """Tell whether more than half of what is used, of values or of times, belongs to nobody any more."""
        columns = sum(int(self.rows[row, k.CAPACITY]) for row in self._live_rows)
        return self._used[0] > 2 * self._live + _FIRST or self._used[1] > 2 * columns + _FIRST

    def _move(self, sizes: list[int]) -> None:
        for name, size, used in zip(("bits", "times", "irregular"), sizes, self._used, strict=True):
            old: I64 = getattr(self, name)
            if size != old.size:
                grown = np.empty(size, np.int64)
                grown[:used] = old[:used]
                setattr(self, name, grown)
        self.values = self.bits.view(np.float64)

    def _compact(self, needed: tuple[int, int, int]) -> None:
        """Copy the live segments together."""
        live = [self.rows[row] for row in sorted(self._live_rows)]
        totals = [
            sum(int(r[k.CAPACITY] * r[k.WIDTH]) for r in live),
            sum(int(r[k.CAPACITY]) for r in live),
            sum(int(r[k.WIDTH]) for r in live),
        ]
        bits, times, irregular = (np.empty(t + t // 4 + n + 64, np.int64) for t, n in zip(totals, needed, strict=True))
        used = [0, 0, 0]
        for r in live:
            old = r.copy()
            r[k.OFFSET], r[k.TIMES], r[k.SERIES] = used
            for i, n in enumerate((int(r[k.CAPACITY] * r[k.WIDTH]), int(r[k.CAPACITY]), int(r[k.WIDTH]))):
                source = (self.bits, self.times, self.irregular)[i]
                start = int((old[k.OFFSET], old[k.TIMES], old[k.SERIES])[i])
                (bits, times, irregular)[i][used[i] : used[i] + n] = source[start : start + n]
                used[i] += n
        self.bits, self.times, self.irregular, self._used = bits, times, irregular, used
        self.values = bits.view(np.float64)


def _copy(bits: I64, times: I64, irregular: I64, old: I64, new: I64) -> None:
    """Copy a ring's columns to another segment, oldest first."""
    size, count = int(old[k.SIZE]), int(old[k.COUNT])
    for ordinal in range(count):
        c = (int(old[k.HEAD]) - count + 1 + ordinal) % int(old[k.CAPACITY])
        source = int(old[k.OFFSET]) + c * int(old[k.WIDTH])
        to = int(new[k.OFFSET]) + ordinal * int(new[k.WIDTH])
        bits[to : to + size] = bits[source : source + size]
        times[int(new[k.TIMES]) + ordinal] = times[int(old[k.TIMES]) + c]
    irregular[int(new[k.SERIES]) : int(new[k.SERIES]) + size] = irregular[
        int(old[k.SERIES]) : int(old[k.SERIES]) + size
    ]
