"""The addresses strict reach is about: each namespace's own, and the control plane's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from adapter.kube.client import Kube, api_path
from adapter.kube.reach import IPAddress, address, own_addresses
from adapter.kube.watch import Reflector

_KUBERNETES = "kubernetes.io/service-name=kubernetes"


class OwnAddresses:
    """Watches pods and Services of namespaces in strict mode, and the Kubernetes API's own endpoints always.

    Args:
        kube: The API.
        tasks: Parent of the watches.
        strict: Whether namespaces' own addresses matter.
        on_change: Called when the control plane's addresses have changed: policies are then others.
    """

    def __init__(self, kube: Kube, tasks: asyncio.TaskGroup, *, strict: bool, on_change: Callable[[], None]) -> None:
        self._kube = kube
        self._tasks = tasks
        self._strict = strict
        self._on_change = on_change
        self._watches: dict[str, tuple[Reflector, Reflector, list[asyncio.Task[None]]]] = {}
        self._api: tuple[Reflector, asyncio.Task[None]] | None = None
        self._known: dict[str, tuple[object, object, frozenset[IPAddress]]] = {}

    def apply(self, namespaces: Collection[str]) -> None:
        """Watch what these namespaces need."""
        if namespaces and self._api is None:
            path = api_path("discovery.k8s.io", "v1", "endpointslices", namespace="default")
            reflector = Reflector(self._kube, path, label_selector=_KUBERNETES, on_change=lambda _: self._on_change())
            self._api = (reflector, self._tasks.create_task(reflector.run(), name="watch the API's endpoints"))
        wanted = set(namespaces) if self._strict else set()
        for gone in self._watches.keys() - wanted:
            for task in self._watches.pop(gone)[2]:
                task.cancel()
            self._known.pop(gone, None)
        for namespace in sorted(wanted - self._watches.keys()):
            pods = Reflector(self._kube, api_path("", "v1", "pods", namespace=namespace), keep=_keep_addresses)
            services = Reflector(self._kube, api_path("", "v1", "services", namespace=namespace), keep=_keep_addresses)
            tasks = [self._tasks.create_task(each.run(), name=f"watch {namespace}") for each in (pods, services)]
            self._watches[namespace] = (pods, services, tasks)

    def of(self, namespace: str) -> frozenset[IPAddress] | None:
        """Return a namespace's own addresses; None: not known yet."""
        watch = self._watches.get(namespace)
        if watch is None or not (watch[0].synced and watch[1].synced):
            return None
        pods, services = watch[0].objects, watch[1].objects
        known = self._known.get(namespace)
        if known is None or known[0] is not pods or known[1] is not services:
            known = (pods, services, own_addresses(pods.values(), services.values()))
            self._known[namespace] = known
        return known[2]

    @property
    def control_plane(self) -> frozenset[IPAddress] | None:
        """The addresses of the Kubernetes API; None: not listed yet."""
        if self._api is None or not self._api[0].synced:
            return None
        texts = [os.environ.get("KUBERNETES_SERVICE_HOST"), urlsplit(self._kube.server).hostname]
        for piece in self._api[0].objects.values():
            for endpoint in piece.get("endpoints") or ():
                texts.extend(endpoint.get("addresses") or ())
        return frozenset(ip for ip in map(address, texts) if ip is not None)

    def stop(self) -> None:
        """Cancel every watch."""
        self.apply(())
        if self._api is not None:
            self._api[1].cancel()
            self._api = None


def _keep_addresses(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what `reach.own_addresses` looks at."""
    metadata, spec, status = obj.get("metadata") or {}, obj.get("spec") or {}, obj.get("status") or {}
    return {
        "metadata": {key: metadata.get(key) for key in ("namespace", "name", "uid", "resourceVersion")},
        "spec": {key: spec.get(key) for key in ("hostNetwork", "selector", "type", "clusterIP", "clusterIPs")},
        "status": {key: status.get(key) for key in ("phase", "podIP", "podIPs")},
    }
