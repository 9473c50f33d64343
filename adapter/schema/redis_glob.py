"""Redis' glob patterns, and labels made of the parts of a key that their wildcards stand for. Pure.

A glob is translated once into an RE2 expression over bytes, so that what a wildcard stood for can be told, and so that
a server that matches otherwise is noticed. RE2, because the pattern and the keys are other people's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import re2

Template: TypeAlias = tuple[str | int, ...]
"""A label value: text, and numbers of the parts of the key that come in between; 0 is the whole key."""

_TEMPLATE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<bare>\d{1,3})|\{(?P<braced>\d{1,3})\})")

_OPTIONS = re2.Options()
_OPTIONS.encoding = re2.Options.Encoding.LATIN1  # a key is bytes, and ? is any one of them


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern that was understood. `wildcards` are its parts that vary, as written; `regex` has a group for each."""

    pattern: str
    wildcards: tuple[str, ...]
    regex: bytes

    def match(self, key: bytes) -> tuple[bytes, ...] | None:
        """Return what each wildcard stands for in a key; None if the key does not match.

        Where that is not certain, an earlier wildcard stands for as little as possible.
        """
        found = _compiled(self.regex).fullmatch(key)
        return None if found is None else tuple(found.groups())


@lru_cache(maxsize=256)
def _compiled(regex: bytes) -> Any:
    return re2.compile(regex, _OPTIONS)


@lru_cache(maxsize=1024)
def parse_glob(pattern: str) -> Glob:
    r"""Read a pattern as Redis does: `*`, `?`, `[abc]`, `[a-z]`, `[^a]`, and `\` before what is to be taken as it is.

    Raises:
        ValueError: Redis would take it for something else than was meant; the text says what must change.
    """
    raw, regex, wildcards = pattern.encode("utf-8", "surrogatepass"), b"", []
    i = 0
    while i < len(raw):
        start, c = i, raw[i : i + 1]
        if c == b"*":
            while raw[i : i + 1] == b"*":
                i += 1
            part = b"(?s:.*?)"
        elif c == b"?":
            i, part = i + 1, b"(?s:.)"
        elif c == b"[":
            i, part = _class(raw, i + 1)
        else:
            i += c == b"\\"
            if i == len(raw):
                raise ValueError("must not end with a single \\")
            regex += b"\\x%02x" % raw[i]
            i += 1
            continue
        regex += b"(%b)" % part
        wildcards.append(raw[start:i].decode("utf-8", "backslashreplace"))
    if not wildcards:
        raise ValueError("must have a wildcard (*, ? or [...]): name a single key with list, set, sortedSet or hash")
    return Glob(pattern, tuple(wildcards), regex)


def _class(raw: bytes, i: int) -> tuple[int, bytes]:
    """Return the place after a class, and its expression. `i` is the place after its "["."""
    negated = raw[i : i + 1] == b"^"
    i += negated
    ranges = b""
    while raw[i : i + 1] != b"]":
        if raw[i : i + 1] == b"\\" and i + 1 < len(raw):
            i += 1
            low = high = raw[i]
        elif raw[i + 1 : i + 2] == b"-" and i + 2 < len(raw):
            low, high = sorted((raw[i], raw[i + 2]))
            i += 2
        elif i < len(raw):
            low = high = raw[i]
        else:
            raise ValueError("must close each [ with a ]; for a [ in the key write \\[")
        if high > 127:
            raise ValueError("must have nothing but ASCII between [ and ]: Redis compares bytes")
        ranges += b"\\x%02x-\\x%02x" % (low, high)
        i += 1
    if not ranges:
        raise ValueError("must have something between [ and ]")
    return i + 1, b"[%b%b]" % (b"^" if negated else b"", ranges)


def glob_problem(pattern: str) -> str | None:
    """Return what is wrong with a glob; None if nothing."""
    try:
        parse_glob(pattern)
    except ValueError as exc:
        return str(exc)
    return None


def parse_template(text: str, parts: int) -> Template:
    """Read a label value: `$1` or `${1}` is what the first wildcard stands for, `$0` the key, `$$` a dollar.

    Raises:
        ValueError: It names a part that is not there, one of `parts`.
    """
    template: list[str | int] = []
    end = 0
    for found in _TEMPLATE.finditer(text):
        template.append(_plain(text[end : found.start()]))
        end = found.end()
        if found["escaped"]:
            template.append("$")
            continue
        number = int(found["bare"] or found["braced"])
        if number > parts:
            count = "1 wildcard" if parts == 1 else f"{parts} wildcards"
            raise ValueError(f"must not name ${number}: the glob has {count}")
        template.append(number)
    template.append(_plain(text[end:]))
    return tuple(part for part in template if part != "")


def _plain(text: str) -> str:
    if "$" in text:
        raise ValueError("must have a number after each $, as in $1; for a dollar write $$")
    return text


def fill(template: Template, key: str, parts: Sequence[str]) -> str:
    """Return the label value for a key whose wildcards stand for `parts`."""
    names = (key, *parts)
    return "".join(part if isinstance(part, str) else names[part] for part in template)
