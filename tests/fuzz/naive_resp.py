"""RESP 2 and 3 by the letter of https://redis.io/docs/latest/develop/reference/protocol-spec/, slowly."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_INTEGER = re.compile(rb"[+-]?[0-9]+")
_MAX_DEPTH = 64


class RespFormatError(Exception):
    """The bytes are not RESP, or end too soon."""


class Failure(NamedTuple):
    """An error reply."""

    text: bytes


class Other(NamedTuple):
    """A reply of RESP 3 that no command of ours ever gets."""

    kind: bytes


def replies(data: bytes) -> list[Any]:
    """Return every reply: int, bytes, list, None, Failure or Other. A simple string is bytes too."""
    found, at = [], 0
    while at < len(data):
        reply, at = _reply(data, at, 0)
        found.append(reply)
    return found


def leading(data: bytes) -> list[Any]:
    """Return the replies up to where it is no longer RESP, or ends."""
    found, at = [], 0
    try:
        while at < len(data):
            reply, at = _reply(data, at, 0)
            found.append(reply)
    except RespFormatError:
        pass
    return found


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\r\n", at)
    if end < 0:
        raise RespFormatError("no line end")
    return data[at:end], end + 2


def _reply(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > _MAX_DEPTH:
        raise RespFormatError("too deep")
    kind, (line, at) = data[at : at + 1], _line(data, at + 1)
    match kind:
        case b"+":
            return line, at
        case b"-":
            return Failure(line), at
        case b":":
            return _integer(line), at
        case b"$" | b"*" if line == b"-1":
            return None, at
        case b"_":
            return None, at
        case b"$" | b"=" | b"!":
            size = _integer(line)
            if size < 0 or data[at + size : at + size + 2] != b"\r\n":
                raise RespFormatError("not as long as it says")
            text = data[at : at + size]
            return text if kind == b"$" else Other(kind), at + size + 2
        case b"*" | b"~" | b">" | b"%" | b"|":
            count = _integer(line) * (2 if kind in (b"%", b"|") else 1)
            if count < 0:
                raise RespFormatError("a negative count")
            items = []
            for _ in range(count):
                item, at = _reply(data, at, depth + 1)
                items.append(item)
            if kind == b"|":
                return _reply(data, at, depth)  # attributes stand before the reply they are about
            return items if kind == b"*" else Other(kind), at
        case b"#" | b"," | b"(":
            return Other(kind), at
    raise RespFormatError(f"a reply that begins with {kind!r}")


def _integer(line: bytes) -> int:
    if _INTEGER.fullmatch(line) is None or not -(2**63) <= int(line[:40]) < 2**63:
        raise RespFormatError("not an integer of 64 bits")
    return int(line)
