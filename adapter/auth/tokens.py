"""Bearer tokens: who holds one, by TokenReview. A token itself is never kept, only its keyed hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adapter.auth.cache import SingleFlight, TtlCache
from adapter.auth.reviews import TOKENS, Failure, Lane, Reviews
from adapter.auth.user import User, authenticated

_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Nobody:
    """The token names nobody, and why."""

    why: str


class Tokens:
    """Knows for a while who holds which token.

    Args:
        reviews: Asks the Kubernetes API.
        ttl_s: How long an answer counts. A review that failed is never remembered, nor one that says why a token is not
            valid: the API server says the same of a token that it could not check.
        monotonic_s: The clock.
    """

    def __init__(self, reviews: Reviews, ttl_s: float, monotonic_s: Callable[[], float]) -> None:
        self._reviews = reviews
        self._monotonic_s = monotonic_s
        self._key = secrets.token_bytes(32)
        # Apart, so that bad tokens do not push good ones out.
        self._holders: TtlCache[bytes, User] = TtlCache(_REMEMBERED, ttl_s)
        self._unknown: TtlCache[bytes, Nobody] = TtlCache(_REMEMBERED, ttl_s)
        self._flights: SingleFlight[bytes, User | Nobody] = SingleFlight()
        self._lane = Lane(16)

    def __len__(self) -> int:
        return len(self._holders) + len(self._unknown)

    def known(self, token: str) -> User | Nobody | None:
        """Return who holds a token, as far as it is known."""
        key, now_s = self._hash(token), self._monotonic_s()
        entry = self._holders.get(key, now_s) or self._unknown.get(key, now_s)
        return None if entry is None else entry.value

    async def holder(self, token: str) -> User | Nobody:
        """Return who holds a token, asking if need be."""
        found = self.known(token)
        return found if found is not None else await self._flights.share(self._hash(token), lambda: self._review(token))

    async def _review(self, token: str) -> User | Nobody:
        try:
            token.encode()
        except UnicodeEncodeError:
            return Nobody("the token is no Unicode text")
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status = await self._reviews.create(TOKENS, body, self._lane)
        if isinstance(status, Failure):
            return Nobody(f"the token could not be checked: {status.why}")
        key, now_s = self._hash(token), self._monotonic_s()
        found = _holder(status)
        if isinstance(found, User):
            self._holders.put(key, found, now_s)
        elif not status.get("error"):
            self._unknown.put(key, found, now_s)
        return found

    def _hash(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode("utf-8", "surrogateescape"), key=self._key, digest_size=32).digest()


def _holder(status: Mapping[str, Any]) -> User | Nobody:
    """Return whom a review's status names. Whatever is not a clear yes is a no."""
    user = status.get("user")
    if status.get("authenticated") is not True or not isinstance(user, Mapping):
        return Nobody(f"the token is not valid: {status.get('error') or 'the API server does not know it'}")
    name, uid, groups, extra = user.get("username"), user.get("uid", ""), user.get("groups", []), user.get("extra", {})
    if not (isinstance(name, str) and name and isinstance(uid, str) and _is_texts(groups)):
        return Nobody("the review of the token names no user")
    if not isinstance(extra, Mapping) or not all(isinstance(key, str) and _is_texts(extra[key]) for key in extra):
        return Nobody("the review of the token has a malformed user")
    pairs = sorted((key, tuple(values)) for key, values in extra.items())
    return authenticated(User(name, uid, tuple(groups), tuple(pairs)))


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
