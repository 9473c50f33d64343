"""Errors that become an answer: each knows its HTTP code and what its Kubernetes Status says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Cause:
    """One of several things that are wrong with a request."""

    message: str
    reason: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class Details:
    """What a Status is about. Empty texts are left out of it."""

    name: str = ""
    group: str = ""
    kind: str = ""
    causes: tuple[Cause, ...] = ()
    retry_after_seconds: int = 0


NO_DETAILS = Details()
"""Written as `{}`. Go writes it where a Status was made from an error of the routing."""


class ApiError(Exception):
    """The request gets a Status. `headers` go with it."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = ""
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, message: str, details: Details | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class BadRequestError(ApiError):
    """The request cannot be understood."""

    code = 400
    reason = "BadRequest"


class UnauthorizedError(ApiError):
    """Nobody knows who asks."""

    code = 401
    reason = "Unauthorized"
    # Another identity needs another connection.
    headers: ClassVar[dict[str, str]] = {"Connection": "close"}

    def __init__(self) -> None:
        super().__init__("Unauthorized")


class ForbiddenError(ApiError):
    """We know who asks, and they may not."""

    code = 403
    reason = "Forbidden"
    headers: ClassVar[dict[str, str]] = {"X-Content-Type-Options": "nosniff"}


class NotFoundError(ApiError):
    """There is no such thing."""

    code = 404
    reason = "NotFound"


class MethodNotAllowedError(ApiError):
    """There is, but not for this verb."""

    code = 405
    reason = "MethodNotAllowed"


class NotAcceptableError(ApiError):
    """The client reads nothing that we write."""

    code = 406
    reason = "NotAcceptable"


class InvalidError(ApiError):
    """The request is understood and makes no sense; `details.causes` has every reason."""

    code = 422
    reason = "Invalid"


class TooManyRequestsError(ApiError):
    """Too much is under way. Never with Retry-After, as UnavailableError."""

    code = 429
    reason = "TooManyRequests"

    def __init__(self) -> None:
        super().__init__("too many requests are under way, please try again later")


class InternalError(ApiError):
    """We cannot do it, and it is our fault."""

    code = 500


class UnavailableError(ApiError):
    """The value is unknown now. Never with Retry-After: client-go would hold one of the HPA's five workers with it."""

    code = 503
    reason = "ServiceUnavailable"
