"""What a SubjectAccessReview asks, what its answer means, and what whoever may not is told. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from adapter.api.request import Attributes
from adapter.auth.user import ANONYMOUS, MASTERS, User
from adapter.errors import NO_DETAILS, ApiError, Details, ForbiddenError
from scaler.gotext import quote
from scaler.selector import Operator, Requirement, Selector

_PROBES = frozenset({"/healthz", "/livez", "/readyz"})
_SELECTED = frozenset({"list", "watch", "deletecollection"})
_LARGEST_REMEMBERED = 10_000  # characters that whoever asks can choose
_OPERATORS = {
    Operator.IN: "In",
    Operator.EQUALS: "In",
    Operator.DOUBLE_EQUALS: "In",
    Operator.NOT_IN: "NotIn",
    Operator.NOT_EQUALS: "NotIn",
    Operator.EXISTS: "Exists",
    Operator.DOES_NOT_EXIST: "DoesNotExist",
}


class Question(NamedTuple):
    """Whether a user may: all that authorization depends on, and nothing else. `path` is empty for a resource."""

    user: User
    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    requirements: tuple[Requirement, ...] = ()


class Decision(NamedTuple):
    """Whether the user may; `reason` is the authorizer's, often empty."""

    allowed: bool
    reason: str = ""


class ReviewError(ApiError):
    """Nobody could be asked. The message is constant: it ends up in events."""

    code = 500
    reason = "InternalError"

    def __init__(self) -> None:
        super().__init__(
            "Internal error occurred: the Kubernetes API cannot be asked whether this request is allowed", NO_DETAILS
        )


def question(user: User, asked: Attributes, selector: Selector) -> Question | None:
    """Return what has to be known before a user may go on; None: nothing."""
    if MASTERS in user.groups or (not asked.resource and asked.path in _PROBES):
        return None
    if not asked.resource:
        return Question(user, asked.verb, asked.path)
    return Question(
        user,
        asked.verb,
        "",
        asked.group,
        asked.version,
        asked.namespace,
        asked.resource,
        asked.subresource,
        asked.name,
        selector.requirements if asked.verb in _SELECTED else (),
    )


def is_strangers(asked: Question) -> bool:
    """Say whether anybody could ask this."""
    return asked.user.name == ANONYMOUS.name


def is_remembered(asked: Question) -> bool:
    """Say whether a decision may be kept: not if clients could fill the memory with what they ask."""
    _, *texts, requirements = asked
    size = sum(map(len, texts))
    size += sum(len(value) for each in requirements for value in (each.key, *each.values))
    return size < _LARGEST_REMEMBERED


def review(asked: Question) -> dict[str, Any] | None:
    """Return the SubjectAccessReview; None if the question is no Unicode text and so cannot be put."""
    user = asked.user
    spec: dict[str, Any] = {"user": user.name}
    if asked.resource:
        names = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
        about: dict[str, Any] = {name: value for name in names if (value := getattr(asked, name))}
        if requirements := _requirements(asked.requirements):
            about["labelSelector"] = {"requirements": requirements}
        spec["resourceAttributes"] = about
    else:
        spec["nonResourceAttributes"] = {"path": asked.path, "verb": asked.verb}
    if user.groups:
        spec["groups"] = list(user.groups)
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra}
    if user.uid:
        spec["uid"] = user.uid
    try:
        json.dumps(spec, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return None
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}


def _requirements(requirements: tuple[Requirement, ...]) -> list[dict[str, Any]]:
    """Return a selector as Kubernetes knows it. gt and lt have no form there; without one more is asked for."""
    found = []
    for each in requirements:
        if (operator := _OPERATORS.get(each.operator)) is not None:
            values = {"values": list(each.values)} if each.values else {}
            found.append({"key": each.key, "operator": operator, **values})
    return found


def decision(status: Mapping[str, Any]) -> Decision:
    """Return what a review's status says. Whatever is not a clear yes is a no."""
    reason = status.get("reason")
    allowed = status.get("allowed") is True and not status.get("denied")
    return Decision(allowed, reason if isinstance(reason, str) else "")


def forbidden(asked: Question, reason: str) -> ForbiddenError:
    """Return the error for a user who may not. Source: responsewriters/errors.go of k8s.io/apiserver."""
    who = f"User {quote(asked.user.name)} cannot {asked.verb}"
    why = f": {reason}" if reason else ""
    if not asked.resource:
        return ForbiddenError(f"forbidden: {_sanitized(f'{who} path {quote(asked.path)}')}{why}", NO_DETAILS)
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    where = f"in the namespace {quote(asked.namespace)}" if asked.namespace else "at the cluster scope"
    message = _sanitized(f"{who} resource {quote(resource)} in API group {quote(asked.group)} {where}")
    name = f" {quote(asked.name)}" if asked.name else ""
    about = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    details = Details(name=asked.name, group=asked.group, kind=asked.resource)
    return ForbiddenError(f"{about}{name} is forbidden: {message}{why}", details)


def _sanitized(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
