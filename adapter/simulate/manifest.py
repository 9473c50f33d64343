"""A HorizontalPodAutoscaler as users write it: autoscaling/v2, with what the API server fills in.

Every field is honoured, or refused by name; what the API server would not take is refused too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from adapter.schema.strict import Lax, Path, Strict
from adapter.schema.text import Text, metric_name_problem
from adapter.simulate.quantity import Quantity
from scaler import quantity
from scaler.hpa_model import (
    SCALE_DOWN_DEFAULTS,
    SCALE_UP_DEFAULTS,
    Behavior,
    ExternalMetric,
    HpaSpec,
    Policy,
    PolicyType,
    ScalingRules,
    SelectPolicy,
)

API_VERSION = "autoscaling/v2"
_INT32 = 2**31 - 1

Milli = Annotated[int, Quantity()]
Ratio = Annotated[float, Quantity(low=0, high=1e9, ratio=True)]


class _Anything(BaseModel):
    """What has no effect on scaling: read for its name, and otherwise left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, alias_generator=to_camel)


class _Metadata(_Anything):
    """The object's identity."""

    name: str = ""
    namespace: str = "default"


class _Target(Strict):
    """`metrics[].external.target`."""

    type: Literal["Value", "AverageValue", "Utilization"]
    value: Milli | None = None
    average_value: Milli | None = None
    average_utilization: Any = None

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Exactly one target, as the API server asks."""
        if self.average_utilization is not None or self.type == "Utilization":
            yield ("type",), "Utilization is for CPU and memory: an External metric has Value or AverageValue"
        elif {"value", "averageValue"} & unread:
            return
        elif self.value is None and self.average_value is None:
            name = "averageValue" if self.type == "AverageValue" else "value"
            yield (name,), "is required"
        elif self.value is not None and self.average_value is not None:
            yield ("value",), "must not be set beside averageValue"


class _Requirement(Strict):
    """`selector.matchExpressions[]`."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: Annotated[tuple[str, ...], Lax] = ()


class _Selector(Strict):
    """`metric.selector`."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: Annotated[tuple[_Requirement, ...], Lax] = ()

    @property
    def text(self) -> str:
        """The selector for a person."""
        labels = [f"{name}={value}" for name, value in self.match_labels.items()]
        words = {"In": "in", "NotIn": "notin"}
        for one in self.match_expressions:
            if one.operator in words:
                labels.append(f"{one.key} {words[one.operator]} ({','.join(one.values)})")
            else:
                labels.append(one.key if one.operator == "Exists" else f"!{one.key}")
        return ",".join(labels)


class _Identifier(Strict):
    """`metrics[].external.metric`."""

    name: Annotated[str, Text("must be 1 to 253 characters", pattern=r"[^/%]+", check=metric_name_problem)]
    selector: _Selector | None = None


class _External(Strict):
    """`metrics[].external`."""

    metric: _Identifier
    target: _Target


class _Metric(Strict):
    """`metrics[]`: only External ones have a source that can be simulated."""

    stand_ins: ClassVar[Mapping[str, object]] = {
        "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": 1}}
    }
    type: Literal["External", "Resource", "ContainerResource", "Pods", "Object"]
    external: _External | None = None
    resource: Any = None
    container_resource: Any = None
    pods: Any = None
    object: Any = None

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """It is External and nothing else."""
        if self.type != "External" and "type" not in unread:
            yield ("type",), f"{self.type} cannot be simulated: only External metrics can"
            return
        if self.external is None and "external" not in unread:
            yield ("external",), "is required"
        for name in ("resource", "containerResource", "pods", "object"):
            if getattr(self, name.replace("containerResource", "container_resource")) is not None:
                yield (name,), "must not be set beside external"


class _Policy(Strict):
    """`policies[]`."""

    type: Literal["Pods", "Percent"]
    value: int = Field(ge=1, le=_INT32)
    period_seconds: int = Field(ge=1, le=1_800)


class _Rules(Strict):
    """`behavior.scaleUp` and `behavior.scaleDown`."""

    stabilization_window_seconds: int | None = Field(default=None, ge=0, le=3_600)
    select_policy: Literal["Max", "Min", "Disabled"] | None = None
    policies: Annotated[tuple[_Policy, ...], Lax, Field(min_length=1)] | None = None
    tolerance: Ratio | None = None

    def over(self, defaults: ScalingRules) -> ScalingRules:
        """Return the defaults with what is said here put over them."""
        rules = replace(defaults, tolerance=self.tolerance)
        if self.stabilization_window_seconds is not None:
            rules = replace(rules, stabilization_window_s=self.stabilization_window_seconds)
        if self.select_policy is not None:
            rules = replace(rules, select_policy=SelectPolicy(self.select_policy))
        if self.policies is not None:
            policies = tuple(Policy(PolicyType(one.type), one.value, one.period_seconds) for one in self.policies)
            rules = replace(rules, policies=policies)
        return rules


class _Behavior(Strict):
    """`behavior`."""

    scale_up: _Rules | None = None
    scale_down: _Rules | None = None


class _Reference(Strict):
    """`scaleTargetRef`."""

    api_version: str = ""
    kind: Annotated[str, Text("must not be empty")]
    name: Annotated[str, Text("must not be empty")]


class _Spec(Strict):
    """`spec`."""

    scale_target_ref: _Reference
    min_replicas: int = Field(default=1, ge=0, le=_INT32)
    max_replicas: int = Field(ge=1, le=_INT32)
    metrics: Annotated[tuple[_Metric, ...], Lax, Field(min_length=1)]
    behavior: _Behavior | None = None

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """The bounds are in order."""
        if self.max_replicas < self.min_replicas and not unread & {"maxReplicas", "minReplicas"}:
            yield ("maxReplicas",), f"must be at least minReplicas ({self.min_replicas}), got {self.max_replicas}"


class Manifest(Strict):
    """The whole object."""

    api_version: Literal["autoscaling/v2"]
    kind: Literal["HorizontalPodAutoscaler"]
    metadata: _Metadata
    spec: _Spec
    status: Any = None

    def hpa(self) -> Hpa:
        """Return what of it scales."""
        behavior = None
        if self.spec.behavior is not None:
            up, down = self.spec.behavior.scale_up, self.spec.behavior.scale_down
            behavior = Behavior(
                up.over(SCALE_UP_DEFAULTS) if up else SCALE_UP_DEFAULTS,
                down.over(SCALE_DOWN_DEFAULTS) if down else SCALE_DOWN_DEFAULTS,
            )
        metrics = tuple(_metric(one.external) for one in self.spec.metrics if one.external is not None)
        bounds = {"min_replicas": self.spec.min_replicas, "max_replicas": self.spec.max_replicas}
        spec = HpaSpec(metrics=metrics, behavior=behavior, namespace=self.metadata.namespace, **bounds)
        return Hpa(self.metadata.name, spec)


@dataclass(frozen=True, slots=True)
class Hpa:
    """An HPA and its name."""

    name: str
    spec: HpaSpec


def _metric(external: _External) -> ExternalMetric:
    selector = external.metric.selector.text if external.metric.selector else "nil"
    target = external.target
    return ExternalMetric(external.metric.name, target.average_value, target.value, selector)


def target_text(metric: ExternalMetric) -> str:
    """Return a metric's target for a person: "orders 30/pod"."""
    if metric.average_value_milli is not None:
        return f"{metric.name} {quantity.text(metric.average_value_milli)}/pod"
    return f"{metric.name} {quantity.text(metric.value_milli or 0)} in all"


def document_kind(data: Any) -> str:
    """Return the kind of a document; "" if it has none."""
    kind = data.get("kind") if isinstance(data, Mapping) else None
    return kind if isinstance(kind, str) else ""
