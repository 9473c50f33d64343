"""A HorizontalPodAutoscaler as the cluster has it: what of it reads External metrics, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from adapter.explain.errors import ExplainError
from adapter.simulate.manifest import Manifest
from adapter.simulate.quantity import parse_milli
from scaler.hpa_model import HpaSpec
from scaler.selector import EVERYTHING, Selector, SelectorError, parse

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hpa:
    """An HPA.

    Args:
        name, namespace: Its own.
        target: What it scales: "Deployment/worker".
        spec: With those of its metrics that are External; None if it has none.
        read: What it last read of each External one: ("averageValue" or "value", milli-units), or None.
        others: Its other metrics, for a person: "Resource cpu".
        status: As the object has it; empty if it has none.
    """

    name: str
    namespace: str
    target: str
    spec: HpaSpec | None
    read: tuple[tuple[str, int] | None, ...]
    others: tuple[str, ...]
    status: Json


def hpa_of(document: Json, where: str) -> Hpa:
    """Read an autoscaling/v2 object.

    Raises:
        ExplainError: It is none, or not valid.
    """
    if document.get("kind") != "HorizontalPodAutoscaler" or document.get("apiVersion") != "autoscaling/v2":
        kind = f"{document.get('apiVersion')} {document.get('kind')}"
        raise ExplainError(f"{where}: must be an autoscaling/v2 HorizontalPodAutoscaler, got {kind}")
    spec = document.get("spec")
    metrics = spec.get("metrics") if isinstance(spec, Mapping) else None
    if not isinstance(spec, Mapping) or not isinstance(metrics, list):
        raise ExplainError(f"{where}: spec.metrics: is required")
    places = [n for n, each in enumerate(metrics) if isinstance(each, Mapping) and each.get("type") == "External"]
    others = tuple(_other(each) for n, each in enumerate(metrics) if isinstance(each, Mapping) and n not in places)
    metadata, status = document.get("metadata") or {}, document.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    external = _spec({**document, "spec": {**spec, "metrics": [metrics[n] for n in places]}}, where) if places else None
    own = external.metrics if external else ()
    return Hpa(
        str(metadata.get("name", "")),
        str(metadata.get("namespace") or "default"),
        f"{target.get('kind', '?')}/{target.get('name', '?')}",
        external,
        tuple(_read(status, place, metric.name) for place, metric in zip(places, own, strict=True)),
        others,
        status,
    )


def _spec(document: Json, where: str) -> HpaSpec:
    try:
        return Manifest.model_validate(document, by_alias=True, by_name=False).hpa().spec
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise ExplainError(*(f"{where}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)) from None


def _other(metric: Json) -> str:
    kind = str(metric.get("type"))
    own = metric.get(kind[:1].lower() + kind[1:])
    own = own if isinstance(own, Mapping) else {}
    named = own.get("name") or (own.get("metric") or {}).get("name") or ""
    return f"{kind} {named}".strip()


def selector_of(text: str) -> Selector:
    """Return a metric's selector from its text; "nil" is none."""
    try:
        return EVERYTHING if text in ("", "nil") else parse(text)
    except SelectorError as error:
        raise ExplainError(f"selector {text}: {error}") from None


def conditions(status: Json) -> Iterator[dict[str, Any]]:
    """Yield the HPA's conditions as JSON types."""
    for each in status.get("conditions") or ():
        yield {
            "type": str(each.get("type", "")),
            "status": str(each.get("status", "")),
            "reason": str(each.get("reason", "")),
            "message": str(each.get("message", "")),
            "sinceMs": moment_ms(each.get("lastTransitionTime")),
        }


def _read(status: Json, place: int, name: str) -> tuple[str, int] | None:
    """Return what the HPA last read of the metric at a place of its spec: status and spec have the same order."""
    current = status.get("currentMetrics") or ()
    found = current[place] if place < len(current) else None
    external = found.get("external") if isinstance(found, Mapping) else None
    if not isinstance(external, Mapping) or (external.get("metric") or {}).get("name") != name:
        return None
    values = external.get("current") or {}
    for key in ("averageValue", "value"):
        milli = parse_milli(str(values[key])) if key in values else None
        if milli is not None:
            return key, milli
    return None


def moment_ms(text: object) -> int | None:
    """Return an RFC 3339 moment in milliseconds since the epoch; None if it is none."""
    if isinstance(text, datetime):  # a YAML file's
        return int(text.timestamp() * 1000)
    try:
        return int(datetime.fromisoformat(str(text)).timestamp() * 1000)
    except ValueError:
        return None
