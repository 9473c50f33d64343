"""Every recorded exchange with the reference adapter, replayed; where we differ, on purpose and with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from scaler.model import ExternalMetricValue, MetricRef, MetricResult, Reason, Snapshot, Unknown, labels_of
from tests.api_fixtures import BASE, FOREVER_MS, NOW_MS, VALUES, WIRE, Served, ref

_TIMES_MS = {"2026-01-02T03:04:05Z": 1_767_323_045_000, "2026-01-02T03:04:06.789Z": 1_767_323_046_789}


def milli_of(text: str) -> int:
    """Return the milli-units of one of the provider's values."""
    found = re.fullmatch(r"(-?\d+)([mk]?)", text)
    assert found is not None
    return int(found[1]) * {"m": 1, "": 1000, "k": 1_000_000}[found[2]]


def provider() -> Snapshot:
    """Return the state that the vectors were recorded with, as far as ours can be in it."""
    results: dict[MetricRef, MetricResult] = {}
    for name, state in json.loads((WIRE / "http-provider.json").read_text()).items():
        if "Code" in state and state["Code"] != 503:
            continue  # a metric here is known or unknown, and that is all that can go wrong with it
        unknown = Unknown(Reason.SOURCE_ERROR, state["Msg"]) if "Code" in state else None
        items = tuple(
            ExternalMetricValue(
                labels_of(item.get("Labels", {})),
                _TIMES_MS.get(item.get("TS"), 0),
                item.get("Window"),
                milli_of(item["Value"]),
                FOREVER_MS,
            )
            for item in state.get("List", ())
        )
        for namespace in ("default", "Bad_NS!"):  # the reference has the same metrics in every namespace
            results[ref(name, namespace)] = MetricResult(name, items, unknown, NOW_MS, None)
    return Snapshot(results, NOW_MS)


class Difference(NamedTuple):
    """Why we answer otherwise, and how."""

    reason: str
    expected: Callable[[dict[str, Any]], dict[str, Any]]


def replaced(old: str, new: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(vector: dict[str, Any]) -> dict[str, Any]:
        field = "body" if "body" in vector else "body_hex"
        assert old in vector[field]
        return {**vector, field: vector[field].replace(old, new)}

    return change


def instead(body: str, status: int = 200, etag: str | None = None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda vector: {**vector, "body": body, "status": status, "etag": etag}


def status(code: int, reason: str, message: str, details: str = "") -> Callable[[dict[str, Any]], dict[str, Any]]:
    text = (
        f'{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{message}",'
        f'"reason":"{reason}",{details}"code":{code}}}\n'
    )
    return instead(text, code)


def undefined(name: str) -> Difference:
    message = f"the server could not find the metric {name} for externalmetrics.external.metrics.k8s.io"
    return Difference(
        "a value is known or unknown; a source's error is never an answer", status(404, "NotFound", message)
    )


ONE_ENTRY = "discovery is one constant entry: it must not depend on what is configured"
NO_NULL = "metricLabels is always an object and timestamp always a time, so that no reader stumbles"
_RESOURCES = (
    '{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"external.metrics.k8s.io/v1beta1","resources":['
    '{"name":"externalmetrics","singularName":"","namespaced":true,"kind":"ExternalMetricValueList","verbs":["get"]}]}\n'
)
_AGGREGATED = (
    '{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[{"metadata":'
    '{"name":"external.metrics.k8s.io","creationTimestamp":null},"versions":[{"version":"v1beta1","resources":['
    '{"resource":"externalmetrics","responseKind":{"group":"external.metrics.k8s.io","version":"v1beta1",'
    '"kind":"ExternalMetricValueList"},"scope":"Namespaced","singularResource":"","verbs":["get"]}],'
    '"freshness":"Current"}]}]}\n'
)
_GROUPS = (
    '{"kind":"APIGroupList","groups":[{"name":"external.metrics.k8s.io","versions":[{"groupVersion":'
    '"external.metrics.k8s.io/v1beta1","version":"v1beta1"}],"preferredVersion":{"groupVersion":'
    '"external.metrics.k8s.io/v1beta1","version":"v1beta1"}}]}\n'
)
_PATHS = json.dumps(
    {
        "paths": [
            "/apis",
            "/apis/external.metrics.k8s.io",
            "/apis/external.metrics.k8s.io/v1beta1",
            "/healthz",
            "/livez",
            "/openapi/v2",
            "/openapi/v3",
            "/openapi/v3/apis/external.metrics.k8s.io/v1beta1",
            "/readyz",
            "/version",
        ]
    },
    indent=2,
)
_PROTOBUF = "application/vnd.kubernetes.protobuf"

DIFFERENCES: dict[tuple[str, str], Difference] = {
    ("/apis", "aggregated"): Difference(
        "the reference's empty list hides the group from kubectl and from clients", instead(_AGGREGATED)
    ),
    ("/apis/", ""): Difference("we serve one group, and no client needs our address", instead(_GROUPS)),
    (BASE, ""): Difference(ONE_ENTRY, instead(_RESOURCES)),
    (f"{BASE}/", ""): Difference(ONE_ENTRY, instead(_RESOURCES)),
    (f"{BASE}/namespaces//queue_depth", ""): Difference(
        "an empty namespace is no namespace",
        status(404, "NotFound", "the server could not find the requested resource", '"details":{},'),
    ),
    (f"{VALUES}/nots", ""): Difference(NO_NULL, replaced("null", '"1970-01-01T00:00:00Z"')),
    (f"{VALUES}/nots", _PROTOBUF): Difference(
        NO_NULL,
        replaced("12190a060a0012001a00120f0a046e6f74731a00", "121d0a060a0012001a0012130a046e6f74731a0408001000"),
    ),
    (f"{VALUES}/err-400", ""): undefined("err-400"),
    (f"{VALUES}/err-403", ""): undefined("err-403"),
    (f"{VALUES}/err-500", ""): undefined("err-500"),
    (f"{VALUES}/err-plain", ""): undefined("err-plain"),
    (f"{VALUES}/err-503", ""): Difference(
        "what is unknown is named, with the reason",
        status(503, "ServiceUnavailable", "metric default/err-503 is unknown: SourceError: backend down"),
    ),
    ("/apis/nope.example.com/v1", ""): Difference("our paths are fewer", instead(_PATHS, 404)),
    ("/version", ""): Difference("the build is another", instead("")),
    **{
        (f"{VALUES}/{name}", ""): Difference(NO_NULL, replaced('"metricLabels":null', '"metricLabels":{}'))
        for name in ("a%20b", "a%3Ab", "a:b", "neg", "nolabels")
    },
}


def vectors() -> Iterator[Any]:
    for line in (WIRE / "http.jsonl").read_text().splitlines():
        vector = json.loads(line)
        yield pytest.param(vector, id=f"{vector['method']} {vector['path']} {vector['headers']}"[:160])


def key_of(vector: dict[str, Any]) -> tuple[str, str]:
    accept = vector["headers"].get("Accept", "")
    return vector["path"], "aggregated" if "APIGroupDiscoveryList" in accept else accept


@pytest.mark.parametrize("vector", list(vectors()))
def test_vector(vector: dict[str, Any]) -> None:
    """What the reference adapter answers, we answer, byte for byte, but for the differences above."""
    served = Served()
    served.snapshot = provider()
    difference = DIFFERENCES.get(key_of(vector)) if vector["method"] == "GET" else None
    expected = vector if difference is None else difference.expected(vector)

    response = served.ask(vector["path"], vector["method"], vector["headers"])

    assert response.status == expected["status"]
    assert response.headers["Content-Type"] == expected["content_type"]
    assert response.headers["Cache-Control"] == "no-cache, private"
    if vector["path"] == "/version":
        assert json.loads(response.body)["gitVersion"] == "v0.1.0"
    elif "body_hex" in expected:
        assert response.body.hex() == expected["body_hex"]
    elif vector["method"] != "HEAD":  # the server leaves a HEAD's body out
        assert response.body.decode() == expected["body"]
    if "vary" in expected:
        assert response.headers["Vary"] == expected["vary"]
    if "etag" in vector:
        assert re.fullmatch('"[0-9A-F]{128}"', response.headers["ETag"])


def test_each_difference_is_used() -> None:
    """No difference is named that no vector shows, and there are 87 vectors."""
    found = [json.loads(line) for line in (WIRE / "http.jsonl").read_text().splitlines()]
    assert {key_of(vector) for vector in found if vector["method"] == "GET"} >= DIFFERENCES.keys()
    assert len(found) == 87
