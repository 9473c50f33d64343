"""Arrays that grow where they are: address space is taken at once, and a page of memory when it is first written to.

A growing array would else be copied: for a moment both are there, and NumPy keeps every other thread waiting meanwhile.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

_HUGE_FROM = 4 << 20
_HUGE_STEP = 32 << 20
"""From this size on we ask for huge pages, ahead by so much: what a window touches lies scattered over many pages."""


class Reserved:
    """An array of at least so many elements; `array` is another object after `grow` has returned True.

    Args:
        dtype: Of the elements.
        count: For how many address space is taken at first; fewer where the system does not give that much.
    """

    def __init__(self, dtype: npt.DTypeLike, count: int) -> None:
        self._dtype = np.dtype(dtype)
        self._map(count * self._dtype.itemsize, least=mmap.PAGESIZE)

    def _map(self, size: int, least: int) -> None:
        while True:
            try:
                self._memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                break
            except OSError:
                if size // 2 < least:
                    raise MemoryError(f"no address space for {least} bytes") from None
                size //= 2
        self.array: npt.NDArray[Any] = np.frombuffer(self._memory, self._dtype, size // self._dtype.itemsize)
        self._huge = 0

    def grow(self, used: int, count: int) -> bool:
        """Make room for `count` elements, of which the first `used` are kept. Tell whether they had to be moved."""
        moved = count > self.array.size
        if moved:
            old = self.array
            self._map(2 * count * self._dtype.itemsize, least=count * self._dtype.itemsize)
            self.array[:used] = old[:used]
        size = count * self._dtype.itemsize
        if size >= _HUGE_FROM and size > self._huge and hasattr(mmap, "MADV_HUGEPAGE"):
            end = min((size // _HUGE_STEP + 1) * _HUGE_STEP, len(self._memory))
            self._memory.madvise(mmap.MADV_HUGEPAGE, self._huge, end - self._huge)
            self._huge = end
        return moved

    def shrink(self, used: int) -> None:
        """Give the memory behind the first `used` elements back."""
        start = -(-used * self._dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        if start < len(self._memory) and hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED, start, len(self._memory) - start)
