"""Which pages a metric has at present: pods by label, or the EndpointSlices of a Service.

One watch a distinct question, however many metrics ask it. While a question has no complete answer the targets are not
known, which is not the same as none.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from adapter.kube import targets
from adapter.kube.client import Kube, api_path
from adapter.kube.targets import Found, Template
from adapter.kube.watch import Reflector
from adapter.schema.metric import Metric
from adapter.schema.model import ScrapeSource
from adapter.schema.targets_model import DEFAULT_PATH, PodSelector, ScrapeTargets

DEFAULT_MAX_TARGETS = 5_000
"""As many as a configuration may name itself."""

DEFAULT_MAX_WATCHES = 100
"""Each is a connection to the Kubernetes API, and a copy of what it shows."""

_OBJECTS_A_TARGET = 4
"""Pods that are kept a target there may be: some have ended, some are not ready yet."""


class Question(NamedTuple):
    """What is watched: the pods a selector matches, or the slices of a Service."""

    namespace: str
    resource: str
    selector: str


@dataclass(slots=True)
class _Watch:
    reflector: Reflector
    task: asyncio.Task[None]
    ready: frozenset[str] = frozenset()
    looked: tuple[object, dict[Template, Found]] = (None, {})


class Discovery:
    """Watches for as long as metrics ask. `tasks` is the parent of the watches.

    Args:
        kube: The API.
        tasks: Outlives the watches.
        on_change: Called when the targets of some metric may have changed.
        max_targets: The most targets of one metric: with more it is unknown, never a part.
        max_watches: The most distinct questions of one namespace; metrics that ask more are unknown.
    """

    def __init__(
        self,
        kube: Kube,
        tasks: asyncio.TaskGroup,
        on_change: Callable[[], None],
        max_targets: int = DEFAULT_MAX_TARGETS,
        max_watches: int = DEFAULT_MAX_WATCHES,
    ) -> None:
        self._kube = kube
        self._tasks = tasks
        self._on_change = on_change
        self._max_targets = max_targets
        self._max_watches = max_watches
        self._watches: dict[Question, _Watch] = {}

    @property
    def watches(self) -> int:
        """How many watches there are."""
        return len(self._watches)

    def apply(self, metrics: Iterable[Metric]) -> None:
        """Watch what these metrics ask for, and nothing else."""
        wanted = {question for metric in metrics for question in questions(metric)}
        for question in [q for q in self._watches if q not in wanted]:
            self._watches.pop(question).task.cancel()
        counts = Counter(question.namespace for question in self._watches)
        for question in sorted(wanted - self._watches.keys()):
            if counts[question.namespace] < self._max_watches:
                counts[question.namespace] += 1
                self._watches[question] = self._start(question)

    def resolve(self, metric: Metric) -> Metric:
        """Return the metric with the targets it has at present. One that names its own is returned as it is."""
        for question in questions(metric):
            watch = self._watches.get(question)
            if watch is None:
                bound = "selectors and Services in this namespace (--max-watches-per-namespace)"
                return _waiting(metric, f"{_shown(question)}: more than {self._max_watches} {bound}")
            if not watch.reflector.synced:
                error = watch.reflector.error
                why = f"{_shown(question)}: not listed yet" + (f": {error}" if error else "")
                return _waiting(metric, why, listed=False)
            found = self._look(watch, question, _template(metric))
            if len(found.targets) > self._max_targets or watch.reflector.left_out:
                return _waiting(metric, f"{_shown(question)}: more than {self._max_targets} targets (--max-targets)")
            if found.problems:
                return _waiting(metric, f"{_shown(question)}: {found.problems[0]}")
            names = tuple(target.name for target in found.targets)
            rule = replace(metric.rule, targets=names, waiting="", listed=True, lingers=True)
            return replace(metric, targets=found.targets, rule=rule)
        return metric

    def stop(self) -> None:
        """Cancel every watch."""
        self.apply(())

    def _look(self, watch: _Watch, question: Question, template: Template) -> Found:
        seen, known = watch.looked
        if seen is not watch.reflector.objects:
            seen, known = watch.looked = (watch.reflector.objects, {})
        if template in known:
            return known[template]
        objects = watch.reflector.objects.values()
        if question.resource == "pods":
            found = targets.from_pods(objects, template, watch.ready)
        else:
            found = targets.from_slices(objects, template, watch.ready)
        watch.ready = found.ready
        known[template] = found
        return found

    def _start(self, question: Question) -> _Watch:
        group, version = ("", "v1") if question.resource == "pods" else ("discovery.k8s.io", "v1")
        path = api_path(group, version, question.resource, namespace=question.namespace)
        reflector = Reflector(
            self._kube,
            path,
            label_selector=question.selector,
            keep=_keep_pod if question.resource == "pods" else _keep_slice,
            on_change=lambda _: self._on_change(),
            max_objects=_OBJECTS_A_TARGET * self._max_targets,
        )
        return _Watch(reflector, self._tasks.create_task(reflector.run(), name=f"watch {_shown(question)}"))


def questions(metric: Metric) -> Iterator[Question]:
    """Yield what must be watched to know a metric's targets: one question, or none."""
    source = metric.source
    if not isinstance(source, ScrapeSource):
        return
    namespace = metric.rule.ref.namespace
    if source.targets.selector is not None:
        yield Question(namespace, "pods", selector_text(source.targets.selector))
    elif source.targets.service is not None:
        yield Question(namespace, "endpointslices", f"kubernetes.io/service-name={source.targets.service}")


def selector_text(selector: PodSelector) -> str:
    """Return a selector as a query has it, its parts sorted: equal selectors are one watch."""
    parts = [f"{key}={value}" for key, value in (selector.match_labels or {}).items()]
    for need in selector.match_expressions or ():
        values = ",".join(sorted(need.values or ()))
        match need.operator:
            case "In":
                parts.append(f"{need.key} in ({values})")
            case "NotIn":
                parts.append(f"{need.key} notin ({values})")
            case "Exists":
                parts.append(need.key)
            case "DoesNotExist":
                parts.append(f"!{need.key}")
    return ",".join(sorted(parts))


def _template(metric: Metric) -> Template:
    assert isinstance(metric.source, ScrapeSource)  # noqa: S101 - questions() has asked
    where: ScrapeTargets = metric.source.targets
    return Template(where.port or 0, where.path or DEFAULT_PATH, where.scheme or "http")


def _waiting(metric: Metric, why: str, *, listed: bool = True) -> Metric:
    return replace(metric, targets=(), rule=replace(metric.rule, targets=(), waiting=why, listed=listed))


def _shown(question: Question) -> str:
    if question.resource == "pods":
        return f"pods {question.selector}"
    return f"Service {question.selector.partition('=')[2]}"


def _keep_pod(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what `targets.from_pods` looks at: a pod is several kilobytes, this is a few hundred bytes."""
    metadata, spec, status = pod.get("metadata") or {}, pod.get("spec") or {}, pod.get("status") or {}
    return {
        "metadata": {key: metadata.get(key) for key in ("namespace", "name", "uid", "resourceVersion")},
        "spec": {
            "nodeName": spec.get("nodeName"),
            "containers": _ports_of(spec.get("containers")),
            "initContainers": _ports_of(spec.get("initContainers")),
        },
        "status": {
            "phase": status.get("phase"),
            "podIP": status.get("podIP"),
            "startTime": status.get("startTime"),
            "conditions": [c for c in status.get("conditions") or () if c.get("type") == "Ready"],
            "containerStatuses": [{"state": s.get("state")} for s in status.get("containerStatuses") or ()],
        },
    }


def _ports_of(containers: Any) -> list[dict[str, Any]]:
    return [{"ports": container["ports"]} for container in containers or () if container.get("ports")]


def _keep_slice(piece: Mapping[str, Any]) -> dict[str, Any]:
    metadata = piece.get("metadata") or {}
    return {
        "metadata": {key: metadata.get(key) for key in ("namespace", "name", "uid", "resourceVersion")},
        "addressType": piece.get("addressType"),
        "ports": piece.get("ports"),
        "endpoints": piece.get("endpoints"),
    }
