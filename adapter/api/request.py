"""A request and an answer as plain data, and what a request target says before anything is looked up."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from adapter.api.headers import Headers
from adapter.errors import ApiError

_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE = re.compile(r"https?://[^/?]*", re.IGNORECASE)


class Verdict(NamedTuple):
    """Whether a request may go on: `refusal` None lets it."""

    refusal: ApiError | None


class Request(NamedTuple):
    """What a client asks. `raw_target` is the request line's, escapes and all.

    `audit_id` is what the answer repeats; "" has it made. `peer` are the certificates that the client sent, its own
    first, as DER; none without TLS or if it has none. `verdict` is None until somebody had to be asked. `shed`: too
    much is under way, so that it is refused unless it asks for health or discovery.
    """

    method: str
    raw_target: str
    headers: Headers
    audit_id: str = ""
    peer: tuple[bytes, ...] = ()
    verdict: Verdict | None = None
    shed: bool = False


class Response(NamedTuple):
    """What it gets. Content-Length, Date and Connection are the server's business."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Undecided:
    """There is no answer at once. `decide` brings it, or a verdict, with which the same is to be asked again."""

    decide: Callable[[], Awaitable[Verdict | Response]]


def reply(
    asked: Request, status: int, content_type: str, body: bytes, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer with the headers that every answer has, and `headers`, which may replace them."""
    answered = {
        "Audit-Id": asked.audit_id or str(uuid.uuid4()),
        "Cache-Control": "no-cache, private",
        "Content-Type": content_type,
    }
    if headers:
        answered.update(headers)
    return Response(status, answered, body)


class BadEscapeError(ValueError):
    """The path holds a "%" that two hexadecimal digits do not follow."""


@dataclass(frozen=True, slots=True)
class Target:
    """A request target. A segment may hold any character, "/" too: it was split before it was unescaped.

    Bytes that are not UTF-8 are surrogate escapes. A trailing slash is dropped; any other empty segment is kept.
    """

    path: str
    segments: tuple[str, ...]
    raw_query: str
    query: Mapping[str, tuple[str, ...]]

    def first(self, name: str) -> str:
        """Return the first value of a query parameter, or ""."""
        return self.query.get(name, ("",))[0]


def parse_target(raw_target: str) -> Target:
    """Split a request target.

    Raises:
        BadEscapeError: No path can be read from it.
    """
    raw_path, _, raw_query = _ABSOLUTE.sub("", raw_target, count=1).partition("?")
    if _ESCAPE.search(raw_path):
        raise BadEscapeError(raw_path)
    segments = [_unescape(segment) for segment in raw_path.removeprefix("/").split("/")]
    if segments[-1] == "":
        segments.pop()
    return Target(_unescape(raw_path), tuple(segments), raw_query, _parse_query(raw_query))


def _parse_query(raw_query: str) -> dict[str, tuple[str, ...]]:
    """Return the parameters. As in Go, a pair with a ";" or a bad escape counts for nothing."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in raw_query.split("&"):
        if not pair or ";" in pair or _ESCAPE.search(pair):
            continue
        name, _, value = pair.replace("+", " ").partition("=")
        name = _unescape(name)
        found[name] = (*found.get(name, ()), _unescape(value))
    return found


def _unescape(text: str) -> str:
    if "%" not in text and text.isascii():
        return text
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What authorization is asked: a resource request if `resource` is set, else a path with a verb.

    Source: k8s.io/apiserver pkg/endpoints/request/requestinfo.go.
    """

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""


_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = ("status", "finalize")


def is_watch(target: Target) -> bool:
    """Say whether the query asks for a watch: only "0" and "false" are a no."""
    return "watch" in target.query and target.first("watch").lower() not in ("0", "false")


def attributes(method: str, target: Target) -> Attributes:
    """Return what authorization is asked about a request."""
    if len(target.segments) < 4 or target.segments[0] != "apis":
        return Attributes(method.lower(), target.path)
    _, group, version, *parts = target.segments
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in _NAMESPACE_SUBRESOURCES:
            parts = parts[2:]
    resource, name, subresource = [*parts, "", ""][:3]
    verb = _VERBS.get(method, "")
    if not name:
        lists = {"get": "watch" if is_watch(target) else "list", "delete": "deletecollection"}
        verb = lists.get(verb, verb)
    return Attributes(verb, target.path, group, version, namespace, resource, subresource, name)
