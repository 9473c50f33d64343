"""What the doctor concludes from what it has seen. Pure: objects in, findings out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

Object = Mapping[str, Any]

KNOWN_ADAPTERS = {
    "keda-operator-metrics-apiserver": "KEDA",
    "keda-metrics-apiserver": "KEDA",
    "prometheus-adapter": "prometheus-adapter",
    "datadog-cluster-agent-metrics-api": "Datadog",
    "custom-metrics-stackdriver-adapter": "Google's Stackdriver adapter",
}


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and what to do where it is not right."""

    level: Level
    what: str
    do: str = ""


def owner(service: Object) -> str:
    """Return the Service behind an APIService: "namespace/name"."""
    return f"{_at(service, 'spec', 'service', 'namespace')}/{_at(service, 'spec', 'service', 'name')}"


def apiservice(service: Object | None, namespace: str, name: str) -> Iterator[Finding]:
    """Judge who owns v1beta1.external.metrics.k8s.io, and whether it is available."""
    if service is None:
        yield Finding(
            Level.WARNING,
            "nobody serves external.metrics.k8s.io: there is no APIService",
            "apply manifests/base, or keep it so for a shadow installation",
        )
        return
    served_by = owner(service)
    if served_by != f"{namespace}/{name}":
        known = KNOWN_ADAPTERS.get(served_by.partition("/")[2])
        yield Finding(
            Level.ERROR,
            f"external.metrics.k8s.io is served by {served_by}" + (f" ({known})" if known else ""),
            "only one adapter can own it: HPAs that read the other's metrics lose them when you apply ours. Move its "
            "metrics here first (overlays/shadow computes beside it), then remove its APIService",
        )
        return
    yield Finding(Level.OK, f"external.metrics.k8s.io is served by {served_by}")
    if _at(service, "spec", "insecureSkipTLSVerify"):
        yield Finding(
            Level.WARNING,
            "the APIService has insecureSkipTLSVerify: whoever is in between can make up any metric",
            "remove it; the adapter sets the caBundle",
        )
    yield _available(service)


_AVAILABILITY = {
    "ServiceNotFound": "its Service does not exist: apply manifests/base/service.yaml",
    "ServicePortError": "its Service has no port 443: apply manifests/base/service.yaml",
    "EndpointsNotFound": "its Service has no endpoints: look at the Deployment",
    "MissingEndpoints": "no replica is ready: look at the pods, and at readyz?verbose of one",
    "FailedDiscoveryCheck": "kube-apiserver cannot reach a replica, or does not trust its certificate: see the message",
}


def _available(service: Object) -> Finding:
    for condition in _at(service, "status", "conditions") or ():
        if condition.get("type") == "Available":
            if condition.get("status") == "True":
                return Finding(Level.OK, "kube-apiserver finds it available")
            reason = str(condition.get("reason"))
            what = f"kube-apiserver does not find it available: {reason}: {condition.get('message')}"
            return Finding(Level.ERROR, what, _AVAILABILITY.get(reason, "see the message"))
    return Finding(Level.WARNING, "kube-apiserver has not said yet whether it is available", "look again in a minute")


def certificate(service: Object | None, secret: Object | None, dns_name: str, now: datetime) -> Iterator[Finding]:
    """Judge whether clients trust what is served. `secret`: None where certificates come from elsewhere."""
    if service is None or secret is None:
        return
    try:
        bundle = x509.load_pem_x509_certificates(_decoded(_at(service, "spec", "caBundle")))
        serving = x509.load_pem_x509_certificate(_decoded(_at(secret, "data", "tls.crt")))
    except ValueError:
        yield Finding(
            Level.ERROR,
            "the APIService's caBundle or the serving certificate cannot be read",
            "see the log of the replica that holds the Lease: it sets both",
        )
        return
    if not any(_issued(serving, authority) for authority in bundle):
        yield Finding(
            Level.ERROR,
            "the serving certificate is not from an authority in the APIService's caBundle",
            "see the log of the replica that holds the Lease; with GitOps, do not manage spec.caBundle",
        )
    names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if dns_name not in names.get_values_for_type(x509.DNSName):
        yield Finding(
            Level.ERROR,
            f"the serving certificate is not for {dns_name}",
            "start the adapter with --service-name and --namespace as they are",
        )
    left = serving.not_valid_after_utc - now
    if left < timedelta(days=7):
        yield Finding(
            Level.ERROR,
            f"the serving certificate expires at {serving.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
            "it is renewed 30 days before: see the log of the replica that holds the Lease",
        )
    else:
        yield Finding(Level.OK, f"the serving certificate is trusted, and valid for {left.days} days more")


def requestheader(config: Object | None) -> Finding:
    """Judge whether kube-apiserver tells extension servers who asks."""
    data = (config or {}).get("data") or {}
    if not data.get("requestheader-client-ca-file"):
        return Finding(
            Level.ERROR,
            "kube-apiserver does not pass on who asks: kube-system/extension-apiserver-authentication has no "
            "requestheader-client-ca-file",
            "start kube-apiserver with --requestheader-client-ca-file and --proxy-client-cert-file",
        )
    return Finding(Level.OK, "kube-apiserver passes on who asks")


def clock(skew_s: float | None) -> Finding:
    """Judge the difference of clocks; the API's answers tell it to a second."""
    if skew_s is None:
        return Finding(Level.WARNING, "the Kubernetes API's clock is not known", "")
    if abs(skew_s) > 5:
        what = f"the Kubernetes API's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this one"
        return Finding(Level.ERROR, what, "keep clocks in step (NTP): ages and certificates are judged by them")
    return Finding(Level.OK, "clocks agree")


@dataclass(frozen=True, slots=True)
class Right:
    """Something the adapter's account must be allowed to do, and what for."""

    verb: str
    group: str
    resource: str
    what_for: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def rights(needed: Sequence[tuple[Right, bool]], account: str) -> Iterator[Finding]:
    """Judge what the adapter's account may do."""
    missing = [right for right, allowed in needed if not allowed]
    for right in missing:
        resource = right.resource + (f"/{right.subresource}" if right.subresource else "")
        where = f" in {right.namespace}" if right.namespace else ""
        yield Finding(
            Level.ERROR,
            f"{account} may not {right.verb} {resource}{'.' + right.group if right.group else ''}{where}: "
            f"{right.what_for}",
            "apply manifests/base: rbac.yaml, rbac-certificate.yaml",
        )
    if not missing:
        yield Finding(Level.OK, f"{account} may do what it has to")


def endpoints(slices: Iterable[Object]) -> Finding:
    """Judge how many replicas take requests."""
    ready = sum(
        1
        for piece in slices
        for endpoint in piece.get("endpoints") or ()
        if _at(endpoint, "conditions", "ready") is not False
    )
    if not ready:
        return Finding(Level.ERROR, "no replica is ready", "kubectl -n spillway describe pods -l app=spillway")
    if ready == 1:
        return Finding(
            Level.WARNING,
            "one replica is ready: while it is replaced, reads fail and namespaces cannot be deleted",
            "run two (manifests/base)",
        )
    return Finding(Level.OK, f"{ready} replicas are ready")


def autoscalers(hpas: Iterable[Object], vpas: Iterable[Object], metrics: Iterable[Object]) -> Iterator[Finding]:
    """Judge HPAs beside VPAs, and HPAs whose external metric nobody defines."""
    resized = {
        (
            _at(vpa, "metadata", "namespace"),
            _at(vpa, "spec", "targetRef", "kind"),
            _at(vpa, "spec", "targetRef", "name"),
        )
        for vpa in vpas
        if (_at(vpa, "spec", "updatePolicy", "updateMode") or "Auto") != "Off"
    }
    defined = {
        (_at(m, "metadata", "namespace"), str(_at(m, "spec", "metricName") or _at(m, "metadata", "name")).lower())
        for m in metrics
    }
    for hpa in hpas:
        namespace, name = _at(hpa, "metadata", "namespace"), _at(hpa, "metadata", "name")
        target = _at(hpa, "spec", "scaleTargetRef") or {}
        for metric in _at(hpa, "spec", "metrics") or ():
            resource = _at(metric, "resource", "name") or _at(metric, "containerResource", "name")
            if resource in ("cpu", "memory") and (namespace, target.get("kind"), target.get("name")) in resized:
                yield Finding(
                    Level.WARNING,
                    f"HPA {namespace}/{name} scales {target.get('name')} on {resource}, and a VPA resizes its pods",
                    "each undoes what the other does: scale on an external metric, or let the VPA only recommend",
                )
            wanted = _at(metric, "external", "metric", "name")
            if wanted and (namespace, str(wanted).lower()) not in defined:
                yield Finding(
                    Level.WARNING,
                    f"HPA {namespace}/{name} reads {wanted}, and no ExternalMetric of its namespace defines it",
                    "create it, or define it in the adapter's files",
                )


def _issued(certificate_: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate_.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text or ""), validate=True)
    except binascii.Error:
        return b""


def _at(value: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
