"""Text as Go's strconv and fmt write it: what error messages of the Kubernetes libraries are made of."""

from __future__ import annotations

import re

_INT64 = range(-(2**63), 2**63)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_SHORT = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    '"': '\\"',
    "\\": "\\\\",
}


def quote(text: str) -> str:
    """Return the text as %q prints it. Bytes that are not UTF-8 are expected as surrogate escapes."""
    return '"' + "".join(map(_quoted, text)) + '"'


def _quoted(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def byte_length(text: str) -> int:
    """Return how many bytes the text is on the wire."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


def parse_int(text: str) -> int:
    """Parse an int64 in base 10, as strconv.ParseInt does.

    Raises:
        ValueError: With Go's message.
    """
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    # 19 digits are the most an int64 has; longer text may still be leading zeros.
    digits = text.lstrip("+-").lstrip("0")
    number = int(digits or "0") if len(digits) <= 19 else 2**64
    number = -number if text.startswith("-") else number
    if number not in _INT64:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return number
