"""A reader of any protobuf message, and what the numbers of Kubernetes' messages mean, written from their .proto files.

Strict where the encoders of Go are: shortest varints, fields in ascending order, known wire types only.
"""

from __future__ import annotations

from typing import Any


def fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """Return (field number, integer or bytes) in the order of the message."""
    found: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        assert number >= (found[-1][0] if found else 1), "fields out of order"
        if kind == 0:
            value, at = _varint(data, at)
            found.append((number, value - 2**64 if value >= 2**63 else value))
        else:
            assert kind == 2, f"wire type {kind}"
            length, at = _varint(data, at)
            assert at + length <= len(data), "a field longer than its message"
            found.append((number, data[at : at + length]))
            at += length
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            assert byte or shift == 7, "a varint longer than it needs to be"
            assert number < 2**64
            return number, at


def _texts(data: bytes) -> dict[int, str]:
    return {number: value.decode() for number, value in fields(data) if isinstance(value, bytes)}


def document(body: bytes) -> dict[str, Any]:
    """Return a body as the JSON tree that says the same; timestamps as seconds."""
    assert body[:4] == b"k8s\0"
    envelope = dict(fields(body[4:]))
    kind, raw = envelope[1], envelope[2]
    assert isinstance(kind, bytes)
    assert isinstance(raw, bytes)
    assert (envelope[3], envelope[4]) == (b"", b"")
    meaning = _texts(kind)
    found: dict[str, Any] = {"kind": meaning[2], "apiVersion": meaning[1], "metadata": {}}
    return found | (_list(raw) if meaning[2] == "ExternalMetricValueList" else _status(raw))


def _list(raw: bytes) -> dict[str, Any]:
    (number, _), *items = fields(raw)
    assert number == 1
    return {"items": [_item(value) for _, value in items if isinstance(value, bytes)]}


def _item(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"metricLabels": {}}
    for number, value in fields(raw):
        match number, value:
            case 1, bytes():
                found["metricName"] = value.decode()
            case 2, bytes():
                pair = _texts(value)
                found["metricLabels"][pair[1]] = pair[2]
            case 3, bytes():
                time = dict(fields(value))
                assert time[2] == 0
                found["timestamp"] = time[1]
            case 4, int():
                found["window"] = value
            case 5, bytes():
                found["value"] = _texts(value)[1]
            case _:
                raise AssertionError(f"field {number} of an item")
    return found


def _status(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    names = {2: "status", 3: "message", 4: "reason", 6: "code"}
    for number, value in fields(raw):
        if number == 5 and isinstance(value, bytes):
            found["details"] = _details(value)
        elif number in names and value:
            found[names[number]] = value.decode() if isinstance(value, bytes) else value
        else:
            assert number == 1 or not value, f"field {number} of a Status"
    return found


def _details(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    names = {1: "name", 2: "group", 3: "kind", 5: "retryAfterSeconds", 6: "uid"}
    for number, value in fields(raw):
        if number == 4 and isinstance(value, bytes):
            cause = {{1: "reason", 2: "message", 3: "field"}[key]: text for key, text in _texts(value).items() if text}
            found.setdefault("causes", []).append(cause)
        elif value:
            found[names[number]] = value.decode() if isinstance(value, bytes) else value
    return found
