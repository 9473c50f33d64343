"""The serving certificate of a replica: from the Secret that all replicas share, renewed by the Lease's holder.

Every replica writes what the Secret holds to files, which the TLS side reloads by itself. Only the holder changes the
Secret and our APIService's caBundle.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from adapter.kube import pki
from adapter.kube.client import MERGE_PATCH, Kube, KubeError, api_path

log = logging.getLogger(__name__)

APISERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
_LOOK_S = 10.0
_FIRST_LOOK_S = 0.5
_CONFLICT, _EXISTS, _NOT_FOUND = 409, 409, 404


class ServingSecret:
    """Keeps certificate files in step with the Secret, and the Secret and caBundle in order.

    Args:
        kube: The API.
        namespace, name: Of the Secret.
        names: DNS names to serve under.
        directory: Where tls.crt and tls.key go.
        is_holder: Whether this replica may write.
        patch_apiservice: Whether the caBundle is ours to set.
        now: The time, with a zone.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        name: str,
        names: Sequence[str],
        directory: Path,
        is_holder: Callable[[], bool],
        patch_apiservice: bool,
        now: Callable[[], datetime],
    ) -> None:
        self._kube = kube
        self._collection = api_path("", "v1", "secrets", namespace=namespace)
        self._name = name
        self._namespace = namespace
        self._names = tuple(names)
        self._directory = directory
        self._is_holder = is_holder
        self._patch_apiservice = patch_apiservice
        self._now = now
        self._problem = ""
        self.loaded = asyncio.Event()
        """Set once there are files to serve from."""

    async def run(self) -> None:
        """Look again and again, for ever. What fails is tried again; what is served stays."""
        while True:
            try:
                await self.step()
                self._say("")
            except KubeError as error:
                self._say(str(error))
            except OSError as error:
                self._say(f"{self._directory}: {error.strerror}")
            # Nothing is served before there is a certificate, and the Lease is decided within a second or two.
            await asyncio.sleep(_LOOK_S if self.loaded.is_set() else _FIRST_LOOK_S)

    async def step(self) -> None:
        """Look once.

        Raises:
            KubeError: The API did not take it; conflicts are left to the next look.
        """
        secret: Mapping[str, Any] | None = await self._get(f"{self._collection}/{self._name}")
        if self._is_holder():
            secret = await self._keep(secret)
        data = _data(secret)
        if data is not None and pki.is_pair(data):
            await asyncio.to_thread(self._write_files, data)
            self.loaded.set()

    async def _keep(self, secret: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Bring Secret and caBundle to what they should be; return the Secret as it is then."""
        bundle = await self._bundle()
        wanted = pki.plan(_data(secret), bundle, self._names, self._now())
        if wanted is not None:
            secret = await self._put(secret, wanted)
        data = _data(secret)
        if self._patch_apiservice and data is not None and bundle != data.get(pki.CA_CERT):
            await self._publish(data[pki.CA_CERT])
        return secret

    async def _put(self, old: Mapping[str, Any] | None, data: Mapping[str, bytes]) -> Mapping[str, Any] | None:
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        if old is not None:
            metadata = {**old["metadata"]}
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": encoded}
        try:
            if old is None:
                made = await self._kube.request("POST", self._collection, body=body)
            else:
                made = await self._kube.request("PUT", f"{self._collection}/{self._name}", body=body)
        except KubeError as error:
            if error.code == _CONFLICT:  # another replica was first: its certificate is as good as ours
                return await self._get(f"{self._collection}/{self._name}")
            raise
        log.info("serving certificate written", extra={"secret": f"{self._namespace}/{self._name}"})
        return made

    async def _bundle(self) -> bytes | None:
        """Return the caBundle clients use; None where it is not ours to look at, or there is no APIService yet."""
        if not self._patch_apiservice:
            return None
        service = await self._get(APISERVICE)
        return None if service is None else _decoded(str(service.get("spec", {}).get("caBundle") or ""))

    async def _publish(self, bundle: bytes) -> None:
        service = await self._get(APISERVICE)
        if service is None:
            return  # shadow: applied without an APIService
        version = service["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "spec": {"caBundle": base64.b64encode(bundle).decode()}}
        try:
            await self._kube.request("PATCH", APISERVICE, body=patch, content_type=MERGE_PATCH)
        except KubeError as error:
            if error.code != _CONFLICT:
                raise
            return
        log.info("caBundle of the APIService set")

    async def _get(self, path: str) -> dict[str, Any] | None:
        try:
            return await self._kube.request("GET", path)
        except KubeError as error:
            if error.code == _NOT_FOUND:
                return None
            raise

    def _write_files(self, data: Mapping[str, bytes]) -> None:
        """Write the pair, key first, each in one step."""
        for name in (pki.TLS_KEY, pki.TLS_CERT):
            path = self._directory / name
            if path.exists() and path.read_bytes() == data[name]:
                continue
            temporary = path.with_name(f".{name}.new")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data[name])
            temporary.replace(path)

    def _say(self, problem: str) -> None:
        """Log a change of state."""
        if problem == self._problem:
            return
        if problem:
            log.warning("serving certificate not kept", extra={"detail": problem})
        else:
            log.info("serving certificate kept again")
        self._problem = problem


def _data(secret: Mapping[str, Any] | None) -> dict[str, bytes] | None:
    if secret is None:
        return None
    return {key: _decoded(str(value)) for key, value in (secret.get("data") or {}).items()}


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
