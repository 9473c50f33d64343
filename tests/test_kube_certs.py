"""The serving certificate's Secret and caBundle, kept by replicas that race."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapter.kube import pki
from adapter.kube.certs import ServingSecret
from adapter.kube.client import Access, Kube, KubeError
from tests.kube_api import KubeApi

NAME = "v1beta1.external.metrics.k8s.io"
SERVICE = {
    "apiVersion": "apiregistration.k8s.io/v1",
    "kind": "APIService",
    "metadata": {"name": NAME},
    "spec": {
        "group": "external.metrics.k8s.io",
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "service": {"name": "spillway", "namespace": "spillway", "port": 443},
    },
}


class Replica:
    """One replica's keeper, with a clock and a Lease that tests set."""

    def __init__(self, kube: Kube, directory: Path, *, patch: bool = True) -> None:
        self.directory = directory
        self.holds = True
        self.now = datetime.now(UTC)
        directory.mkdir(exist_ok=True)
        self.keeper = ServingSecret(
            kube,
            namespace="spillway",
            name="serving",
            names=("spillway.spillway.svc",),
            directory=directory,
            is_holder=lambda: self.holds,
            patch_apiservice=patch,
            now=lambda: self.now,
        )

    def served(self) -> bytes:
        """Return the certificate on disk; it must load together with its key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "tls.crt", self.directory / "tls.key")
        return (self.directory / "tls.crt").read_bytes()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    with KubeApi(tmp_path) as server:
        yield server


def drive(api: KubeApi, scenario: Callable[[Kube], Awaitable[None]]) -> None:
    """Run a scenario with a client of the stand-in."""

    async def main() -> None:
        async with Kube(Access(kubeconfig=str(api.kubeconfig))) as kube:
            await scenario(kube)

    asyncio.run(main())


def secret(api: KubeApi) -> dict[str, bytes]:
    """Return what the Secret holds."""
    found = api.get("secrets", "spillway", "serving")
    assert found is not None
    return {name: base64.b64decode(text) for name, text in found["data"].items()}


def bundle(api: KubeApi) -> bytes:
    """Return the APIService's caBundle."""
    found: dict[str, Any] | None = api.get("apiservices.apiregistration.k8s.io", "", NAME)
    assert found is not None
    return base64.b64decode(found["spec"].get("caBundle", ""))


def test_the_holder_makes_everything_and_the_others_serve_it(api: KubeApi, tmp_path: Path) -> None:
    """One look of the holder makes Secret, files and caBundle; another replica then has the same files."""

    async def scenario(kube: Kube) -> None:
        holder, other = Replica(kube, tmp_path / "a"), Replica(kube, tmp_path / "b")
        other.holds = False
        await other.keeper.step()
        assert not other.keeper.loaded.is_set()
        await holder.keeper.step()
        await other.keeper.step()
        assert holder.keeper.loaded.is_set()
        assert holder.served() == other.served() == secret(api)[pki.TLS_CERT]
        assert bundle(api) == secret(api)[pki.CA_CERT]

    api.create(SERVICE)
    drive(api, scenario)


def test_two_replicas_that_both_believe_to_hold_the_lease_end_with_one_certificate(
    api: KubeApi, tmp_path: Path
) -> None:
    """The Secret's resourceVersion decides; the loser serves the winner's certificate."""

    async def scenario(kube: Kube) -> None:
        replicas = [Replica(kube, tmp_path / name) for name in "abc"]
        await asyncio.gather(*(replica.keeper.step() for replica in replicas))
        for replica in replicas:
            await replica.keeper.step()
        assert {replica.served() for replica in replicas} == {secret(api)[pki.TLS_CERT]}
        assert bundle(api) == secret(api)[pki.CA_CERT]

    api.create(SERVICE)
    drive(api, scenario)


def test_a_new_ca_is_published_beside_the_old_before_it_signs(api: KubeApi, tmp_path: Path) -> None:
    """When the CA nears its end: first both are trusted, then the certificate changes."""

    async def scenario(kube: Kube) -> None:
        replica = Replica(kube, tmp_path / "a")
        await replica.keeper.step()
        first = bundle(api)
        replica.now += timedelta(days=3650 - 300)
        await replica.keeper.step()
        assert bundle(api).endswith(first)
        assert len(bundle(api)) > len(first)
        before = replica.served()
        await replica.keeper.step()
        assert replica.served() != before

    api.create(SERVICE)
    drive(api, scenario)


def test_failures_keep_what_is_served(api: KubeApi, tmp_path: Path) -> None:
    """While the API is down nothing changes on disk, and the next look mends a caBundle that somebody removed."""

    async def scenario(kube: Kube) -> None:
        replica = Replica(kube, tmp_path / "a")
        await replica.keeper.step()
        served = replica.served()
        api.down()
        with pytest.raises(KubeError):
            await replica.keeper.step()
        assert replica.served() == served
        api.up()
        api.patch("apiservices.apiregistration.k8s.io", "", NAME, {"spec": {"caBundle": ""}})
        await replica.keeper.step()
        assert bundle(api) == secret(api)[pki.CA_CERT]

    api.create(SERVICE)
    drive(api, scenario)


@pytest.mark.parametrize("with_service", [True, False])
def test_an_apiservice_that_is_not_ours_to_patch_is_left_alone(
    api: KubeApi, tmp_path: Path, with_service: bool
) -> None:
    """Without permission to patch, or without an APIService at all, the Secret is kept all the same."""

    async def scenario(kube: Kube) -> None:
        replica = Replica(kube, tmp_path / "a", patch=not with_service)
        await replica.keeper.step()
        assert replica.served() == secret(api)[pki.TLS_CERT]

    if with_service:
        api.create(SERVICE)
    drive(api, scenario)
    if with_service:
        assert bundle(api) == b""
        assert not [asked for asked in api.requests if asked.resource == "apiservices"]
