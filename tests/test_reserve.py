"""Arrays that grow where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scaler.reserve import Reserved


def test_an_array_grows_where_it_is_as_long_as_there_is_address_space() -> None:
    """Within what was taken at first nothing moves; beyond it, what is used comes along."""
    reserved = Reserved(np.int64, 1000)
    array = reserved.array
    array[:3] = (1, 2, 3)
    assert not reserved.grow(3, 1000)
    assert reserved.array is array
    assert reserved.grow(3, 5000)
    assert reserved.array.size >= 5000
    assert reserved.array[:3].tolist() == [1, 2, 3]


def test_address_space_costs_no_memory_and_what_is_given_back_is_free() -> None:
    """Gigabytes that nobody wrote to are not resident, nor are those behind the end of what is used."""
    reserved = Reserved(np.int64, 1 << 31)
    before = resident_kib()
    assert not reserved.grow(0, 1 << 22)
    assert resident_kib() - before < 4_096
    reserved.array[: 1 << 22] = 7
    assert resident_kib() - before > 30_000
    reserved.shrink(1000)
    assert resident_kib() - before < 8_192
    assert reserved.array[:1000].tolist() == [7] * 1000


def test_too_much_is_a_memory_error() -> None:
    """What no address space is left for says so."""
    with pytest.raises(MemoryError, match="address space"):
        Reserved(np.int64, 10).grow(0, 1 << 58)


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
