"""Delegated authentication and authorization: the one object that the secure port asks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self
from weakref import WeakKeyDictionary

from adapter.api.headers import Headers
from adapter.api.request import Attributes, Request, Undecided, Verdict
from adapter.api.tls import CertificateError
from adapter.auth import config
from adapter.auth.access import Question, ReviewError, forbidden, question
from adapter.auth.certificates import Refused
from adapter.auth.config import HeaderNames
from adapter.auth.decisions import Decisions
from adapter.auth.headers import bearer_token, user_of
from adapter.auth.reviews import Failure, Reviews
from adapter.auth.tokens import Nobody, Tokens
from adapter.auth.trust import Trust
from adapter.auth.user import ANONYMOUS, User
from adapter.errors import ApiError, UnauthorizedError
from adapter.kube.client import Kube, api_path
from adapter.kube.watch import Change, Reflector
from scaler.selector import Selector

log = logging.getLogger(__name__)

_KEY = (config.NAMESPACE, config.NAME)
_LOG_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Ttls:
    """How long answers of the Kubernetes API count, in seconds; 0: not at all. Defaults as in Kubernetes."""

    token_s: float = 10.0
    allowed_s: float = 10.0
    denied_s: float = 10.0


class _Unreviewed(NamedTuple):
    """Only the Kubernetes API can say who holds this token. `why` are what failed before."""

    token: str
    why: tuple[str, ...]


class _Nobody(NamedTuple):
    """Somebody showed what is not valid, and why."""

    why: tuple[str, ...]


class DelegatedAuth:
    """Recognises who asks and asks the Kubernetes API whether they may: `async with DelegatedAuth(...) as auth`.

    It is the Authorizer of the API. While the block runs the authentication ConfigMap is followed and permissions in
    use are renewed. Entering waits for nothing: until the ConfigMap has been read nobody is recognised by certificate,
    and `not_ready` says so.

    Args:
        kube: The Kubernetes API; must outlive the block.
        trust: That of the serving certificate.
        rotate: Makes the serving certificate's context anew: `ServingCertificate.rotate`.
        ttls: How long answers count.
        backoff_s: The first pause after a failed review.
        look_every_s: How often to look for permissions to renew; by default as often as their life needs.
        monotonic_s: The clock of what is remembered.
        now_s: The clock of certificates, seconds since 1970.
        on_review: Told of each question: "tokenreviews" or "subjectaccessreviews", whether answered, seconds.
    """

    def __init__(
        self,
        kube: Kube,
        trust: Trust,
        rotate: Callable[[], None],
        *,
        ttls: Ttls = Ttls(),
        backoff_s: float = 0.5,
        look_every_s: float | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
        on_review: Callable[[str, bool, float], None] | None = None,
    ) -> None:
        reviews = Reviews(kube, backoff_s=backoff_s, on_review=on_review)
        self.tokens = Tokens(reviews, ttls.token_s, monotonic_s)
        self.decisions = Decisions(
            reviews,
            allowed_ttl_s=ttls.allowed_s,
            denied_ttl_s=ttls.denied_s,
            monotonic_s=monotonic_s,
            look_every_s=look_every_s,
        )
        self._trust = trust
        # Whom headers name, by the names that were looked for; the same headers come again and again.
        self._named: WeakKeyDictionary[Headers, tuple[HeaderNames, User | None]] = WeakKeyDictionary()
        self._rotate = rotate
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._log_from_s = monotonic_s()
        self._config_map = Reflector(
            kube,
            api_path("", "v1", "configmaps", namespace=config.NAMESPACE),
            field_selector=f"metadata.name={config.NAME}",
            on_change=self._changed,
        )
        self._tasks = asyncio.TaskGroup()
        self._running: tuple[asyncio.Task[None], ...] = ()

    async def __aenter__(self) -> Self:
        tasks = await self._tasks.__aenter__()
        self._running = (
            tasks.create_task(self._config_map.run(), name="client authorities"),
            tasks.create_task(self.decisions.renew_for_ever(), name="permissions"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._running:
            task.cancel()
        # Not told of the block's own error, which it would wrap.
        await self._tasks.__aexit__(None, None, None)

    def not_ready(self) -> str | None:
        """Return why the aggregator cannot be recognised yet; None: it can. A check of readyz, named "clients"."""
        if self._trust.config.request_header_ca is not None:
            return None
        where = f"ConfigMap {config.NAMESPACE}/{config.NAME}"
        if not self._config_map.synced:
            why = "" if self._config_map.error is None else f": {self._config_map.error}"
            return f"{where} has not been read yet{why}"
        if _KEY not in self._config_map.objects:
            return f"there is no {where}"
        return f"{where} has no usable requestheader-client-ca-file"

    def __call__(self, request: Request, asked: Attributes, selector: Selector, /) -> ApiError | Undecided | None:
        """Decide from what is known, or say what to wait for. See Authorizer."""
        if request.verdict is not None:
            return request.verdict.refusal
        who = self._identify(request)
        if isinstance(who, User):
            wanted = question(who, asked, selector)
            if wanted is None:
                return None
            known = self.decisions.known(wanted)
            if known is None:
                return Undecided(partial(self._decide, wanted))
            return None if known.allowed else forbidden(wanted, known.reason)
        if isinstance(who, _Unreviewed):
            return Undecided(partial(self._review, who, asked, selector))
        return self._unauthorized(who)

    def _identify(self, request: Request) -> User | _Unreviewed | _Nobody:
        """Try each way of showing who one is. The first that succeeds counts; failures do only if none does."""
        failed: tuple[str, ...] = ()
        if request.peer:
            found = self._certified(request)
            if isinstance(found, User):
                return found
            failed = found
        if token := bearer_token(request.headers):
            holder = self.tokens.known(token)
            if isinstance(holder, User):
                return holder
            return _Unreviewed(token, failed) if holder is None else _Nobody((*failed, holder.why))
        return _Nobody(failed) if failed else ANONYMOUS

    def _certified(self, request: Request) -> User | tuple[str, ...]:
        """Return whom the client's certificate speaks for or names, or what was wrong with it."""
        trusted, now_s = self._trust.config, self._now_s()
        failed: tuple[str, ...] = ()
        if trusted.request_header_ca is not None:
            verified = trusted.request_header_ca.verify(request.peer, now_s)
            if isinstance(verified, Refused):
                failed = (f"as a front proxy: {verified.why}",)
            elif trusted.headers.allowed_names and verified.common_name not in trusted.headers.allowed_names:
                failed = (f"as a front proxy: {verified.common_name} is not in requestheader-allowed-names",)
            elif user := self._user_of(request.headers, trusted.headers):
                return user
        if trusted.client_ca is not None:
            verified = trusted.client_ca.verify(request.peer, now_s)
            if isinstance(verified, Refused):
                failed = (*failed, f"as a client: {verified.why}")
            elif verified.user is not None:
                return verified.user
        return failed

    def _user_of(self, headers: Headers, names: HeaderNames) -> User | None:
        known = self._named.get(headers)
        if known is None or known[0] is not names:
            known = self._named[headers] = (names, user_of(headers, names))
        return known[1]

    async def _review(self, who: _Unreviewed, asked: Attributes, selector: Selector) -> Verdict:
        holder = await self.tokens.holder(who.token)
        if isinstance(holder, Nobody):
            return Verdict(self._unauthorized(_Nobody((*who.why, holder.why))))
        wanted = question(holder, asked, selector)
        return Verdict(None) if wanted is None else await self._decide(wanted)

    async def _decide(self, wanted: Question) -> Verdict:
        found = await self.decisions.decide(wanted)
        if isinstance(found, Failure):
            return Verdict(ReviewError())
        return Verdict(None if found.allowed else forbidden(wanted, found.reason))

    def _unauthorized(self, nobody: _Nobody) -> UnauthorizedError:
        """Return the error, and log the reason now and then: the client is not told."""
        now_s = self._monotonic_s()
        if now_s >= self._log_from_s:
            self._log_from_s = now_s + _LOG_EVERY_S
            log.warning("a client was not recognised", extra={"reason": "; ".join(nobody.why)})
        return UnauthorizedError()

    def _changed(self, change: Change) -> None:
        found = change.state.objects.get(_KEY)
        if found is None:
            log.warning("there is no authentication ConfigMap", extra={"namespace": config.NAMESPACE})
            return
        try:
            self._trust.update(found.get("data") or {}, self._rotate)
        except CertificateError as error:
            log.warning("new client authorities wait for a usable serving certificate", extra={"reason": str(error)})
