"""Who we are to the Kubernetes API, and how that is read again when it changes."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.kube.access import Access
from adapter.kube.client import Kube, KubeConfigError, KubeError
from tests.kube_api import KubeApi
from tests.kube_asking import CONFIG_MAPS, asking, config_map, failing, in_cluster, version


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    with KubeApi(tmp_path) as api:
        yield api


def test_a_pod_connects_with_its_service_account(api: KubeApi) -> None:
    """Address, CA, token and namespace come from where Kubernetes puts them."""

    async def ask(kube: Kube) -> None:
        assert (await version(kube))["minor"] == "36"
        assert (kube.server, kube.namespace) == (api.url, "spillway")
        assert kube.clock_skew_s is not None
        assert abs(kube.clock_skew_s) < 60

    asking(in_cluster(api), ask)


def test_a_kubeconfig_connects_with_the_context_that_is_named(api: KubeApi) -> None:
    """Without a name it is the current one; each has its own user and namespace."""
    api.enforce_rbac = True
    api.create(config_map("a"))

    async def ask(kube: Kube) -> Any:
        return kube.namespace, (await kube.request("GET", CONFIG_MAPS))["items"][0]["metadata"]["name"]

    assert asking(Access(kubeconfig=str(api.kubeconfig), context="admin"), ask) == (None, "a")
    assert failing(Access(kubeconfig=str(api.kubeconfig)), ask).code == 403


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda config: config.pop("contexts"), "contexts"),
        (lambda config: config["clusters"].clear(), "clusters"),
        (lambda config: config.update({"current-context": "nowhere"}), "nowhere"),
        (lambda config: config["users"][0].update(user={"tokenFile": "/no/such/token"}), "No such file"),
        (lambda config: config["users"][0].update(user={"token": "päss wörd"}), "characters"),
    ],
)
def test_a_kubeconfig_that_makes_no_sense_is_refused(api: KubeApi, change: Callable[[Any], object], says: str) -> None:
    """The message names what is wrong and never a secret."""
    config = yaml.safe_load(api.kubeconfig.read_text())
    change(config)
    api.kubeconfig.write_text(yaml.safe_dump(config, allow_unicode=True))
    with pytest.raises(KubeConfigError, match=says) as caught:
        asking(Access(kubeconfig=str(api.kubeconfig)), version)
    assert "wörd" not in str(caught.value)


def test_no_configuration_at_all_says_where_to_name_one(tmp_path: Path) -> None:
    """Outside a cluster, without --kubeconfig, and with one that is not there."""
    with pytest.raises(KubeConfigError, match="--kubeconfig"):
        asking(Access(service_account=tmp_path, environ={}), version)
    with pytest.raises(KubeConfigError, match="there is no file"):
        asking(Access(kubeconfig=str(tmp_path / "none")), version)
    (tmp_path / "broken").write_text("{token: hunter2")
    with pytest.raises(KubeConfigError) as caught:
        asking(Access(kubeconfig=str(tmp_path / "broken")), version)
    assert "hunter2" not in str(caught.value)


def test_a_rotated_token_is_taken_from_its_file(api: KubeApi) -> None:
    """The API says 401 once; the next request has read the file again."""

    async def ask(kube: Kube) -> None:
        await version(kube)
        api.rotate_token()
        with pytest.raises(KubeError) as caught:
            await version(kube)
        assert caught.value.code == 401
        await version(kube)

    asking(in_cluster(api), ask)
    asking(Access(kubeconfig=str(api.kubeconfig)), ask)


def test_a_rotated_ca_is_taken_from_its_file(api: KubeApi) -> None:
    """A certificate of a new CA is not trusted until the file has been read again, then it is."""

    async def ask(kube: Kube) -> None:
        await version(kube)
        old = api.ca_file.read_bytes()
        api.rotate_ca()
        new = api.ca_file.read_bytes()
        api.ca_file.write_bytes(old)
        with pytest.raises(KubeError) as caught:
            await version(kube)
        assert caught.value.reason == "Untrusted"
        api.ca_file.write_bytes(new)
        await version(kube)

    asking(in_cluster(api), ask)


def test_credentials_that_cannot_be_read_for_a_moment_are_kept(api: KubeApi) -> None:
    """A token file that is missing while it is replaced stops nothing."""

    async def ask(kube: Kube) -> None:
        token = api.service_account / "token"
        api.users["other"] = api.users.pop(api.token)
        with pytest.raises(KubeError):
            await version(kube)
        token.unlink()
        with pytest.raises(KubeError) as caught:
            await version(kube)
        assert caught.value.code == 401
        api.users[api.token] = api.users["other"]
        await version(kube)

    asking(in_cluster(api), ask)


def test_an_exec_plugin_is_asked_for_a_token(api: KubeApi, tmp_path: Path) -> None:
    """Its token is used, and after a 401 it is asked again where it gave no expiry."""
    plugin = tmp_path / "plugin"
    plugin.write_text(f'#!{sys.executable}\nimport pathlib\nprint(pathlib.Path("{tmp_path}/credential").read_text())\n')
    plugin.chmod(0o755)

    def give(token: str) -> None:
        credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
        (tmp_path / "credential").write_text(json.dumps({**credential, "status": {"token": token}}))

    config = yaml.safe_load(api.kubeconfig.read_text())
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    config["users"][0]["user"] = {"exec": run}
    api.kubeconfig.write_text(yaml.safe_dump(config))

    async def ask(kube: Kube) -> None:
        await version(kube)
        give(api.rotate_token())
        with pytest.raises(KubeError):
            await version(kube)
        await version(kube)

    give(api.token)
    asking(Access(kubeconfig=str(api.kubeconfig)), ask)


def test_a_ca_that_strict_checks_refuse_is_accepted(api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 verifies strictly by default, and the CAs of many clusters do not pass that."""
    lenient = ssl.create_default_context

    def strict(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = lenient(*args, **kwargs)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    asking(in_cluster(api), version)


def test_a_server_of_another_name_or_ca_is_refused(api: KubeApi, tmp_path: Path) -> None:
    """What is not verified strictly is verified all the same."""
    config = yaml.safe_load(api.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["tls-server-name"] = "somewhere.else"
    api.kubeconfig.write_text(yaml.safe_dump(config))
    error = failing(Access(kubeconfig=str(api.kubeconfig)), version)
    assert (error.code, error.reason) == (0, "Untrusted")
    with KubeApi(tmp_path / "other") as other:
        account = Access(service_account=other.service_account, environ=api.environ)
        assert failing(account, version).reason == "Untrusted"


def test_a_ca_that_is_none_is_refused_at_first_and_ignored_later(api: KubeApi) -> None:
    """A start says so; a rotation that has only half happened stops nothing, and its end is noticed."""

    async def ask(kube: Kube) -> None:
        await version(kube)
        api.rotate_ca()
        new = api.ca_file.read_bytes()
        api.ca_file.write_text("-----BEGIN CERTIFICATE-----\n")
        with pytest.raises(KubeError) as caught:
            await version(kube)
        assert caught.value.reason == "Untrusted"
        with pytest.raises(KubeError):
            await version(kube)
        api.ca_file.write_bytes(new)
        kube._refresh_at_s = 0.0  # as if the wait were over
        await version(kube)

    asking(in_cluster(api), ask)
    api.ca_file.write_text("-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(KubeConfigError, match="CA or its certificate cannot be used"):
        asking(in_cluster(api), version)


def test_a_pod_does_not_import_the_library(api: KubeApi) -> None:
    """It costs 36 MB, which only those pay who have a kubeconfig."""
    code = (
        "import asyncio, sys, adapter.kube.watch, adapter.kube.lease\n"
        "from pathlib import Path\n"
        "from adapter.kube.client import Access, Kube\n"
        "async def ask():\n"
        "    async with Kube(Access(service_account=Path(sys.argv[1]))) as kube:\n"
        "        return await kube.request('GET', '/version')\n"
        "assert asyncio.run(ask())['minor']\n"
        "sys.exit('kubernetes_asyncio' in sys.modules)"
    )
    argv = [sys.executable, "-c", code, str(api.service_account)]
    assert subprocess.run(argv, env={**os.environ, **api.environ}, timeout=60).returncode == 0
