"""Plain requests: a GET in HTTP/1.1 that is nothing but a target and header fields, as all that matter here are.

What is read here is beyond doubt: one host, no body, no wish about the connection but to close it, each byte where
RFC 9112 wants it. Of everything else this says nothing, and aiohttp answers it: a doubt about where a request ends is
how requests are smuggled.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from adapter.api.headers import Headers

_LONGEST_LINE = 8000  # aiohttp takes a little more
_MOST_FIELDS = 500  # likewise
_START, _VERSION = b"GET ", b" HTTP/1.1"
_TARGET = re.compile(rb"/[!-~]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
# Fields that say where a request ends or what becomes of the connection, or of which aiohttp takes only one.
_SPECIAL = frozenset(
    {
        *("content-encoding", "content-length", "content-location", "content-range", "content-type", "etag", "expect"),
        *("http2-settings", "keep-alive", "max-forwards", "proxy-connection", "server", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)
_ONE = ("connection", "host", "user-agent")
# They differ from request to request, all others come again and again.
_PASSING = (b"\r\nAudit-Id: ", b"\r\nX-Forwarded-Uri: ")
_PASSING_VALUE = re.compile(rb"[!-~]{1,2048}")
_REMEMBERED = 256
_LONGEST_REMEMBERED = 8192


class Plain(NamedTuple):
    """A request. `audit_id` is "" if there is none; `close`: the connection ends with its answer."""

    target: str
    headers: Headers
    audit_id: str
    close: bool


class _Fields(NamedTuple):
    headers: Headers
    close: bool


class PlainReader:
    """Reads the heads of requests, and remembers header fields that came before.

    A controller sends the same fields with each request but for two. Fields with a token in them are not remembered.
    """

    def __init__(self) -> None:
        self._remembered: dict[bytes, _Fields] = {}

    def __len__(self) -> int:
        return len(self._remembered)

    def read(self, head: bytes) -> Plain | None:
        """Return the request of a head, which ends before its empty line; None: it is not plain."""
        line, _, block = head.partition(b"\r\n")
        if not (line.startswith(_START) and line.endswith(_VERSION)) or len(line) > _LONGEST_LINE:
            return None
        target = line[len(_START) : -len(_VERSION)]
        if _TARGET.fullmatch(target) is None:
            return None
        block = b"\r\n" + block
        passing = []
        for name in _PASSING:
            before, found, after = block.partition(name)
            if found:
                value, _, rest = after.partition(b"\r\n")
                if _PASSING_VALUE.fullmatch(value) is None:
                    return None
                block = before + b"\r\n" + rest if rest else before
                passing.append(value)
            else:
                passing.append(b"")
        fields = self._remembered.get(block) or self._read(block)
        if fields is None:
            return None
        audit_id = passing[0].decode("ascii")
        if audit_id and "audit-id" in fields.headers:
            return None
        return Plain(target.decode("ascii"), fields.headers, audit_id or fields.headers.get("audit-id"), fields.close)

    def _read(self, block: bytes) -> _Fields | None:
        found = _fields(block)
        if found is not None and len(block) <= _LONGEST_REMEMBERED and "authorization" not in found.headers:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[block] = found
        return found


def _fields(block: bytes) -> _Fields | None:
    """Return the fields of lines that each follow a line end; None if any is not plain."""
    lines = block.split(b"\r\n")[1:]
    if len(lines) > _MOST_FIELDS:
        return None
    pairs: list[tuple[str, str]] = []
    close = False
    for line in lines:
        matched = _FIELD.fullmatch(line)
        if matched is None or len(line) > _LONGEST_LINE:
            return None
        name = matched[1].decode("ascii").lower()
        value = matched[2].decode("utf-8", "surrogateescape").rstrip(" \t")
        if name == "connection":
            close = value.lower() == "close"
            if not close and value.lower() != "keep-alive":
                return None
        elif name in _SPECIAL or (name == "audit-id" and not value.isascii()):  # the answer repeats it
            return None
        pairs.append((name, value))
    headers = Headers(pairs)
    if len(headers.getall("host")) != 1 or any(len(headers.getall(name)) > 1 for name in _ONE):
        return None
    return _Fields(headers, close)
