"""Classic histograms: which series are the buckets of which one.

A bucket is a series with a label `le`, its upper bound. Buckets with the same other labels are one histogram.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from scaler import kernels_histogram as kernels
from scaler.model import F64, I64, U8, Labels

BOUND = "le"
SUFFIX = "_bucket"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)


def upper_bound(labels: Labels) -> float:
    """Return a bucket's upper bound; NaN if its labels name none, or one that is out of the range of a float64.

    Source: Go's strconv.ParseFloat, less hexadecimal numbers and NaN.
    """
    text = next((value for name, value in labels if name == BOUND), "")
    if _INFINITE.fullmatch(text):
        return float(text)
    bound = float(text) if _NUMBER.fullmatch(text) else np.nan
    return bound if np.isfinite(bound) else np.nan


def without_bound(labels: Labels) -> Labels:
    """Return the labels of the histogram that a bucket belongs to."""
    return tuple(pair for pair in labels if pair[0] != BOUND)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A quantile of each histogram. `state` is that of `kernels_histogram.quantiles`, shape (histograms,), and so are
    the others; `first_unknown` is the first unknown series of a histogram, or -1.
    """

    value: F64
    state: U8
    first_unknown: I64


@dataclass(frozen=True, slots=True)
class Histograms:
    """Histograms made of cells: a cell is the sum of some series that have the same bound and histogram.

    Args:
        labels: The labels of each histogram.
        of_cell: The histogram of each cell, shape (cells,).
        begin: Where the buckets of each histogram begin in `cell` and `upper`, and the last one's end.
        cell: The cell of each bucket; a histogram's buckets by their bounds, ascending.
        upper: The upper bound of each bucket; NaN: it has none.
    """

    labels: tuple[Labels, ...]
    of_cell: I64
    begin: I64
    cell: I64
    upper: F64

    def quantiles(self, q: float, total: F64, members: I64, unknown: I64) -> Quantiles:
        """Estimate the q-quantile of each histogram from what is in the cells, as `kernels.fold` leaves it."""
        count = len(self.labels)
        found = Quantiles(np.zeros(count), np.empty(count, np.uint8), np.empty(count, np.int64))
        kernels.quantiles(
            q,
            self.begin,
            self.cell,
            self.upper,
            total,
            members,
            unknown,
            found.value,
            found.state,
            found.first_unknown,
        )
        return found


def arrange(cells: Mapping[Labels, int]) -> Histograms:
    """Arrange cells, given by their labels with `le` and numbered from 0, as histograms."""
    buckets: defaultdict[Labels, list[tuple[float, int]]] = defaultdict(list)
    for labels, cell in cells.items():
        buckets[without_bound(labels)].append((upper_bound(labels), cell))
    of_cell = np.zeros(len(cells), np.int64)
    begin, order, upper = [0], [], []
    for number, found in enumerate(buckets.values()):
        for bound, cell in sorted(found, key=_ascending):
            of_cell[cell] = number
            order.append(cell)
            upper.append(bound)
        begin.append(len(order))
    return Histograms(tuple(buckets), of_cell, np.array(begin), np.array(order, np.int64), np.array(upper, np.float64))


def _ascending(bucket: tuple[float, int]) -> tuple[bool, float]:
    bound, _ = bucket
    return bound != bound, bound


def groups_of(labels: Iterable[Labels], by: tuple[str, ...]) -> tuple[dict[Labels, int], list[int]]:
    """Return the groups that labels fall into by some of their names, numbered, and the group of each."""
    index: dict[Labels, int] = {}
    return index, [index.setdefault(tuple(p for p in each if p[0] in by), len(index)) for each in labels]
