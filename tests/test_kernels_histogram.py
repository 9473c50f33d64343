"""Quantiles of histograms against their slow twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler import kernels as k
from scaler.histograms import arrange, upper_bound
from scaler.kernels_histogram import NO_HISTOGRAM, NO_OBSERVATIONS
from scaler.model import Labels, labels_of
from tests import naive

STATES = {k.GONE: "gone", NO_OBSERVATIONS: "no observations", NO_HISTOGRAM: "no histogram"}
BOUNDS = ["-1", "0", "0.5", "1", "1.0", "2.5e0", "10", "+Inf", "Inf"]
counts = st.one_of(
    st.integers(0, 20).map(float),
    st.floats(0, 1e6),
    st.sampled_from([1.0, 1.0 + 1e-13, 1.0 - 1e-13, 1e9, 1e9 + 1e-4]),
)
cells = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.sampled_from(BOUNDS)), st.tuples(counts, st.integers(0, 2)), max_size=18
)


def bucket(name: str, le: str) -> Labels:
    return labels_of({"path": name, "le": le})


@settings(max_examples=400, deadline=None)
@given(cells=cells, q=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])))
def test_a_quantile_is_what_its_slow_twin_says(cells: dict[tuple[str, str], tuple[float, int]], q: float) -> None:
    """In any order, with repeated bounds, rounding errors, decreases, without +Inf: the same number or reason."""
    histograms = arrange({bucket(*key): number for number, key in enumerate(cells)})
    total = np.array([count for count, _ in cells.values()], np.float64)
    members = np.array([members for _, members in cells.values()], np.int64)
    found = histograms.quantiles(q, total, members, np.full(len(cells), -1))
    assert sorted(histograms.labels) == [(("path", name),) for name in sorted({name for name, _ in cells})]
    for at, labels in enumerate(histograms.labels):
        alive = [(float(le), count) for (name, le), (count, there) in cells.items() if name == labels[0][1] and there]
        want = naive.bucket_quantile(q, alive) if alive else "gone"
        if found.state[at] == k.OK:
            assert found.value[at] == pytest.approx(want, rel=1e-12, nan_ok=True)
        else:
            assert STATES[found.state[at]] == want


def test_one_unknown_bucket_makes_its_histogram_unknown() -> None:
    """The first unknown series of any bucket is named, also of a bucket without a known one."""
    found = arrange(
        {bucket("a", "1"): 0, bucket("a", "+Inf"): 1, bucket("b", "1"): 2, bucket("b", "+Inf"): 3}
    ).quantiles(0.5, np.ones(4), np.array([1, 0, 1, 1]), np.array([7, 4, -1, -1]))
    assert found.first_unknown.tolist() == [4, -1]
    assert found.state[1] == k.OK


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("1", 1),
        ("1.", 1),
        (".5", 0.5),
        ("-2.5e-3", -0.0025),
        ("+Inf", math.inf),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
    ],
)
def test_a_bound_is_what_go_reads(text: str, bound: float) -> None:
    """Decimal numbers and infinities are bounds."""
    assert upper_bound(labels_of({"le": text})) == bound


@pytest.mark.parametrize("text", ["", "one", "1_0", " 1", "1e", "1e999", "NaN", "0x1p-2", "١", "."])
def test_other_texts_are_no_bounds(text: str) -> None:
    """What is no decimal number, or too large for one, is no bound; nor is no label."""
    assert math.isnan(upper_bound(labels_of({"le": text})))
    assert math.isnan(upper_bound(()))


def test_a_bucket_without_a_bound_spoils_its_histogram() -> None:
    """A bucket whose bound cannot be read is never left out of the count."""
    found = arrange({bucket("a", "1"): 0, bucket("a", "one"): 1, bucket("a", "+Inf"): 2}).quantiles(
        0.5, np.ones(3), np.ones(3, np.int64), np.full(3, -1)
    )
    assert found.state.tolist() == [NO_HISTOGRAM]
