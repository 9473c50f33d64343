"""The static source."""

from __future__ import annotations

import asyncio

from adapter.schema.metric import Metric
from adapter.schema.model import StaticSource
from adapter.sources.plan import endpoints, source_id, targets_of
from scaler.model import EXTERNAL_METRICS_GROUP, MetricRef, Reason, Unknown, labels_of
from scaler.rules import MetricRule

SOURCE = StaticSource.model_validate({"series": [{"labels": {"queue": "a"}, "value": 1.5}, {"value": -2}]})
REF = MetricRef(EXTERNAL_METRICS_GROUP, "shop", "backlog")
METRIC = Metric(MetricRule(REF, "backlog", source_id(SOURCE), 1_000, targets_of(SOURCE)), SOURCE, 500, "test")


def test_fixed_values() -> None:
    """Each read gives the configured values, on one layout and the target the metric expects."""
    (spec,) = endpoints([METRIC])
    assert (spec.type, spec.name, spec.interval_ms, spec.timeout_ms) == ("static", "static shop/backlog", 1_000, 500)
    assert spec.metrics == {REF}
    endpoint = spec.open()
    (first,), (second,) = asyncio.run(endpoint.collect(7)), asyncio.run(endpoint.collect(8))
    assert (first.metric, (first.target,), first.time_ms) == (REF, METRIC.rule.targets, 7)
    assert first.layout is second.layout
    assert first.layout.series == (labels_of({"queue": "a"}), ())
    assert first.values.tolist() == [1.5, -2.0]
    assert not first.problems


def test_failed() -> None:
    """If the read could fail, each series would be unknown."""
    endpoint = endpoints([METRIC])[0].open()
    unknown = Unknown(Reason.SOURCE_ERROR, "internal error")
    (batch,) = endpoint.failed(unknown, 7)
    assert batch.problems == {0: unknown, 1: unknown}
    asyncio.run(endpoint.close())
