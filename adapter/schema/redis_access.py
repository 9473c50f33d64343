"""How to get to a Redis: the parts of the ExternalMetric schema for TLS and credentials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from adapter.schema.reference_model import SecretRef
from adapter.schema.strict import FILE_ONLY, OBJECT_ONLY, OBJECT_REQUIRED, Path, Strict
from adapter.schema.text import FilePath, HostName, Text


class Tls(Strict):
    """How a TLS server is verified."""

    ca_file: FilePath | None = Field(
        default=None,
        description="A PEM file with the certificate authorities to trust instead of the system's, read at each "
        "connect. Default: the system's.",
        json_schema_extra=FILE_ONLY,
    )
    ca_secret_ref: SecretRef | None = Field(
        default=None,
        description="A Secret whose ca.crt holds the certificate authorities to trust instead of the system's. "
        "Default: the system's.",
        json_schema_extra=OBJECT_ONLY,
    )
    server_name: HostName | None = Field(
        default=None,
        description="The name the server's certificate must have. Default: the host that is connected to; needed where "
        "that is an address or a tunnel.",
    )
    cert_file: FilePath | None = Field(
        default=None,
        description="A PEM file with the client certificate to show, read at each connect, with keyFile. Default none.",
        json_schema_extra=FILE_ONLY,
    )
    key_file: FilePath | None = Field(
        default=None,
        description="A PEM file with the client certificate's key, without a passphrase, read at each connect. "
        "Default none.",
        json_schema_extra=FILE_ONLY,
    )
    insecure_skip_verify: bool = Field(
        default=False,
        description="Whether to believe any certificate, so that whoever is in between can read the password and make "
        "up the numbers. Default false; true is warned of.",
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """A certificate and its key."""
        for name, value, other, needed in (
            ("certFile", self.cert_file, "keyFile", self.key_file),
            ("keyFile", self.key_file, "certFile", self.cert_file),
        ):
            if value is None and needed is not None and not unread & {name, other}:
                yield (name,), f"is required with {other}"


class RedisAuth(Strict):
    """Credentials, read again at each connect so that a rotated one is picked up."""

    secret: ClassVar[bool] = True

    username: Annotated[str, Text("must be a user name", pattern="[^\0]+", shown=False)] | None = Field(
        default=None,
        description="The ACL user. Default: Redis' own user default.",
        json_schema_extra=FILE_ONLY,
    )
    username_file: FilePath | None = Field(
        default=None,
        description="A file that holds the ACL user, as a mounted Secret does. Default none.",
        json_schema_extra=FILE_ONLY,
    )
    password_file: FilePath | None = Field(
        default=None,
        description="A file that holds the password, as a mounted Secret does. Default none.",
        json_schema_extra=FILE_ONLY,
    )
    password_env: (
        Annotated[
            str,
            Text("must be the name of an environment variable", pattern="[A-Za-z_][A-Za-z0-9_]*", shown=False),
        ]
        | None
    ) = Field(
        default=None,
        description="The environment variable that holds the password. Default none.",
        json_schema_extra=FILE_ONLY,
    )

    secret_ref: SecretRef | None = Field(
        default=None,
        description="A Secret whose password holds the password and whose username, where there is one, the ACL user. "
        "Required in an object of the cluster. Default none.",
        json_schema_extra=OBJECT_REQUIRED,
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """One place for each credential, and at least one credential."""
        user = self._set("username", "usernameFile", unread=unread)
        password = self._set("passwordFile", "passwordEnv", unread=unread)
        if len(user) > 1:
            yield (), "must have username or usernameFile, not both"
        if len(password) > 1:
            yield (), "must have passwordFile or passwordEnv, not both"
        if not user and not password and self.secret_ref is None and not unread:
            yield (), "must have a user or a password: username, usernameFile, passwordFile, passwordEnv"

    def _set(self, *names: str, unread: frozenset[str]) -> list[str]:
        given = {field.alias: getattr(self, name) for name, field in type(self).model_fields.items()}
        return [name for name in names if given[name] is not None or name in unread]
