"""What `kubectl apply -k` sends: it renders, Kubernetes takes it, and it is as safe as it says."""

from __future__ import annotations

import copy
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.options import ServeOptions, parse
from adapter.schema.crd import definition
from tests.kubectl import MANIFESTS, ROOT, Object, named, pick, render
from tests.pod_security import violations

CLUSTER = ("base", "overlays/dev", "overlays/production", "overlays/shadow")
"""The kustomizations that install an adapter."""

FOLDERS = (*CLUSTER, "crd", "tenant")
COMPONENTS = ("cert-manager", "monitoring", "single-replica")
VERSIONS = ("1.34", "1.37")
"""The oldest and the newest Kubernetes whose schemas are compared."""

IMAGE = "registry.invalid/spillway"


def composed(folder: Path, base: str, *components: str) -> list[Object]:
    """Return what an administrator's own overlay renders to, with an image of his own."""
    here = Path(os.path.relpath(MANIFESTS, folder.resolve()))
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(here / base)],
        "components": [str(here / "components" / name) for name in components],
        "images": [{"name": IMAGE, "newName": "registry.example.com/spillway", "newTag": "9.9.9"}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return render(folder)


def deployment(objects: list[Object]) -> tuple[Object, Object]:
    """Return the Deployment's pod and its only container."""
    pod = pick(objects, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def options(objects: list[Object]) -> ServeOptions:
    """Return the options that the Deployment starts the adapter with; a flag that does not exist ends the test."""
    parsed = parse(deployment(objects)[1]["args"], {})
    assert isinstance(parsed, ServeOptions)
    return parsed


def test_every_kustomization_is_rendered_here() -> None:
    """No folder of manifests is left out of these tests."""
    found = {str(path.parent.relative_to(MANIFESTS)) for path in MANIFESTS.rglob("kustomization.yaml")}
    assert found == {*FOLDERS, *(f"components/{name}" for name in COMPONENTS)}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_kubernetes_takes_every_object(folder: str, version: str) -> None:
    """Each object fits the schema of its kind, without a field that is not known."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    objects = render(MANIFESTS / folder)
    assert len({named(obj) for obj in objects}) == len(objects)
    for obj in objects:
        kubernetes_validate.validate(obj, version, strict=True)


@pytest.mark.parametrize("folder", CLUSTER)
def test_the_binding_in_kube_system_stays_there(folder: str) -> None:
    """Who asks is said by a ConfigMap in kube-system: its RoleBinding is there, and nothing else of ours is."""
    objects = render(MANIFESTS / folder)
    (there,) = [obj for obj in objects if obj["metadata"].get("namespace") == "kube-system"]
    assert (there["kind"], there["roleRef"]["name"]) == ("RoleBinding", "extension-apiserver-authentication-reader")
    elsewhere = {obj["metadata"].get("namespace") for obj in objects if obj is not there}
    assert elsewhere == {None, "spillway"}


def test_no_namespace_transformer() -> None:
    """It would move that RoleBinding; only tenant/, where everything is in one namespace, has one."""
    having = {
        path.parent.name
        for path in MANIFESTS.rglob("kustomization.yaml")
        if "namespace" in yaml.safe_load(path.read_text())
    }
    assert having == {"tenant"}


@pytest.mark.parametrize("folder", CLUSTER)
def test_pods_are_restricted(folder: str) -> None:
    """The namespace enforces "restricted", the pod keeps to it, and its root file system cannot be written."""
    objects = render(MANIFESTS / folder)
    labels = pick(objects, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pod, container = deployment(objects)
    assert [*violations(pod)] == []
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/var/cache/spillway", "/tmp"}
    kept = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume}
    assert kept["tmp"]["medium"] == "Memory"  # the certificate's key
    assert all("sizeLimit" in volume for volume in kept.values())


@pytest.mark.parametrize(
    ("where", "change", "found"),
    [
        ("pod", {"hostNetwork": True}, "hostNetwork"),
        ("pod", {"volumes": [{"name": "etc", "hostPath": {"path": "/etc"}}]}, "volumes[etc]"),
        ("pod", {"securityContext": {}}, "containers[spillway].securityContext.runAsNonRoot"),
        ("own", {"runAsUser": 0}, "containers[spillway].securityContext.runAsUser"),
        ("own", {"allowPrivilegeEscalation": None}, "containers[spillway].securityContext.allowPrivilegeEscalation"),
        ("own", {"capabilities": {}}, "containers[spillway].securityContext.capabilities.drop"),
        ("own", {"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}}, "capabilities.add"),
        ("own", {"seccompProfile": {"type": "Unconfined"}}, "containers[spillway].securityContext.seccompProfile"),
        ("own", {"privileged": True}, "containers[spillway].securityContext.privileged"),
    ],
)
def test_what_is_not_restricted_is_noticed(where: str, change: dict[str, Any], found: str) -> None:
    """The check sees what a namespace that enforces "restricted" would refuse."""
    pod = yaml.safe_load((MANIFESTS / "base/deployment.yaml").read_text())["spec"]["template"]["spec"]
    pod = copy.deepcopy(pod)
    (pod if where == "pod" else pod["containers"][0]["securityContext"]).update(change)
    assert any(found in violation for violation in violations(pod))


@pytest.mark.parametrize("folder", CLUSTER)
def test_every_flag_exists(folder: str) -> None:
    """The adapter takes its arguments, and serves on the ports that the pod says."""
    objects = render(MANIFESTS / folder)
    given, container = options(objects), deployment(objects)[1]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"https": given.secure_port, "metrics": given.metrics_port}
    assert given.strict_reach == (folder == "overlays/production")
    assert given.patch_apiservice == (folder != "overlays/shadow")
    assert not given.standalone
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(path) for path in given.config} <= mounts


@pytest.mark.parametrize("folder", CLUSTER)
def test_probes(folder: str) -> None:
    """HTTPS on the secure port by its name; the start may take two minutes, stopping has time to drain."""
    pod, container = deployment(render(MANIFESTS / folder))
    probes = {kind: container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}
    get = {kind: probe["httpGet"] for kind, probe in probes.items()}
    assert {(one["port"], one["scheme"]) for one in get.values()} == {("https", "HTTPS")}
    assert {kind: one["path"] for kind, one in get.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"] == 120
    assert pod["terminationGracePeriodSeconds"] >= options(render(MANIFESTS / folder)).shutdown_delay_s + 20


@pytest.mark.parametrize("folder", CLUSTER)
def test_replicas_and_resources(folder: str) -> None:
    """Two on two nodes, one of which stays whatever is drained; and an image that is nobody's yet, with a version."""
    objects = render(MANIFESTS / folder)
    spec = pick(objects, "Deployment")["spec"]
    pod, container = deployment(objects)
    assert spec["replicas"] == (1 if folder == "overlays/dev" else 2)
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    spread = pod["topologySpreadConstraints"][0]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    strict = folder == "overlays/production"
    assert spread["whenUnsatisfiable"] == ("DoNotSchedule" if strict else "ScheduleAnyway")
    assert spec["selector"] == spread["labelSelector"]
    budgets = [obj["spec"] for obj in objects if obj["kind"] == "PodDisruptionBudget"]
    assert [(one["minAvailable"], one["selector"]) for one in budgets] == [(1, spec["selector"])] * (
        spec["replicas"] - 1
    )
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert container["image"] == f"{IMAGE}:{version}"


@pytest.mark.parametrize("folder", CLUSTER)
def test_traffic_finds_its_way(folder: str) -> None:
    """APIService → Service → port of the pod, and the network policy lets it in; a shadow has no APIService."""
    objects = render(MANIFESTS / folder)
    service, spec = pick(objects, "Service"), pick(objects, "Deployment")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    named_ports = {port["name"] for port in deployment(objects)[1]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == named_ports
    apis = [obj for obj in objects if obj["kind"] == "APIService"]
    assert len(apis) == (0 if folder == "overlays/shadow" else 1)
    for api in apis:
        target = api["spec"]["service"]
        assert (target["namespace"], target["name"]) == (service["metadata"]["namespace"], service["metadata"]["name"])
        assert target["port"] in {port["port"] for port in service["spec"]["ports"]}
        assert "insecureSkipTLSVerify" not in api["spec"]
        assert options(objects).service_name == service["metadata"]["name"]
    policy = pick(objects, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["policyTypes"] == ["Ingress"]
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == named_ports


def test_the_definition_is_ours() -> None:
    """What is applied is what the schema makes, whatever kustomize does to it."""
    rendered = pick(render(MANIFESTS / "crd"), "CustomResourceDefinition")
    assert rendered == definition()
