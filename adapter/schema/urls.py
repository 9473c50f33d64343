"""URLs that a configuration may hold: absolute, and without anything secret in them."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

MAX_URL_CHARS = 2_048


def redis_url_problem(url: str) -> str | None:
    """Return what is wrong with a Redis URL; None if nothing. The message never holds a secret."""
    if "@" in url:
        return "must not hold a user or a password: name them in auth"
    parts = _split(url)
    if isinstance(parts, str):
        return parts
    if not url.startswith(("redis://", "rediss://")):
        return "must start with redis:// or rediss://"
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        return "must end after the database number: credentials go into auth, a timeout into spec.timeout"
    if not re.fullmatch("/?|/[0-9]{1,5}", parts.path):
        return "must have nothing but a database number from 0 to 99999 as its path, as in /0"
    return None


def http_url_problem(url: str) -> str | None:
    """Return what is wrong with the URL of a page; None if nothing. The message never holds a secret."""
    parts = _split(url)
    if isinstance(parts, str):
        return parts
    if parts.scheme not in {"http", "https"}:
        return "must start with http:// or https://"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user or a password"
    if parts.fragment or url.endswith("#"):
        return "must not have a fragment (#…): it is never sent"
    return None


def _split(url: str) -> SplitResult | str:
    if not re.fullmatch("[!-~]+", url):
        return "must be an absolute URL of printable ASCII without spaces"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # urllib's message can quote the part with the password.
        return "must be a URL with a valid host and a port from 1 to 65535"
    if not parts.scheme or not parts.hostname:
        return "must be an absolute URL: scheme://host[:port]"
    if port == 0:
        return "must have a port from 1 to 65535"
    return parts
