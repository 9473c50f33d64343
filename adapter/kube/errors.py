"""What a failed request to the Kubernetes API becomes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp

_MAX_TEXT = 200

TOO_LARGE = "TooLarge"
"""Reason of an answer with more bytes than are taken."""


class KubeConfigError(Exception):
    """There is no usable configuration; the message says what was looked for and what to do."""


class KubeError(Exception):
    """A request failed.

    Attributes:
        code: HTTP status; 0 if no answer came, or one that is not Kubernetes'.
        reason: Of the Status ("NotFound", "Conflict", "AlreadyExists", "Expired", "Forbidden", ...), empty where the
            answer has none. With code 0: Unreachable, Untrusted, Timeout, Broken, Credentials, TooLarge or
            Malformed.
        message: Of the Status. With code 0 a text that stays the same while the cause does.
        details: Of the Status: name, group, kind, uid, causes, retryAfterSeconds.
        retry_after_s: How long the server asks to wait, where it does.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details: Mapping[str, Any] = details or {}
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        kind = " ".join(str(part) for part in (self.code, self.reason) if part)
        return f"{kind}: {self.message}" if kind else self.message


def from_answer(code: int, body: bytes, retry_after: str | None = None) -> KubeError:
    """Return what an answer that is not 2xx says. It may be a Status, some text (404, 503 of a proxy) or nothing.

    Args:
        retry_after: The header; only seconds are understood, as in client-go.
    """
    wait_s = float(retry_after) if retry_after is not None and retry_after.isascii() and retry_after.isdigit() else None
    try:
        status = json.loads(body)
    except (ValueError, RecursionError):
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        return KubeError(code, "", _first_line(body) or f"HTTP status {code}", None, wait_s)
    return from_status(status, code, wait_s)


def from_status(status: Mapping[str, Any], code: int = 0, retry_after_s: float | None = None) -> KubeError:
    """Return the error that a Status object describes; `code` stands in where it has none."""
    details = status.get("details")
    return KubeError(
        code or _int(status.get("code")),
        str(status.get("reason") or ""),
        str(status.get("message") or "") or f"HTTP status {code}",
        details if isinstance(details, dict) else None,
        retry_after_s,
    )


def malformed(what: str) -> KubeError:
    """Return the error of an answer that no Kubernetes API gives."""
    return KubeError(0, "Malformed", f"the Kubernetes API answered with {what}")


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the network, TLS and the HTTP library raise into KubeErrors of code 0."""
    try:
        yield
    except TimeoutError as exc:
        raise KubeError(0, "Timeout", "the Kubernetes API did not answer in time") from exc
    except aiohttp.ClientConnectorCertificateError as exc:
        text = "the certificate of the Kubernetes API is not signed by the cluster's CA, or not for this address"
        raise KubeError(0, "Untrusted", text) from exc
    except aiohttp.ClientConnectorDNSError as exc:
        raise KubeError(0, "Unreachable", "the host name of the Kubernetes API cannot be resolved") from exc
    except aiohttp.ClientConnectorError as exc:
        why = os.strerror(exc.os_error.errno) if exc.os_error.errno else "connection failed"
        raise KubeError(0, "Unreachable", f"the Kubernetes API cannot be reached: {why.lower()}") from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise KubeError(0, "Broken", "the connection to the Kubernetes API broke") from exc


def _first_line(body: bytes) -> str:
    """Return the first line as text that can be logged."""
    line = body[:_MAX_TEXT].decode("utf-8", "replace").strip().partition("\n")[0]
    return "".join(char for char in line if char.isprintable())


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
