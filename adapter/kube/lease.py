"""Leader election among replicas by a Lease of coordination.k8s.io/v1, as client-go does it.

Nobody's wall clock is trusted: a Lease that another holds is taken when it has not changed for its duration as measured
here, from when this replica first saw it as it is. And a holder stops being one by its own clock, `renew_deadline_s`
after its last good renewal began, which is sooner than anybody else may take the Lease.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from adapter.kube.client import Kube, KubeError, api_path

log = logging.getLogger(__name__)

_GROUP, _VERSION = "coordination.k8s.io", "v1"
_MISSING, _CONFLICT = 404, 409
_RELEASE_S = 3.0


@dataclass(frozen=True, slots=True)
class Terms:
    """The times of an election, by client-go's names and with its defaults.

    Attributes:
        duration_s: How long a Lease must stay unchanged before another replica takes it.
        renew_deadline_s: How long a holder remains one without a renewal.
        retry_s: How often a holder renews and the others look; the others take up to a fifth more.
    """

    duration_s: int = 15
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        if not self.duration_s > self.renew_deadline_s > self.retry_s > 0:
            raise ValueError("a Lease needs duration > renew deadline > retry > 0")


@dataclass(frozen=True, slots=True)
class Observed:
    """A Lease as it was read, and when it was first seen as it is, by this process' monotonic clock.

    Attributes:
        lease: The whole object; None if there is none.
        since_s: Monotonic.
    """

    lease: Mapping[str, Any] | None
    since_s: float

    @property
    def holder(self) -> str:
        """Who holds it; "" if nobody does."""
        return str(_spec(self.lease).get("holderIdentity") or "")


@dataclass(frozen=True, slots=True)
class Create:
    """There is no Lease: make one."""


@dataclass(frozen=True, slots=True)
class Acquire:
    """It is free, or its holder has not renewed it in time: take it."""


@dataclass(frozen=True, slots=True)
class Renew:
    """It is ours: say so again."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Another replica holds it."""

    holder: str


Decision = Create | Acquire | Renew | Wait


def observe(before: Observed | None, lease: Mapping[str, Any] | None, now_s: float) -> Observed:
    """Return what is known after a read: the time stays where nothing has changed."""
    if before is not None and _version(before.lease) == _version(lease) and _spec(before.lease) == _spec(lease):
        return before
    return Observed(lease, now_s)


def decide(observed: Observed, now_s: float, identity: str) -> Decision:
    """Return what a candidate does next. `now_s` is monotonic, as `observed.since_s`."""
    if observed.lease is None:
        return Create()
    if observed.holder == identity:
        return Renew()
    if not observed.holder or now_s >= observed.since_s + _duration_s(observed.lease):
        return Acquire()
    return Wait(observed.holder)


def written(observed: Observed, decision: Decision, identity: str, terms: Terms, wall: datetime) -> dict[str, Any]:
    """Return the Lease's spec for a decision. The times in it are for people: nobody reckons with them."""
    before = _spec(observed.lease)
    now = _micro_time(wall)
    ours = isinstance(decision, Renew)
    transitions = before.get("leaseTransitions") or 0
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": terms.duration_s,
        "acquireTime": before.get("acquireTime") or now if ours else now,
        "renewTime": now,
        "leaseTransitions": transitions + 1 if isinstance(decision, Acquire) else transitions,
    }


class Election:
    """One candidate. `holder` says at any moment whether it may write what only one replica writes."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        *,
        terms: Terms = Terms(),
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[bool], None] | None = None,
    ) -> None:
        """Ask for nothing yet.

        Args:
            kube: Must live longer than `run`.
            namespace: Of the Lease.
            name: Of the Lease.
            identity: Differs between any two processes, also between a pod's restarts.
            terms: The same for all candidates.
            clock: Monotonic seconds.
            on_change: Called in the event loop when `holder` is seen to have changed. It must not raise.
        """
        self._kube = kube
        self._collection = api_path(_GROUP, _VERSION, "leases", namespace=namespace)
        self._path = api_path(_GROUP, _VERSION, "leases", namespace=namespace, name=name)
        self._name = name
        self._identity = identity
        self._terms = terms
        self._clock = clock
        self._on_change = on_change or (lambda _holder: None)
        self._observed: Observed | None = None
        self._held_until_s: float | None = None
        self._told = False
        self._failure = ""

    @property
    def holder(self) -> bool:
        """Whether we hold the Lease now. Reads the clock: a process that was frozen knows at once that it may not."""
        return self._held_until_s is not None and self._clock() < self._held_until_s

    @property
    def leader(self) -> str:
        """Who holds it as far as we have seen; "" if nobody does."""
        return self._observed.holder if self._observed is not None else ""

    async def run(self) -> None:
        """Stand for election until cancelled, then give the Lease back."""
        try:
            while True:
                await self.step()
                self._tell()
                await asyncio.sleep(self._pause_s())
        finally:
            await self._release()
            self._tell()

    async def step(self) -> None:
        """Do one round: a holder renews on what it knows. Others, and one whose knowledge is old, read first."""
        try:
            try:
                await self._stand(read=not self.holder)
            except KubeError as error:
                if error.code not in (_MISSING, _CONFLICT):
                    raise
                await self._stand(read=True)
        except KubeError as error:
            if str(error) != self._failure:
                log.warning("lease cannot be read or written", extra={"lease": self._name, "reason": str(error)})
            self._failure = str(error)
        else:
            self._failure = ""

    async def _stand(self, *, read: bool) -> None:
        began_s = self._clock()
        if read or self._observed is None:
            self._observed = observe(self._observed, await self._read(), self._clock())
        decision = decide(self._observed, self._clock(), self._identity)
        if isinstance(decision, Wait):
            self._held_until_s = None
            return
        self._observed = Observed(await self._write(self._observed, decision), self._clock())
        self._held_until_s = began_s + self._terms.renew_deadline_s

    async def _read(self) -> Mapping[str, Any] | None:
        try:
            return await self._kube.request("GET", self._path, timeout_s=self._request_s)
        except KubeError as error:
            if error.code == _MISSING:
                return None
            raise

    async def _write(self, observed: Observed, decision: Decision) -> Mapping[str, Any]:
        spec = written(observed, decision, self._identity, self._terms, datetime.now(UTC))
        head = {"apiVersion": f"{_GROUP}/{_VERSION}", "kind": "Lease"}
        if observed.lease is None:
            body = {**head, "metadata": {"name": self._name}, "spec": spec}
            return await self._kube.request("POST", self._collection, body=body, timeout_s=self._request_s)
        # With the version that the decision was made on: who is second gets 409.
        body = {**head, "metadata": observed.lease["metadata"], "spec": spec}
        return await self._kube.request("PUT", self._path, body=body, timeout_s=self._request_s)

    async def _release(self) -> None:
        """Let the next one take it at once; if that fails it waits for the duration."""
        held, self._held_until_s = self.holder, None
        if not held:
            return
        try:
            async with asyncio.timeout(_RELEASE_S):
                # Read: a renewal that was cut short may have been written all the same.
                self._observed = observe(self._observed, await self._read(), self._clock())
                if self._observed.lease is None or self._observed.holder != self._identity:
                    return
                spec = {**_spec(self._observed.lease), "holderIdentity": "", "leaseDurationSeconds": 1}
                spec["renewTime"] = _micro_time(datetime.now(UTC))
                body = {**self._observed.lease, "spec": spec}
                await self._kube.request("PUT", self._path, body=body, timeout_s=_RELEASE_S)
        except (KubeError, TimeoutError) as error:
            log.info("lease not released", extra={"lease": self._name, "reason": str(error) or "timeout"})

    def _tell(self) -> None:
        if (holder := self.holder) != self._told:
            self._told = holder
            log.info("lease held" if holder else "lease not held", extra={"lease": self._name})
            self._on_change(holder)

    def _pause_s(self) -> float:
        """Return how long until the next round: no later than when `holder` ends, so that it is told."""
        if not self.holder or self._held_until_s is None:
            return self._terms.retry_s * (1.0 + 0.2 * random.random())  # noqa: S311 - spreads candidates
        return min(self._terms.retry_s, max(self._held_until_s - self._clock(), 0.0))

    @property
    def _request_s(self) -> float:
        """A request may not outlast what a renewal has time for, or one that hangs would cost the Lease."""
        return max(self._terms.renew_deadline_s / 2, self._terms.retry_s)


def _spec(lease: Mapping[str, Any] | None) -> Mapping[str, Any]:
    spec = lease.get("spec") if lease is not None else None
    return spec if isinstance(spec, dict) else {}


def _version(lease: Mapping[str, Any] | None) -> object:
    return lease.get("metadata", {}).get("resourceVersion") if lease is not None else None


def _duration_s(lease: Mapping[str, Any]) -> float:
    seconds = _spec(lease).get("leaseDurationSeconds")
    return float(seconds) if isinstance(seconds, int) and seconds > 0 else 1.0


def _micro_time(wall: datetime) -> str:
    return wall.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
