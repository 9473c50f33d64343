"""The row of the Kubernetes API: an adapter in a cluster behind a proxy that speaks TLS as the API does."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.certificates import Authority
from tests.cluster_process import ClusterAdapter, prepare
from tests.faults.defined import Definition
from tests.faults.matrix import Fault
from tests.faults.origins import PageOrigin
from tests.faults.proxy import FaultProxy, Mode, Proxies, Words
from tests.faults.sources import MODES, NAME, NOISE, server_context
from tests.faults.stage import Neighbour, of_origin
from tests.faults.truth import Span
from tests.faults.watcher import Seen
from tests.kube_api import KubeApi
from tests.test_targets import pod

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_WORDS = Words(_HEAD + b"Content-Length: 4096\r\n\r\n" + NOISE, _HEAD + b'\r\n{"items":[', b'{"kind":"Pod"},')
_RESOURCE = "externalmetrics.spillway.dev"


class Api:
    """A Kubernetes API behind a proxy, with a page in a pod that is found by its labels."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._authority = Authority("kubernetes")
        self.api = KubeApi(directory / "kube")
        self.page = PageOrigin(directory / "pod", 900)
        self.kubeconfig = directory / "kubeconfig"

    def __enter__(self) -> Self:
        self.api.__enter__()
        self.page.__enter__()
        self._cluster = prepare(self.api)
        made: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", **pod("web", podIP="127.0.0.1")}
        made["metadata"]["labels"] = {"app": "web"}
        made["spec"]["containers"][0]["ports"] = [{"name": "metrics", "containerPort": self.page.port}]
        self.api.create(made)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.page.__exit__(kind, error, trace)
        self.api.__exit__(kind, error, trace)

    def context(self, *, expired: bool = False) -> ssl.SSLContext:
        """Return what the proxy shows."""
        return server_context(self._directory, self._authority, expired=expired)

    def proxy(self, proxies: Proxies) -> FaultProxy:
        """Return the way to the API, and write the kubeconfig that goes it."""
        upstream = ssl.create_default_context(cafile=str(self.api.ca_file))
        upstream.verify_flags &= ~ssl.VERIFY_X509_STRICT
        port = int(self.api.url.rsplit(":", 1)[1])
        proxy = proxies.add(port, _WORDS, self.context(), upstream_tls=upstream)
        ca_file = self._directory / "ca.crt"
        ca_file.write_text(self._authority.pem)
        config = yaml.safe_load(self.api.kubeconfig.read_text())
        cluster = {"server": f"https://{NAME}:{proxy.port}", "certificate-authority": str(ca_file)}
        self.kubeconfig.write_text(yaml.safe_dump({**config, "clusters": [{"name": "test", "cluster": cluster}]}))
        return proxy

    def neighbours(self) -> tuple[Neighbour, ...]:
        """Return what depends on the API and must not show it: a page of a pod found by its labels."""
        source = self.page.source("localhost", self.page.port, None)
        source["scrape"]["targets"] = {"selector": {"matchLabels": {"app": "web"}}, "port": "metrics"}
        return (of_origin("near-pod", self.page, source),)

    def start(self, directory: Path, config: Path) -> ClusterAdapter:
        """Return an adapter in the cluster, reached over the proxy. Readers it knows may read for an hour."""
        kubeconfig = self.kubeconfig

        class Behind(ClusterAdapter):
            def mode(self) -> tuple[str, ...]:
                return ("--kubeconfig", str(kubeconfig), "--namespace", "spillway")

        return Behind(
            self._cluster, directory / "adapter", config, "--authorization-webhook-cache-authorized-ttl", "1h"
        )


class BrokenApi:
    """The API, broken in one way while an object changes."""

    def __init__(self, api: Api, proxy: FaultProxy, fault: Fault) -> None:
        self.name = f"object-{fault.slug}"
        self._fault = fault
        self._api = api
        self._proxy = proxy
        self._definition = Definition(self.name, 10)

    def metrics(self, max_age_s: int) -> list[dict[str, Any]]:
        """Return nothing: it is an object."""
        del max_age_s
        return []

    def was(self, seen: Seen) -> Span | None:
        """Return when what was seen was true."""
        return self._definition.was(seen)

    def is_back(self, seen: Seen, mended_ms: float) -> bool:
        """Tell whether the changed object has been heard of."""
        return mended_ms == 0 or self._definition.is_back(seen)

    def break_it(self) -> None:
        """Begin, and change the object."""
        if self._fault is Fault.CREDENTIALS:
            self._holder = self._api.api.users.pop(self._api.api.token)
            self._proxy.present(self._api.context())
        elif self._fault is Fault.EXPIRED:
            self._proxy.present(self._api.context(expired=True))
        else:
            if self._fault in (Fault.CUTS, Fault.GARBAGE, Fault.TOO_MUCH):
                self._proxy.become(Mode.REFUSE)  # watches that are open end, or nothing would be asked
                self._proxy.become(Mode.FORWARD)
            self._proxy.become(MODES[self._fault])
        self._api.api.patch(_RESOURCE, "shop", self.name, {"spec": self._definition.next()["spec"]})

    def mend(self) -> None:
        """End it."""
        if self._fault is Fault.CREDENTIALS:
            self._api.api.users[self._api.api.token] = self._holder
        elif self._fault is Fault.EXPIRED:
            self._proxy.present(self._api.context())
        else:
            self._proxy.become(Mode.FORWARD)

    def __enter__(self) -> Self:
        self._api.api.create(self._definition.document())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return
