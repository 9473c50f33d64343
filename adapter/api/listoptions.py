"""The query parameters of a list, checked as k8s.io/apiserver does, in its order and with its messages."""

from __future__ import annotations

import re
from decimal import Decimal

from adapter.api.request import Target, is_watch
from adapter.errors import ApiError, BadRequestError, Cause, Details, InvalidError, MethodNotAllowedError
from scaler.gotext import parse_int, quote
from scaler.model import EXTERNAL_METRICS_GROUP
from scaler.selector import EVERYTHING, Selector, parse

_MATCHES = ("Exact", "NotOlderThan")


def selector_of(target: Target) -> Selector:
    """Return the label selector of a list request; the other parameters are checked and change nothing.

    Raises:
        ApiError: A parameter is malformed (400), makes no sense (422), or asks for a watch (405).
    """
    try:
        for name in ("timeoutSeconds", "limit"):
            if name in target.query:
                parse_int(target.first(name))
        selector = parse(target.first("labelSelector")) if "labelSelector" in target.query else EVERYTHING
        fields = _field_names(target.first("fieldSelector"))
    except ValueError as exc:  # a SelectorError is one
        raise BadRequestError(str(exc)) from None
    causes = _watch_causes(target) if is_watch(target) else _list_causes(target)
    if causes:
        raise _invalid(causes)
    for name in fields:
        if name not in ("metadata.name", "metadata.namespace"):
            raise BadRequestError(
                f'{quote(name)} is not a known field selector: only "metadata.name", "metadata.namespace"'
            )
    if is_watch(target):
        kind = quote(f"*.{EXTERNAL_METRICS_GROUP}")
        message = f"watch is not supported on resources of kind {kind}"
        raise MethodNotAllowedError(message, Details(group=EXTERNAL_METRICS_GROUP, kind="*"))
    return selector


def _list_causes(target: Target) -> list[Cause]:
    match, version = target.first("resourceVersionMatch"), target.first("resourceVersion")
    name = "resourceVersionMatch"
    causes: list[Cause] = []
    if match:
        if not version:
            causes.append(_forbidden(name, f"{name} is forbidden unless resourceVersion is provided"))
        if target.first("continue"):
            causes.append(_forbidden(name, f"{name} is forbidden when continue is provided"))
        if match not in _MATCHES:
            message = f'Unsupported value: {quote(match)}: supported values: "Exact", "NotOlderThan", ""'
            causes.append(Cause(message, "FieldValueNotSupported", name))
        if match == "Exact" and version == "0":
            causes.append(_forbidden(name, f'{name} "exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in target.query:
        causes.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


def _watch_causes(target: Target) -> list[Cause]:
    causes: list[Cause] = []
    if target.first("resourceVersionMatch"):
        causes.append(_forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden for watch"))
    if "sendInitialEvents" in target.query:
        causes.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for watch"))
    return causes


def _forbidden(field: str, why: str) -> Cause:
    return Cause(f"Forbidden: {why}", "FieldValueForbidden", field)


def _invalid(causes: list[Cause]) -> ApiError:
    errors = [f"{cause.field}: {cause.message}" for cause in causes]
    text = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
    details = Details(group="meta.k8s.io", kind="ListOptions", causes=tuple(causes))
    return InvalidError(f'ListOptions.meta.k8s.io "" is invalid: {text}', details)


_TERM = re.compile(r"(?:[^\\,]|\\.|\\$)+", re.DOTALL)
_TERM_PARTS = re.compile(r"(?P<name>.*?)(?:!=|==|=)(?P<value>.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\(?P<escaped>.?)|(?P<bare>[,=])", re.DOTALL)


def _field_names(text: str) -> list[str]:
    """Return the fields that a field selector names. Source: k8s.io/apimachinery pkg/fields/selector.go."""
    names: list[str] = []
    for term in sorted(_TERM.findall(text)):
        parts = _TERM_PARTS.fullmatch(term)
        if parts is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        for found in _ESCAPED.finditer(parts["value"]):
            if found["bare"]:
                raise ValueError(f"invalid field selector: unescaped character in value: {found['bare']}")
            if found["escaped"] not in ("\\", ",", "="):
                raise ValueError(f"invalid field selector: invalid escape sequence: {found[0]}")
        names.append(parts["name"])
    return names


_DURATION = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<unit>[^0-9.]*)", re.DOTALL)
_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def check_timeout(target: Target) -> None:
    """Check the `timeout` parameter. Its value changes nothing: every answer is given from memory.

    Raises:
        BadRequestError: It is no duration.
    """
    text = target.first("timeout")
    if text and (problem := _duration_problem(text)):
        raise BadRequestError(f"invalid timeout specified in the request URL - time: {problem}")


def _duration_problem(text: str) -> str | None:
    """Return what Go's time.ParseDuration has against the text."""
    invalid = f"invalid duration {quote(text)}"
    rest = text[1:] if text[0] in "+-" else text
    if rest == "0":
        return None
    if not rest:
        return invalid
    total_ns = Decimal(0)
    while rest:
        part = _DURATION.match(rest)
        if part is None:
            return invalid
        if not part["unit"]:
            return f"missing unit in duration {quote(text)}"
        if part["unit"] not in _UNIT_NS:
            return f"unknown unit {quote(part['unit'])} in duration {quote(text)}"
        total_ns += Decimal(part["number"]) * _UNIT_NS[part["unit"]]
        rest = rest[part.end() :]
    return invalid if total_ns > 2**63 - 1 and not (text[0] == "-" and total_ns == 2**63) else None
