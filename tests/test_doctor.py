"""What the doctor finds, and what it says to do."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapter.doctor import findings
from adapter.doctor.findings import Level
from adapter.doctor.look import Installation, needed_rights, run
from adapter.kube import pki
from adapter.kube.client import Access
from tests.kube_api import KubeApi
from tests.test_kube_certs import SERVICE

NOW = datetime.now(UTC)
DNS = "spillway.spillway.svc"


def levels(found: Iterator[findings.Finding]) -> list[tuple[Level, str]]:
    """Return how bad each finding is, and its first words."""
    return [(finding.level, finding.what.split(":")[0]) for finding in found]


def service(
    name: str = "spillway", *, status: str = "True", reason: str = "Passed", bundle: bytes = b""
) -> dict[str, Any]:
    """Return an APIService with a condition."""
    condition = {"type": "Available", "status": status, "reason": reason, "message": "m"}
    reference = {"name": name, "namespace": name, "port": 443}
    spec = {**SERVICE["spec"], "service": reference, "caBundle": base64.b64encode(bundle).decode()}  # type: ignore[dict-item]
    return {**SERVICE, "spec": spec, "status": {"conditions": [condition]}}


def test_another_adapter_that_owns_the_api_is_an_error_with_a_way_out() -> None:
    """Taking the API from KEDA breaks its HPAs; the doctor says so first."""
    (found,) = findings.apiservice(service("keda-operator-metrics-apiserver"), "spillway", "spillway")
    assert found.level is Level.ERROR
    assert "(KEDA)" in found.what
    assert "shadow" in found.do


@pytest.mark.parametrize("reason", ["ServiceNotFound", "MissingEndpoints", "FailedDiscoveryCheck"])
def test_an_unavailable_apiservice_is_put_into_words(reason: str) -> None:
    """Each reason has something to do."""
    *_, found = findings.apiservice(service(status="False", reason=reason), "spillway", "spillway")
    assert found.level is Level.ERROR
    assert found.do
    assert reason in found.what


def secret(data: dict[str, bytes]) -> dict[str, Any]:
    """Return a Secret object."""
    return {"data": {name: base64.b64encode(value).decode() for name, value in data.items()}}


def test_certificates_that_do_not_fit_are_errors() -> None:
    """Another CA, another name, and the last week before the end."""
    data, other = pki.plan(None, None, [DNS], NOW), pki.plan(None, None, [DNS], NOW)
    assert data is not None
    assert other is not None
    fine = service(bundle=data[pki.CA_CERT])
    assert [f.level for f in findings.certificate(fine, secret(data), DNS, NOW)] == [Level.OK]
    (wrong, _) = findings.certificate(service(bundle=other[pki.CA_CERT]), secret(data), DNS, NOW)
    assert "not from an authority" in wrong.what
    (wrong, _) = findings.certificate(fine, secret(data), "a.b.svc", NOW)
    assert "not for a.b.svc" in wrong.what
    (wrong,) = findings.certificate(fine, secret(data), DNS, NOW + timedelta(days=85))
    assert "expires" in wrong.what


def test_an_hpa_on_cpu_beside_a_vpa_and_an_unknown_metric_are_warned_of() -> None:
    """Only on the same workload, only where the VPA acts, and metric names in any case."""
    target = {"kind": "Deployment", "name": "web"}
    hpa = {
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {
            "scaleTargetRef": target,
            "metrics": [
                {"resource": {"name": "cpu"}},
                {"external": {"metric": {"name": "Orders"}}},
                {"external": {"metric": {"name": "gone"}}},
            ],
        },
    }
    vpa: dict[str, Any] = {"metadata": {"namespace": "shop"}, "spec": {"targetRef": target}}
    orders = {"metadata": {"namespace": "shop", "name": "o"}, "spec": {"metricName": "orders"}}
    found = [f.what for f in findings.autoscalers([hpa], [vpa], [orders])]
    assert len(found) == 2
    assert "a VPA resizes its pods" in found[0]
    assert "reads gone" in found[1]
    recommends = {**vpa, "spec": {**vpa["spec"], "updatePolicy": {"updateMode": "Off"}}}
    assert len(list(findings.autoscalers([hpa], [recommends], [orders]))) == 1


def test_clocks_that_differ_are_an_error() -> None:
    """More than five seconds is more than the API's answers can be wrong by."""
    assert findings.clock(1.0).level is Level.OK
    assert "ahead of" in findings.clock(60.0).what
    assert "behind" in findings.clock(-60.0).what


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    with KubeApi(tmp_path) as server:
        yield server


def report(api: KubeApi) -> tuple[int, str]:
    """Run the doctor; return its exit code and report."""
    out = io.StringIO()
    code = asyncio.run(run(Access(kubeconfig=str(api.kubeconfig)), Installation(), out))
    return code, out.getvalue()


def test_a_sound_installation_has_no_error(api: KubeApi) -> None:
    """With everything in place each finding is ok or a warning, and the exit code is 0."""
    data = pki.plan(None, None, [DNS], NOW)
    assert data is not None
    api.put(service(bundle=data[pki.CA_CERT]))
    name = {"namespace": "spillway", "name": "spillway-serving-cert"}
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": name, **secret(data)})
    config = {"namespace": "kube-system", "name": "extension-apiserver-authentication"}
    header = {"requestheader-client-ca-file": "PEM"}
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": config, "data": header})
    account = "system:serviceaccount:spillway:spillway"
    for right in needed_rights(Installation()):
        resource = f"{right.resource}/{right.subresource}" if right.subresource else right.resource
        api.allow(account, right.verb, resource, group=right.group)
    endpoints = [{"addresses": [f"10.0.0.{n}"], "conditions": {"ready": True}} for n in (1, 2)]
    api.create(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "addressType": "IPv4",
            "metadata": {
                "namespace": "spillway",
                "name": "spillway-1",
                "labels": {"kubernetes.io/service-name": "spillway"},
            },
            "ports": [],
            "endpoints": endpoints,
        }
    )
    code, text = report(api)
    assert "ERROR" not in text
    assert "2 replicas are ready" in text
    assert "may do what it has to" in text
    assert code == 0


def test_an_empty_cluster_is_reported_not_crashed_on(api: KubeApi) -> None:
    """Nothing is there: each thing that lacks has a line and what to do, and the exit code is 1."""
    code, text = report(api)
    assert code == 1
    assert "there is no APIService" in text
    assert "may not list externalmetrics.spillway.dev" in text
    assert "no replica is ready" in text
    assert text.count("→") >= 5


def test_an_api_that_is_away_is_a_report_too(api: KubeApi) -> None:
    """Every question that got no answer is named."""
    api.down()
    code, text = report(api)
    assert "the APIService cannot be read" in text
    assert "Traceback" not in text
    assert code == 1
