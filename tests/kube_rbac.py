"""Who may do what, as RBAC decides it, and the reviews that other servers ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tests.kube_status import Cause, Object, StatusError, details, invalid, qualified

SERVICE_ACCOUNT = "system:serviceaccount:"


class User(NamedTuple):
    """Who asks."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))


class Attributes(NamedTuple):
    """What is asked for: a resource, or with `path` something else."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Decision(NamedTuple):
    """Whether it is allowed. `error` makes the review itself fail with 500."""

    allowed: bool
    reason: str = ""
    error: bool = False


class Rule(NamedTuple):
    """What one subject may do; "*" stands for all; no names: any; no namespace: all, and cluster-scoped."""

    subject: str
    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ("",)
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    namespace: str = ""
    paths: tuple[str, ...] = ()
    why: str = 'RBAC: allowed by ClusterRoleBinding "test" of ClusterRole "test"'

    def allows(self, user: User, asked: Attributes) -> bool:
        if self.subject != user.name and self.subject not in user.groups:
            return False
        if not {"*", asked.verb} & set(self.verbs):
            return False
        if asked.path:
            return any(asked.path == p or (p.endswith("*") and asked.path.startswith(p[:-1])) for p in self.paths)
        return (
            bool({"*", asked.group} & set(self.groups))
            and bool({"*", asked.full_resource, f"*/{asked.subresource}"} & set(self.resources))
            and (not self.names or asked.name in self.names)
            and self.namespace in ("", asked.namespace)
        )


DISCOVERY = (
    Rule("system:authenticated", ("get",), paths=("/api", "/api/*", "/apis", "/apis/*", "/version", "/openapi/*")),
    Rule("system:authenticated", ("get",), paths=("/healthz", "/livez", "/readyz")),
    Rule(
        "system:authenticated",
        ("create",),
        ("authorization.k8s.io",),
        ("selfsubjectaccessreviews", "selfsubjectrulesreviews"),
    ),
    Rule("system:unauthenticated", ("get",), paths=("/healthz", "/livez", "/readyz", "/version")),
)


class Rbac:
    """The rules of a cluster. `decide` answers instead of them where it is set and does not return None."""

    def __init__(self) -> None:
        self.rules: list[Rule] = list(DISCOVERY)
        self.decide: Callable[[User, Attributes], Decision | None] | None = None

    def decision(self, user: User, asked: Attributes) -> Decision:
        if "system:masters" in user.groups:
            return Decision(allowed=True)
        scripted = self.decide(user, asked) if self.decide else None
        if scripted is not None:
            return scripted
        rule = next((rule for rule in self.rules if rule.allows(user, asked)), None)
        return Decision(allowed=True, reason=rule.why) if rule else Decision(allowed=False)


def forbidden(user: User, asked: Attributes) -> StatusError:
    """Return the answer to who may not."""
    headers = {"X-Content-Type-Options": "nosniff"}
    if asked.path:
        text = f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"'
        return StatusError(403, "Forbidden", text, {}, headers)
    name = f' "{asked.name}"' if asked.name else ""
    scope = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    text = f'{qualified(asked.resource, asked.group)}{name} is forbidden: User "{user.name}" cannot {asked.verb} '
    text += f'resource "{asked.full_resource}" in API group "{asked.group}" {scope}'
    return StatusError(403, "Forbidden", text, details(asked.name, asked.group, asked.resource), headers)


def token_review(spec: Object, users: dict[str, User]) -> Object:
    """Return the status of a TokenReview."""
    user = users.get(spec.get("token", ""))
    if user is None:
        return {"user": {}, "error": "invalid bearer token"}
    shown: Object = {"username": user.name, "uid": user.uid, "groups": [*user.groups]}
    shown["extra"] = {name: [*values] for name, values in user.extra}
    kept = {name: value for name, value in shown.items() if value}
    return {"authenticated": True, "user": kept, "audiences": ["https://kubernetes.default.svc"]}


def access_review(spec: Object, rbac: Rbac, user: User | None) -> Object:
    """Return the status of a SubjectAccessReview, or for `user` of a SelfSubjectAccessReview."""
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    why = []
    if (resource is None) == (path is None):
        text = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        why.append(Cause("FieldValueInvalid", text, "spec.resourceAttributes"))
    if user is None and not spec.get("user") and not spec.get("groups"):
        text = 'Invalid value: "": at least one of user or group must be specified'
        why.append(Cause("FieldValueInvalid", text, "spec.user"))
    if why:
        raise invalid("", "authorization.k8s.io", "", why)
    asked = resource or path or {}
    known = {name: asked[name] for name in Attributes._fields if name in asked}
    extra = tuple((name, tuple(values)) for name, values in spec.get("extra", {}).items())
    user = user or User(spec.get("user", ""), spec.get("uid", ""), tuple(spec.get("groups", ())), extra)
    decision = rbac.decision(user, Attributes(**{"verb": "", **known}))
    if decision.error:
        raise StatusError(500, "InternalError", "Internal error occurred: webhook unavailable", {})
    return {"allowed": decision.allowed, **({"reason": decision.reason} if decision.reason else {})}


def rules_of(objects: Iterable[Object]) -> list[Rule]:
    """Return what ClusterRoles, Roles and their bindings allow; bindings to roles that are not there allow nothing."""
    objects = list(objects)
    roles: dict[tuple[str, str, str], list[dict[str, Any]]] = {
        (obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]): obj.get("rules") or []
        for obj in objects
        if obj["kind"] in ("ClusterRole", "Role")
    }
    found = []
    for binding in objects:
        if binding["kind"] not in ("ClusterRoleBinding", "RoleBinding"):
            continue
        namespace, ref = binding["metadata"].get("namespace", ""), binding["roleRef"]
        role = roles.get((ref["kind"], namespace if ref["kind"] == "Role" else "", ref["name"]), [])
        for subject in binding["subjects"]:
            name, shown = subject["name"], subject["name"]
            if subject["kind"] == "ServiceAccount":
                home = subject.get("namespace", namespace)
                name, shown = f"{SERVICE_ACCOUNT}{home}:{name}", f"{name}/{home}"
            why = (
                f'RBAC: allowed by {binding["kind"]} "{binding["metadata"]["name"]}" of {ref["kind"]} "{ref["name"]}" '
            )
            why += f'to {subject["kind"]} "{shown}"'
            found += [
                Rule(
                    name,
                    tuple(rule["verbs"]),
                    tuple(rule.get("apiGroups", ())),
                    tuple(rule.get("resources", ())),
                    tuple(rule.get("resourceNames", ())),
                    namespace,
                    tuple(rule.get("nonResourceURLs", ())),
                    why,
                )
                for rule in role
            ]
    return found
