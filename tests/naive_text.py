"""The slow, obvious twin of scaler.textparse: a regular expression a line, and float()."""

from __future__ import annotations

import math
import re
from collections.abc import Collection

Series = tuple[str, tuple[tuple[str, str], ...]]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_PAIR = r'([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\\n]|\\[\\"n])*)"'
_NUMBER = (
    r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[nN][aA][nN]|[+-]?[iI][nN][fF](?:[iI][nN][iI][tT][yY])?"
)
_SAMPLE = re.compile(
    rf"[ \t]*({_NAME})(?:[ \t]*\{{[ \t]*((?:{_PAIR}[ \t]*,[ \t]*)*(?:{_PAIR}[ \t]*)?)\}}[ \t]*|[ \t]+)"
    rf"({_NUMBER})(?:[ \t]+(-?[0-9]+))?[ \t]*"
)
_META = re.compile(rf"[ \t]*#[ \t]+(HELP|TYPE)[ \t]+({_NAME})?(.*)", re.DOTALL)
_TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}


class BadLineError(Exception):
    """A line is not valid; `line` counts from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}")
        self.line = line


def parse(page: bytes, names: Collection[str]) -> dict[Series, float]:
    """Return the wanted series of a page, in order."""
    if page and not page.endswith(b"\n"):
        raise BadLineError(page.count(b"\n") + 1)
    lines = page.split(b"\n")[:-1]
    samples = [_line(line, number) for number, line in enumerate(lines, 1)]
    found: dict[Series, float] = {}
    for number, sample in enumerate(samples, 1):
        if sample is None or sample[0][0] not in names:
            continue
        if sample[0] in found:
            raise BadLineError(number)
        found[sample[0]] = sample[1]
    return found


def _line(raw: bytes, number: int) -> tuple[Series, float] | None:
    """Return a line's series and value; None for one without a sample."""
    if re.fullmatch(rb"[ \t]*(#.*)?", raw, re.DOTALL) and not _META.match(raw.decode("latin-1")):
        return None  # a comment may hold anything
    try:
        line = raw.decode()
    except UnicodeDecodeError:
        raise BadLineError(number) from None
    if meta := _META.fullmatch(line):
        kind, name, text = meta.groups()
        if not name or text[:1] not in ("", " ", "\t") or (kind == "TYPE" and text.lstrip(" \t") not in _TYPES):
            raise BadLineError(number)
        return None
    sample = _SAMPLE.fullmatch(line)
    if not sample:
        raise BadLineError(number)
    pairs = re.findall(_PAIR, sample[2] or "")
    value = float(sample[7])
    if len(pairs) > 256 or len({name for name, _ in pairs}) < len(pairs):
        raise BadLineError(number)
    if math.isinf(value) and "n" not in sample[7].lower():
        raise BadLineError(number)
    if sample[8] and not -(2**63) <= int(sample[8]) < 2**63:
        raise BadLineError(number)
    labels = sorted((name, _unescaped(text)) for name, text in pairs if text)
    return (sample[1], tuple(labels)), value


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)
