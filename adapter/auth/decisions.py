"""What users may, by SubjectAccessReview: remembered for seconds, and renewed while somebody goes on asking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

from adapter.auth.access import Decision, Question, decision, is_remembered, is_strangers, review
from adapter.auth.cache import Entry, SingleFlight, TtlCache
from adapter.auth.reviews import ACCESS, Failure, Lane, Reviews

_ALLOWED, _DENIED = 8192, 2048
_RENEW_AT = 0.6  # of its life; the rest is for the review, and for another if it fails
_MOST_RENEWALS = 500  # under way; fewer than may wait in a lane
_IN_USE_S = 60.0  # an HPA asks every 15 s
_NOT_TEXT = Decision(allowed=False, reason="the request is not Unicode text")


class Decisions:
    """Knows for a while who may what.

    Args:
        reviews: Asks the Kubernetes API.
        allowed_ttl_s, denied_ttl_s: How long an answer counts; a review that failed is never remembered.
        monotonic_s: The clock.
        look_every_s: How often to look for permissions to renew; by default ten times before the first of them ends.
    """

    def __init__(
        self,
        reviews: Reviews,
        *,
        allowed_ttl_s: float,
        denied_ttl_s: float,
        monotonic_s: Callable[[], float],
        look_every_s: float | None = None,
    ) -> None:
        self._reviews = reviews
        self._monotonic_s = monotonic_s
        # Apart, so that those who may not do not push out those who may.
        self._allowed: TtlCache[Question, Decision] = TtlCache(_ALLOWED, allowed_ttl_s)
        self._denied: TtlCache[Question, Decision] = TtlCache(_DENIED, denied_ttl_s)
        self.flights: SingleFlight[Question, Decision | Failure] = SingleFlight()
        """What is being asked now."""
        self._look_every_s = look_every_s or min(max(allowed_ttl_s * (1 - _RENEW_AT) / 10, 0.02), 1.0)
        # Apart for the same reason: anybody can ask as nobody in particular.
        self._lane, self._strangers, self._renewals = Lane(32), Lane(4), Lane(16)
        self._renewing = 0

    def __len__(self) -> int:
        return len(self._allowed) + len(self._denied)

    def known(self, asked: Question) -> Decision | None:
        """Return a decision that still counts."""
        now_s = self._monotonic_s()
        entry = self._allowed.get(asked, now_s) or self._denied.get(asked, now_s)
        return None if entry is None else entry.value

    async def decide(self, asked: Question) -> Decision | Failure:
        """Return a decision, asking if need be."""
        found = self.known(asked)
        lane = self._strangers if is_strangers(asked) else self._lane
        return found if found is not None else await self.flights.share(asked, lambda: self._review(asked, lane))

    async def renew_for_ever(self) -> None:
        """Ask again, before its life ends, for each permission that was used within the last minute."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for asked, entry in self._due():
                    entry.renewing = True
                    self._renewing += 1
                    tasks.create_task(self._renew(asked, entry), name="renew a permission")
                await asyncio.sleep(self._look_every_s)

    def _due(self) -> list[tuple[Question, Entry[Decision]]]:
        now_s = self._monotonic_s()
        age_s = self._allowed.ttl_s * _RENEW_AT
        due = (
            (asked, entry)
            for asked, entry in self._allowed.items()
            if entry.learnt_s + age_s <= now_s < entry.expires_s
            and now_s - entry.used_s < _IN_USE_S
            and not entry.renewing
        )
        return list(islice(due, _MOST_RENEWALS - self._renewing))

    async def _renew(self, asked: Question, entry: Entry[Decision]) -> None:
        found = await self.flights.share(asked, lambda: self._review(asked, self._renewals))
        # An answer made a new entry. Without one this may be tried again while it counts.
        entry.renewing = not isinstance(found, Failure)
        self._renewing -= 1

    async def _review(self, asked: Question, lane: Lane) -> Decision | Failure:
        body = review(asked)
        if body is None:
            return _NOT_TEXT
        status = await self._reviews.create(ACCESS, body, lane)
        if isinstance(status, Failure):
            return status
        found = decision(status)
        if is_remembered(asked):
            self._remember(asked, found)
        return found

    def _remember(self, asked: Question, found: Decision) -> None:
        now_s = self._monotonic_s()
        cache, other = (self._allowed, self._denied) if found.allowed else (self._denied, self._allowed)
        # What is renewed was not used by that, or it would be renewed for ever.
        before = cache.peek(asked)
        cache.put(asked, found, now_s, None if before is None else before.used_s)
        other.discard(asked)
