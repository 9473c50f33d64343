"""`sum by (group) (rate(x[w]))` over many series: our kernels, NumPy, polars, and the cost of reading the samples."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from bench.measure import spread, timed
from bench.rates import Kernels, numpy_sums, polars_sums
from bench.report import Curve, Result, Row, row
from bench.script import Options, main, require
from bench.shapes import GROUPS, Data, Shape, build, with_window
from scaler.jit import compile_all
from scaler.model import F64

UNIT = "ns a series"
FLOOR = "read the window"
_A = Shape(targets=1000, series=100, columns=20)
_B = Shape(targets=1000, series=1000, columns=20)


def run(options: Options) -> Result:
    """Measure all shapes."""
    compile_all()
    rows: list[Row] = []
    worst = 0.0
    for name, data in _shapes(options):
        found, off = _beside_numpy(name, data, options)
        rows.append(found)
        worst = max(worst, off)
        del data
        gc.collect()
    beside_polars = _beside_polars(options)
    return Result(
        title="Rates of counters, summed by 1,000 groups, one thread",
        about="sum by (group) (rate(x[w])) from the store to one number a group. Each target has its own scrape times; "
        "0.1 % of the samples are resets unless said, 5 % of the counters are young.",
        rows=(*rows, *beside_polars),
        curves=(_curve(options),),
        checked=(f"every sum equals NumPy's to 1e-12 (worst: {worst:.1e})",),
        missing=() if beside_polars else ("polars: pip install polars",),
        packages=("polars",),
    )


def _sizes(options: Options) -> tuple[Shape, Shape]:
    return (replace(_A, targets=10), replace(_B, targets=3)) if options.quick else (_A, _B)


def _shapes(options: Options) -> Iterator[tuple[str, Data]]:
    """Yield each shape when it is needed: the large ones take 200 MB."""
    small, large = _sizes(options)
    data = build(small)
    yield "A (1,000 × 100), 8 samples", with_window(data, 8)
    yield "A (1,000 × 100), 20 samples", data
    data = build(large)
    yield "B (1,000 × 1,000), 8 samples", with_window(data, 8)
    yield "B (1,000 × 1,000), 20 samples", data
    del data
    yield "B, 20 samples, no resets", build(replace(large, resets=0.0))
    yield "B, 20 samples, gaps, late and vanishing series", build(replace(large, gaps=True))


def _beside_numpy(name: str, data: Data, options: Options) -> tuple[Row, float]:
    """Measure one shape. Returns: its row, and how far our sums are from NumPy's, relatively."""
    ours = Kernels.of(data)
    ours()
    off = _check(ours.sums(), numpy_sums(data))
    _check_floor(ours, data)
    cases: dict[str, Callable[[], object]] = {"ours": ours, "NumPy": partial(numpy_sums, data), FLOOR: ours.read}
    found = timed(cases, options.rounds, options.budget_s, units=1e9 / data.shape.count)
    row_of = row(name, UNIT, found["ours"], peers={"NumPy": found["NumPy"]}, floors={FLOOR: found[FLOOR]})
    return row_of, off


def _beside_polars(options: Options) -> list[Row]:
    """Measure one shape beside polars, `--full` two; apart: what it does to the memory slows NumPy threefold."""
    rows = []
    names = ("A, 20 samples, a long table", "B, 20 samples, a long table")
    for name, shape in list(zip(names, _sizes(options), strict=True))[: 2 if options.full else 1]:
        data = build(shape)
        polars = polars_sums(data)
        if polars is None:
            return []
        ours = Kernels.of(data)
        _check(polars(), numpy_sums(data))
        found = timed({"ours": ours, "polars": polars}, options.rounds, options.budget_s, units=1e9 / shape.count)
        rows.append(row(name, UNIT, found["ours"], peers={"polars": found["polars"]}))
    return rows


def _check(found: F64, wanted: F64) -> float:
    there = wanted > 0  # a small shape does not fill every group
    require(np.isfinite(found[there]).all(), "no group is unknown")
    off = float(np.max(np.abs(found[there] - wanted[there]) / wanted[there]))
    require(off < 1e-12, f"sums equal NumPy's to 1e-12, worst {off:.1e}")
    return off


def _check_floor(ours: Kernels, data: Data) -> None:
    """The floor reads the samples that count, all of them."""
    if not data.shape.gaps:
        total = float(data.values.sum())
        require(abs(ours.read() - total) < 1e-9 * total, "the floor reads exactly the window")


def _curve(options: Options) -> Curve:
    """Return the cost a series from 1,000 series to 100,000, `--full` to a million."""
    lines: dict[str, list[tuple[float, float]]] = {"Spillway": [], "NumPy": [], FLOOR: []}
    for targets in (10, 30) if options.quick else (10, 100, 1000, 10_000)[: 4 if options.full else 3]:
        data = build(replace(_A, targets=targets))
        ours = Kernels.of(data)
        cases: dict[str, Callable[[], object]] = {
            "Spillway": ours,
            "NumPy": partial(numpy_sums, data),
            FLOOR: ours.read,
        }
        found = timed(cases, options.rounds, options.budget_s / 5, units=1e9 / data.shape.count)
        for name, figures in found.items():
            lines[name].append((data.shape.count, spread(figures).median))
    return Curve(f"sum by (group) (rate(x[w])), 20 samples, {GROUPS:,} groups", "series", UNIT, lines)


if __name__ == "__main__":
    main("kernels", run)
