"""Connecting to a KubeApi, asking, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapter.kube.access import Access
from adapter.kube.client import Kube, KubeError, api_path
from tests.kube_api import KubeApi

CONFIG_MAPS = api_path("", "v1", "configmaps", namespace="shop")


def in_cluster(api: KubeApi) -> Access:
    """Return what a pod has."""
    return Access(service_account=api.service_account, environ=api.environ)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": data}


def asking(access: Access, ask: Callable[[Kube], Awaitable[Any]]) -> Any:
    """Connect, ask and return what came of it."""

    async def run() -> Any:
        async with Kube(access) as kube:
            return await ask(kube)

    return asyncio.run(run())


def failing(access: Access, ask: Callable[[Kube], Awaitable[Any]]) -> KubeError:
    """Connect, ask and return the error."""
    with pytest.raises(KubeError) as caught:
        asking(access, ask)
    return caught.value


def version(kube: Kube) -> Awaitable[Any]:
    return kube.request("GET", "/version", timeout_s=20.0)
