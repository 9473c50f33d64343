"""What is defined at present, by files and by objects, put into use as a whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from adapter.collect import Collector
from adapter.config.load import LoadResult
from adapter.pipeline import Pipeline
from adapter.schema.metric import Metric
from adapter.schema.model import ScrapeSource
from adapter.sources.plan import endpoints
from adapter.telemetry import Telemetry
from scaler.model import MetricRef

log = logging.getLogger(__name__)


class Definitions:
    """Keeps pipeline and collector at what is defined.

    Args:
        pipeline, collector, telemetry: What is kept.
        complete: Files' metrics → every metric there is, with targets and credentials: the cluster's part.
        shares: The (from, to) namespaces whose sharing the administrator allows.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        collector: Collector,
        telemetry: Telemetry,
        complete: Callable[[Sequence[Metric]], Sequence[Metric]],
        shares: Collection[tuple[str, str]] = (),
    ) -> None:
        self._pipeline = pipeline
        self._collector = collector
        self._telemetry = telemetry
        self._complete = complete
        self._shares = frozenset(shares)
        self._in_files: Sequence[Metric] = ()
        self._aliases: Mapping[MetricRef, MetricRef] = {}
        self._count = -1

    def take(self, loaded: LoadResult) -> None:
        """Take files into use; a set with an error changes nothing."""
        self._telemetry.reloaded(ok=not loaded.errors)
        for warning in loaded.warnings:
            log.warning("configuration warning", extra={"warning": warning})
        for error in loaded.errors:
            log.error("configuration refused, the last good one stays", extra={"error": error})
        if loaded.errors:
            return
        self._in_files = loaded.metrics
        self.refresh()
        log.info("configuration loaded", extra={"metrics": len(loaded.metrics)})

    def refresh(self) -> None:
        """Put into use what is defined now."""
        metrics = self._complete(self._in_files)
        self._aliases = shared(metrics, self._shares)
        other = self._pipeline.configure({metric.rule.ref: metric.rule for metric in metrics})
        self._collector.apply(endpoints(metrics), {m.rule.ref: m.rule.max_age_ms for m in metrics}, other)
        if len(metrics) != self._count:
            self._count = len(metrics)
            log.info("metrics defined", extra={"metrics": len(metrics), "endpoints": len(self._collector.specs)})

    def serves(self, ref: MetricRef) -> MetricRef:
        """Return the metric that answers for this one: itself, unless another namespace's is shared with it."""
        return self._aliases.get(ref, ref)

    def defines(self, ref: MetricRef) -> bool:
        """Tell whether somebody answers for a metric."""
        return self.serves(ref) in self._pipeline.rules


def without_cluster(metrics: Sequence[Metric]) -> Sequence[Metric]:
    """Return files' metrics where there is no Kubernetes API: what only it can find stays unknown."""
    why = "pods and Services are found by the Kubernetes API, and --standalone does without it"
    return [
        replace(metric, targets=(), rule=replace(metric.rule, waiting=why)) if _discovers(metric) else metric
        for metric in metrics
    ]


def _discovers(metric: Metric) -> bool:
    return isinstance(metric.source, ScrapeSource) and not metric.source.targets.urls


def shared(metrics: Collection[Metric], allowed: Collection[tuple[str, str]]) -> Mapping[MetricRef, MetricRef]:
    """Return which metrics are read in other namespaces: asked for → served.

    A namespace's own metric always wins; of two that are shared with it under one name neither is served.
    """
    own = {metric.rule.ref for metric in metrics}
    found: dict[MetricRef, MetricRef] = {}
    clashing: set[MetricRef] = set()
    for metric in metrics:
        ref = metric.rule.ref
        for namespace in metric.share_with:
            alias = ref._replace(namespace=namespace)
            if (ref.namespace, namespace) not in allowed or alias in own:
                continue
            if alias in found:
                clashing.add(alias)
            found[alias] = ref
    return {alias: ref for alias, ref in found.items() if alias not in clashing}
