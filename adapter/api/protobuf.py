"""Answers in Kubernetes' protobuf: what gogo/protobuf writes for the types of k8s.io/metrics and apimachinery.

Every text and number that is no pointer in Go is written, even when empty; so are Time's nanos, always 0.
Source: generated.proto of k8s.io/metrics external_metrics/v1beta1, of meta/v1, and of apimachinery pkg/runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from adapter.api.fragments import FragmentCache
from adapter.errors import ApiError, Details
from scaler import quantity
from scaler.model import ExternalMetricValue, Labels

_MAGIC = b"k8s\0"
_LIST_META = b"\x0a\x06\x0a\x00\x12\x00\x1a\x00"


def utf8(text: str) -> bytes:
    """Return text as UTF-8, with U+FFFD for what is none."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def varint(number: int) -> bytes:
    """Return a base-128 varint; a negative number as its 64-bit two's complement."""
    number &= 2**64 - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def integer(field: int, number: int) -> bytes:
    """Return a field that holds an integer."""
    return varint(field << 3) + varint(number)


def message(field: int, *parts: bytes) -> bytes:
    """Return a field that holds a message, or text in UTF-8."""
    body = b"".join(parts)
    return varint(field << 3 | 2) + varint(len(body)) + body


def text(field: int, value: str) -> bytes:
    """Return a field that holds text."""
    return message(field, utf8(value))


def envelope(api_version: str, kind: str, *parts: bytes) -> bytes:
    """Return a message in the runtime.Unknown that tells a reader its type."""
    content = message(1, text(1, api_version), text(2, kind)) + message(2, *parts) + text(3, "") + text(4, "")
    return _MAGIC + content


def values(api_version: str, kind: str, metric_name: str, items: Sequence[ExternalMetricValue]) -> bytes:
    """Return the ExternalMetricValueList of these items."""
    beginnings = _BEGINNINGS.of(metric_name)
    written = [_LIST_META]
    for item in items:
        value = quantity.text(item.milli).encode()
        time = _time(item.timestamp_ms // 1000, item.window_s)
        body = beginnings[item.labels] + time + _VALUE_TAGS[len(value)] + value
        written.append(_item_tag(len(body)) + body)
    return envelope(api_version, kind, *written)


def _beginning(metric_name: str, labels: Labels) -> bytes:
    """Return the beginning of an item, up to its time."""
    return text(1, metric_name) + b"".join([message(2, text(1, key), text(2, value)) for key, value in labels])


_BEGINNINGS = FragmentCache(_beginning)


@lru_cache(maxsize=1024)
def _time(seconds: int, window_s: int | None) -> bytes:
    time = message(3, integer(1, seconds), integer(2, 0))
    return time if window_s is None else time + integer(4, window_s)


# What stands before the text of a value, message(5, text(1, …)), by its length: at most a sign, 19 digits and a suffix.
_VALUE_TAGS = tuple(message(5, text(1, "x" * size)).removesuffix(b"x" * size) for size in range(22))


@lru_cache(maxsize=1024)
def _item_tag(size: int) -> bytes:
    return varint(2 << 3 | 2) + varint(size)


def status(error: ApiError) -> bytes:
    """Return the Status of an error."""
    parts = [_LIST_META, text(2, "Failure"), text(3, error.message), text(4, error.reason)]
    if error.details is not None:
        parts.append(_details(error.details))
    return envelope("v1", "Status", *parts, integer(6, error.code))


def _details(details: Details) -> bytes:
    return message(
        5,
        text(1, details.name),
        text(2, details.group),
        text(3, details.kind),
        *(message(4, text(1, c.reason), text(2, c.message), text(3, c.field)) for c in details.causes),
        integer(5, details.retry_after_seconds),
        text(6, ""),
    )
