"""What can be read, each kind in a file of its own.

A source module turns configured metrics into endpoint specs (`plan`, pure); an endpoint spec opens an Endpoint, which
one collection task owns. Adding a source is a file and an entry in `_PLANS` of `adapter.sources.plan`.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from scaler.model import Batch, MetricRef, Reason, Unknown


class SourceFailureError(Exception):
    """A read of the whole endpoint failed in a way we know; `unknown` says how.

    `detail` of the unknown is constant while the state lasts and never holds a secret. `retry_after_ms` is how long the
    source asks to be left alone; 0: it asks, and gives no time; None: it does not ask.
    """

    def __init__(self, detail: str, reason: Reason = Reason.SOURCE_ERROR, *, retry_after_ms: int | None = None) -> None:
        super().__init__(detail)
        self.unknown = Unknown(reason, detail)
        self.retry_after_ms = retry_after_ms


class Endpoint(Protocol):
    """One thing read in one go: a Redis database, a page. Owned by one task; never used twice at a time."""

    async def collect(self, now_ms: int) -> list[Batch]:
        """Read once and return a Batch a metric. A part that cannot be read is a problem in its Batch.

        Args:
            now_ms: The time of the read, for Batch.time_ms.

        Raises:
            SourceFailureError: The endpoint as a whole could not be read.
            TimeoutError, OSError: Likewise; the caller knows how to name them.
        """
        ...

    def failed(self, unknown: Unknown, now_ms: int) -> list[Batch]:
        """Return the Batches that say that the whole read failed."""
        ...

    async def close(self) -> None:
        """Let go of connections. Never raises."""
        ...


class EndpointSpec(Protocol):
    """What an Endpoint reads: frozen, hashable; equal specs mean nothing has changed and the endpoint stays open."""

    type: ClassVar[str]
    asks: ClassVar[bool]
    """Whether a read asks somebody, who must be spared a crowd at the start."""

    @property
    def name(self) -> str:
        """The endpoint for a person, without secrets: "redis.shop:6379/0". Also the input of its phase."""
        ...

    @property
    def namespace(self) -> str:
        """The namespace it is read for."""
        ...

    @property
    def host(self) -> str:
        """What bears the load of the read, without secrets: reads of one host at once are bounded."""
        ...

    @property
    def interval_ms(self) -> int:
        """Time from one read to the next."""
        ...

    @property
    def timeout_ms(self) -> int:
        """Deadline of one read."""
        ...

    @property
    def metrics(self) -> frozenset[MetricRef]:
        """The metrics its Batches are for."""
        ...

    def open(self) -> Endpoint:
        """Return the endpoint. Connects later, inside collect."""
        ...
