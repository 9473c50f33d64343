"""Credentials from Secrets, under the three conditions that keep one tenant's from serving another.

A Secret is used only for objects of its own namespace, only if its owner has said so by a label, and only for the hosts
its owner has named. It is read again every half minute, so that a rotated password is picked up.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from adapter.kube.client import Kube, KubeError, api_path

log = logging.getLogger(__name__)

LABEL = "spillway.dev/credentials"
HOSTS = "spillway.dev/hosts"
_AGAIN_S = 30.0


class SecretKey(NamedTuple):
    """Which Secret."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret that was read. `version` differs when it may hold something else."""

    version: str
    labels: Mapping[str, str] = field(repr=False)
    annotations: Mapping[str, str] = field(repr=False)
    data: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoSecret:
    """Why a Secret is not there. `final`: the API says so; otherwise the API was away."""

    detail: str
    final: bool = True


def usable_for(secret: Secret, key: SecretKey, hosts: Iterable[str]) -> str | None:
    """Return why a Secret must not be used for these hosts, or None if it may."""
    name = f"Secret {key.name}"
    if secret.labels.get(LABEL) != "true":
        return f'{name} is not meant for metrics: its owner has to label it {LABEL}: "true"'
    named = [host.lower().rstrip(".") for host in secret.annotations.get(HOSTS, "").replace(",", " ").split()]
    if not named:
        return f"{name} names no host it may be used for: its owner has to list them in the annotation {HOSTS}"
    for host in hosts:
        if not any(_covers(pattern, host.lower().rstrip(".")) for pattern in named):
            return f"{name} may not be used for {host}: it is not in the annotation {HOSTS}"
    return None


def _covers(pattern: str, host: str) -> bool:
    """Tell whether a pattern names a host: exactly, or every host one label or more below "*."."""
    return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1 if pattern.startswith("*.") else host == pattern


class Secrets:
    """The Secrets that configured metrics use.

    Args:
        kube: The API; each Secret is read by name, so that RBAC can allow it by name.
        on_change: Called when one has changed, has come or has gone.
        again_s: How often each is read.
    """

    def __init__(self, kube: Kube, on_change: Callable[[], None], again_s: float = _AGAIN_S) -> None:
        self._again_s = again_s
        self._kube = kube
        self._on_change = on_change
        self._wanted: frozenset[SecretKey] = frozenset()
        self._read: dict[SecretKey, Secret | NoSecret] = {}
        self._news = asyncio.Event()
        self._all = True

    def apply(self, wanted: Iterable[SecretKey]) -> None:
        """Read these from now on, and forget all others."""
        self._wanted = frozenset(wanted)
        self._read = {key: held for key, held in self._read.items() if key in self._wanted}
        if self._wanted - self._read.keys():
            self._news.set()

    def get(self, key: SecretKey) -> Secret | NoSecret:
        """Return a Secret as last read, or why there is none."""
        return self._read.get(key, NoSecret(f"Secret {key.name}: not read yet", final=False))

    async def run(self) -> None:
        """Read what is wanted, at once and every half minute, for ever."""
        while True:
            self._news.clear()
            await asyncio.gather(*(self._look(key) for key in self._due()))
            try:
                async with asyncio.timeout(self._again_s):
                    await self._news.wait()
            except TimeoutError:
                self._all = True

    def _due(self) -> frozenset[SecretKey]:
        """Return what to read now: all every half minute, between that what has not been read yet."""
        due = self._wanted if self._all else self._wanted - self._read.keys()
        self._all = False
        return due

    async def _look(self, key: SecretKey) -> None:
        before = self._read.get(key)
        found = await self._fetch(key)
        if isinstance(found, NoSecret) and isinstance(before, Secret) and not found.final:
            return  # what was read is as good as it was
        if key in self._wanted and found != before:
            self._read[key] = found
            if isinstance(found, NoSecret):
                log.warning("secret not usable", extra={"namespace": key.namespace, "detail": found.detail})
            self._on_change()

    async def _fetch(self, key: SecretKey) -> Secret | NoSecret:
        path = api_path("", "v1", "secrets", namespace=key.namespace, name=key.name)
        try:
            return parse(await self._kube.request("GET", path))
        except KubeError as error:
            if error.code == 404:
                return NoSecret(f"Secret {key.name} does not exist")
            if error.code == 403:
                return NoSecret(
                    f"Secret {key.name}: the adapter may not read it; its namespace has to allow that by a Role"
                )
            return NoSecret(f"Secret {key.name}: {error}", final=False)


def parse(secret: Mapping[str, Any]) -> Secret:
    """Return what we use of a Secret. A value that is not base64 counts as absent."""
    metadata = secret.get("metadata") or {}
    data: dict[str, bytes] = {}
    for name, text in (secret.get("data") or {}).items():
        try:
            data[name] = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError, TypeError):
            continue
    version = f"{metadata.get('uid')}/{metadata.get('resourceVersion')}"
    return Secret(version, metadata.get("labels") or {}, metadata.get("annotations") or {}, data)
