"""Look at the cluster as the doctor does, and report."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from adapter.doctor import findings
from adapter.doctor.findings import Finding, Level, Right
from adapter.doctor_options import DoctorOptions
from adapter.kube.certs import APISERVICE
from adapter.kube.client import Access, Kube, KubeConfigError, KubeError, api_path

_NOT_FOUND = 404
_MARKS = {Level.OK: "ok", Level.WARNING: "WARNING", Level.ERROR: "ERROR"}


@dataclass(frozen=True, slots=True)
class Installation:
    """What to look at: names as they are in the manifests unless told otherwise."""

    namespace: str = "spillway"
    service: str = "spillway"
    account: str = "spillway"
    lease: str = "spillway"
    secret: str = "spillway-serving-cert"  # noqa: S105 - a name


def needed_rights(
    at: Installation, *, own_certificate: bool = True, patches_apiservice: bool = True
) -> Sequence[Right]:
    """Return what the manifests grant, with what for.

    Args:
        at: The installation.
        own_certificate: The serving certificate is ours to make, and not cert-manager's.
        patches_apiservice: The caBundle is ours to set.
    """
    spillway, coordination = "spillway.dev", "coordination.k8s.io"
    authentication, authorization = "authentication.k8s.io", "authorization.k8s.io"
    trust = ("", "configmaps", "to trust kube-apiserver", "kube-system", "extension-apiserver-authentication")
    common = (
        *(Right(verb, spillway, "externalmetrics", "to know the metrics") for verb in ("get", "list", "watch")),
        Right("patch", spillway, "externalmetrics", "to say how a metric is", subresource="status"),
        *(Right(verb, "", "pods", "to find what a selector scrapes") for verb in ("list", "watch")),
        *(
            Right(verb, "discovery.k8s.io", "endpointslices", "to find what a Service scrapes")
            for verb in ("list", "watch")
        ),
        *(Right(verb, "events.k8s.io", "events", "to say when a metric changes") for verb in ("create", "patch")),
        Right("create", authentication, "tokenreviews", "to know who asks with a token"),
        Right("create", authorization, "subjectaccessreviews", "to know whether they may"),
        *(Right(verb, *trust) for verb in ("list", "watch")),
        Right("create", coordination, "leases", "to decide which replica writes", at.namespace),
        *(
            Right(verb, coordination, "leases", "to decide which replica writes", at.namespace, at.lease)
            for verb in ("get", "update")
        ),
    )
    certificate = (
        Right("create", "", "secrets", "to share the serving certificate", at.namespace),
        *(
            Right(verb, "", "secrets", "to renew the serving certificate", at.namespace, at.secret)
            for verb in ("get", "update")
        ),
    )
    service = ("apiregistration.k8s.io", "apiservices", "to set the caBundle", "", "v1beta1.external.metrics.k8s.io")
    bundle = tuple(Right(verb, *service) for verb in ("get", "patch"))
    return (*common, *(certificate if own_certificate else ()), *(bundle if patches_apiservice else ()))


async def look(kube: Kube, at: Installation) -> list[Finding]:
    """Look at everything. What cannot be read is a finding too."""
    found: list[Finding] = []

    async def get(path: str, what: str, **query: str) -> dict[str, Any] | None:
        try:
            return await kube.request("GET", path, query=query)
        except KubeError as error:
            if error.code != _NOT_FOUND:
                found.append(Finding(Level.WARNING, f"{what} cannot be read: {error}", "ask as someone who may"))
            return None

    service = await get(APISERVICE, "the APIService")
    found += findings.apiservice(service, at.namespace, at.service)
    secret = await get(
        api_path("", "v1", "secrets", namespace=at.namespace, name=at.secret), "the certificate's Secret"
    )
    found += findings.certificate(service, secret, f"{at.service}.{at.namespace}.svc", datetime.now(UTC))
    config_path = api_path("", "v1", "configmaps", namespace="kube-system", name="extension-apiserver-authentication")
    found.append(findings.requestheader(await get(config_path, "the authentication configuration")))
    slices_path = api_path("discovery.k8s.io", "v1", "endpointslices", namespace=at.namespace)
    slices = await get(slices_path, "the endpoints", labelSelector=f"kubernetes.io/service-name={at.service}")
    found.append(findings.endpoints(_items(slices)))
    injected = bool(_annotations(service).get("cert-manager.io/inject-ca-from"))
    ours = service is not None and findings.owner(service) == f"{at.namespace}/{at.service}"
    needed = needed_rights(at, own_certificate=not injected, patches_apiservice=ours and not injected)
    found += await _rights(kube, at, needed)
    found += findings.autoscalers(
        _items(await get(api_path("autoscaling", "v2", "horizontalpodautoscalers"), "the HPAs")),
        _items(await get(api_path("autoscaling.k8s.io", "v1", "verticalpodautoscalers"), "the VPAs")),
        _items(await get(api_path("spillway.dev", "v1alpha1", "externalmetrics"), "the ExternalMetrics")),
    )
    found.append(findings.clock(kube.clock_skew_s))
    return found


def _annotations(obj: dict[str, Any] | None) -> dict[str, str]:
    return ((obj or {}).get("metadata") or {}).get("annotations") or {}


async def _rights(kube: Kube, at: Installation, needed: Sequence[Right]) -> list[Finding]:
    account = f"system:serviceaccount:{at.namespace}:{at.account}"

    async def allowed(right: Right) -> bool:
        attributes = {
            "verb": right.verb,
            "group": right.group,
            "resource": right.resource,
            "subresource": right.subresource,
            "namespace": right.namespace,
            "name": right.name,
        }
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{at.namespace}", "system:authenticated"]
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": account, "groups": groups, "resourceAttributes": attributes},
        }
        path = api_path("authorization.k8s.io", "v1", "subjectaccessreviews")
        answer = await kube.request("POST", path, body=body)
        return bool(answer.get("status", {}).get("allowed"))

    try:
        answers = await asyncio.gather(*map(allowed, needed))
    except KubeError as error:
        what = f"the rights of {account} cannot be asked for: {error}"
        return [Finding(Level.WARNING, what, "ask as someone who may create SubjectAccessReviews")]
    return list(findings.rights(list(zip(needed, answers, strict=True)), account))


def _items(listing: dict[str, Any] | None) -> Sequence[dict[str, Any]]:
    return (listing or {}).get("items") or ()


async def run(access: Access, at: Installation, out: TextIO = sys.stdout) -> int:
    """Look and report. Returns the exit code: 1 if there is an error."""
    try:
        async with Kube(access) as kube:
            found = await look(kube, at)
    except KubeConfigError as error:
        out.write(f"{error}\n")
        return 1
    for finding in sorted(found, key=lambda f: list(Level).index(f.level), reverse=True):
        out.write(f"{_MARKS[finding.level]:8} {finding.what}\n")
        if finding.do:
            out.write(f"{'':8} → {finding.do}\n")
    return int(any(finding.level is Level.ERROR for finding in found))


async def examine(options: DoctorOptions) -> int:
    """Run the command: with a kubeconfig that is named or usual, else as the pod's account."""
    kubeconfig = options.kubeconfig or _usual_kubeconfig()
    access = Access(None if kubeconfig is None else str(kubeconfig), options.context)
    return await run(access, Installation(options.namespace, options.service_name))


def _usual_kubeconfig() -> Path | None:
    named, home = os.environ.get("KUBECONFIG"), Path.home() / ".kube" / "config"
    return Path(named) if named else home if home.exists() else None
