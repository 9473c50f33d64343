"""Asking the Kubernetes API: within a time, a few at a time, and again where that helps."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from adapter.kube.client import Kube, KubeError, api_path

log = logging.getLogger(__name__)

TOKENS = api_path("authentication.k8s.io", "v1", "tokenreviews")
ACCESS = api_path("authorization.k8s.io", "v1", "subjectaccessreviews")

_TRIES = 5
_GROWTH = 1.5
_JITTER = 0.2
_MOST_WAITING = 512
_AGAIN = frozenset({429, 500, 504})


@dataclass(frozen=True, slots=True)
class Failure:
    """The question has no answer, and why: for our logs, never for whoever asked."""

    why: str


class Lane:
    """Lets `width` calls run, and a bounded number wait for their turn."""

    def __init__(self, width: int) -> None:
        self._turns = asyncio.Semaphore(width)
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Wait for a turn; yields False at once if too many do already."""
        if self._waiting >= _MOST_WAITING:
            yield False
            return
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield True
        finally:
            self._turns.release()


class Reviews:
    """Creates reviews.

    Args:
        kube: The Kubernetes API.
        backoff_s: How long after a first failed try the second is made; each pause is half as long again.
        timeout_s: For waiting and all tries together. One of an HPA controller's five workers waits for as long.
        on_review: Told of each review: its resource, whether there was an answer, seconds.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        backoff_s: float = 0.5,
        timeout_s: float = 10.0,
        on_review: Callable[[str, bool, float], None] | None = None,
    ) -> None:
        self._kube = kube
        self._backoff_s = backoff_s
        self._timeout_s = timeout_s
        self._on_review = on_review
        self._failing: dict[str, str] = {}

    async def create(self, path: str, body: Mapping[str, Any], lane: Lane) -> Mapping[str, Any] | Failure:
        """Return the status of a new review.

        Args:
            path: TOKENS or ACCESS.
            body: The review.
            lane: In which to wait for a turn.
        """
        started = time.monotonic()
        found: Mapping[str, Any] | Failure = Failure(f"no answer within {self._timeout_s:g}s")
        try:
            async with asyncio.timeout(self._timeout_s), lane.turn() as ours:
                found = await self._insist(path, body) if ours else Failure(f"{_MOST_WAITING} reviews are waiting")
        except TimeoutError:
            pass
        self._note(path.rpartition("/")[2], found, time.monotonic() - started)
        return found

    async def _insist(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any] | Failure:
        """Try again after what may pass. A refused connection is none of it: nobody there is nobody to wait for."""
        pause_s = self._backoff_s
        for last in (*[False] * (_TRIES - 1), True):
            try:
                answer = await self._kube.request(
                    "POST", path, query={"timeout": f"{self._timeout_s:g}s"}, body=body, timeout_s=self._timeout_s
                )
            except KubeError as exc:
                if last or not _may_pass(exc):
                    return Failure(f"{exc.code or exc.reason}: {exc.message}")
            else:
                status = answer.get("status")
                return status if isinstance(status, Mapping) else Failure("the answer has no status")
            # Spreads what failed together.
            await asyncio.sleep(pause_s * random.uniform(1, 1 + _JITTER))  # noqa: S311 - no secret depends on it
            pause_s *= _GROWTH
        raise AssertionError("the last try returns")

    def _note(self, resource: str, found: Mapping[str, Any] | Failure, seconds: float) -> None:
        """Count, and log when failing begins, changes or ends."""
        if self._on_review is not None:
            self._on_review(resource, not isinstance(found, Failure), seconds)
        if not isinstance(found, Failure):
            if self._failing.pop(resource, None) is not None:
                log.info("the Kubernetes API answers again", extra={"resource": resource})
        elif self._failing.get(resource) != found.why:
            self._failing[resource] = found.why
            log.warning("the Kubernetes API cannot be asked", extra={"resource": resource, "error": found.why})


def _may_pass(error: KubeError) -> bool:
    """Say whether a failure is worth another try. Source: DefaultShouldRetry of k8s.io/apiserver's webhooks."""
    return error.code in _AGAIN or error.retry_after_s is not None or (error.code == 0 and error.reason == "Broken")
