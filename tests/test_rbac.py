"""Least privilege: what the manifests allow is what the adapter asks for, no less and no more."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.api import selfsigned
from adapter.cluster import SECRET
from adapter.doctor.look import Installation, needed_rights
from adapter.kube.certs import ServingSecret
from adapter.kube.client import Access, Kube
from adapter.kube.status import StatusWriter
from tests.cluster_process import ClusterAdapter, external_metric, prepare
from tests.kube_api import ACCOUNT, Asked, KubeApi
from tests.kubectl import MANIFESTS, Object, pick, render
from tests.rights import BUILT_IN, Right, granted, uncovered, unused
from tests.test_kube_status import DOWN, World
from tests.test_kube_status import run as write_statuses
from tests.test_manifests import composed, options
from tests.waiting import until_sync

TENANT = "shop"
SERVICES = {Right(verb, "", "services") for verb in ("list", "watch")}
APISERVICE = {
    Right(verb, "apiregistration.k8s.io", "apiservices", name="v1beta1.external.metrics.k8s.io")
    for verb in ("get", "patch")
}
CERTIFICATE = {
    Right("create", "", "secrets", "spillway"),
    *(Right(verb, "", "secrets", "spillway", SECRET) for verb in ("get", "update")),
}
SELDOM = {
    Right("get", "spillway.dev", "externalmetrics"),
    Right("patch", "events.k8s.io", "events"),
    Right("update", "", "secrets", "spillway", SECRET),
}
"""What the adapter does when somebody wrote first, when a source comes and goes, and after two months."""


def rendered(*folders: str) -> list[Object]:
    return [obj for folder in folders for obj in render(MANIFESTS / folder)]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    with KubeApi(tmp_path / "kube") as server:
        yield server


def test_what_is_allowed_is_what_is_asked_for(api: KubeApi, tmp_path: Path) -> None:
    """A real adapter with every kind of source needs each right that it has, and is refused nothing."""
    roles = rendered("overlays/production", "tenant")
    api.allow_roles([*roles, *BUILT_IN])
    api.enforce_rbac = True
    cluster = prepare(api)
    for obj in metrics():
        api.create(obj)
    config = tmp_path / "none.yaml"
    config.write_text("")
    with ClusterAdapter(cluster, tmp_path / "a", config, "--strict-reach"):
        until_sync(lambda: not {*unused(api.requests, roles)} - SELDOM, 60)
    seldom(api, tmp_path)
    assert uncovered(api.requests, roles) == []
    assert unused(api.requests, roles) == []


@pytest.mark.parametrize("how", ["base", "overlays/shadow", "cert-manager"])
def test_every_way_of_installing_is_enough(how: str, api: KubeApi, tmp_path: Path) -> None:
    """With the rights and flags of each, the adapter becomes ready, writes statuses, and is refused nothing."""
    (tmp_path / "overlay").mkdir()
    roles = composed(tmp_path / "overlay", "base", how) if how == "cert-manager" else rendered(how)
    api.allow_roles([*roles, *BUILT_IN])
    api.enforce_rbac = True
    cluster = prepare(api)
    api.create(external_metric("fixed", {"source": {"static": {"series": [{"value": 1}]}}}))
    given, flags = options(roles), []
    if given.cert_mode == "files":
        cert, key = selfsigned.ensure(tmp_path / "given")
        flags = ["--cert-mode=files", f"--tls-cert-file={cert}", f"--tls-private-key-file={key}"]
    flags.append(f"--patch-apiservice={str(given.patch_apiservice).lower()}")
    config = tmp_path / "none.yaml"
    config.write_text("")
    adapter = ClusterAdapter(cluster, tmp_path / "a", config, *flags)
    with contextlib.ExitStack() as stack:
        stack.push(adapter.__exit__)
        adapter.start(ready=False)
        until_sync(lambda: adapter.probe("/readyz").status == 200, 60)
        until_sync(lambda: (api.get("externalmetrics.spillway.dev", TENANT, "fixed") or {}).get("status"), 30)
    assert uncovered(api.requests, roles) == []
    touched = {asked.resource for asked in api.requests}
    assert ("secrets" in touched) == (how != "cert-manager")
    assert ("apiservices" in touched) == (how == "base")


def metrics() -> Iterator[Object]:
    """Yield objects that need everything: pods, a Service's endpoints, a Secret, a status."""
    pages = {"metric": "up", "targets": {"selector": {"matchLabels": {"app": "web"}}, "port": 80}}
    yield external_metric("pods", {"source": {"scrape": pages}})
    yield external_metric("service", {"source": {"scrape": {**pages, "targets": {"service": "web", "port": 80}}}})
    auth = {"secretRef": {"name": "redis-auth"}}
    redis = {"url": "rediss://redis.shop", "auth": auth, "tls": {"caSecretRef": {"name": "redis-ca"}}}
    yield external_metric("queue", {"source": {"redis": {**redis, "queues": [{"list": "a"}]}}})
    for name in ("redis-auth", "redis-ca"):
        metadata = {"name": name, "namespace": TENANT, "labels": {"spillway.dev/credentials": "true"}}
        secret = {"password": base64.b64encode(b"x").decode()}
        yield {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": secret}


def seldom(api: KubeApi, folder: Path) -> None:
    """Do what happens seldom, with a clock that runs ahead."""
    world = World(api)
    world.add("flapping")

    async def flap(writer: StatusWriter) -> None:
        await writer.step()
        api.fail(409, verb="patch", resource="externalmetrics.spillway.dev")
        for what in (DOWN, 1_000, DOWN):
            world.reads("flapping", what)
            await world.pass_time(writer, 10)

    write_statuses(world, flap)

    async def renew() -> None:
        async with Kube(Access(kubeconfig=str(api.kubeconfig))) as kube:
            keeper = ServingSecret(
                kube,
                namespace="spillway",
                name=SECRET,
                names=("spillway.spillway.svc",),
                directory=folder,
                is_holder=lambda: True,
                patch_apiservice=True,
                now=lambda: datetime.now(UTC) + timedelta(days=80),
            )
            await keeper.step()

    asyncio.run(renew())


def test_what_is_not_needed_is_not_there() -> None:
    """Strict reach alone sees Services; who brings certificates has no right to Secrets, a shadow none to the API."""
    base = granted(rendered("base"))
    assert granted(rendered("overlays/production")) == base | SERVICES
    assert granted(rendered("overlays/dev")) == base
    assert granted(rendered("overlays/shadow")) == base - APISERVICE
    assert base > APISERVICE | CERTIFICATE
    assert not base & SERVICES
    component = yaml.safe_load((MANIFESTS / "components/cert-manager/kustomization.yaml").read_text())
    assert any("spillway:(apiservice|serving-cert)" in str(patch["target"]) for patch in component["patches"])


def test_nothing_is_granted_wholesale() -> None:
    """No wildcard, no list of Secrets, no write to what is a team's but the status and Events."""
    rights = granted(rendered("overlays/production", "tenant"))
    assert not [right for right in rights if "*" in (right.verb, right.group, right.resource)]
    secrets = {right for right in rights if right.resource == "secrets"}
    assert {right.verb for right in secrets} == {"get", "create", "update"}
    assert {right.verb for right in secrets if right.namespace == TENANT} == {"get"}
    assert all(right.name for right in secrets if right.verb != "create")
    writes = {right for right in rights if right.verb not in {"get", "list", "watch"} and not right.namespace}
    assert {right.resource for right in writes} == {"externalmetrics/status", "events", "apiservices"}


def test_every_role_that_is_bound_exists() -> None:
    """Ours are in the same manifests, the others are Kubernetes' own; every subject is the adapter's account."""
    for folder in ("base", "overlays/production", "overlays/shadow"):
        objects = rendered(folder)
        account = pick(objects, "ServiceAccount")["metadata"]
        roles = {
            (obj["kind"], obj["metadata"]["name"]) for obj in [*objects, *BUILT_IN] if obj["kind"].endswith("Role")
        }
        bindings = [obj for obj in objects if obj["kind"].endswith("RoleBinding")]
        assert {(obj["roleRef"]["kind"], obj["roleRef"]["name"]) for obj in bindings} <= roles
        assert [obj["subjects"] for obj in bindings] == [
            [{"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}]
        ] * len(bindings)
    assert f"system:serviceaccount:{account['namespace']}:{account['name']}" == ACCOUNT.name


def test_the_doctor_asks_for_what_is_granted() -> None:
    """Right after `kubectl apply -k`, the doctor finds no right missing."""
    needed = [
        Asked(right.verb, right.group, right.resource, right.subresource, right.namespace, right.name)
        for right in needed_rights(Installation())
    ]
    assert uncovered(needed, rendered("base")) == []


def test_teams_can_do_their_part() -> None:
    """view reads objects and values, edit changes objects; neither writes a status, nor sees anything else."""
    objects = rendered("base")

    def aggregated(to: str) -> set[tuple[str, str, str]]:
        label = f"rbac.authorization.k8s.io/aggregate-to-{to}"
        roles = [obj for obj in objects if obj["metadata"].get("labels", {}).get(label) == "true"]
        return {
            (verb, rule["apiGroups"][0], resource)
            for role in roles
            for rule in role["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    ours, values = "spillway.dev", "external.metrics.k8s.io"
    view = {(verb, ours, "externalmetrics") for verb in ("get", "list", "watch")}
    view |= {("get", ours, "externalmetrics/status"), ("get", values, "*"), ("list", values, "*")}
    verbs = ("create", "update", "patch", "delete", "deletecollection")
    assert aggregated("view") == view
    assert aggregated("edit") == aggregated("admin") == view | {(verb, ours, "externalmetrics") for verb in verbs}


def test_a_difference_is_noticed() -> None:
    """A right too many and a call too many are both found."""
    base: list[Any] = rendered("base")
    calls = [Asked("list", "", "pods", "", TENANT, ""), Asked("list", "", "secrets", "", TENANT, "")]
    assert uncovered(calls, base) == [calls[1]]
    assert Right("list", "", "pods") not in unused(calls, base)
    assert Right("watch", "", "pods") in unused(calls, base)
