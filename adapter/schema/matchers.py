"""Prometheus label matchers: `code!~"5..", job="web"`, with or without braces around, names in quotes if need be.

Regular expressions are RE2 and match whole values; "." also matches a line feed, as in Prometheus 3. Python's `re` is
never used on them: its worst case is exponential, and what is written here may come from a tenant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import re2

from scaler.model import Labels

_OPERATORS = ("!=", "!~", "=~", "=")  # "=" last: it begins another
_BLANK = " \t\r\n"
_SIMPLE_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34}
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}
_HEX = frozenset("0123456789abcdefABCDEF")
_OCTAL = frozenset("01234567")


class MatcherError(ValueError):
    """The text is not a list of matchers. `position` is the character it fails at, counted from 1."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(f"character {position}: {message}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; `operator` is =, !=, =~ or !~."""

    name: str
    operator: str
    value: str
    _pattern: Any = field(default=None, compare=False, repr=False)

    def accepts(self, value: str) -> bool:
        """Tell whether a label's value passes; a label that is absent has the value ""."""
        equal = value == self.value if self._pattern is None else self._pattern.fullmatch(value) is not None
        return equal is (self.operator[0] == "=")


def matches(matchers: Sequence[Matcher], labels: Labels | Mapping[str, str]) -> bool:
    """Tell whether labels pass every matcher."""
    values = dict(labels)
    return all(matcher.accepts(values.get(matcher.name, "")) for matcher in matchers)


@lru_cache(maxsize=256)  # thousands of endpoints share one metric's matchers
def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Return the matchers in a text; none in an empty one.

    Raises:
        MatcherError: The text is not a list of matchers, or a regular expression is not one RE2 accepts.
    """
    return tuple(_Reader(text).matchers())


class _Reader:
    """Reads matchers from a text, front to back."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def matchers(self) -> list[Matcher]:
        braces = self._take("{")
        found = []
        while not self._ended(braces):
            found.append(self._matcher())
            if not self._take(",") and not self._ended(braces):
                raise self._error(f"""expected ','{" or '}'" if braces else ""} after the matcher""")
        if braces:
            self._at += 1
            if self._peek():
                raise self._error("unexpected text after '}'")
        return found

    def _ended(self, braces: bool) -> bool:
        ahead = self._peek()
        if braces and not ahead:
            raise self._error("expected '}' at the end")
        return ahead == "}" if braces else not ahead

    def _matcher(self) -> Matcher:
        name = self._name()
        self._peek()
        at = self._at
        operator = next((operator for operator in _OPERATORS if self._text.startswith(operator, at)), None)
        if operator is None:
            raise self._error(f"expected =, !=, =~ or !~ after {name}")
        self._at += len(operator)
        self._peek()
        at = self._at
        value = self._string()
        return Matcher(name, operator, value, _compiled(value, at) if operator[1:] == "~" else None)

    def _name(self) -> str:
        quoted = self._peek() in ('"', "'", "`")
        start = self._at
        if quoted:
            name = self._string()
            if not name:
                raise self._error("expected a label name", start)
            return self._checked(name, start)
        while self._at < len(self._text) and (self._text[self._at].isalnum() or self._text[self._at] == "_"):
            self._at += 1
        name = self._text[start : self._at]
        if not name or not name.isascii() or name[0].isdigit():
            raise self._error("expected a label name", start)
        return self._checked(name, start)

    def _checked(self, name: str, start: int) -> str:
        if name == "__name__":
            raise self._error("__name__ cannot be matched: the metric is named by the field metric", start)
        return name

    def _string(self) -> str:
        start = self._at
        quote = self._text[start : start + 1]
        if not quote or quote not in "\"'`":
            raise self._error("expected a value in quotes")
        self._at += 1
        value = bytearray()
        while (character := self._text[self._at : self._at + 1]) != quote:
            if not character or (character == "\n" and quote != "`"):
                raise self._error("value is not closed", start)
            self._at += 1
            value += (
                self._escape(quote)
                if character == "\\" and quote != "`"
                else character.encode("utf-8", "surrogatepass")
            )
        self._at += 1
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise self._error("value is not Unicode text after its escapes", start) from None

    def _escape(self, quote: str) -> bytes:
        """Read what follows a backslash, by the rules of Go's strconv.UnquoteChar."""
        start = self._at - 1
        letter = self._text[self._at : self._at + 1]
        self._at += 1
        if letter in _SIMPLE_ESCAPES and (letter not in "\"'" or letter == quote):
            return bytes([_SIMPLE_ESCAPES[letter]])
        if letter in _HEX_ESCAPES:
            digits = self._digits(_HEX_ESCAPES[letter], _HEX, start)
            code = int(digits, 16)
        elif letter in _OCTAL:
            self._at -= 1
            code = int(self._digits(3, _OCTAL, start), 8)
        else:
            raise self._error("unknown escape; a backslash is written \\\\, or use backticks", start)
        if letter not in ("u", "U"):
            if code > 0xFF:
                raise self._error("octal escape above \\377", start)
            return bytes([code])
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self._error("escape is not a Unicode character", start)
        return chr(code).encode()

    def _digits(self, count: int, allowed: frozenset[str], start: int) -> str:
        digits = self._text[self._at : self._at + count]
        if len(digits) < count or not allowed.issuperset(digits):
            raise self._error(f"expected {count} digits in escape", start)
        self._at += count
        return digits

    def _peek(self) -> str:
        """Skip blanks and return the character that follows, "" at the end."""
        while self._text[self._at : self._at + 1] and self._text[self._at] in _BLANK:
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._at += 1
        return True

    def _error(self, message: str, at: int | None = None) -> MatcherError:
        return MatcherError((self._at if at is None else at) + 1, message)


def _compiled(pattern: str, at: int) -> Any:
    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "not accepted"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise MatcherError(at + 1, f"regular expression: {text}") from None
