"""Who we are to the Kubernetes API, and how that is read again when it changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from adapter.kube.errors import KubeConfigError

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
    """A configuration of the client library, read anew by each `load`.

    Attributes:
        configuration: kubernetes_asyncio.client.Configuration, after the first load.
        namespace: Our own, or the context's.
        identity: Of the files that TLS uses: when it has changed, a new connection is needed.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._loader: Any = None
        self._loaded_from = ""
        self.configuration: Any = None
        self.namespace: str | None = None
        self.identity = ""

    async def load(self) -> None:
        """Read token, certificates and server; run the exec plugin if what it gave has expired.

        Raises:
            KubeConfigError: Some of it is missing or makes no sense; everything stays as it was.
        """
        # Imported here: it costs 300 ms and 36 MB, which only those pay who use it.
        from kubernetes_asyncio import client, config

        configuration: Any = client.Configuration()
        where = "the kubeconfig" if self._access.kubeconfig else "the service account"
        try:
            if self._access.kubeconfig:
                await self._load_kubeconfig(self._access.kubeconfig, configuration)
            else:
                self._load_service_account(configuration)
            identity = _identity(configuration)
        except config.ConfigException as exc:
            raise KubeConfigError(f"{where} cannot be used: {exc}{self._advice()}") from exc
        except _UNUSABLE as exc:
            # Only the kind of error: texts of parsers quote what they parse, and that is a secret.
            why = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
            raise KubeConfigError(f"{where} cannot be used: {why}{self._advice()}") from exc
        _clean_token(configuration)
        # Python 3.13 asks for what RFC 5280 wants of a CA (key identifiers, key usage) and many clusters' CAs do not
        # have. The chain, the names and the dates are verified all the same.
        configuration.disable_strict_ssl_verification = True
        # A watch holds its connection, and there may be hundreds.
        configuration.connection_pool_maxsize = None
        self.configuration, self.identity = configuration, identity

    @property
    def token(self) -> str | None:
        """The Authorization header, or None where a client certificate says who we are."""
        token: str | None = self.configuration.api_key.get("BearerToken")
        return token

    def _load_service_account(self, configuration: Any) -> None:
        from kubernetes_asyncio import config

        folder = self._access.service_account
        config.load_incluster_config(  # type: ignore[no-untyped-call]  # the library has no annotations here
            client_configuration=configuration,
            try_refresh_token=False,
            token_filename=str(folder / "token"),
            cert_filename=str(folder / "ca.crt"),
            environ=os.environ if self._access.environ is None else self._access.environ,
        )
        if (folder / "namespace").is_file():
            self.namespace = (folder / "namespace").read_text().strip() or None

    async def _load_kubeconfig(self, paths: str, configuration: Any) -> None:
        from kubernetes_asyncio import config

        if not (files := _existing(paths)):
            raise config.ConfigException(f"there is no file {paths}")
        content = _digest(files)
        if self._loader is not None and content == self._loaded_from:
            await self._loader.load_and_set(configuration)  # it knows when the exec plugin's token expires
            return
        self._loader = await config.load_kube_config(
            config_file=paths, context=self._access.context, client_configuration=configuration, persist_config=False
        )
        self._loaded_from = content
        self.namespace = (self._loader.current_context or {}).get("context", {}).get("namespace")

    def _advice(self) -> str:
        if self._access.kubeconfig:
            return ""
        return " (outside a cluster name a file with --kubeconfig)"


def _clean_token(configuration: Any) -> None:
    """Strip the line end that files often have: it cannot be sent in a header."""
    token = configuration.api_key.get("BearerToken")
    if token is None:
        return
    if not (token := token.strip()).isascii() or not token.isprintable():
        raise KubeConfigError("the token cannot be used: it has characters that no header may have")
    configuration.api_key["BearerToken"] = token


def _existing(paths: str) -> list[Path]:
    found = (Path(path).expanduser() for path in paths.split(os.pathsep) if path)
    return [path for path in found if path.is_file()]


def _identity(configuration: Any) -> str:
    files = [configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file]
    host: str = configuration.host
    return host + _digest(Path(file) for file in files if file)


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
