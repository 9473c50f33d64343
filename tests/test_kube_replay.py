"""The stand-in for the Kubernetes API against what a real one answered."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.kube_api import NAMESPACE, Attributes, Cause, Decision, KubeApi, User

EXCHANGES = [
    json.loads(line) for line in (Path(__file__).parent / "testdata/wire/kube-api.jsonl").read_text().splitlines()
]
TITLES = {exchange["title"]: exchange for exchange in EXCHANGES}
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{NAMESPACE}"
VOLATILE = {"managedFields", "uid", "resourceVersion", "creationTimestamp", "remainingItemCount", "continue"}
SHOWN_HEADERS = ("Cache-Control", "Content-Type", "Warning", "X-Content-Type-Options")
# Of these only the status code is compared: defaults of built-in types, the build, advice on a key that is none.
ONLY_STATUS = {"the definition is accepted", "event: create", "version", "secret: create"}
NOT_SENT = {"a definition with $ref is refused"}


class Cluster:
    """The stand-in in the state that the exchanges were captured in, asked in their order."""

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.versions: dict[str, str] = {}
        context = ssl.create_default_context(cafile=str(api.ca_file))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._host, self._context = urlsplit(api.url).netloc, context

    def ask(self, exchange: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        """Send what was sent then. Versions of theirs become ours."""
        connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=20)
        sent = exchange["requestHeaders"]
        token = self.api.token if "Authorization" in sent else self.api.admin
        if exchange["title"] == "an expired or foreign bearer token":
            token = "foreign"
        headers = {**sent, "Authorization": f"Bearer {token}"}
        path = re.sub(r"resourceVersion=(\d+)", lambda at: f"resourceVersion={self._ours(at[1])}", exchange["path"])
        path = re.sub(r"timeoutSeconds=\d+", "timeoutSeconds=1", path)
        body = exchange["requestBody"]
        if body is not None:
            body = json.loads(json.dumps(body).replace("<token>", self.api.token))
            version = body.get("metadata", {}).get("resourceVersion")
            if version:
                body["metadata"]["resourceVersion"] = self._ours(version)
                del body["metadata"]["uid"]
        connection.request(exchange["method"], path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        self._learn(exchange, text)
        return answer.status, dict(answer.headers), text.replace(self.api.token, "<token>")

    def _ours(self, version: str) -> str:
        return self.versions.get(version, version)

    def _learn(self, exchange: dict[str, Any], text: str) -> None:
        found = re.findall(r'"resourceVersion":"(\d+)"', text)
        theirs = re.findall(r'"resourceVersion":"(\d+)"', exchange.get("body", ""))
        self.versions |= dict(zip(theirs, found, strict=False))


def settled(value: Any) -> Any:
    """Return JSON without what differs from one cluster and one second to the next."""
    if isinstance(value, dict):
        return {name: settled(inner) for name, inner in value.items() if name not in VOLATILE}
    return [settled(item) for item in value] if isinstance(value, list) else value


def one_source(obj: dict[str, Any]) -> list[Cause]:
    """The CEL rule of the captured definition."""
    if len(obj["spec"]["source"]) == 1:
        return []
    return [Cause("FieldValueInvalid", "Invalid value: exactly one source", "spec.source")]


def account_may(user: User, asked: Attributes) -> Decision | None:
    """What the captured cluster allowed the adapter and the HPA controller."""
    if user.name == "system:serviceaccount:kube-system:horizontal-pod-autoscaler":
        role = "system:controller:horizontal-pod-autoscaler"
        role = role if "system:serviceaccounts" in user.groups else "external-metrics-reader"
        reason = f'RBAC: allowed by ClusterRoleBinding "{role}" of ClusterRole "{role}" to ServiceAccount '
        reason += '"horizontal-pod-autoscaler/kube-system"'
        return Decision(allowed=True, reason=reason)
    if user.name != ACCOUNT:
        return None
    refused = {
        ("get", "configmaps", "kube-root-ca.crt"),
        ("patch", "externalmetrics", "orders"),
        ("get", "secrets", "redis-auth"),
        ("get", "apiservices", "v1.apps"),
    }
    reason = 'RBAC: allowed by ClusterRoleBinding "spillway-spillway" of ClusterRole "spillway" to ServiceAccount '
    reason += '"spillway/spillway"'
    found = (asked.verb, asked.resource, asked.name) not in refused or bool(asked.subresource)
    return Decision(allowed=found, reason=reason)


def items(title: str, kind: str) -> list[dict[str, Any]]:
    """Return the objects of a captured list."""
    listed = json.loads(TITLES[title]["body"])
    return [{"kind": kind, "apiVersion": listed["apiVersion"], **item} for item in listed["items"]]


def prepare(api: KubeApi) -> None:
    """Store what was there before the capture began."""
    api.enforce_rbac = True
    api.decide(account_may)
    api.validate("externalmetrics.spillway.dev", one_source)
    api.create(json.loads(TITLES["read the authentication ConfigMap"]["body"]))
    api.create(json.loads(TITLES["the APIService, its condition"]["body"]))


def meanwhile(api: KubeApi, title: str) -> None:
    """Do what others did in the cluster before an exchange."""
    if title == "endpoint slices of a service":
        for pod in [*items("pods by label", "Pod"), *items("pods of another namespace by cluster path", "Pod")]:
            api.put(pod)
        for endpoint_slice in items(title, "EndpointSlice"):
            api.put(endpoint_slice)
    if title == "watch pods: a deletion":
        leaving = {"deletionTimestamp": "2026-11-20T08:10:45Z", "deletionGracePeriodSeconds": 0, "generation": 2}
        api.patch("pods", "shop", "web-0", {"metadata": leaving})
        api.delete("pods", "shop", "web-0")


def test_the_stand_in_answers_as_the_real_one_did(tmp_path: Path) -> None:
    """Status codes, headers, bodies and watches of every exchange an adapter has with kube-apiserver 1.36 agree."""
    different = {}
    with KubeApi(tmp_path) as api:
        prepare(api)
        cluster = Cluster(api)
        for exchange in EXCHANGES:
            title = exchange["title"]
            if title in NOT_SENT:
                continue
            meanwhile(api, title)
            status, headers, text = cluster.ask(exchange)
            theirs, ours = (
                said(exchange, exchange["status"], exchange["responseHeaders"]),
                said(exchange, status, headers),
            )
            if title not in ONLY_STATUS:
                theirs += content(exchange.get("body") or "\n".join(exchange["watchLines"]))
                ours += content(text)
            if ours != theirs:
                different[title] = (theirs, ours)
    assert different == {}


def said(exchange: dict[str, Any], status: int, headers: dict[str, str]) -> list[Any]:
    """Return the part of an answer before its body."""
    shown = {name: headers.get(name) for name in SHOWN_HEADERS}
    return [status] if exchange["title"] in ONLY_STATUS else [status, shown]


def content(text: str) -> list[Any]:
    """Return a body, or the lines of a watch, without what differs from one cluster to the next."""
    try:
        return [settled(json.loads(line)) for line in text.splitlines()]
    except ValueError:
        return [text]
