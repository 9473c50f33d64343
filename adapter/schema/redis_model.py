"""What is read from Redis: the part of the ExternalMetric schema below `spec.source.redis`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from adapter.schema.redis_access import RedisAuth, Tls
from adapter.schema.redis_queue import RedisQueue
from adapter.schema.strict import FILE_ONLY, Path, Strict, cel
from adapter.schema.text import Text
from adapter.schema.urls import MAX_URL_CHARS, redis_url_problem


def _server_problem(text: str) -> str | None:
    if "@" in text:
        return "must not hold a user or a password: name them in auth"
    if "/" in text:
        return "must be host or host:port, without a scheme and a path"
    return redis_url_problem(f"redis://{text}") and "must be host or host:port, a port from 1 to 65535"


ServerAddress = Annotated[
    str,
    Text(
        "must be host or host:port",
        max_chars=300,
        check=_server_problem,
        shown=False,
        published=r"[-A-Za-z0-9._:\[\]]+",
    ),
]
Database = Annotated[int, Field(ge=0, le=99_999)]


class RedisSentinel(Strict):
    """A master that Redis Sentinel watches over, whichever server that is at the moment."""

    secret: ClassVar[bool] = True

    stand_ins: ClassVar[Mapping[str, object]] = {"addresses": ["stand-in"], "master": "stand-in"}

    addresses: Annotated[tuple[ServerAddress, ...], Field(strict=False, min_length=1, max_length=32)] = Field(
        description="The sentinels, host or host:port, 1 to 32. Port 26379 where none is given. All are asked, and of "
        "their answers the newest counts, so name every one of them."
    )
    master: Annotated[str, Text("must be the name of a master, without spaces", pattern=r"[^\s\0]+", max_chars=256)] = (
        Field(description="The name under which the sentinels know the master, such as mymaster.")
    )
    database: Database = Field(default=0, description="The number of the database, 0 to 99999. Default 0.")
    auth: RedisAuth | None = Field(
        default=None,
        description="Credentials for the sentinels themselves; those for the master are in auth of the source. Default "
        "none.",
    )
    tls: Tls | None = Field(
        default=None,
        description="How the sentinels are verified; {} where they speak TLS with a certificate of a known authority. "
        "Default none: plain TCP to the sentinels.",
    )


class RedisCluster(Strict):
    """A Redis Cluster: every key is asked of the master that holds it at the moment."""

    stand_ins: ClassVar[Mapping[str, object]] = {"addresses": ["stand-in"]}

    addresses: Annotated[tuple[ServerAddress, ...], Field(strict=False, min_length=1, max_length=100)] = Field(
        description="Some nodes, host or host:port, 1 to 100; the first that answers tells all the others. Port 6379 "
        "where none is given. A Service in front of all of them will do."
    )


class RedisSocket(Strict):
    """A server on this machine."""

    stand_ins: ClassVar[Mapping[str, object]] = {"path": "/stand-in"}

    path: Annotated[
        str, Text("must be an absolute path of at most 107 characters", pattern="/[^\0]+", max_chars=107, shown=False)
    ] = Field(description="The path of the server's unix socket, at most 107 characters.")
    database: Database = Field(default=0, description="The number of the database, 0 to 99999. Default 0.")


class RedisSource(Strict):
    """Queue depths from Redis or Valkey: exactly one of url, sentinel, cluster and socket says where it is."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "[has(self.url), has(self.sentinel), has(self.cluster)].filter(x, x).size() == 1",
                "must have exactly one of url, sentinel and cluster",
            ),
            ("!has(self.tls) || !has(self.url) || self.url.startsWith('rediss://')", "tls is for rediss://"),
        )
    )

    stand_ins: ClassVar[Mapping[str, object]] = {"queues": [{"list": "stand-in"}]}

    url: (
        Annotated[
            str,
            Text(
                "must be redis://host[:port][/db] or rediss://…",
                max_chars=MAX_URL_CHARS,
                check=redis_url_problem,
                shown=False,
                published='rediss?://[!"$->A-~]+',
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="One server: redis://host[:port][/db], or rediss:// for TLS. Port 6379 and database 0 where none "
        "is given, as Redis has them. No user, password, or query: credentials in a URL end up in logs. Default none.",
    )
    sentinel: RedisSentinel | None = Field(
        default=None, description="A master watched over by Redis Sentinel. Default none."
    )
    cluster: RedisCluster | None = Field(default=None, description="A Redis Cluster. Default none.")
    socket: RedisSocket | None = Field(
        default=None,
        description="A server on this machine, over a unix socket. Default none.",
        json_schema_extra=FILE_ONLY,
    )
    auth: RedisAuth | None = Field(default=None, description="Credentials. Default none.")
    tls: Tls | None = Field(
        default=None,
        description="How the server is verified: with rediss://, or to speak TLS with sentinel and cluster, for which "
        "{} is enough where the certificates are of a known authority. Default: for rediss:// by the system's "
        "certificate authorities and the URL's host; for sentinel and cluster plain TCP.",
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
        """One place; TLS settings only where TLS is spoken."""
        places = {"url": self.url, "sentinel": self.sentinel, "cluster": self.cluster, "socket": self.socket}
        chosen = [name for name, place in places.items() if place is not None or name in unread]
        if len(chosen) > 1:
            yield (), f"must have one of url, sentinel, cluster and socket, got {' and '.join(chosen)}"
        if not chosen and unread <= type(self).names():
            yield (), "must have one of url, sentinel, cluster and socket: where is the Redis?"
        if self.tls is not None and "tls" not in unread:
            if self.url is not None and not self.url.startswith("rediss://"):
                yield ("tls",), "must not be set for redis://: it is for rediss://"
            if self.socket is not None:
                yield ("tls",), "must not be set for a socket"

    def hints(self) -> Iterator[tuple[Path, str]]:
        """Yield the place and a message for what is valid and not safe."""
        places: list[tuple[Path, Tls | None]] = [(("tls",), self.tls)]
        if self.sentinel is not None:
            places.append((("sentinel", "tls"), self.sentinel.tls))
            if self.tls is not None and self.sentinel.tls is None:
                yield ("sentinel",), "the master is asked over TLS and the sentinels are not: set tls here too"
        for place, tls in places:
            if tls is not None and tls.insecure_skip_verify:
                message = "no certificate is verified: whoever is in between can read passwords and make up numbers"
                yield (*place, "insecureSkipVerify"), message
