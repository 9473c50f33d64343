"""What a kube-apiserver says when it says no, word for word."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

Object = dict[str, Any]


class Cause(NamedTuple):
    """One of the reasons why an object is invalid."""

    reason: str
    message: str
    field: str

    def text(self) -> str:
        return f"{self.field}: {self.message}"


class StatusError(Exception):
    """An answer that is a Status of failure; `text` instead where it is plain text."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Object | None = None,
        headers: dict[str, str] | None = None,
        text: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}
        self.text = text

    def status(self) -> Object:
        """Return the Status object."""
        head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message}
        middle = {"reason": self.reason} if self.reason else {}
        details = {"details": self.details} if self.details is not None else {}
        return {**head, **middle, **details, "code": self.code}


def qualified(plural: str, group: str) -> str:
    """Return "leases.coordination.k8s.io", "secrets"."""
    return f"{plural}.{group}" if group else plural


def details(name: str, group: str, kind: str, **more: Any) -> Object:
    """Return what a Status is about, without what is empty."""
    return {key: value for key, value in {"name": name, "group": group, "kind": kind, **more}.items() if value}


def no_such_path() -> StatusError:
    """A path that nobody serves: not even a Status."""
    headers = {"X-Content-Type-Options": "nosniff"}
    return StatusError(404, "", "404 page not found", headers=headers, text="404 page not found\n")


def not_found(plural: str, group: str, name: str) -> StatusError:
    message = f'{qualified(plural, group)} "{name}" not found'
    return StatusError(404, "NotFound", message, details(name, group, plural))


def already_exists(plural: str, group: str, name: str) -> StatusError:
    message = f'{qualified(plural, group)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, details(name, group, plural))


def conflict(
    plural: str,
    group: str,
    name: str,
    why: str = "the object has been modified; please apply your changes to the latest version and try again",
) -> StatusError:
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return StatusError(409, "Conflict", message, details(name, group, plural))


def invalid(kind: str, group: str, name: str, causes: list[Cause]) -> StatusError:
    texts = [cause.text() for cause in causes]
    why = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    listed = [cause._asdict() for cause in causes]
    message = f'{kind}.{group} "{name}" is invalid: {why}'
    return StatusError(422, "Invalid", message, details(name, group, kind, causes=listed))


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def unsupported_patch(media_types: str) -> StatusError:
    message = f"the body of the request was in an unknown format - accepted media types include: {media_types}"
    return StatusError(415, "UnsupportedMediaType", message)


def forced(code: int, retry_after_s: int | None) -> StatusError:
    """Return a failure that a test asked for."""
    reason, message = {
        410: ("Expired", "The provided continue parameter is too old to display a consistent list result."),
        429: ("TooManyRequests", "Too many requests, please try again later."),
        500: ("InternalError", "Internal error occurred: etcdserver: request timed out"),
        503: ("ServiceUnavailable", "apiserver not ready"),
        504: ("Timeout", "Too large resource version: 300, current: 260"),
    }.get(code, ("", "failed as told"))
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    more = {} if retry_after_s is None else {"retryAfterSeconds": retry_after_s}
    return StatusError(code, reason, message, more, headers)


def encoded(obj: Object) -> bytes:
    """Return JSON as Go writes it: custom resources in alphabetical order, the others as they are."""
    text = json.dumps(obj, separators=(",", ":"), ensure_ascii=False, sort_keys=_is_custom(obj))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode() + b"\n"


def _is_custom(obj: Object) -> bool:
    group = str(obj.get("apiVersion", "")).rpartition("/")[0]
    return "." in group and not group.endswith(".k8s.io")
