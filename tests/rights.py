"""What roles allow the adapter, compared with what it asks for: nothing missing, nothing to spare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tests.kube_api import ACCOUNT, Asked, Attributes, Object
from tests.kube_rbac import Rule, rules_of

_RBAC = "rbac.authorization.k8s.io/v1"

BUILT_IN: tuple[Object, ...] = (
    {
        "apiVersion": _RBAC,
        "kind": "ClusterRole",
        "metadata": {"name": "system:auth-delegator"},
        "rules": [
            {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
            {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
        ],
    },
    {
        "apiVersion": _RBAC,
        "kind": "Role",
        "metadata": {"name": "extension-apiserver-authentication-reader", "namespace": "kube-system"},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": ["extension-apiserver-authentication"],
                "verbs": ["get", "list", "watch"],
            }
        ],
    },
)
"""The roles that every cluster has and that ours are bound to. They have what they have: nothing there is to spare."""


class Right(NamedTuple):
    """One verb on one resource ("pods", "externalmetrics/status"). No namespace: in all; no name: on any."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


def granted(objects: Iterable[Object]) -> frozenset[Right]:
    """Return what roles and bindings allow the adapter's account."""
    return frozenset(right for rule in _rules(objects) for right in _rights(rule))


def uncovered(requests: Iterable[Asked], objects: Iterable[Object]) -> list[Asked]:
    """Return the requests that these roles and bindings, and the built-in ones, do not allow."""
    rules = _rules([*objects, *BUILT_IN])
    distinct = dict.fromkeys(requests)
    return [asked for asked in distinct if not any(rule.allows(ACCOUNT, Attributes(*asked)) for rule in rules)]


def unused(requests: Iterable[Asked], objects: Iterable[Object]) -> list[Right]:
    """Return what these roles and bindings allow, without the built-in ones, and none of the requests needs."""
    asked = {Attributes(*one) for one in requests}
    return sorted(right for right in granted(objects) if not any(_serves(right, one) for one in asked))


def _rules(objects: Iterable[Object]) -> list[Rule]:
    subjects = {ACCOUNT.name, *ACCOUNT.groups}
    return [rule for rule in rules_of(objects) if rule.subject in subjects]


def _rights(rule: Rule) -> Iterable[Right]:
    for group in rule.groups:
        for resource in rule.resources:
            for verb in rule.verbs:
                for name in rule.names or ("",):
                    yield Right(verb, group, resource, rule.namespace, name)


def _serves(right: Right, asked: Attributes) -> bool:
    same = (right.verb, right.group, right.resource) == (asked.verb, asked.group, asked.full_resource)
    return same and right.namespace in ("", asked.namespace) and right.name in ("", asked.name)
