"""Fixed values, to try an HPA by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adapter.schema.metric import Metric
from adapter.schema.model import StaticSource
from scaler.model import Batch, Labels, Layout, MetricRef, Unknown, labels_of

TARGET = "static"


@dataclass(frozen=True, slots=True)
class StaticSpec:
    """The fixed series of one metric."""

    type: ClassVar[str] = "static"
    asks: ClassVar[bool] = False

    ref: MetricRef
    interval_ms: int
    timeout_ms: int
    series: tuple[tuple[Labels, float], ...]

    @property
    def name(self) -> str:
        """The metric: "static shop/orders"."""
        return f"{TARGET} {self.ref.namespace}/{self.ref.name}"

    @property
    def namespace(self) -> str:
        """The metric's."""
        return self.ref.namespace

    @property
    def host(self) -> str:
        """Nobody else: "static"."""
        return TARGET

    @property
    def metrics(self) -> frozenset[MetricRef]:
        """The one metric."""
        return frozenset({self.ref})

    def open(self) -> StaticEndpoint:
        """Return the endpoint."""
        return StaticEndpoint(self)


def plan(metrics: Sequence[Metric]) -> list[StaticSpec]:
    """Return an endpoint for each metric with fixed values."""
    return [
        StaticSpec(
            metric.rule.ref,
            metric.rule.interval_ms,
            metric.timeout_ms,
            tuple((labels_of(series.labels), series.value) for series in metric.source.series),
        )
        for metric in metrics
        if isinstance(metric.source, StaticSource)
    ]


class StaticEndpoint:
    """Reads nothing."""

    def __init__(self, spec: StaticSpec) -> None:
        self._spec = spec
        self._layout = Layout(tuple(labels for labels, _ in spec.series))

    async def collect(self, now_ms: int) -> list[Batch]:
        """Return the values."""
        values = np.array([value for _, value in self._spec.series], dtype=np.float64)
        return [Batch(self._spec.ref, TARGET, now_ms, self._layout, values)]

    def failed(self, unknown: Unknown, now_ms: int) -> list[Batch]:
        """Return the Batch in which each series has this problem."""
        count = len(self._layout)
        problems = dict.fromkeys(range(count), unknown)
        return [Batch(self._spec.ref, TARGET, now_ms, self._layout, np.full(count, np.nan), problems)]

    async def close(self) -> None:
        """Nothing to let go of."""
