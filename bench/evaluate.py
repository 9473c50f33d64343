"""From the store to the bytes of an answer of 1,000 items: evaluate, select, encode; beside NumPy with json.dumps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from adapter.api import encode
from bench.measure import spread, timed
from bench.rates import Kernels, numpy_moment_sums, numpy_sums
from bench.report import Curve, Result, row
from bench.script import Options, main, require
from bench.shapes import REF, Data, Shape, build
from scaler import quantity
from scaler.answer import UnknownAnswer, answer
from scaler.evaluate import evaluate
from scaler.jit import compile_all
from scaler.model import EMPTY_SNAPSHOT, F64, ExternalMetricValue, Snapshot
from scaler.selector import EVERYTHING

UNIT = "ms"
FLOOR = "the kernels alone"
_A = Shape(targets=1000, series=100, columns=20)


@dataclass(slots=True)
class Steps:
    """The way of a metric from the store to bytes, step by step."""

    data: Data
    previous: Snapshot = EMPTY_SNAPSHOT

    def snapshot(self) -> Snapshot:
        """Compute the metric, as a tick of the pipeline does."""
        return evaluate(self.data.store, {REF: self.data.rule}, self.previous, (REF,), self.data.now_ms)

    def items(self) -> tuple[ExternalMetricValue, ...]:
        """Select every item of the last snapshot, as a GET without a selector does."""
        found = answer(self.previous.results[REF], EVERYTHING, self.data.now_ms)
        require(not isinstance(found, UnknownAnswer), "the metric is known")
        return () if isinstance(found, UnknownAnswer) else found

    def encode(self, form: encode.Form) -> bytes:
        """Return the bytes of the last snapshot's answer."""
        return encode.values("requests", self.items(), form)

    def all(self) -> bytes:
        """Do all of it."""
        self.previous = self.snapshot()
        return self.encode(encode.Form.JSON)


def run(options: Options) -> Result:
    """Measure shape A, and the curve against the number of targets."""
    compile_all()
    shape = replace(_A, targets=10) if options.quick else _A
    data = build(shape)
    steps, kernels = Steps(data), Kernels.of(data)
    checked = _check(steps.all(), numpy_moment_sums(data))
    cases: dict[str, Callable[[], object]] = {
        "all": steps.all,
        "evaluate": steps.snapshot,
        "JSON": lambda: steps.encode(encode.Form.JSON),
        "protobuf": lambda: steps.encode(encode.Form.PROTOBUF),
        "NumPy and json.dumps": lambda: _by_hand(data),
        FLOOR: kernels,
    }
    found = timed(cases, options.rounds, options.budget_s, units=1e3)
    whole = row(
        "store to JSON",
        UNIT,
        found["all"],
        peers={"NumPy and json.dumps": found["NumPy and json.dumps"]},
        floors={FLOOR: found[FLOOR]},
    )
    parts = [row(what, UNIT, found[name]) for name, what in _PARTS.items()]
    return Result(
        title=f"{shape.count:,} series from the store to the bytes of {len(steps.items()):,} items",
        about="sum by (group) (rate(x[5m])), 20 samples in the window: evaluate, select, encode.",
        rows=(whole, *parts),
        curves=(_curve(options),),
        checked=(checked,),
    )


_PARTS = {
    "evaluate": "  of it: evaluate",
    "JSON": "  of it: select and encode as JSON",
    "protobuf": "  instead: select and encode as protobuf",
}


def _by_hand(data: Data) -> bytes:
    """Return the answer as one would make it without Spillway: nothing unknown, no times of items, no guard."""
    at = datetime.fromtimestamp(data.now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    items = [
        {
            "metricName": "requests",
            "metricLabels": {"group": f"g{group:03}"},
            "timestamp": at,
            "window": data.shape.window_ms // 1000,
            "value": f"{math.ceil(value * 1000)}m",
        }
        for group, value in enumerate(numpy_sums(data).tolist())
        if value
    ]
    body = {"kind": encode.LIST_KIND, "apiVersion": encode.GROUP_VERSION, "metadata": {}, "items": items}
    return json.dumps(body, separators=(",", ":")).encode()


def _check(body: bytes, sums: F64) -> str:
    """An item's text is exactly that of NumPy's sum, or of the next thousandth: sums differ in their last bits."""
    found = {item["metricLabels"]["group"]: item["value"] for item in json.loads(body)["items"]}
    wanted = {f"g{group:03}": quantity.milli(value) for group, value in enumerate(sums.tolist()) if value}
    require(found.keys() == wanted.keys(), "there is an item for each group")
    exact = 0
    for group, milli in wanted.items():
        near = [quantity.text(milli + step) for step in (0, -1, 1)]
        require(found[group] in near, f"{group} is {near[0]}, got {found[group]}")
        exact += found[group] == near[0]
    return require(
        exact >= 0.99 * len(wanted),
        f"{exact:,} of {len(wanted):,} values in the JSON are NumPy's, {len(wanted) - exact} the next thousandth",
    )


def _curve(options: Options) -> Curve:
    """Return the cost against the number of series."""
    lines: dict[str, list[tuple[float, float]]] = {"Spillway": [], "NumPy and json.dumps": [], FLOOR: []}
    for targets in (10, 20) if options.quick else (10, 100, 1000, 5000)[: 4 if options.full else 3]:
        data = build(replace(_A, targets=targets))
        steps, kernels = Steps(data), Kernels.of(data)
        cases: dict[str, Callable[[], object]] = {
            "Spillway": steps.all,
            "NumPy and json.dumps": lambda data=data: _by_hand(data),  # type: ignore[misc] # a default binds the loop's
            FLOOR: kernels,
        }
        for name, figures in timed(cases, options.rounds, options.budget_s / 5, units=1e3).items():
            lines[name].append((data.shape.count, spread(figures).median))
    return Curve("From the store to the bytes of 1,000 items", "series", UNIT, lines)


if __name__ == "__main__":
    main("evaluate", run)
