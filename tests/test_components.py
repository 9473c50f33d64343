"""Components, alone and together, and the overlay that an administrator writes around them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from adapter.options import SERVE_FLAGS
from adapter.telemetry import Telemetry
from tests.kubectl import MANIFESTS, ROOT, pick, render
from tests.test_manifests import CLUSTER, COMPONENTS, VERSIONS, composed, deployment, options

THIRD_PARTY = {"Certificate", "Issuer", "PrometheusRule", "ServiceMonitor"}


@pytest.mark.parametrize("base", CLUSTER)
def test_components_fit_every_overlay(base: str, tmp_path: Path) -> None:
    """All of them together, on each: Kubernetes takes the result, and the image is the administrator's."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    objects = composed(tmp_path, base, *COMPONENTS)
    for obj in objects:
        if obj["kind"] not in THIRD_PARTY:
            kubernetes_validate.validate(obj, VERSIONS[-1], strict=True)
    assert {obj["kind"] for obj in objects} >= THIRD_PARTY
    assert deployment(objects)[1]["image"] == "registry.example.com/spillway:9.9.9"
    assert options(objects).cert_mode == "files"


def test_certificates_of_cert_manager(tmp_path: Path) -> None:
    """The name that kube-apiserver asks for, the files that the adapter reads, the CA where kube-apiserver looks."""
    objects = composed(tmp_path, "overlays/production", "cert-manager")
    pod, container = deployment(objects)
    certificate = pick(objects, "Certificate", "spillway")
    home = certificate["metadata"]["namespace"]
    assert certificate["spec"]["dnsNames"] == [f"spillway.{home}.svc"]
    issuers = {obj["metadata"]["name"]: obj["spec"] for obj in objects if obj["kind"] == "Issuer"}
    assert (
        issuers[certificate["spec"]["issuerRef"]["name"]]["ca"]["secretName"]
        == (pick(objects, "Certificate", "spillway-ca")["spec"]["secretName"])
    )
    (volume,) = [volume for volume in pod["volumes"] if "secret" in volume]
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == volume["name"]]
    given = options(objects)
    assert {given.tls_cert_file, given.tls_private_key_file} == {
        Path(mount["mountPath"], name) for name in ("tls.crt", "tls.key")
    }
    assert not given.patch_apiservice
    annotations = pick(objects, "APIService")["metadata"]["annotations"]
    assert annotations == {"cert-manager.io/inject-ca-from": f"{home}/{certificate['metadata']['name']}"}


def test_monitoring(tmp_path: Path) -> None:
    """The port exists, a metric's own namespace is kept, and alerts speak of metrics that there are."""
    objects = composed(tmp_path, "base", "monitoring")
    service, monitor = pick(objects, "Service"), pick(objects, "ServiceMonitor")
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["honorLabels"] is True
    source = "".join((ROOT / "adapter" / name).read_text() for name in ("telemetry.py", "exposed.py"))
    exposed = {family.name for family in Telemetry().registry.collect()} | {*re.findall(r'"(spillway_\w+)"', source)}
    (group,) = pick(objects, "PrometheusRule")["spec"]["groups"]
    for rule in group["rules"]:
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        for name in re.findall(r"spillway_\w+", rule["expr"]):
            assert re.sub("_(total|bucket|sum|count)$", "", name) in exposed, rule["alert"]


def test_what_the_installation_guide_says(tmp_path: Path) -> None:
    """Its overlay renders with its image, every folder that it names is there, and so is every flag."""
    guide = (ROOT / "docs/install.md").read_text()
    (overlay,) = [text for text in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if "Kustomization" in text]
    here = os.path.relpath(MANIFESTS, tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(overlay.replace("spillway/manifests", here))
    assert deployment(render(tmp_path))[1]["image"].startswith("registry.example.com/spillway:")
    folders = set(re.findall(r"manifests/[a-z/-]+[a-z]", guide))
    folders |= {f"manifests/{name}" for name in re.findall(r"`((?:overlays|components)/[a-z-]+)`", guide)}
    assert [
        folder for folder in folders if not (ROOT / folder).exists() and not (ROOT / f"{folder}.yaml").exists()
    ] == []
    ours = {flag.option for flag in SERVE_FLAGS} | {"--kubeconfig", "--context", "--namespace", "--service-name"}
    others = {"--platform", "--tag", "--push", "--from-literal", "--from-file", "--raw"}
    assert set(re.findall(r"(?<![\w-])--[a-z-]+[a-z]", guide)) <= ours | others
