"""How to get to a page: the part of the ExternalMetric schema for its credentials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from adapter.schema.reference_model import SecretRef
from adapter.schema.strict import FILE_ONLY, OBJECT_REQUIRED, Path, Strict
from adapter.schema.text import FilePath, Text


class ScrapeAuth(Strict):
    """What is sent as Authorization: a bearer token, or user and password. Read again as it is rotated."""

    secret: ClassVar[bool] = True

    bearer_token_file: FilePath | None = Field(
        default=None,
        description="A file that holds a bearer token, as a mounted Secret or service account does; read again within "
        "10 seconds of a change. Default none.",
        json_schema_extra=FILE_ONLY,
    )
    username: (
        Annotated[
            str,
            Text(
                "must be a user name without colon and control characters",
                pattern=r"[^:\x00-\x1f\x7f]+",
                max_chars=256,
                shown=False,
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="The user of basic authentication. Required with passwordFile. Default none.",
        json_schema_extra=FILE_ONLY,
    )
    password_file: FilePath | None = Field(
        default=None,
        description="A file that holds the password of basic authentication; read again within 10 seconds of a "
        "change. Required with username. Default none.",
        json_schema_extra=FILE_ONLY,
    )
    secret_ref: SecretRef | None = Field(
        default=None,
        description="A Secret that holds a bearer token as token, or a user and a password as username and password. "
        "Required in an object of the cluster. Default none.",
        json_schema_extra=OBJECT_REQUIRED,
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Exactly one kind of credentials, whole."""
        token = self.bearer_token_file is not None or "bearerTokenFile" in unread
        basic = {"username": self.username, "passwordFile": self.password_file}
        given = [name for name, value in basic.items() if value is not None or name in unread]
        if token and given:
            yield (), f"must have bearerTokenFile or {' and '.join(given)}, not both"
        elif len(given) == 1:
            (missing,) = set(basic) - set(given)
            yield (missing,), f"is required with {given[0]}"
        if not token and not given and self.secret_ref is None and not unread:
            yield (), "must have credentials: bearerTokenFile, or username and passwordFile"
