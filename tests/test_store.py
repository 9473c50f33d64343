"""What goes into the store comes out of it, whatever moves inside."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler import arena, signals
from scaler import kernels as k
from scaler.model import EXTERNAL_METRICS_GROUP, Labels, MetricRef, Reason, Unknown
from scaler.rules import Function, Signal
from scaler.store import SeriesStore, since
from scaler.tables import TableSpec
from tests import naive
from tests.builders import REF, batch, failure, queue
from tests.range_functions import STATES

SPEC = TableSpec(window_ms=10_000, interval_ms=1_000, counter=False, from_zero=False, by=None)
FAILED = Unknown(Reason.WRONG_TYPE, "x")


def ref(name: str) -> MetricRef:
    return MetricRef(EXTERNAL_METRICS_GROUP, "shop", name)


def kept(store: SeriesStore, metric: MetricRef, target: str) -> dict[Labels, list[tuple[int, float]]]:
    """Return every finite sample of a block, by series, oldest first."""
    held, block = store.arena, store.tables[metric].blocks[target]
    row = held.rows[block.row]
    found: dict[Labels, list[tuple[int, float]]] = {}
    for labels, slot in block.index().items():
        samples = []
        for ordinal in range(int(row[k.COUNT])):
            c = (int(row[k.HEAD]) - int(row[k.COUNT]) + 1 + ordinal) % int(row[k.CAPACITY])
            value = float(held.values[row[k.OFFSET] + c * row[k.WIDTH] + slot])
            if math.isfinite(value):
                samples.append((int(held.times[row[k.TIMES] + c]), value))
        found[labels] = samples
    return found


operations = st.lists(
    st.one_of(
        st.tuples(st.just("drop"), st.integers(0, 4), st.just(0), st.just(0)),
        st.tuples(st.just("retain"), st.integers(0, 4), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("append"), st.integers(0, 4), st.integers(0, 2), st.integers(0, 60)),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(operations=operations)
def test_samples_survive_growth_moves_and_compaction(operations: list[tuple[str, int, int, int]]) -> None:
    """Whatever comes, widens and goes around it, a block still holds what was appended within its window."""
    with patch.object(arena, "_FALLOW", 0):
        run_operations(operations)


def run_operations(operations: list[tuple[str, int, int, int]]) -> None:
    store = SeriesStore()
    model: dict[tuple[MetricRef, str], dict[Labels, list[tuple[int, float]]]] = {}
    now_s = 0
    for n, (what, metric, target, width) in enumerate(operations):
        name, t = ref(f"m{metric}"), f"t{target}"
        now_s += 1
        if what == "drop":
            store.drop(name)
            model = {key: value for key, value in model.items() if key[0] != name}
        elif what == "retain":
            store.retain(name, {t}, (now_s + 100) * 1000)
            model = {key: value for key, value in model.items() if key[0] != name or key[1] == t}
        else:
            store.configure(name, SPEC, 0)
            readings: dict[Labels, float | Unknown] = {queue(str(i)): float(n * 100 + i) for i in range(width)}
            assert store.append(batch(now_s, readings, target=t, ref=name))
            series = model.setdefault((name, t), {})
            for labels, value in readings.items():
                assert isinstance(value, float)
                series.setdefault(labels, []).append((now_s * 1000, value))
        for (held, at), series in model.items():
            if not any(series.values()):
                continue
            newest_ms = store.tables[held].blocks[at].last_good_ms
            assert newest_ms is not None
            found = kept(store, held, at)
            for labels, samples in series.items():
                within = [s for s in samples if s[0] > newest_ms - SPEC.window_ms]
                assert [s for s in found.get(labels, []) if s[0] > newest_ms - SPEC.window_ms] == within


COUNTERS = TableSpec(window_ms=10_000, interval_ms=5_000, counter=True, from_zero=False, by=None)
RATE = Signal(Function.RATE, 10_000)
counted = st.lists(
    st.one_of(
        st.tuples(st.just("drop"), st.integers(0, 1), st.just(0), st.just({})),
        st.tuples(st.just("retain"), st.integers(0, 1), st.integers(0, 1), st.just({})),
        st.tuples(
            st.sampled_from(["append", "append", "append", "back"]),
            st.integers(0, 1),
            st.integers(0, 1),
            st.dictionaries(st.integers(0, 9), st.one_of(st.integers(0, 5).map(float), st.just(math.nan)), min_size=1),
        ),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(operations=counted)
def test_rates_survive_growth_moves_and_compaction(
    operations: list[tuple[str, int, int, dict[int, float]]],
) -> None:
    """Counters that fall all the time, while rings grow, slots are used again and everything moves: each rate is right.

    What is kept of a reset moves with its block, and never counts for the series that has its slot later.
    """
    store = SeriesStore()
    model: dict[tuple[MetricRef, str], dict[Labels, list[naive.Sample]]] = {}
    columns: dict[tuple[MetricRef, str], list[int]] = {}
    now_ms = 1_000_000
    with patch.object(arena, "_FALLOW", 0):
        for what, metric, target, readings in operations:
            name, t = ref(f"m{metric}"), f"t{target}"
            now_ms += 1_000
            if what == "drop":
                store.drop(name)
                model = {key: value for key, value in model.items() if key[0] != name}
            elif what == "retain":
                store.retain(name, {t}, now_ms + 100_000)
                model = {key: value for key, value in model.items() if key[0] != name or key[1] == t}
            else:
                store.configure(name, COUNTERS, 0)
                at_ms = now_ms
                if what == "back" and columns.get((name, t)):
                    at_ms = columns[name, t][-1] - 60_000
                    model.pop((name, t), None)
                page = {queue(str(i)): value for i, value in readings.items()}
                assert store.append(batch(at_ms / 1000, page, target=t, ref=name))
                if (name, t) not in model:
                    model[name, t], columns[name, t] = {}, []
                columns[name, t].append(at_ms)
                for labels, value in page.items():
                    model[name, t].setdefault(labels, []).append((at_ms, value))
            for key, shown in model.items():
                check_rates(store, *key, shown, columns[key])


def check_rates(
    store: SeriesStore, metric: MetricRef, target: str, shown: dict[Labels, list[naive.Sample]], times: list[int]
) -> None:
    block = store.tables[metric].blocks[target]
    value, state = np.zeros(len(block.labels)), np.zeros(len(block.labels), np.uint8)
    signals.run(store.arena, RATE, np.array([block.row]), np.array([times[-1]]), value, state)
    for labels, samples in shown.items():
        at = dict(samples)
        reads: list[naive.Sample] = [(time_ms, at.get(time_ms, naive.ABSENT)) for time_ms in times]
        want = naive.extrapolated(reads, times[-1], 10_000, counter=True, per_second=True)
        slot = block.index().get(labels)
        if slot is None:
            assert want == "gone"
        elif isinstance(want, str):
            assert STATES[state[slot]] == want
        else:
            assert (state[slot], value[slot]) == (k.OK, pytest.approx(want, rel=1e-12))


def test_memory_is_given_back() -> None:
    """Metrics that come and go for ever do not make the store grow."""
    store = SeriesStore()
    sizes = []
    for n in range(400):
        name = ref(f"m{n}")
        store.configure(name, SPEC, 0)
        store.append(batch(n + 1, {queue(str(i)): 1.0 for i in range(500)}, ref=name))
        if n:
            store.drop(ref(f"m{n - 1}"))
        sizes.append(store.arena.nbytes())
    assert max(sizes[200:]) <= max(sizes[:200])


def test_series_that_come_and_go_give_their_slots_back() -> None:
    """With labels that are new in every read, slots and groups stay in the size of a window."""
    store = SeriesStore()
    store.configure(REF, TableSpec(10_000, 1_000, counter=False, from_zero=False, by=("queue",)), 0)
    for n in range(300):
        store.append(batch(n + 1, {queue(f"{n}-{i}"): 1.0 for i in range(10)}))
    table = store.tables[REF]
    assert len(table.blocks["t"].labels) <= 10 * 16
    assert len(table.group_index) <= 3 * table.series() + 64


def test_a_late_reader_keeps_its_window() -> None:
    """Reads closer together than the interval said do not push samples out that the window still holds."""
    store = SeriesStore()
    store.configure(REF, SPEC, 0)
    for n in range(100):
        store.append(batch(n / 10 + 1, {queue("a"): float(n)}))
    assert len(kept(store, REF, "t")[queue("a")]) == 100


def test_the_newest_good_sample_of_a_failing_series_is_held() -> None:
    """Through failed reads of the series, and of everything, the last good sample stays with its time."""
    store = SeriesStore()
    store.configure(REF, TableSpec(0, 1_000, counter=False, from_zero=False, by=None), 0)
    store.append(batch(1, {queue("a"): 1.0, queue("b"): 5.0}))
    store.append(batch(2, {queue("a"): FAILED, queue("b"): FAILED}))
    for n in range(3, 9):
        store.append(batch(n, {queue("a"): FAILED, queue("b"): 6.0}))
    block = store.tables[REF].blocks["t"]
    assert block.held == {block.index()[queue("a")]: (1.0, 1_000)}
    assert block.problems[block.index()[queue("a")]].since_ms == 2_000
    store.append(batch(9, {queue("a"): 2.0, queue("b"): 6.0}))
    assert (block.held, block.problems) == ({}, {})


def test_a_new_meaning_forgets_and_a_new_window_does_not() -> None:
    """Other groups or another kind of value start anew; another interval or window keeps what is there."""
    store = SeriesStore()
    store.configure(REF, SPEC, 0)
    store.append(batch(1, {queue("a"): 1.0}))
    store.configure(REF, TableSpec(30_000, 2_000, counter=False, from_zero=False, by=None), 0)
    assert kept(store, REF, "t") == {queue("a"): [(1_000, 1.0)]}
    store.configure(REF, TableSpec(30_000, 2_000, counter=True, from_zero=False, by=None), 0)
    assert store.tables[REF].blocks == {}


def test_a_batch_for_an_unknown_metric_is_not_used() -> None:
    """What arrives for a metric that was removed meanwhile is dropped."""
    store = SeriesStore()
    assert not store.append(batch(1, {queue("a"): 1.0}))
    assert not store.append(failure(1, FAILED))


@pytest.mark.parametrize("bits", [k.ABSENT_BITS, k.FAILED_BITS])
def test_the_two_kinds_of_missing_keep_their_bits(bits: int) -> None:
    """Copying a column, growing and compacting keep the payloads of NaN apart."""
    column = np.array([bits], np.int64).view(np.float64)
    moved = np.empty(1, np.float64)
    moved[:] = column
    assert moved.view(np.int64)[0] == bits


def test_a_state_begins_when_it_is_first_seen() -> None:
    """`since` stamps a new unknown and keeps the time of one that lasts, even if it says something else by now."""
    first = since(FAILED, None, 5)
    assert first.since_ms == 5
    assert since(FAILED, first, 9) is first
    assert since(Unknown(Reason.WRONG_TYPE, "y"), first, 9).since_ms == 5
