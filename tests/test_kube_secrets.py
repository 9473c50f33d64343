"""Whose Secrets are used for what."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.kube.client import Access, Kube
from adapter.kube.secrets import HOSTS, LABEL, NoSecret, Secret, SecretKey, Secrets, parse, usable_for
from tests.kube_api import KubeApi
from tests.waiting import until

KEY = SecretKey("shop", "redis-auth")


def secret(*, label: str = "true", hosts: str = "redis.shop", password: str = "geheim") -> dict[str, Any]:
    """Return a Secret as its owner writes it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "namespace": "shop",
            "name": "redis-auth",
            "labels": {LABEL: label},
            "annotations": {HOSTS: hosts},
        },
        "data": {"password": base64.b64encode(password.encode()).decode(), "bad": "?"},
    }


@pytest.mark.parametrize(
    ("hosts", "asked", "may"),
    [
        ("redis.shop", "redis.shop", True),
        ("redis.shop", "REDIS.shop.", True),
        ("a, redis.shop  b", "redis.shop", True),
        ("*.shop.svc", "redis.shop.svc", True),
        ("*.shop.svc", "a.b.shop.svc", True),
        ("redis.shop", "evil.example", False),
        ("redis.shop", "redis.shop.evil.example", False),
        ("redis.shop", "xredis.shop", False),
        ("*.shop.svc", "shop.svc", False),
        ("*.shop.svc", "evilshop.svc", False),
        ("*", "evil.example", False),
        ("", "redis.shop", False),
    ],
)
def test_a_secret_serves_only_the_hosts_its_owner_named(hosts: str, asked: str, may: bool) -> None:
    """Exactly those, or those below a name; there is no way to say every host."""
    problem = usable_for(parse(secret(hosts=hosts)), KEY, [asked])
    assert (problem is None) == may
    assert may or "spillway.dev/hosts" in (problem or "")


def test_a_secret_without_the_label_is_not_used() -> None:
    """A Secret that happens to lie in the namespace is none of our business."""
    assert "spillway.dev/credentials" in (usable_for(parse(secret(label="yes")), KEY, ["redis.shop"]) or "")


def test_values_never_show() -> None:
    """Neither the values nor what is around them is in the text of a Secret, and what is not base64 is absent."""
    found = parse(secret())
    assert "geheim" not in repr(found)
    assert dict(found.data) == {"password": b"geheim"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    with KubeApi(tmp_path) as server:
        yield server


def test_secrets_are_read_by_name_and_again_when_something_is_new(api: KubeApi) -> None:
    """A Secret that is not there, that comes, that may not be read, and an API that is away, each as it is."""

    async def scenario() -> None:
        changes: list[None] = []
        async with Kube(Access(kubeconfig=str(api.kubeconfig))) as kube, asyncio.TaskGroup() as tasks:
            secrets = Secrets(kube, lambda: changes.append(None), again_s=0.05)
            running = tasks.create_task(secrets.run())
            secrets.apply([KEY])
            await until(lambda: secrets.get(KEY) == NoSecret("Secret redis-auth does not exist"))
            api.create(secret())
            await until(lambda: isinstance(secrets.get(KEY), Secret))
            api.down()
            held = secrets.get(KEY)
            before = len(changes)
            secrets.apply([KEY, SecretKey("shop", "other")])
            await until(lambda: len(changes) > before)
            assert secrets.get(KEY) is held
            api.up()
            api.put(secret(password="neu"))
            await until(lambda: getattr(secrets.get(KEY), "data", {}).get("password") == b"neu")
            api.fail(403, times=1000, verb="get", resource="secrets")
            await until(lambda: "may not read it" in getattr(secrets.get(KEY), "detail", ""))
            secrets.apply([])
            assert isinstance(secrets.get(KEY), NoSecret)
            running.cancel()

    asyncio.run(scenario())
    assert {(asked.verb, asked.name) for asked in api.requests} == {("get", "redis-auth"), ("get", "other")}
