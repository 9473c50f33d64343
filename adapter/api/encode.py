"""Answers as bytes: ExternalMetricValueList and Status, as JSON, YAML and protobuf, byte for byte as the Go libraries.

An answer is first a tree of dict, list, str, int, bool and None in the order of Go's struct fields; JSON and YAML are
written from it. Protobuf has field numbers instead of names and is written directly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum, auto
from functools import lru_cache
from typing import TypeAlias

from adapter.api import protobuf
from adapter.api.fragments import FragmentCache
from adapter.errors import ApiError
from scaler import quantity
from scaler.model import EXTERNAL_METRICS_GROUP, ExternalMetricValue, Labels

Tree: TypeAlias = "dict[str, Tree] | Sequence[Tree] | str | int | bool | None"

GROUP_VERSION = f"{EXTERNAL_METRICS_GROUP}/v1beta1"
LIST_KIND = "ExternalMetricValueList"


class Form(Enum):
    """How a body is written. PRETTY is JSON for people."""

    __hash__ = object.__hash__  # Enum's own is Python code, and each answer is looked up by its form

    JSON = auto()
    PRETTY = auto()
    YAML = auto()
    PROTOBUF = auto()


CONTENT_TYPES = {
    Form.JSON: "application/json",
    Form.PRETTY: "application/json",
    Form.YAML: "application/yaml",
    Form.PROTOBUF: "application/vnd.kubernetes.protobuf",
}


def values(metric_name: str, items: Sequence[ExternalMetricValue], form: Form) -> bytes:
    """Return the ExternalMetricValueList of these items."""
    if form is Form.PROTOBUF:
        return protobuf.values(GROUP_VERSION, LIST_KIND, metric_name, items)
    if form is Form.JSON:
        return _json_values(metric_name, items)
    return tree(
        {
            "kind": LIST_KIND,
            "apiVersion": GROUP_VERSION,
            "metadata": {},
            "items": [_item(metric_name, item) for item in items],
        },
        form,
    )


def _json_values(metric_name: str, items: Sequence[ExternalMetricValue]) -> bytes:
    """Write what `tree` would, without the tree: answers of thousands of items are written again each interval."""
    beginnings = _BEGINNINGS.of(metric_name)
    written = [
        f'{beginnings[item.labels]}{timestamp(item.timestamp_ms // 1000)}","value":"{quantity.text(item.milli)}"}}'
        if item.window_s is None
        else f'{beginnings[item.labels]}{timestamp(item.timestamp_ms // 1000)}","window":{item.window_s},'
        f'"value":"{quantity.text(item.milli)}"}}'
        for item in items
    ]
    return f"{_LIST_BEGINNING}{','.join(written)}]}}\n".encode()


def _json_beginning(metric_name: str, labels: Labels) -> str:
    """Return the beginning of an item, up to its timestamp."""
    return f'{{"metricName":{_json(metric_name)},"metricLabels":{_json(dict(labels))},"timestamp":"'


_BEGINNINGS = FragmentCache(_json_beginning)
_LIST_BEGINNING = f'{{"kind":"{LIST_KIND}","apiVersion":"{GROUP_VERSION}","metadata":{{}},"items":['


def _item(metric_name: str, item: ExternalMetricValue) -> dict[str, Tree]:
    found: dict[str, Tree] = {
        "metricName": metric_name,
        "metricLabels": dict(item.labels),
        "timestamp": timestamp(item.timestamp_ms // 1000),
    }
    if item.window_s is not None:
        found["window"] = item.window_s
    found["value"] = quantity.text(item.milli)
    return found


@lru_cache(maxsize=1024)
def timestamp(seconds: int) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(error: ApiError, form: Form) -> bytes:
    """Return the Status of an error."""
    if form is Form.PROTOBUF:
        return protobuf.status(error)
    found: dict[str, Tree] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
    }
    if error.reason:
        found["reason"] = error.reason
    if error.details is not None:
        details = error.details
        found["details"] = _filled(
            name=details.name,
            group=details.group,
            kind=details.kind,
            causes=[_filled(reason=c.reason, message=c.message, field=c.field) for c in details.causes],
            retryAfterSeconds=details.retry_after_seconds,
        )
    found["code"] = error.code
    return tree(found, form)


def _filled(**fields: Tree) -> dict[str, Tree]:
    return {name: value for name, value in fields.items() if value}


def tree(root: Tree, form: Form) -> bytes:
    """Return a tree as compact JSON with a line end, as indented JSON without one, or as YAML."""
    match form:
        case Form.JSON:
            return f"{_json(root)}\n".encode()
        case Form.PRETTY:
            return _UNSAFE.sub(_escape, json.dumps(root, ensure_ascii=False, indent=2)).encode()
        case Form.YAML:
            return protobuf.utf8("".join(f"{line}\n" for line in _yaml_lines(root)))
        case _:
            raise AssertionError("a tree has no field numbers, which protobuf needs")


def _json(node: Tree) -> str:
    return _UNSAFE.sub(_escape, json.dumps(node, ensure_ascii=False, separators=(",", ":")))


# What Go's encoding/json escapes beyond RFC 8259, so that a body may stand inside an HTML page.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "\\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


def _yaml_lines(node: Tree) -> list[str]:
    """Return a block mapping or sequence as lines, keys sorted, a sequence no deeper than its key."""
    lines: list[str] = []
    if isinstance(node, dict):
        for key in sorted(node):
            value = node[key]
            if isinstance(value, dict) and value:
                lines += [f"{_yaml_scalar(key)}:", *(f"  {line}" for line in _yaml_lines(value))]
            elif isinstance(value, list | tuple) and value:
                lines += [f"{_yaml_scalar(key)}:", *_yaml_lines(value)]
            else:
                lines.append(f"{_yaml_scalar(key)}: {_yaml_scalar(value)}")
    elif isinstance(node, list | tuple):
        for item in node:
            first, *rest = _yaml_lines(item) if item and isinstance(item, dict) else [_yaml_scalar(item)]
            lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


_PLAIN = re.compile(r"[A-Za-z0-9_./](?:[A-Za-z0-9_./ -]*[A-Za-z0-9_./-])?")
# What a YAML 1.1 or 1.2 reader might take for a number, a time, a boolean or null.
_RESOLVED = re.compile(r"(?i)[0-9._][0-9a-fox._:e+-]*|[0-9]{4}-[0-9].*|\.inf|\.nan|y|n|yes|no|on|off|true|false|null")


def _yaml_scalar(value: Tree) -> str:
    """Return a scalar, or an empty mapping or sequence. Text that might be read as anything else is quoted."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and not _RESOLVED.fullmatch(value):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else _UNPRINTABLE.sub(_yaml_escape, text)


_UNPRINTABLE = re.compile(r"[^ -~]")


def _yaml_escape(match: re.Match[str]) -> str:
    # JSON writes what lies beyond 16 bits as two escapes; YAML has one that is longer.
    char, code = match[0], ord(match[0])
    return char if char.isprintable() else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
