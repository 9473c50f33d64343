"""Bodies: JSON, YAML and protobuf as the Go libraries write them, and readable by independent readers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adapter.api import encode
from adapter.api.encode import Form
from adapter.api.fragments import FragmentCache
from adapter.errors import (
    NO_DETAILS,
    ApiError,
    BadRequestError,
    Cause,
    Details,
    ForbiddenError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
)
from scaler import quantity
from scaler.model import ExternalMetricValue, Labels, labels_of
from tests import naive_encode

ITEM = ExternalMetricValue(labels_of({"queue": "a"}), 1_767_323_045_999, 60, 1500, 0)


class InternalError(ApiError):
    """As the reference makes one of a source's error; we never do."""

    code = 500
    reason = "InternalError"


class TooManyRequestsError(ApiError):
    """As the reference throttles: with a time to come back after, which we never send."""

    code = 429
    reason = "TooManyRequests"


INTERNAL = '"reason":"InternalError","details":{"causes":[{"message":"backend bad"}]},"code":500}'
FORBIDDEN = '"reason":"Forbidden","details":{"group":"external.metrics.k8s.io","kind":"err-403"},"code":403}'
HEAD = '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":'


@pytest.mark.parametrize(
    ("error", "tail"),
    [
        (NotFoundError("the server could not find the requested resource", NO_DETAILS),
         '"the server could not find the requested resource","reason":"NotFound","details":{},"code":404}'),
        (BadRequestError("bad query"), '"bad query","reason":"BadRequest","code":400}'),
        (UnauthorizedError(), '"Unauthorized","reason":"Unauthorized","code":401}'),
        (UnavailableError("backend down"), '"backend down","reason":"ServiceUnavailable","code":503}'),
        (ApiError("backend exploded"), '"backend exploded","code":500}'),
        (InternalError("Internal error occurred: backend bad", Details(causes=(Cause("backend bad"),))),
         '"Internal error occurred: backend bad",' + INTERNAL),
        (TooManyRequestsError("slow down", Details(retry_after_seconds=1)),
         '"slow down","reason":"TooManyRequests","details":{"retryAfterSeconds":1},"code":429}'),
        (ForbiddenError('err-403.external.metrics.k8s.io is forbidden: User "u" & <x>',
                        Details(group="external.metrics.k8s.io", kind="err-403")),
         r'"err-403.external.metrics.k8s.io is forbidden: User \"u\" \u0026 \u003cx\u003e",' + FORBIDDEN),
    ],
)  # fmt: skip
def test_status(error: ApiError, tail: str) -> None:
    """A Status has Go's fields in Go's order, without the empty ones; what HTML might read is escaped."""
    assert encode.status(error, Form.JSON).decode() == f"{HEAD}{tail}\n"


def test_json_escapes() -> None:
    """Text is escaped as encoding/json does it, down to line separators and bytes that are no UTF-8."""
    item = ExternalMetricValue((("k", 'é\u2028\u2029<&>"\\\n\x01\x7f\udcff'),), 0, None, 0, 0)
    body = encode.values("m", [item], Form.JSON).decode()
    assert r'{"k":"é\u2028\u2029\u003c\u0026\u003e\"\\\n\u0001' in body
    assert '\x7f\\ufffd"}' in body


def test_empty_list() -> None:
    """A list without items has an empty array, in each form."""
    head = '{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","metadata":{},"items":[]}'
    assert encode.values("m", (), Form.JSON).decode() == f"{head}\n"
    assert encode.values("m", (), Form.PRETTY).decode() == json.dumps(json.loads(head), indent=2)
    assert (
        encode.values("m", (), Form.YAML).decode().endswith("items: []\nkind: ExternalMetricValueList\nmetadata: {}\n")
    )


_STRANGE = (
    "|null|~|yes|NO|y|true|1|1e3|0x1F|0o7|1_000|1:30|.5|.inf|.NaN|2026-01-02|2026-01-02T03:04:05Z|- a|a: b|a #b"
    "|'|\"|*a|&a|!a|%a|@a| a|a |a\nb|\ta|é|\u2028|\x01|\U0001f600|---|...|<<|=|12m|9E|1500m|abc"
    "|\U0001f600\x01\U000e0001"
)
TEXTS = st.one_of(
    st.sampled_from(_STRANGE.split("|")),
    st.text(max_size=12).filter(lambda text: text.isprintable()),
)
ITEMS = st.lists(
    st.builds(
        ExternalMetricValue,
        st.dictionaries(TEXTS, TEXTS, max_size=3).map(labels_of),
        st.integers(0, 4_000_000_000_000),
        st.none() | st.integers(0, 100_000),
        st.integers(0, quantity.MAX_MILLI),
        st.just(0),
    ),
    max_size=4,
)


def plain(metric_name: str, items: Sequence[ExternalMetricValue]) -> object:
    """Return what a reader should find."""
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [
            {
                "metricName": metric_name,
                "metricLabels": dict(item.labels),
                "timestamp": encode.timestamp(item.timestamp_ms // 1000),
                **({} if item.window_s is None else {"window": item.window_s}),
                "value": quantity.text(item.milli),
            }
            for item in items
        ],
    }


@given(TEXTS, ITEMS)
def test_text_forms_are_read_back(metric_name: str, items: list[ExternalMetricValue]) -> None:
    """JSON, indented JSON and YAML all say the same to a reader, whatever the labels are."""
    expected = plain(metric_name, items)
    assert json.loads(encode.values(metric_name, items, Form.JSON)) == expected
    assert json.loads(encode.values(metric_name, items, Form.PRETTY)) == expected
    assert yaml.safe_load(encode.values(metric_name, items, Form.YAML)) == expected


ANY_TEXT = st.one_of(
    TEXTS, st.text(max_size=8), st.text(st.characters(categories=["Cs"]), max_size=2), st.just("x" * 200)
)
ANY_ITEMS = st.lists(
    st.builds(
        ExternalMetricValue,
        st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3).map(lambda labels: tuple(labels.items())),
        st.integers(0, 4_000_000_000_000),
        st.none() | st.integers(0, 100_000),
        st.integers(-quantity.MAX_MILLI, quantity.MAX_MILLI) | st.integers(0, 30).map(lambda zeros: 10**zeros % 10**19),
        st.just(0),
    ),
    max_size=6,
)


@given(ANY_TEXT, ANY_ITEMS)
def test_values_are_what_the_slow_twins_write(metric_name: str, items: list[ExternalMetricValue]) -> None:
    """Whatever names, labels, times and values are, JSON and protobuf are the twins', byte by byte, again and again."""
    for _ in range(2):
        assert encode.values(metric_name, items, Form.JSON) == naive_encode.json_values(metric_name, items)
        assert encode.values(metric_name, items, Form.PROTOBUF) == naive_encode.protobuf_values(metric_name, items)


def test_what_is_kept_of_items_is_bounded() -> None:
    """Beginnings are written once an item, and when they take too much room all go."""
    written: list[str] = []

    def write(metric_name: str, labels: Labels) -> str:
        written.append(metric_name)
        return f"{metric_name}{labels}"

    cache = FragmentCache(write, max_size=2000)
    for _ in range(3):
        assert cache.of("m")[ITEM.labels] == f"m{ITEM.labels}"
    assert written == ["m"]
    for number in range(1000):
        assert cache.of(f"m{number}")[ITEM.labels].startswith(f"m{number}(")
        assert cache.size < 2100
    assert len(written) == 1001


def fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """Read any protobuf message: (field, number) or (field, bytes)."""
    found: list[tuple[int, int | bytes]] = []
    position = 0

    def varint() -> int:
        nonlocal position
        number = shift = 0
        while True:
            byte = data[position]
            position += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while position < len(data):
        tag = varint()
        if tag & 7 == 0:
            found.append((tag >> 3, varint()))
        else:
            assert tag & 7 == 2
            length = varint()
            assert position + length <= len(data)
            found.append((tag >> 3, data[position : position + length]))
            position += length
    return found


def texts(data: int | bytes) -> dict[int, str]:
    assert isinstance(data, bytes)
    return {number: found.decode() for number, found in fields(data) if isinstance(found, bytes)}


def opened(body: bytes, kind: str, api_version: str) -> list[tuple[int, int | bytes]]:
    """Read the envelope and return the fields of what is in it."""
    assert body.startswith(b"k8s\0")
    envelope = dict(fields(body[4:]))
    assert texts(envelope[1]) == {1: api_version, 2: kind}
    assert (envelope[3], envelope[4]) == (b"", b"")
    raw = envelope[2]
    assert isinstance(raw, bytes)
    return fields(raw)


@given(TEXTS, ITEMS)
def test_protobuf_is_read_back(metric_name: str, items: list[ExternalMetricValue]) -> None:
    """A reader of protobuf that knows only the numbers of the fields finds every item."""
    body = encode.values(metric_name, items, Form.PROTOBUF)
    metadata, *found = opened(body, "ExternalMetricValueList", "external.metrics.k8s.io/v1beta1")
    assert metadata == (1, b"\x0a\x00\x12\x00\x1a\x00")
    assert len(found) == len(items)
    for (number, raw), item in zip(found, items, strict=True):
        assert number == 2
        assert isinstance(raw, bytes)
        parts = fields(raw)
        labels = [texts(part) for field, part in parts if field == 2]
        rest = {field: part for field, part in parts if field != 2}
        time = rest[3]
        assert isinstance(time, bytes)
        assert rest[1] == metric_name.encode()
        assert [(label[1], label[2]) for label in labels] == list(item.labels)
        assert fields(time) == [(1, item.timestamp_ms // 1000), (2, 0)]
        assert rest.get(4) == item.window_s
        assert texts(rest[5]) == {1: quantity.text(item.milli)}


def test_protobuf_status() -> None:
    """A Status in protobuf has all its causes, and its empty reason is written."""
    error = ApiError("no", Details(group="g", kind="k", causes=(Cause("why", "R", "f"),), retry_after_seconds=1))
    metadata, *rest = opened(encode.status(error, Form.PROTOBUF), "Status", "v1")
    found = dict(rest)
    details = found[5]
    assert metadata[0] == 1
    assert (found[2], found[3], found[4], found[6]) == (b"Failure", b"no", b"", 500)
    assert isinstance(details, bytes)
    assert fields(details)[:3] == [(1, b""), (2, b"g"), (3, b"k")]
    assert texts(dict(fields(details))[4]) == {1: "R", 2: "why", 3: "f"}
    assert fields(details)[4:] == [(5, 1), (6, b"")]


def test_golden_item() -> None:
    """One item, in each form, is what the Go library writes for it."""
    yaml_text = (
        "apiVersion: external.metrics.k8s.io/v1beta1\nitems:\n- metricLabels:\n    queue: a\n"
        '  metricName: queue_depth\n  timestamp: "2026-01-02T03:04:05Z"\n  value: 1500m\n  window: 60\n'
        "kind: ExternalMetricValueList\nmetadata: {}\n"
    )
    assert encode.values("queue_depth", [ITEM], Form.YAML).decode() == yaml_text
    assert encode.values("queue_depth", [ITEM], Form.PROTOBUF).hex() == (
        "6b3873000a3a0a1f65787465726e616c2e6d6574726963732e6b38732e696f2f76316265746131121745787465726e616c4d6574726963"
        "56616c75654c69737412380a060a0012001a00122e0a0b71756575655f6465707468120a0a0571756575651201611a0808a5ebdcca0610"
        "00203c2a070a05313530306d1a002200"
    )
