"""Where a Redis database is, from its URL. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORT = 6379


class Address(NamedTuple):
    """Where a database is."""

    host: str
    port: int
    db: int
    tls: bool

    @property
    def target(self) -> str:
        """The database for a person: "redis.shop:6379/0"."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/{self.db}"


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
