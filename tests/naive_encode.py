"""Slow, obvious twins of the encoders of values: a tree that the standard library writes, and nested messages."""

from __future__ import annotations

import json
from collections.abc import Sequence

from adapter.api import encode, protobuf
from scaler import quantity
from scaler.model import ExternalMetricValue

_ESCAPED = {0x3C: r"\u003c", 0x3E: r"\u003e", 0x26: r"\u0026", 0x2028: r"\u2028", 0x2029: r"\u2029"}
_ESCAPED |= dict.fromkeys(range(0xD800, 0xE000), r"\ufffd")


def json_values(metric_name: str, items: Sequence[ExternalMetricValue]) -> bytes:
    """Return an ExternalMetricValueList as compact JSON."""
    tree = {"kind": encode.LIST_KIND, "apiVersion": encode.GROUP_VERSION, "metadata": {}, "items": []}
    found = []
    for item in items:
        fields: dict[str, object] = {
            "metricName": metric_name,
            "metricLabels": dict(item.labels),
            "timestamp": encode.timestamp(item.timestamp_ms // 1000),
        }
        if item.window_s is not None:
            fields["window"] = item.window_s
        found.append(fields | {"value": quantity.text(item.milli)})
    text = json.dumps(tree | {"items": found}, ensure_ascii=False, separators=(",", ":"))
    return f"{text.translate(_ESCAPED)}\n".encode()


def protobuf_values(metric_name: str, items: Sequence[ExternalMetricValue]) -> bytes:
    """Return it as protobuf."""
    found = []
    for item in items:
        labels = [protobuf.message(2, protobuf.text(1, key), protobuf.text(2, value)) for key, value in item.labels]
        time = protobuf.message(3, protobuf.integer(1, item.timestamp_ms // 1000), protobuf.integer(2, 0))
        window = b"" if item.window_s is None else protobuf.integer(4, item.window_s)
        value = protobuf.message(5, protobuf.text(1, quantity.text(item.milli)))
        found.append(protobuf.message(2, protobuf.text(1, metric_name), *labels, time, window, value))
    metadata = protobuf.message(1, *(protobuf.text(field, "") for field in (1, 2, 3)))
    return protobuf.envelope(encode.GROUP_VERSION, encode.LIST_KIND, metadata, *found)
