"""Texts with a form: names of metrics, labels and objects, paths of files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from adapter.schema.words import show, wrong

DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_SUBDOMAIN = rf"{DNS_LABEL}(\.{DNS_LABEL})*"
SERIES_NAME = r"""[^\s{}"'\x00-\x1f\x7f]+"""
_PROMETHEUS_LABEL = "[a-zA-Z_][a-zA-Z0-9_]*"
QUALIFIED_NAME = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?P<prefix>{DNS_LABEL}(\.{DNS_LABEL})*/)?{QUALIFIED_NAME}")
LABEL_NAME = rf"{_PROMETHEUS_LABEL}|({DNS_LABEL}(\.{DNS_LABEL})*/)?{QUALIFIED_NAME}"


UNUSABLE_METRIC_NAMES = frozenset({".", "..", "status", "finalize"})
"""Path segments that the Kubernetes API takes for something else than a metric."""


@dataclass(frozen=True, slots=True)
class Text:
    """Annotates a str.

    Args:
        demand: What the text must be: "must be …".
        pattern: What the whole text must match.
        max_chars: The longest text allowed.
        check: Returns a message for a text that matches and is wrong all the same.
        shown: The text may be shown in a message.
        published: For the JSON schema, what a text that `check` passes matches; default `pattern`. There "." is any
            character but a line feed.
    """

    demand: str
    pattern: str = ".+"
    max_chars: int = 1_024
    check: Callable[[str], str | None] | None = None
    shown: bool = True
    published: str | None = None

    def read(self, text: str) -> str:
        """Return the text, or raise the error that says what was wrong."""
        got = f", got {show(text)}" if self.shown else ""
        if len(text) > self.max_chars:
            raise wrong(f"must be at most {self.max_chars} characters{got}")
        if not re.fullmatch(self.pattern, text, re.DOTALL):
            raise wrong(self.demand + got)
        message = self.check(text) if self.check else None
        if message:
            raise wrong(message)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        bounds: dict[str, Any] = {"type": "string", "maxLength": self.max_chars}
        match self.published or self.pattern:
            case ".*":
                return bounds
            case ".+":
                return {**bounds, "minLength": 1}
            case pattern:
                return {**bounds, "pattern": f"^({pattern})$"}


def selectable_name(name: str) -> bool:
    """Return whether an HPA's selector can name this label: it is a Kubernetes label key."""
    found = _LABEL_KEY.fullmatch(name)
    return found is not None and len(found["prefix"] or "") <= 254


def selectable_value(value: str) -> bool:
    """Return whether an HPA's selector can hold this label value."""
    return value == "" or re.fullmatch(QUALIFIED_NAME, value) is not None


def metric_name_problem(name: str) -> str | None:
    """Return why a metric of this name could never be asked for; None if it could."""
    if name.lower() in UNUSABLE_METRIC_NAMES:
        return f"must not be {name.lower()}: the Kubernetes API does not take it for the name of a metric"
    return None


LabelName = Annotated[
    str,
    Text(
        "must be a label name: letters, digits and _, not starting with a digit, or a Kubernetes label key",
        pattern=LABEL_NAME,
        max_chars=317,
    ),
]
LabelValue = Annotated[str, Text("must be a label value", pattern=".*")]
HostName = Annotated[str, Text("must be a host name", pattern="[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?", max_chars=253)]
SeriesLabels = Annotated[dict[LabelName, LabelValue], Field(max_length=32)]
FilePath = Annotated[str, Text("must be the path of a file", pattern="[^\0]+", max_chars=4_096, shown=False)]
