"""Who we are to the Kubernetes API, and how that is read again when it changes."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from adapter.kube.errors import KubeConfigError
from adapter.kube.session import Server

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

# What the library raises over a configuration that it cannot use. It checks little before it uses it.
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError, RuntimeError, yaml.YAMLError)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is and who we are: the pod's service account, unless a kubeconfig is named.

    Attributes:
        kubeconfig: Path, or several with ":" between them as in KUBECONFIG.
        context: One of its contexts; its current one by default.
        service_account: The folder with token, ca.crt and namespace.
        environ: Where KUBERNETES_SERVICE_HOST and _PORT are looked up; the process' own by default.
    """

    kubeconfig: str | None = None
    context: str | None = None
    service_account: Path = SERVICE_ACCOUNT
    environ: Mapping[str, str] | None = field(default=None, repr=False)


class Credentials:
    """Where the API is and what we show it, read anew by each `load`.

    Attributes:
        server: After the first load.
        namespace: Our own, or the context's.
        identity: Of what connections are made with: when it has changed, new ones are needed.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._loader: Any = None
        self._loaded_from = ""
        self.server = Server("")
        self.namespace: str | None = None
        self.identity = ""

    async def load(self) -> None:
        """Read token, certificates and server; run the exec plugin if what it gave has expired.

        Raises:
            KubeConfigError: Some of it is missing or makes no sense; everything stays as it was.
        """
        where = "the kubeconfig" if self._access.kubeconfig else "the service account"
        try:
            if self._access.kubeconfig:
                server = await self._from_kubeconfig(self._access.kubeconfig)
            else:
                server = self._from_service_account()
            server = replace(server, authorization=_sendable(server.authorization))
            identity = _identity(server)
        except KubeConfigError as exc:
            raise KubeConfigError(f"{where} cannot be used: {exc}{self._advice()}") from exc
        except _UNUSABLE as exc:
            # Only the kind of error: texts of parsers quote what they parse, and that is a secret.
            why = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
            raise KubeConfigError(f"{where} cannot be used: {why}{self._advice()}") from exc
        self.server, self.identity = server, identity

    def _from_service_account(self) -> Server:
        environ = os.environ if self._access.environ is None else self._access.environ
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise KubeConfigError("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
        folder = self._access.service_account
        token, ca_file = (folder / "token").read_text().strip(), folder / "ca.crt"
        if not token or not ca_file.read_bytes().strip():
            raise KubeConfigError("its token or its CA is empty")
        if (folder / "namespace").is_file():
            self.namespace = (folder / "namespace").read_text().strip() or None
        return Server(f"https://{f'[{host}]' if ':' in host else host}:{port}", f"Bearer {token}", str(ca_file))

    async def _from_kubeconfig(self, paths: str) -> Server:
        # Imported here: the library costs 300 ms and 36 MB, which only those pay who have a kubeconfig.
        config = await asyncio.to_thread(importlib.import_module, "kubernetes_asyncio.config")
        client = importlib.import_module("kubernetes_asyncio.client")

        configuration = client.Configuration()
        if not (files := _existing(paths)):
            raise KubeConfigError(f"there is no file {paths}")
        content = _digest(files)
        try:
            if self._loader is not None and content == self._loaded_from:
                await self._loader.load_and_set(configuration)  # it knows when the exec plugin's token expires
            else:
                self._loader = await config.load_kube_config(
                    config_file=paths,
                    context=self._access.context,
                    client_configuration=configuration,
                    persist_config=False,
                )
                self._loaded_from = content
                self.namespace = (self._loader.current_context or {}).get("context", {}).get("namespace")
        except config.ConfigException as exc:
            raise KubeConfigError(str(exc)) from exc
        return Server(
            configuration.host.rstrip("/"),
            configuration.api_key.get("BearerToken"),
            configuration.ssl_ca_cert,
            configuration.cert_file,
            configuration.key_file,
            not configuration.verify_ssl,
            configuration.tls_server_name,
            configuration.proxy,
            configuration.proxy_headers,
        )

    def _advice(self) -> str:
        if self._access.kubeconfig:
            return ""
        return " (outside a cluster name a file with --kubeconfig)"


def _sendable(authorization: str | None) -> str | None:
    """Strip the line end that files often have: it cannot be sent in a header."""
    if authorization is None:
        return None
    if not (authorization := authorization.strip()).isascii() or not authorization.isprintable():
        raise KubeConfigError("the token has characters that no header may have")
    return authorization


def _existing(paths: str) -> list[Path]:
    found = (Path(path).expanduser() for path in paths.split(os.pathsep) if path)
    return [path for path in found if path.is_file()]


def _identity(server: Server) -> str:
    files = [Path(file) for file in (server.ca_file, server.cert_file, server.key_file) if file]
    return repr(server) + _digest(files)


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
