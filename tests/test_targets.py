"""Which pods and endpoints are targets, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.kube.targets import Template, from_pods, from_slices

NAMED = Template("metrics")


def pod(
    name: str, *, ready: bool | None = True, changed: str = "2026-01-02T03:00:01Z", **changes: Any
) -> dict[str, Any]:
    """Return a running pod as the API gives it."""
    conditions = [] if ready is None else [{"type": "Ready", "status": str(ready), "lastTransitionTime": changed}]
    status: dict[str, Any] = {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "startTime": "2026-01-02T02:59:58Z",
        "conditions": conditions,
        "containerStatuses": [{"state": {"running": {"startedAt": "2026-01-02T03:00:00Z"}}}],
    }
    ports = [{"name": "http", "containerPort": 80}, {"name": "metrics", "containerPort": 9090}]
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": f"uid-{name}"},
        "spec": {"nodeName": "n1", "containers": [{"ports": ports}]},
        "status": {**status, **changes},
    }


def test_a_ready_pod_is_a_target() -> None:
    """Its URL is made of its address and the named port; its series get pod, node and instance."""
    (target,) = from_pods([pod("a")], NAMED, frozenset()).targets
    assert target.name == "a (10.0.0.7:9090)"
    assert target.url == "http://10.0.0.7:9090/metrics"
    assert dict(target.labels) == {"pod": "a", "node": "n1", "instance": "10.0.0.7:9090"}
    assert target.started_ms == 1_767_322_800_000


def test_a_pod_that_was_never_ready_is_no_target() -> None:
    """Neither one that starts nor one without conditions yet."""
    starting = pod("a", ready=False, changed="2026-01-02T02:59:58Z")
    assert from_pods([starting, pod("b", ready=None)], NAMED, frozenset()).targets == ()


def test_losing_readiness_does_not_remove_a_pod() -> None:
    """A pod seen Ready stays; one that lost it before we looked is recognised by when it lost it."""
    lost = pod("a", ready=False, changed="2026-01-02T03:30:00Z")
    assert len(from_pods([lost], NAMED, frozenset()).targets) == 1
    never = pod("a", ready=False, changed="2026-01-02T02:59:58Z")
    assert len(from_pods([never], NAMED, frozenset({"uid-a"})).targets) == 1


def test_a_pod_stays_while_it_terminates_and_goes_when_it_is_gone() -> None:
    """deletionTimestamp is not the end; absence and a final phase are."""
    found = from_pods([pod("a")], NAMED, frozenset())
    leaving = pod("a", ready=False)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-02T04:00:00Z"
    assert len(from_pods([leaving], NAMED, found.ready).targets) == 1
    assert from_pods([pod("a", phase="Succeeded")], NAMED, found.ready).targets == ()
    assert from_pods([], NAMED, found.ready).ready == frozenset()


def test_a_pod_of_the_same_name_is_another_pod() -> None:
    """A StatefulSet's pod that is replaced must become Ready itself: readiness belongs to the uid."""
    replaced = pod("a", ready=False, changed="2026-01-02T02:59:58Z")
    replaced["metadata"]["uid"] = "another"
    assert from_pods([replaced], NAMED, frozenset({"uid-a"})).targets == ()


def test_a_pod_without_the_port_is_a_problem_not_a_gap() -> None:
    """The set is not known while a pod that should be read cannot be."""
    found = from_pods([pod("a"), {**pod("b"), "spec": {"containers": [{}]}}], NAMED, frozenset())
    assert found.problems == ("pod b has no port named metrics",)


def test_ports_by_number_paths_schemes_and_ipv6() -> None:
    """A number needs no declaration; IPv6 addresses are bracketed."""
    (target,) = from_pods([pod("a", podIP="fd00::7")], Template(8443, "m", "https"), frozenset()).targets
    assert target.url == "https://[fd00::7]:8443/m"
    assert dict(target.labels)["instance"] == "[fd00::7]:8443"


def test_a_sidecar_may_declare_the_port() -> None:
    """Init containers that keep running count."""
    sidecar = {**pod("a"), "spec": {"initContainers": [{"ports": [{"name": "metrics", "containerPort": 15090}]}]}}
    (target,) = from_pods([sidecar], NAMED, frozenset()).targets
    assert target.url == "http://10.0.0.7:15090/metrics"


def endpoint(address: str, **conditions: bool) -> dict[str, Any]:
    """Return an endpoint of a slice."""
    reference = {"kind": "Pod", "name": f"p-{address}", "uid": f"uid-{address}"}
    return {"addresses": [address], "conditions": conditions, "nodeName": "n1", "targetRef": reference}


def piece(*endpoints: dict[str, Any]) -> dict[str, Any]:
    """Return an EndpointSlice."""
    return {"ports": [{"name": "metrics", "port": 9090}], "endpoints": list(endpoints)}


def test_endpoints_in_two_slices_are_one_target() -> None:
    """Slices overlap while endpoints move between them."""
    slices = [piece(endpoint("10.0.0.1", ready=True)), piece(endpoint("10.0.0.1", ready=True), endpoint("10.0.0.2"))]
    found = from_slices(slices, NAMED, frozenset())
    assert [t.url for t in found.targets] == ["http://10.0.0.1:9090/metrics", "http://10.0.0.2:9090/metrics"]


@pytest.mark.parametrize(
    ("conditions", "known", "is_target"),
    [
        ({"ready": True}, False, True),
        ({"ready": False}, False, False),
        ({"ready": False}, True, True),
        ({"ready": False, "serving": True, "terminating": True}, False, True),
        ({}, False, True),
    ],
)
def test_readiness_of_endpoints(conditions: dict[str, bool], known: bool, is_target: bool) -> None:
    """Ready, unknown and still serving endpoints are targets, and so is one that has been Ready."""
    before = frozenset({"uid-10.0.0.1"}) if known else frozenset()
    found = from_slices([piece(endpoint("10.0.0.1", **conditions))], NAMED, before)
    assert bool(found.targets) == is_target


def test_a_service_without_the_port_is_a_problem() -> None:
    """The name must be one of the Service's port names."""
    found = from_slices([piece(endpoint("10.0.0.1"))], Template("web"), frozenset())
    assert found.problems == ("the Service has no port web",)


def test_a_dual_stack_service_has_each_pod_once() -> None:
    """Slices of two families name the same pods; a pod is read by its IPv4 address."""
    six = {**piece({**endpoint("10.0.0.1", ready=True), "addresses": ["fd00::1"]}), "addressType": "IPv6"}
    four = {**piece(endpoint("10.0.0.1", ready=True)), "addressType": "IPv4"}
    found = from_slices([four, six], NAMED, frozenset())
    assert [target.url for target in found.targets] == ["http://10.0.0.1:9090/metrics"]


def test_two_pods_with_one_address_are_one_page() -> None:
    """A pod that lingers has given its address away; what answers there is the newer one."""
    later: dict[str, Any] = {"containerStatuses": [{"state": {"running": {"startedAt": "2026-01-02T04:00:00Z"}}}]}
    found = from_pods([pod("old"), pod("new", **later)], NAMED, frozenset())
    assert [target.name for target in found.targets] == ["new (10.0.0.7:9090)"]


def test_a_sidecar_that_starts_again_makes_no_new_application() -> None:
    """A pod counts from when its oldest container started."""
    starts = ("2026-01-02T03:00:00Z", "2026-01-02T09:00:00Z")
    again: dict[str, Any] = {"containerStatuses": [{"state": {"running": {"startedAt": moment}}} for moment in starts]}
    (target,) = from_pods([pod("a", **again)], NAMED, frozenset()).targets
    assert target.started_ms == 1_767_322_800_000
