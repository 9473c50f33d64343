"""ExternalMetric objects of the cluster → metrics, and what was found about each object. Pure.

One bad object never stops another. It keeps the last spec that was good for as long as this process has known one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from adapter.config.build import clashes, hints, metric_of
from adapter.config.load import path_text
from adapter.schema.finding import Acceptance, Finding, ObjectKey
from adapter.schema.metric import Metric
from adapter.schema.model import ExternalMetric
from adapter.schema.strict import Origin
from adapter.schema.strict import Path as Place
from scaler.model import MetricRef

MAX_MESSAGE_CHARS = 8_192
"""Of a finding: more than a person reads, and far from what an object may hold."""

DEFAULT_MAX_METRICS = 1_000
"""Metrics of one namespace: a template gone wrong must not take the memory of all."""

DEFAULT_MAX_IN_ALL = 10_000
"""Metrics of all namespaces."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is kept of an object from one time to the next: what its newest spec is worth, and the last good one."""

    uid: str
    created: str
    generation: int
    errors: tuple[str, ...]
    hints: tuple[str, ...]
    good: Metric | None
    good_generation: int


@dataclass(frozen=True, slots=True)
class ObjectSet:
    """Every object there is, and what became of each. `metrics` are those that are served, in a fixed order."""

    known: Mapping[ObjectKey, Known] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    findings: Mapping[ObjectKey, Finding] = field(default_factory=dict)


def take(
    before: ObjectSet,
    objects: Mapping[ObjectKey, Mapping[str, Any]],
    in_files: Collection[MetricRef],
    max_metrics: int = DEFAULT_MAX_METRICS,
    max_in_all: int = DEFAULT_MAX_IN_ALL,
) -> ObjectSet:
    """Return what is to be served now.

    Files win a clash; of two objects with the same metric the one created first does, and by name where both were
    created in the same second. Of too many metrics, of one namespace or of all, those created first are served.

    Args:
        before: What this returned the last time: last good specs are in it, and objects whose generation is the same
            are not read again. Reading takes some 0.2 ms an object.
        objects: All objects, as the API has them.
        in_files: The metrics that files define.
        max_metrics: The most metrics of one namespace.
        max_in_all: The most of all.
    """
    known = {key: _known(key, data, before.known.get(key)) for key, data in objects.items()}
    ordered = sorted(known, key=lambda key: (known[key].created, key))
    metrics: list[Metric] = []
    findings: dict[ObjectKey, Finding] = {}
    owners: dict[MetricRef, ObjectKey] = {}
    counts: Counter[str] = Counter()
    for key in ordered:
        one = known[key]
        full = _full(counts[key[0]], max_metrics, len(metrics), max_in_all)
        refused = _refused(one, in_files, owners, full)
        findings[key] = refused or _served(one)
        if one.good is not None and refused is None:
            owners[one.good.rule.ref] = key
            counts[key[0]] += 1
            metrics.append(one.good)
    return ObjectSet(known, tuple(metrics), findings)


def _known(key: ObjectKey, data: Mapping[str, Any], before: Known | None) -> Known:
    metadata = data.get("metadata", {})
    uid, generation = str(metadata.get("uid", "")), int(metadata.get("generation", 0))
    if before is not None and before.uid != uid:
        before = None  # another object of the same name: it has no past
    if before is not None and before.generation == generation > 0:
        return before
    errors, noted, metric = read(key, data)
    good, good_generation = (metric, generation) if metric is not None else (None, 0)
    if good is None and before is not None:
        good, good_generation = before.good, before.good_generation
    created = str(metadata.get("creationTimestamp", ""))
    return Known(uid, created, generation, errors, noted, good, good_generation)


def read(key: ObjectKey, data: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...], Metric | None]:
    """Return the errors of one object, what will likely disappoint in it, and the metric if there are no errors.

    Each is "path: message" and holds no secret. Of metadata only name and namespace are looked at, the server has seen
    to the rest.
    """
    namespace, name = key
    own: dict[str, Any] = {"metadata": {"namespace": namespace, "name": name}}
    own |= {part: data[part] for part in ("apiVersion", "kind", "spec") if part in data}
    try:
        external = ExternalMetric.model_validate(own, by_alias=True, by_name=False, context=Origin.OBJECT)
    except ValidationError as exc:
        return tuple(_said(error["loc"], error["msg"]) for error in exc.errors(include_url=False)), (), None
    errors = tuple(_said(*clash) for clash in clashes(external))
    noted = tuple(_said(*hint) for hint in hints(external))
    if errors:
        return errors, noted, None
    return (), noted, replace(metric_of(external, f"ExternalMetric {namespace}/{name}"), tenant=True)


def _said(place: Place, message: str) -> str:
    return f"{path_text(place)}: {message}" if place else message


def _refused(
    one: Known, in_files: Collection[MetricRef], owners: Mapping[MetricRef, ObjectKey], full: str | None
) -> Finding | None:
    """Return why nothing of an object is served; None if something is. `full` says that there is no room for it."""
    if one.good is None:
        return Finding(one.generation, Acceptance.INVALID_SPEC, _listed("nothing is served: ", one.errors))
    rule = one.good.rule
    if rule.ref in in_files:
        reason = Acceptance.DEFINED_IN_FILE
        message = f"metric {rule.metric_name} is defined in the adapter's configuration files, which win"
    elif rule.ref in owners:
        reason = Acceptance.NAME_TAKEN
        message = f"metric {rule.metric_name} is defined by ExternalMetric {owners[rule.ref][1]}, which is older"
    elif full is not None:
        reason, message = Acceptance.TOO_MANY_METRICS, full
    else:
        return None
    if one.errors:
        # What the author can mend comes first; the clash is told once that is done.
        return Finding(one.generation, Acceptance.INVALID_SPEC, _listed("nothing is served: ", one.errors))
    return Finding(one.generation, reason, message)


def _full(count: int, max_metrics: int, in_all: int, max_in_all: int) -> str | None:
    """Return why one more metric has no room; None if it has."""
    if count >= max_metrics:
        return f"the namespace has {max_metrics} older metrics, the most it may have (--max-metrics-per-namespace)"
    if in_all >= max_in_all:
        return f"there are {max_in_all} older metrics in all namespaces, the most that are served (--max-metrics)"
    return None


def _served(one: Known) -> Finding:
    assert one.good is not None  # noqa: S101 - `_refused` has seen to it
    rule = one.good.rule
    if one.errors:
        reason, message = Acceptance.INVALID_SPEC, _listed("an older spec stays in use: ", one.errors)
    else:
        reason, message = Acceptance.ACCEPTED, _listed("in use; ", one.hints) if one.hints else "in use"
    return Finding(one.generation, reason, message, rule.ref, one.good_generation, rule.interval_ms)


def _listed(opening: str, texts: Sequence[str]) -> str:
    """Return the texts after an opening, as many as there is room for, and the number of the others."""
    message = opening
    for index, text in enumerate(texts):
        more = f"and {len(texts) - index} more"
        joint = "; " if index else ""
        if len(message) + len(joint) + len(text) + len(more) + 2 > MAX_MESSAGE_CHARS:
            return message + joint + more
        message += joint + text
    return message
