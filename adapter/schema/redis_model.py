"""What is read from Redis: the part of the ExternalMetric schema below `spec.source.redis`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from adapter.schema.strict import FILE_ONLY, Path, Strict
from adapter.schema.text import FilePath, SeriesLabels, Text
from adapter.schema.urls import MAX_URL_CHARS, redis_url_problem

RedisKey = Annotated[str, Text("must be the name of a key")]


class Tls(Strict):
    """How a TLS server is verified."""

    ca_file: FilePath | None = Field(
        default=None,
        description="A PEM file with the certificate authorities to trust instead of the system's, read at each "
        "connect. Default: the system's.",
        json_schema_extra=FILE_ONLY,
    )
    server_name: (
        Annotated[str, Text("must be a host name", pattern="[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?", max_chars=253)]
        | None
    ) = Field(
        default=None,
        description="The name the server's certificate must have. Default: the URL's host; needed where that is an "
        "address or a tunnel.",
    )


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

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """One place for each credential, and at least one credential."""
        user = self._set("username", "usernameFile", unread=unread)
        password = self._set("passwordFile", "passwordEnv", unread=unread)
        if len(user) > 1:
            yield (), "must have username or usernameFile, not both"
        if len(password) > 1:
            yield (), "must have passwordFile or passwordEnv, not both"
        if not user and not password and not unread:
            yield (), "must have a user or a password: username, usernameFile, passwordFile, passwordEnv"

    def _set(self, *names: str, unread: frozenset[str]) -> list[str]:
        given = {field.alias: getattr(self, name) for name, field in type(self).model_fields.items()}
        return [name for name in names if given[name] is not None or name in unread]


class RedisQueue(Strict):
    """One queue: exactly one of list, set, sortedSet, hash and stream names its key."""

    list: RedisKey | None = Field(
        default=None, description="The key of a list; its depth is LLEN. This is what most job queues use."
    )
    set: RedisKey | None = Field(default=None, description="The key of a set; its depth is SCARD.")
    sorted_set: RedisKey | None = Field(
        default=None, description="The key of a sorted set, such as delayed jobs; its depth is ZCARD."
    )
    hash: RedisKey | None = Field(default=None, description="The key of a hash; its depth is HLEN.")
    stream: RedisKey | None = Field(
        default=None, description="The key of a stream; its depth is what `group` has still to do."
    )
    group: Annotated[str, Text("must be the name of a consumer group")] | None = Field(
        default=None,
        description="The consumer group. Required with stream, and only with it: a stream keeps what is done, so "
        "that only a group knows what is left.",
    )
    count: Annotated[tuple[Literal["waiting", "inFlight"], ...], Field(strict=False, min_length=1)] | None = Field(
        default=None,
        description="Only with stream: which entries count. waiting: not yet delivered to the group (its lag). "
        "inFlight: delivered and not yet acknowledged. Each is a series of its own with the label state. Default "
        "both: a worker busy with an entry is still needed.",
    )
    labels: SeriesLabels | None = Field(
        default=None,
        description="The labels of the queue's series, at most 32, which HPA selectors and aggregate.by see. A name "
        "is [a-zA-Z_][a-zA-Z0-9_]* or a Kubernetes label key, the only names a selector can hold. A selector holds "
        'values of at most 63 letters, digits, "-", "_" and ".": give a label where a key has ":" or "{}". '
        "Default queue=<key>, for a stream also group=<group>.",
    )
    on_missing: Literal["zero", "unknown"] | None = Field(
        default=None, description="What it means that the key does not exist. Default: onMissing of the source."
    )
    on_missing_group: Literal["all", "unknown"] | None = Field(
        default=None,
        description="Only with stream: what it means that the group does not exist. Default: onMissingGroup of the "
        "source.",
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """One kind of key; what is for streams is with a stream."""
        kinds = {
            "list": self.list,
            "set": self.set,
            "sortedSet": self.sorted_set,
            "hash": self.hash,
            "stream": self.stream,
        }
        chosen = [kind for kind, key in kinds.items() if key is not None or kind in unread]
        if len(chosen) > 1:
            yield (), f"must name one of list, set, sortedSet, hash and stream, got {' and '.join(chosen)}"
        if not chosen and unread <= type(self).names():
            yield (), "must name one of list, set, sortedSet, hash and stream"
        if "stream" in chosen:
            if self.group is None and "group" not in unread:
                yield ("group",), "is required with stream"
            if self.count is not None and len({*self.count}) < len(self.count):
                yield ("count",), "must not name the same state twice"
            if self.labels is not None and "state" in self.labels:
                yield ("labels", "state"), "must not be set for a stream: it tells waiting from inFlight"
        elif chosen:
            for name, value in (
                ("group", self.group),
                ("count", self.count),
                ("onMissingGroup", self.on_missing_group),
            ):
                if value is not None or name in unread:
                    yield (name,), f"must not be set for a {chosen[0]}: it is for streams"


class RedisSource(Strict):
    """Queue depths from one Redis database, standalone."""

    stand_ins: ClassVar[Mapping[str, object]] = {"url": "redis://stand-in", "queues": [{"list": "stand-in"}]}

    url: Annotated[
        str,
        Text(
            "must be redis://host[:port][/db] or rediss://…",
            max_chars=MAX_URL_CHARS,
            check=redis_url_problem,
            shown=False,
        ),
    ] = Field(
        description="redis://host[:port][/db], or rediss:// for TLS. Port 6379 and database 0 where none is given, "
        "as Redis has them. No user, password, or query: credentials in a URL end up in logs."
    )
    auth: RedisAuth | None = Field(default=None, description="Credentials. Default none.", json_schema_extra=FILE_ONLY)
    tls: Tls | None = Field(
        default=None,
        description="Only with rediss://: how the server is verified. Default: by the system's certificate "
        "authorities and the URL's host. Verification cannot be turned off.",
    )
    queues: Annotated[tuple[RedisQueue, ...], Field(strict=False, min_length=1, max_length=10_000)] = Field(
        description="The queues, 1 to 10000, each with series labels of its own."
    )
    on_missing: Literal["zero", "unknown"] | None = Field(
        default=None,
        description="What it means that a key does not exist: zero (nothing waits) or unknown. Default: zero for "
        "list, set, sortedSet and hash, which Redis deletes when they become empty; unknown for stream, which stays.",
    )
    on_missing_group: Literal["all", "unknown"] = Field(
        default="unknown",
        description="What it means that a consumer group does not exist on a stream: all (every entry waits) or "
        "unknown. Default unknown: a group that was never created is mostly a wrong name.",
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """TLS settings only where TLS is spoken."""
        if self.tls is not None and not self.url.startswith("rediss://") and not unread & {"url", "tls"}:
            yield ("tls",), "must not be set for redis://: it is for rediss://"
