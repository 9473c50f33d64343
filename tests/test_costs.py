"""What work costs, counted where a clock would lie: kernel calls, allocations, bytes."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.shapes import REF, Data, Shape, build
from scaler import kernels, kernels_groups, kernels_store
from scaler.evaluate import evaluate
from scaler.model import EMPTY_SNAPSHOT, Batch, Layout, MetricRef, Snapshot
from scaler.store import SeriesStore
from scaler.tables import Table, TableSpec

SHAPE = Shape(targets=200, series=100, columns=20)
KERNELS = [
    (kernels, "extrapolated"),
    (kernels, "fold"),
    (kernels_groups, "extrapolated_groups"),
    (kernels_groups, "times_of_groups"),
    (kernels_store, "write_column"),
    (kernels_store, "mark"),
    (kernels_store, "move_block"),
    (kernels_store, "compact"),
]


@pytest.fixture(scope="module")
def data() -> Data:
    return build(SHAPE)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the calls of each kernel from now on."""
    counted: Counter[str] = Counter()

    def counting(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: object) -> Any:
            counted[name] += 1
            return kernel(*args)

        return call

    for module, name in KERNELS:
        monkeypatch.setattr(module, name, counting(name, getattr(module, name)))
    return counted


def evaluated(data: Data, previous: Snapshot = EMPTY_SNAPSHOT) -> Snapshot:
    return evaluate(data.store, {REF: data.rule}, previous, (REF,), data.now_ms)


def read_again(data: Data, columns: int = 1) -> None:
    """Read every target again, as often as asked, without a reset."""
    table = data.store.tables[REF]
    for _ in range(columns):
        for name in data.rule.targets:
            block = table.blocks[name]
            assert block.last_good_ms is not None
            values = np.full(SHAPE.series, float(block.last_good_ms))
            assert data.store.append(Batch(REF, name, block.last_good_ms + 15_000, block.layout, values))


def test_a_metric_is_evaluated_by_two_kernel_calls(data: Data, calls: Counter[str]) -> None:
    """However many targets it has: one call for the groups' values, one for their times."""
    evaluated(data)
    assert calls == {"extrapolated_groups": 1, "times_of_groups": 1}


def test_an_evaluation_allocates_little_beside_its_items(data: Data) -> None:
    """A byte a series and the items themselves: no number a series is ever held."""
    previous = evaluated(data)
    tracemalloc.start()
    try:
        result = evaluated(data, previous)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    items = len(result.results[REF].items)
    assert items > 900
    assert peak < 2 * SHAPE.count + 500 * items


def test_a_read_is_taken_in_by_one_kernel_call(data: Data, calls: Counter[str]) -> None:
    """A regular read of known series costs one call, and moves and allocates nothing in the arena."""
    held = data.store.arena.nbytes()
    read_again(data)
    assert calls == {"write_column": SHAPE.targets}
    assert data.store.arena.nbytes() == held


def test_a_series_takes_what_its_samples_take() -> None:
    """Twenty samples in the window, three columns of play, and twenty bytes beside them."""
    arena = build(SHAPE).store.arena
    assert arena.nbytes() / SHAPE.count <= 8 * 23 + 20


def test_growth_and_compaction_leave_the_arena_where_it_is(calls: Counter[str]) -> None:
    """However many blocks come and go, what is there is not copied for one that comes."""
    data = build(SHAPE)
    arena = data.store.arena
    where = arena.bits.ctypes.data
    calls.clear()
    data.store.retain(REF, data.rule.targets[:50], data.now_ms, lingers=False)
    assert calls == {}
    series = data.store.tables[REF].blocks[data.rule.targets[0]].layout
    for n in range(100):
        data.store.append(Batch(REF, f"new-{n}", data.now_ms, series, np.zeros(SHAPE.series)))
    assert calls["compact"] == 1
    assert arena.bits.ctypes.data == where
    assert arena.nbytes() <= 150 * SHAPE.series * 250


def test_a_target_that_has_left_costs_the_reads_of_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the window holds what a pod did, nobody goes through all targets at each read, but once a second."""
    looks = 0
    forget = SeriesStore._forget_departed

    def looking(store: SeriesStore, ref: MetricRef, table: Table, now_ms: int) -> None:
        nonlocal looks
        looks += 1
        forget(store, ref, table, now_ms)

    store, layout, names = SeriesStore(), Layout(((),)), [str(n) for n in range(200)]
    store.configure(REF, TableSpec(60_000, 15_000, counter=True, from_zero=False, by=()), 0)

    def read(now_ms: int) -> None:
        for n, name in enumerate(names):
            store.append(Batch(REF, name, now_ms + n * 10, layout, np.array([float(now_ms)])))

    read(1_000_000)
    store.retain(REF, names[1:], 1_002_000)
    del names[0]
    monkeypatch.setattr(SeriesStore, "_forget_departed", looking)
    read(1_015_000)
    assert looks <= 3
    read(1_075_000)
    assert "0" not in store.tables[REF].blocks
