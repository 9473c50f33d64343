"""A real `spillway serve` in cluster mode, against a stand-in of the Kubernetes API, read as an HPA reads."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.adapter_process import VALUES, Adapter, Answer, values_of
from tests.delegated import HPA, Cluster
from tests.kube_api import KubeApi

_DEFINITION = Path(__file__).parent.parent / "manifests" / "crd" / "externalmetrics.yaml"
APISERVICE = "v1beta1.external.metrics.k8s.io"


class ClusterAdapter(Adapter):
    """`spillway serve --kubeconfig …`, with a front-proxy certificate for its readers."""

    def __init__(self, cluster: Cluster, directory: Path, config: Path, *flags: str) -> None:
        self.api = cluster.api
        self.cluster = cluster
        self.user = HPA
        directory.mkdir(exist_ok=True)
        environ: Mapping[str, str] = {"POD_NAME": directory.name}
        local = ("--bind-address", "127.0.0.1", "--metrics-bind-address", "127.0.0.1", "--shutdown-delay", "0")
        super().__init__(directory, config, *local, *flags, environ=environ)

    def mode(self) -> tuple[str, ...]:
        return ("--kubeconfig", str(self.api.kubeconfig), "--namespace", "spillway")

    def context(self) -> ssl.SSLContext:
        """Trust what the APIService says, as kube-apiserver does."""
        service = self.api.get("apiservices.apiregistration.k8s.io", "", APISERVICE)
        bundle = base64.b64decode((service or {}).get("spec", {}).get("caBundle", ""))
        context = ssl.create_default_context(cadata=bundle.decode()) if bundle else super().context()
        context.check_hostname = not bundle  # the name is the Service's; the address is ours
        self.cluster.front_proxy.load_into(context, self.directory)
        return context

    def probe(self, path: str) -> Answer:
        """GET as a kubelet does: without a certificate, and without looking at ours."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return self._get(f"https://127.0.0.1:{self.port('secure_port')}{path}", context)

    def serves(self, metric: str, items: Mapping[str, str]) -> bool:
        """Tell whether a metric is exactly these items now."""
        found = self.get(VALUES + metric)
        return found.status == 200 and values_of(found) == items

    def identity(self) -> dict[str, str]:
        return {"X-Remote-User": self.user, "X-Remote-Group": "system:serviceaccounts"}


def apiservice() -> dict[str, Any]:
    """Return our APIService as it is applied."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": APISERVICE},
        "spec": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": "spillway", "namespace": "spillway", "port": 443},
        },
    }


def external_metric(name: str, spec: Mapping[str, Any], namespace: str = "shop") -> dict[str, Any]:
    """Return an ExternalMetric object."""
    return {
        "apiVersion": "spillway.dev/v1alpha1",
        "kind": "ExternalMetric",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"interval": "1s", **spec},
    }


def prepare(api: KubeApi) -> Cluster:
    """Give the API what an installation finds: clients' authorities, and our APIService and definition."""
    cluster = Cluster(api)
    api.create(apiservice())
    api.create(yaml.safe_load(_DEFINITION.read_text()))
    return cluster
