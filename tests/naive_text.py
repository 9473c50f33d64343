"""The slow, obvious twin of scaler.textparse: a regular expression a line, and float()."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

Series = tuple[str, tuple[tuple[str, str], ...]]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
_QUOTED_NAME = r'"(?:[^"\\\n]|\\[\\"n])+"'
_NUMBER = (
    r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[nN][aA][nN]|[+-]?[iI][nN][fF](?:[iI][nN][iI][tT][yY])?"
)


@dataclass(frozen=True)
class Format:
    """How the lines of a format look."""

    blank: str
    """What may stand between words."""
    space: str
    """What must."""
    value: str
    last_comma: str
    after_value: str
    no_sample: re.Pattern[str]
    types: frozenset[str]

    @property
    def item(self) -> str:
        """One label, or the metric's name in quotes."""
        return rf"(?:{_LABEL}|{_QUOTED_NAME}){self.blank}={self.blank}{self.value}|{_QUOTED_NAME}(?={self.blank}[,}}])"

    @property
    def items(self) -> str:
        """The inside of braces."""
        b = self.blank
        return rf"{b}(?:(?:{self.item}){b}(?:,{b}(?:{self.item}){b})*(?:{self.last_comma}{b})?)?"

    @property
    def sample(self) -> str:
        """A line with a sample."""
        b, after_braces = self.blank, self.space if self.blank == "" else self.blank
        head = rf"(?:({_NAME}){b})?\{{({self.items})\}}{after_braces}|({_NAME}){self.space}"
        return rf"{b}(?:{head})({_NUMBER})({self.after_value}){b}"


_TEXT = Format(
    blank=r"[ \t]*",
    space=r"[ \t]+",
    value=r'"(?:[^"\\\n]|\\[\\"n])*"',
    last_comma=",",
    after_value=r"(?:[ \t]+-?[0-9]+)?",
    no_sample=re.compile(r"[ \t]*(#(?![ \t]+(?:HELP|TYPE)[ \t]).*)?", re.DOTALL),
    types=frozenset({"counter", "gauge", "histogram", "summary", "untyped"}),
)
_OPEN = Format(
    blank="",
    space=" ",
    value=r'"(?:[^"\\\n]|\\[^\n])*"',
    last_comma="(?!)",
    after_value="",
    no_sample=re.compile("(?!)"),
    types=frozenset(
        {"counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset", "unknown"},
    ),
)
_TIME = rf"(?: ({_NUMBER}))?"
_EXEMPLAR = re.compile(rf"(.*? (?:{_NUMBER})){_TIME} # \{{({_OPEN.items})\}} ({_NUMBER}){_TIME}", re.DOTALL)
_PLAIN = re.compile(rf"(.*? (?:{_NUMBER})) ({_NUMBER})", re.DOTALL)
_META = re.compile(rf"[ \t]*#[ \t]+(HELP|TYPE)[ \t]+({_NAME}|{_QUOTED_NAME})(?:[ \t]+(.*))?", re.DOTALL)
_OPEN_META = re.compile(rf"# (HELP|TYPE|UNIT) ({_NAME}|{_QUOTED_NAME}) (.*)", re.DOTALL)


class BadLineError(Exception):
    """A line is not valid; `line` counts from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}")
        self.line = line


def parse(page: bytes, names: Collection[str] | None, *, openmetrics: bool = False) -> dict[Series, float]:
    """Return the wanted series of a page, in order; all of them without `names`."""
    if openmetrics and page.endswith(b"# EOF"):
        page += b"\n"
    if page and not page.endswith(b"\n"):
        raise BadLineError(page.count(b"\n") + 1)
    lines = page.split(b"\n")[:-1]
    last = len(lines)
    if openmetrics:
        last = lines.index(b"# EOF") if b"# EOF" in lines else len(lines)
    samples = [_line(line, number, openmetrics=openmetrics) for number, line in enumerate(lines[:last], 1)]
    if openmetrics and last != len(lines) - 1:
        raise BadLineError(max(last + 2 if last < len(lines) else last, 1))
    found: dict[Series, float] = {}
    for number, sample in enumerate(samples, 1):
        if sample is None or (names is not None and sample[0][0] not in names):
            continue
        if sample[0] in found:
            raise BadLineError(number)
        found[sample[0]] = sample[1]
    return found


def _line(raw: bytes, number: int, *, openmetrics: bool) -> tuple[Series, float] | None:
    """Return a line's series and value; None for one without a sample."""
    if not openmetrics and _TEXT.no_sample.fullmatch(raw.decode("latin-1")):
        return None  # a comment may hold anything
    if not openmetrics and re.fullmatch(rb"[ \t]*#[ \t]+(HELP|TYPE)[ \t]*", raw):
        if re.fullmatch(rb"[ \t]*#[ \t]+(HELP|TYPE)", raw):
            return None
        raise BadLineError(number)
    try:
        line = raw.decode()
    except UnicodeDecodeError:
        raise BadLineError(number) from None
    if meta := (_OPEN_META if openmetrics else _META).fullmatch(line):
        if not _meta_holds(_OPEN if openmetrics else _TEXT, *meta.groups()):
            raise BadLineError(number)
        return None
    if openmetrics:
        line = _without_time_and_exemplar(line, number)
    return _sample(line, number, _OPEN if openmetrics else _TEXT)


def _meta_holds(form: Format, kind: str, name: str, text: str | None) -> bool:
    if kind == "TYPE":
        return text in form.types
    return kind == "HELP" or not text or name.strip('"').endswith(f"_{text}")


def _without_time_and_exemplar(line: str, number: int) -> str:
    if exemplar := _EXEMPLAR.fullmatch(line):
        line, time, inside, value, exemplar_time = exemplar.groups()
        pairs, name = _pairs(inside, _OPEN)
        bad = name is not None or len({key for key, _ in pairs}) < len(pairs) or _out_of_range(value)
        if bad or not _is_time(time) or not _is_time(exemplar_time):
            raise BadLineError(number)
        return line
    # What looks like a value and a time may be the end of a label's value.
    plain = _PLAIN.fullmatch(line)
    if plain and re.fullmatch(_OPEN.sample, plain[1]):
        if not _is_time(plain[2]):
            raise BadLineError(number)
        return plain[1]
    return line


def _is_time(text: str | None) -> bool:
    return text is None or math.isfinite(float(text))


def _out_of_range(text: str) -> bool:
    return math.isinf(float(text)) and "n" not in text.lower()


def _sample(line: str, number: int, form: Format) -> tuple[Series, float]:
    sample = re.fullmatch(form.sample, line)
    if not sample:
        raise BadLineError(number)
    before, inside, alone, text, timestamp = sample.groups()
    pairs, inner = _pairs(inside or "", form)
    name = before or alone
    if (name is None) == (inner is None) or len(pairs) > 256 or len({key for key, _ in pairs}) < len(pairs):
        raise BadLineError(number)
    if _out_of_range(text):
        raise BadLineError(number)
    if timestamp and not -(2**63) <= int(timestamp) < 2**63:
        raise BadLineError(number)
    labels = sorted((key, value) for key, value in pairs if value)
    return (name or inner or "", tuple(labels)), float(text)


def _pairs(inside: str, form: Format) -> tuple[list[tuple[str, str]], str | None]:
    """Return the labels between braces, and the metric's name if it is there."""
    pairs, names = [], []
    for item in re.findall(form.item, inside + "}"):
        if alone := re.fullmatch(_QUOTED_NAME, item):
            names.append(_unquoted(alone[0]))
            continue
        found = re.fullmatch(rf"({_LABEL}|{_QUOTED_NAME}){form.blank}={form.blank}({form.value})", item)
        assert found is not None
        pairs.append((_unquoted(found[1]), _unquoted(found[2])))
    if len(names) > 1:
        return [("twice", "")] * 2, None
    return pairs, names[0] if names else None


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    return re.sub(r'\\([\\"n])', lambda match: "\n" if match[1] == "n" else match[1], text[1:-1])
