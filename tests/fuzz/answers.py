"""Answers of the API: what protobuf says, read by a reader that knows no code of ours, is what JSON says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import yaml

from scaler import quantity
from scaler.model import ExternalMetricValue, Reason, Unknown, UnknownItem, labels_of
from tests.api_fixtures import VALUES, Served, result
from tests.fuzz.choices import Choices
from tests.fuzz.wire_reader import document

_LAST_S = 253_402_300_799  # 9999-12-31: JSON has no later time


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    yield check


def check(data: bytes) -> None:
    """Serve a metric made from the bytes in each form, and compare what readers find."""
    choices = Choices(data)
    name = "".join(char for char in choices.text() if char not in "/%" and char.isprintable()) or "m"
    items = [_item(choices) for _ in range(choices.below(5))]
    served = Served(result(name, *items))
    served.defined = bool(choices.below(2))
    target = f"{VALUES}/{quote(name if choices.below(8) else name + 'x', safe='')}"
    if choices.below(2):
        target += "?" + choices.rest().decode("latin-1")
    as_json = served.ask(target, headers={"Accept": "application/json"})
    as_yaml = served.ask(target, headers={"Accept": "application/yaml"})
    as_protobuf = served.ask(target, headers={"Accept": "application/vnd.kubernetes.protobuf"})
    assert as_json.status == as_yaml.status == as_protobuf.status
    if not as_json.headers["Content-Type"].startswith("application/json"):
        return  # what Go's server says before there is a request
    found = json.loads(as_json.body)
    assert document(as_protobuf.body) == _in_seconds(found)
    assert yaml.safe_load(as_yaml.body) == found
    if as_json.status == 200:
        wanted = [item for item in items if isinstance(item, ExternalMetricValue)]
        served_items = [_as_json(name, each) for each in wanted]
        assert [item for item in found["items"] if item not in served_items] == []
        assert "?" in target or found["items"] == served_items
        unknown = [item for item in items if isinstance(item, UnknownItem)]
        assert "?" in target or not unknown, "a part was served for the whole"


def _item(choices: Choices) -> ExternalMetricValue | UnknownItem:
    labels = labels_of({choices.text(): choices.text() for _ in range(choices.below(4))})
    if not choices.below(8):
        return UnknownItem(labels, Unknown(Reason.SOURCE_ERROR, choices.text()))
    milli = min(int.from_bytes(choices.take(8), "big"), quantity.MAX_MILLI)
    seconds = int.from_bytes(choices.take(5), "big") % _LAST_S
    window_s = choices.below(1 << 24) if choices.below(2) else None
    return ExternalMetricValue(labels, seconds * 1000 + choices.below(1000), window_s, milli, 2**62)


def _as_json(name: str, item: ExternalMetricValue) -> dict[str, Any]:
    """Return what JSON must say of an item, less its time."""
    found: dict[str, Any] = {"metricName": name, "metricLabels": dict(item.labels)}
    found["timestamp"] = datetime.fromtimestamp(item.timestamp_ms // 1000, UTC).isoformat().replace("+00:00", "Z")
    if item.window_s is not None:
        found["window"] = item.window_s
    return found | {"value": quantity.text(item.milli)}


def _in_seconds(found: dict[str, Any]) -> dict[str, Any]:
    if "items" not in found:
        return found
    items = [item | {"timestamp": _seconds(item["timestamp"])} for item in found["items"]]
    return found | {"items": items}


def _seconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp())


def seeds() -> list[bytes]:
    """Return inputs to start from."""
    plain = b"\x01m\x01\x01\x05queue\x01a\x01\0\0\0\0\0\0\x03\xe8\x00\x65\x00\x00\x00\x01\x00\x00\x3c\x00\x07\x01\x00"
    return [
        plain,
        plain + b"\x01labelSelector=queue%3Da",
        plain[:-1] + b"\x01watch=1&pretty=1",
        plain[:-2] + b"\x00\x00",
        b"\x04\xc3\xa9\xff" + plain,
        b"",
    ]
