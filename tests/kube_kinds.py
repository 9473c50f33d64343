"""The collections that a cluster has, and the objects' identity and selectors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from scaler import selector
from tests.kube_status import Cause, Object, StatusError, bad_request, invalid

Key = tuple[str, str]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


@dataclass(frozen=True)
class Kind:
    """One resource of one group, in one version.

    Attributes:
        status: Whether it has a status subresource.
        generations: Whether metadata.generation counts changes of the spec.
        custom: A custom resource: its JSON is written in alphabetical order.
        schema: Of a custom resource.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False
    generations: bool = False
    custom: bool = False
    schema: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """ "pods", "leases.coordination.k8s.io"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


_CLUSTER: dict[str, Any] = {"namespaced": False}
_WORKLOAD: dict[str, Any] = {"status": True, "generations": True}
_RBAC = "rbac.authorization.k8s.io"
BUILT_IN = (
    Kind("", "v1", "configmaps", "ConfigMap"),
    Kind("", "v1", "secrets", "Secret"),
    Kind("", "v1", "serviceaccounts", "ServiceAccount"),
    Kind("", "v1", "events", "Event"),
    Kind("", "v1", "services", "Service", status=True),
    Kind("", "v1", "pods", "Pod", **_WORKLOAD),
    Kind("", "v1", "namespaces", "Namespace", namespaced=False, status=True),
    Kind("", "v1", "nodes", "Node", namespaced=False, status=True),
    Kind("apps", "v1", "deployments", "Deployment", **_WORKLOAD),
    Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", status=True),
    Kind("autoscaling.k8s.io", "v1", "verticalpodautoscalers", "VerticalPodAutoscaler", **_WORKLOAD, custom=True),
    Kind("coordination.k8s.io", "v1", "leases", "Lease"),
    Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", generations=True),
    Kind("events.k8s.io", "v1", "events", "Event"),
    Kind(
        "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", **_CLUSTER, **_WORKLOAD
    ),
    Kind("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False, status=True),
    Kind(_RBAC, "v1", "clusterroles", "ClusterRole", **_CLUSTER),
    Kind(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", **_CLUSTER),
    Kind(_RBAC, "v1", "roles", "Role"),
    Kind(_RBAC, "v1", "rolebindings", "RoleBinding"),
)


def defined_by(definition: Object) -> Kind:
    """Return what a CustomResourceDefinition defines, in its stored version."""
    spec = definition["spec"]
    version = next(version for version in spec["versions"] if version.get("storage"))
    return Kind(
        spec["group"],
        version["name"],
        spec["names"]["plural"],
        spec["names"]["kind"],
        namespaced=spec["scope"] == "Namespaced",
        status="status" in version.get("subresources", {}),
        generations=True,
        custom=True,
        schema=version.get("schema", {}).get("openAPIV3Schema", {}),
    )


def key_of(kind: Kind, obj: Object) -> Key:
    """Return where an object is stored."""
    metadata = obj.get("metadata", {})
    return metadata.get("namespace", "") if kind.namespaced else "", metadata.get("name", "")


def check_name(kind: Kind, name: str) -> None:
    """Raise what the server says of a name that cannot be."""
    cause = None
    if not name:
        cause = Cause("FieldValueRequired", "Required value: name or generateName is required", "metadata.name")
    elif not _NAME.fullmatch(name) and kind.group != _RBAC:
        cause = Cause("FieldValueInvalid", f'Invalid value: "{name}": {_NAME_RULE}', "metadata.name")
    if cause is not None:
        raise invalid(kind.kind, kind.group, name, [cause])


@dataclass(frozen=True)
class Selection:
    """What a list or a watch asks for."""

    kind: Kind
    namespace: str = ""
    labels: selector.Selector = selector.EVERYTHING
    fields: tuple[tuple[str, str, bool], ...] = ()

    @property
    def everything(self) -> bool:
        return self.labels == selector.EVERYTHING and not self.fields

    def takes(self, obj: Object | None) -> bool:
        if obj is None:
            return False
        metadata = obj["metadata"]
        if self.namespace and metadata.get("namespace") != self.namespace:
            return False
        if not self.labels.matches(tuple(metadata.get("labels", {}).items())):
            return False
        return all((_field(obj, name) == value) is equal for name, value, equal in self.fields)


def selection(kind: Kind, namespace: str, labels: str, fields: str) -> Selection:
    """Parse selectors; raises StatusError 400."""
    try:
        wanted = selector.parse(labels)
    except selector.SelectorError as exc:
        raise bad_request(f"unable to parse requirement: {exc}") from exc
    return Selection(kind, namespace, wanted, tuple(_field_terms(kind, fields)))


def _field_terms(kind: Kind, fields: str) -> list[tuple[str, str, bool]]:
    known = {"metadata.name", "metadata.namespace"}
    known |= {"spec.nodeName", "status.phase", "status.podIP"} if kind.name == "pods" else set()
    known |= {"type"} if kind.name == "secrets" else set()
    terms = []
    for term in filter(None, fields.split(",")):
        name, sign, value = re.fullmatch(r"([^=!]*)(!=|==?)?(.*)", term, re.DOTALL).groups()  # type: ignore[union-attr]  # matches all
        if not sign:
            raise bad_request(f"invalid selector: '{fields}'; can't understand '{term}'")
        if name not in known:
            raise bad_request(f"field label not supported: {name}")
        terms.append((name, value, sign != "!="))
    return terms


def _field(obj: Object, path: str) -> str:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def no_kind(api_version: str, kind: str) -> StatusError:
    return bad_request(f'no kind "{kind}" is registered for version "{api_version}"')
