"""The label-selector grammar of Kubernetes: what a HorizontalPodAutoscaler sends as `labelSelector`.

Grammar and messages are those of k8s.io/apimachinery, pkg/labels/selector.go: clients show the messages to people,
who search for them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from scaler.gotext import parse_int, quote
from scaler.labels import label_key_errors, label_value_errors
from scaler.model import Labels


class SelectorError(ValueError):
    """The text is not a selector; the message is the one Kubernetes gives."""


class Operator(StrEnum):
    """How a requirement relates its key and values, by the names of k8s.io/apimachinery/pkg/selection."""

    IN = "in"
    NOT_IN = "notin"
    EQUALS = "="
    DOUBLE_EQUALS = "=="
    NOT_EQUALS = "!="
    GREATER_THAN = "gt"
    LESS_THAN = "lt"
    EXISTS = "exists"
    DOES_NOT_EXIST = "!"


_INCLUDES = frozenset({Operator.IN, Operator.EQUALS, Operator.DOUBLE_EQUALS})
_EXCLUDES = frozenset({Operator.NOT_IN, Operator.NOT_EQUALS})
_ORDERS = frozenset({Operator.GREATER_THAN, Operator.LESS_THAN})


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. `values` are sorted and distinct."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, value: str | None) -> bool:
        """Say whether a series whose label `key` has this value (None: no such label) is meant."""
        if self.operator in _INCLUDES:
            return value in self.values
        if self.operator in _EXCLUDES:
            return value not in self.values
        if self.operator is Operator.EXISTS:
            return value is not None
        if self.operator is Operator.DOES_NOT_EXIST:
            return value is None
        if value is None:
            return False
        try:
            number, bound = parse_int(value), parse_int(self.values[0])
        except ValueError:
            return False
        return number > bound if self.operator is Operator.GREATER_THAN else number < bound

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case Operator.IN | Operator.NOT_IN:
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case Operator.GREATER_THAN:
                return f"{self.key}>{self.values[0]}"
            case Operator.LESS_THAN:
                return f"{self.key}<{self.values[0]}"
            case _:
                return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class Selector:
    """All of its requirements must hold; without any it matches everything. Sorted by key."""

    requirements: tuple[Requirement, ...] = ()
    _pairs: Labels = field(init=False, repr=False, compare=False)
    _others: tuple[Requirement, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # One value a label is what nearly every HPA asks for, and a pair in a tuple is the fastest test there is.
        exact = [r for r in self.requirements if r.operator in _INCLUDES and len(r.values) == 1]
        object.__setattr__(self, "_pairs", tuple((r.key, r.values[0]) for r in exact))
        object.__setattr__(self, "_others", tuple(r for r in self.requirements if r not in exact))

    def matches(self, labels: Labels) -> bool:
        """Say whether a series with these labels is meant."""
        for pair in self._pairs:
            if pair not in labels:
                return False
        if not self._others:
            return True
        values = dict(labels)
        return all(requirement.matches(values.get(requirement.key)) for requirement in self._others)

    def equality_labels(self) -> Labels:
        """Return the labels that a series must have to match, where the selector allows one value only."""
        return tuple(sorted(dict(reversed(self._pairs)).items()))

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING = Selector()


def parse(text: str) -> Selector:
    """Parse a selector. Blank text is the selector that matches everything.

    Raises:
        SelectorError: The text breaks the grammar, or a key or value is not a valid label.
    """
    requirements = _Parser(_tokens(text)).parse() if text else []
    return Selector(tuple(sorted(requirements, key=lambda r: r.key))) if requirements else EVERYTHING


# A word, or one of the symbols, longest first. Go's lexer reads a NUL after a token as part of it, and any other NUL
# as the end of the text.
_TOKEN = re.compile(r"[ \t\r\n]*(?:(?P<symbol>==|!=|[=!(),<>])|(?P<word>[^\0=!(),<> \t\r\n]+))\0?")
_END = ("end", "")
_SYMBOLS = {
    "=": Operator.EQUALS,
    "==": Operator.DOUBLE_EQUALS,
    "!=": Operator.NOT_EQUALS,
    ">": Operator.GREATER_THAN,
    "<": Operator.LESS_THAN,
}
_WORDS = {"in": Operator.IN, "notin": Operator.NOT_IN}
_BINARY = "in, notin, =, ==, !=, gt, lt"


def _tokens(text: str) -> list[tuple[str, str]]:
    """Return (kind, literal) pairs: kind is "word", "end", or the symbol itself."""
    found, position = [], 0
    while (token := _TOKEN.match(text, position)) is not None:
        symbol = token["symbol"]
        found.append((symbol, symbol) if symbol else ("word", token["word"]))
        position = token.end()
    return [*found, _END]


class _Parser:
    """One pass over the tokens; each method reads one production of the grammar."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._position = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._position]

    def _next(self) -> tuple[str, str]:
        self._position += 1
        return self._tokens[self._position - 1]

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        kind, literal = self._peek()
        while kind != "end":
            if kind not in ("word", "!"):
                raise SelectorError(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except SelectorError as exc:
                raise SelectorError(f"unable to parse requirement: {exc}") from None
            kind, literal = self._next()
            if kind == ",":
                kind, literal = self._peek()
                if kind not in ("word", "!"):
                    raise SelectorError(f"found '{literal}', expected: identifier after ','")
            elif kind != "end":
                raise SelectorError(f"found '{literal}', expected: ',' or 'end of string'")
        return found

    def _requirement(self) -> Requirement:
        kind, key = self._next()
        absent = kind == "!"
        if absent:
            kind, key = self._next()
        if kind != "word":
            raise SelectorError(f"found '{key}', expected: identifier")
        if errors := label_key_errors(key):
            # The path of the field is nil in Go, and prints so.
            raise SelectorError(f"<nil>: Invalid value: {quote(key)}: {'; '.join(errors)}")
        if absent:
            return Requirement(key, Operator.DOES_NOT_EXIST)
        if self._peek()[0] in ("end", ","):
            return Requirement(key, Operator.EXISTS)
        operator = self._operator()
        values = self._values() if operator in (Operator.IN, Operator.NOT_IN) else {self._value()}
        return _validated(Requirement(key, operator, tuple(sorted(values))))

    def _operator(self) -> Operator:
        kind, literal = self._next()
        operator = _WORDS.get(literal) if kind == "word" else _SYMBOLS.get(kind)
        if operator is None:
            raise SelectorError(f"found '{literal}', expected: {_BINARY}")
        return operator

    def _value(self) -> str:
        if self._peek()[0] in ("end", ","):
            return ""
        kind, literal = self._next()
        if kind != "word":
            raise SelectorError(f"found '{literal}', expected: identifier")
        return literal

    def _values(self) -> set[str]:
        kind, literal = self._next()
        if kind != "(":
            raise SelectorError(f"found '{literal}' expected: '('")
        kind, literal = self._peek()
        if kind not in ("word", ",", ")"):
            raise SelectorError(f"found '{literal}', expected: ',', ')' or identifier")
        values: set[str] = set()
        while self._peek()[0] != ")":
            self._list_item(values)
        self._next()
        return values or {""}

    def _list_item(self, values: set[str]) -> None:
        """Read one word or comma of a list of values, which may hold empty ones: (a,,b), (,)."""
        kind, literal = self._next()
        if kind == "word":
            values.add(literal)
            if self._peek()[0] not in (",", ")"):
                raise SelectorError(f"found '{self._peek()[1]}', expected: ',' or ')'")
        elif kind == ",":
            if not values or self._peek()[0] in (",", ")"):
                values.add("")
            if self._peek()[0] == ",":
                self._next()
        else:
            raise SelectorError(f"found '{literal}', expected: ',', or identifier")


def _validated(requirement: Requirement) -> Requirement:
    errors: list[str] = []
    for index, value in enumerate(requirement.values):
        if requirement.operator in _ORDERS:
            try:
                parse_int(value)
            except ValueError:
                problem = "for 'Gt', 'Lt' operators, the value must be an integer"
                errors.append(f"values[{index}]: Invalid value: {quote(value)}: {problem}")
        if found := label_value_errors(value):
            errors.append(f"values[{index}][{requirement.key}]: Invalid value: {quote(value)}: {'; '.join(found)}")
    if errors:
        raise SelectorError(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    return requirement
