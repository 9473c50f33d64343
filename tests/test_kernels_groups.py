"""Rates that are folded as they are computed, and resets that were noted as they were written."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler import arena, kernels_groups
from scaler import kernels as k
from scaler.evaluate import table_spec
from scaler.members import Members, members_of
from scaler.model import Batch, Labels, Layout, Reason, Unknown, labels_of
from scaler.rules import Aggregate, Function, MetricRule, Signal
from scaler.store import SeriesStore
from tests import naive
from tests.builders import REF

WINDOW_MS = 60_000
OPS = {"sum": k.SUM, "avg": k.AVG, "min": k.MIN, "max": k.MAX, "count": k.COUNT_OF}
FAILED = Unknown(Reason.WRONG_TYPE, "x")


def rule_of(*targets: str, function: Function = Function.RATE) -> MetricRule:
    signal = Signal(function, WINDOW_MS)
    return MetricRule(REF, "m", "s", 10_000, targets, signal, Aggregate(("group",)), max_series=10**6)


def series(count: int, groups: int) -> tuple[Labels, ...]:
    return tuple(labels_of({"group": str(i % groups), "n": str(i)}) for i in range(count))


def members(store: SeriesStore, rule: MetricRule) -> Members:
    table = store.tables[REF]
    return members_of(store, table, rule, table.roster(rule.targets), 0)


def folded(found: Members, op: str) -> dict[str, float | str]:
    """Return each group that has members by its name: its number, or "unknown"."""
    said = found.fold(OPS[op])
    names = {int(g): dict(labels)["group"] for labels, g in found.store.tables[REF].group_index.items()}
    alive = [g for g in names if said.members[g] or said.unknown[g] >= 0]
    return {names[g]: "unknown" if said.unknown[g] >= 0 else float(said.value[g]) for g in alive}


Pages = list[dict[int, float | str]]
"""What each read of a target showed: series → a number, or FAILED. What is not in it is absent."""


def feed(store: SeriesStore, target: str, pages: Pages, labels: tuple[Labels, ...], first_ms: int) -> None:
    layouts: dict[tuple[int, ...], Layout] = {}
    for column, page in enumerate(pages):
        layout = layouts.setdefault(tuple(page), Layout(tuple(labels[i] for i in page)))
        problems = {at: FAILED for at, value in enumerate(page.values()) if isinstance(value, str)}
        values = np.array([0.0 if isinstance(value, str) else value for value in page.values()], np.float64)
        assert store.append(Batch(REF, target, first_ms + column * 10_000, layout, values, problems))


def twins(pages: Pages, labels: tuple[Labels, ...], first_ms: int, end_ms: int) -> dict[str, list[float | str]]:
    """Return what the slow twin says of each series, by group."""
    found: dict[str, list[float | str]] = {}
    for i, of in enumerate(labels):
        samples: list[naive.Sample] = [
            (first_ms + c * 10_000, page.get(i, naive.ABSENT)) for c, page in enumerate(pages)
        ]
        rate = naive.extrapolated(samples, end_ms, WINDOW_MS, counter=True, per_second=True)
        found.setdefault(dict(of)["group"], []).append(rate)
    return found


numbers = st.one_of(st.integers(0, 3).map(float), st.floats(0, 1e6), st.just(float("nan")))
LABELS = series(6, 3)
pages = st.lists(st.dictionaries(st.integers(0, 5), numbers, min_size=1), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(first=pages, second=pages, apart_ms=st.integers(0, 30_000), op=st.sampled_from(sorted(OPS)))
def test_rates_in_groups_are_those_of_the_series_folded(first: Pages, second: Pages, apart_ms: int, op: str) -> None:
    """Gaps, late and vanishing series, NaN and resets on two targets: each group is what the slow twins say."""
    store, rule = SeriesStore(), rule_of("t", "u")
    store.configure(REF, table_spec(rule), 0)
    starts = {"t": 1_000_000, "u": 1_000_000 + apart_ms}
    for target, shown in (("t", first), ("u", second)):
        feed(store, target, shown, LABELS, starts[target])
    found = members(store, rule)
    wanted: dict[str, list[float | str]] = {}
    for target, shown, end_ms in zip("tu", (first, second), found.end_ms.tolist(), strict=True):
        for group, rates in twins(shown, LABELS, starts[target], end_ms).items():
            wanted.setdefault(group, []).extend(rates)
    told = folded(found, op)
    for group, rates in wanted.items():
        want = naive.fold(rates, op)
        if want is None:
            assert group not in told
        elif isinstance(want, str):
            assert told[group] == "unknown"
        else:
            assert told[group] == pytest.approx(want, rel=1e-9)
    each = found.each
    for at, unknown in enumerate(found.fold(OPS[op]).unknown.tolist()):
        odd = np.flatnonzero((found.groups == at) & (each.state != k.OK) & (each.state != k.GONE))
        assert unknown == (odd[0] if odd.size else -1)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.6])
@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("groups", [1, 40])
def test_a_target_of_several_tiles(share: float, torn: bool, groups: int) -> None:
    """Few resets, or more than there is room for, in series of several tiles: the sums are those of the slow twin."""
    rng = np.random.default_rng(7)
    count = 2 * kernels_groups.TILE + 100
    labels, now = series(count, groups), np.zeros(count)
    shown: Pages = []
    for column in range(8):
        now = np.where(rng.random(count) < share, rng.integers(0, 3, count), now + rng.integers(1, 50, count))
        shown.append({i: float(now[i]) for i in range(count) if not (torn and column == 4 and i % 10 == 0)})
    store, rule = SeriesStore(), rule_of("t")
    store.configure(REF, table_spec(rule), 0)
    with patch.object(arena, "_MAX_ROOM", 700):
        feed(store, "t", shown, labels, 1_000_000)
    found = members(store, rule)
    want = {g: naive.fold(r, "sum") for g, r in twins(shown, labels, 1_000_000, int(found.end_ms[0])).items()}
    assert folded(found, "sum") == {group: pytest.approx(total, rel=1e-12) for group, total in want.items()}
    row = store.arena.rows[store.tables[REF].blocks["t"].row]
    assert row[k.RESETS] <= row[k.ROOM] <= 700
    assert (row[k.RESETS] > 0) == (share > 0)


def test_a_reset_is_an_event_and_not_irregular() -> None:
    """A counter that was reset is still computed from two columns, and the event goes when its column has gone."""
    store, rule = SeriesStore(), rule_of("t")
    store.configure(REF, table_spec(rule), 0)
    feed(store, "t", [{0: 100.0}, {0: 160.0}, {0: 10.0}], LABELS, 0)
    row = store.tables[REF].blocks["t"].row
    assert store.arena.rows[row, k.RESETS] == 1
    assert store.arena.rows[row, k.IRREGULAR] == k.NEVER
    # From 100 to 10 with a reset at 160: 70 in 20 s, extrapolated by half a step.
    assert folded(members(store, rule), "sum") == {"0": pytest.approx(70 * (20 + 5) / 20 / 60)}
    feed(store, "t", [{0: float(n)} for n in range(20, 200, 10)], LABELS, 30_000)
    feed(store, "t", [{0: 0.0}], LABELS, 210_000)
    for n in range(10):
        feed(store, "t", [{0: 9.0 - n}], LABELS, 220_000 + 10_000 * n)
    assert store.arena.rows[row, k.RESETS] <= store.arena.rows[row, k.ROOM] <= 8


def test_a_target_that_is_gone_stays_with_what_it_did() -> None:
    """The increase of a target that left is in the sum while its samples are in the window; one sample is nothing."""
    store, rule = SeriesStore(), rule_of("t", function=Function.INCREASE)
    store.configure(REF, table_spec(rule), 0)
    feed(store, "t", [{0: 0.0}, {0: 10.0}, {0: 20.0}], LABELS, 100_000)
    feed(store, "u", [{0: 0.0}, {0: 5.0}], LABELS, 100_000)
    feed(store, "v", [{0: 7.0, 3: 1.0}], LABELS, 100_000)
    store.retain(REF, {"t"}, 120_000)
    found = members(store, rule)
    assert [name for name, _ in found.targets] == ["t", "u", "v"]
    assert folded(found, "sum") == {"0": pytest.approx(20 + 5 * 2)}
    assert folded(found, "count") == {"0": 2.0}


def test_resets_move_with_their_target() -> None:
    """When what a target left behind is taken up by the others, the resets of these come along."""
    store, rule = SeriesStore(), rule_of("u")
    store.configure(REF, table_spec(rule), 0)
    feed(store, "t", [{0: 9.0}, {0: 1.0}], LABELS, 100_000)
    shown: Pages = [{0: 50.0, 1: 70.0}, {0: 5.0, 1: 7.0}, {0: 6.0, 1: 1.0}]
    feed(store, "u", shown, LABELS, 100_000)
    place = store.arena.rows[store.tables[REF].blocks["u"].row, k.EVENTS]
    store.retain(REF, {"u"}, 120_000, lingers=False)
    with patch.object(arena, "_FALLOW", 0):
        feed(store, "v", [{0: 1.0}], LABELS, 100_000)
    assert store.arena.rows[store.tables[REF].blocks["u"].row, k.EVENTS] < place
    want = {g: naive.fold(r, "sum") for g, r in twins(shown, LABELS, 100_000, 120_000).items()}
    assert folded(members(store, rule), "sum") == {g: pytest.approx(want[g]) for g in ("0", "1")}
