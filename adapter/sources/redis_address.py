"""Where a Redis is: one server, one behind sentinels, or many that form a cluster. Pure."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
_NAMED = 3
"""How many servers the name of a target lists."""


class Server(NamedTuple):
    """A server's host and port, as one connects to it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Address(NamedTuple):
    """Where a database is."""

    host: str
    port: int
    db: int
    tls: bool

    @property
    def target(self) -> str:
        """The database for a person: "redis.shop:6379/0"."""
        return f"{Server(self.host, self.port)}/{self.db}"


class Socket(NamedTuple):
    """A database of a server on this machine."""

    path: str
    db: int

    @property
    def target(self) -> str:
        """The database for a person: "unix:/run/redis.sock/0"."""
        return f"unix:{self.path}/{self.db}"


class Sentinels(NamedTuple):
    """A database of the master that sentinels know by a name. `tls` is about the master, `sentinel_tls` about them."""

    servers: tuple[Server, ...]
    master: str
    db: int
    tls: bool
    sentinel_tls: bool

    @property
    def target(self) -> str:
        """The database for a person, whichever server it is on: "sentinel://a:26379,b:26379/mymaster/0"."""
        return f"sentinel://{_listed(self.servers)}/{self.master}/{self.db}"


class Cluster(NamedTuple):
    """A Redis Cluster, by some of its nodes."""

    servers: tuple[Server, ...]
    tls: bool

    @property
    def target(self) -> str:
        """The cluster for a person, whatever nodes it has at present: "cluster://a:6379,b:6379"."""
        return f"cluster://{_listed(self.servers)}"


Place: TypeAlias = Address | Socket | Sentinels | Cluster


def _listed(servers: tuple[Server, ...]) -> str:
    more = ",…" if len(servers) > _NAMED else ""
    return ",".join(map(str, servers[:_NAMED])) + more


def parse_url(url: str) -> Address:
    """Read redis://host[:port][/db] or rediss://….

    Raises:
        ValueError: It is not one; the text says what must change, and does not repeat a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be redis://host[:port][/db]; the port is a number from 1 to 65535") from None
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("must start with redis:// or rediss://")
    if "@" in parts.netloc:
        raise ValueError("must hold no user or password; put them in auth")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("must hold no query and no fragment")
    if not parts.hostname:
        raise ValueError("must name a host: redis://host[:port][/db]")
    if port == 0:
        raise ValueError("must be redis://host[:port][/db]; the port is a number from 1 to 65535")
    db = parts.path.removeprefix("/") or "0"
    if not (db.isascii() and db.isdigit() and len(db) <= 5):
        raise ValueError("must end with the number of the database, as in redis://host:6379/0")
    return Address(parts.hostname, port or DEFAULT_PORT, int(db), parts.scheme == "rediss")


def parse_server(text: str, default_port: int = DEFAULT_PORT) -> Server:
    """Read host, host:port or [address]:port.

    Raises:
        ValueError: It is not one.
    """
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        raise ValueError("must be host or host:port; the port is a number from 1 to 65535") from None
    if not parts.hostname or port == 0 or "@" in text or parts.path or parts.query or parts.fragment:
        raise ValueError("must be host or host:port; the port is a number from 1 to 65535")
    return Server(parts.hostname, port or default_port)
