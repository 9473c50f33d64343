"""What a request's headers say of who asks. Pure; whether to believe them is decided elsewhere."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

from adapter.api.headers import Headers
from adapter.auth.config import HeaderNames
from adapter.auth.user import User, authenticated

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def user_of(headers: Headers, names: HeaderNames) -> User | None:
    """Return the user that a front proxy names; None if it names none.

    Of a header that is there twice the first value names the user; groups and extra are all values.
    Source: k8s.io/apiserver pkg/authentication/request/headerrequest/requestheader.go.
    """
    name = _first(headers, names.username)
    if not name:
        return None
    groups = [value for each in names.groups for value in headers.getall(each) if value]
    return authenticated(User(name, _first(headers, names.uid), tuple(groups), _extra(headers, names.extra_prefixes)))


def bearer_token(headers: Headers) -> str:
    """Return the bearer token, or "". Any other kind of authorization counts for nothing."""
    parts = headers.get("authorization").strip().split(" ", 2)
    return parts[1] if len(parts) > 1 and parts[0].lower() == "bearer" else ""


def _first(headers: Headers, names: tuple[str, ...]) -> str:
    for name in names:
        if value := headers.get(name):
            return value
    return ""


def _extra(headers: Headers, prefixes: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, list[str]] = {}
    for prefix in prefixes:
        for name, value in headers.fields:
            if name.startswith(prefix):
                found.setdefault(_key(name[len(prefix) :]), []).append(value)
    return tuple(sorted([(key, tuple(values)) for key, values in found.items()]))


@lru_cache(maxsize=256)  # the same few for ever
def _key(escaped: str) -> str:
    # Header names lose their case on the way; the keys of extra are lower case by definition.
    return escaped if _BAD_ESCAPE.search(escaped) else unquote(escaped, errors="surrogateescape")
