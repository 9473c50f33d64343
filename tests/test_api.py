"""The API beyond the recorded exchanges: what is unknown, who may, the cache, probes, documents, odd targets."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from adapter.api import encode
from adapter.api.cache import AnswerCache
from adapter.api.encode import CONTENT_TYPES, Form
from adapter.api.request import Attributes, Request, Response, Undecided
from adapter.errors import ApiError, ForbiddenError, UnauthorizedError
from scaler.model import Reason, Then, Unknown, UnknownItem, WhenUnknown, labels_of
from scaler.selector import Selector
from tests.api_fixtures import BASE, NOW_MS, VALUES, Served, ref, request, result, value

A, B = labels_of({"queue": "a"}), labels_of({"queue": "b"})
INVALID = 'ListOptions.meta.k8s.io "" is invalid: '
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def message(body: bytes) -> str:
    found = json.loads(body)["message"]
    assert isinstance(found, str)
    return found


def test_unknown_is_503_and_never_a_part() -> None:
    """One unknown item makes 503 of every answer that it belongs to, without Retry-After, and of no other."""
    lost = UnknownItem(B, Unknown(Reason.NULL_LAG, "stream events", NOW_MS))
    served = Served(result("depth", value(1000, A), lost))
    found = served.ask(f"{VALUES}/depth")
    assert (found.status, json.loads(found.body)["reason"]) == (503, "ServiceUnavailable")
    assert message(found.body) == "metric default/depth is unknown: queue=b: NullLag: stream events since 03:05:00Z"
    assert "Retry-After" not in found.headers
    assert served.ask(f"{VALUES}/depth?labelSelector=queue%3Da").status == 200
    assert served.ask(f"{VALUES}/depth?labelSelector=queue%3Db").status == 503


def test_not_collected_yet_is_503_and_undefined_404() -> None:
    """A configured metric without a result is unknown; so is every metric until a configuration is loaded."""
    served = Served()
    assert served.ask(f"{VALUES}/m").status == 404
    served.defined = True
    found = served.ask(f"{VALUES}/m")
    assert (found.status, message(found.body)) == (503, "metric default/m is unknown: NoData: not collected yet")
    served.defined = None
    found = served.ask(f"{VALUES}/m")
    assert message(found.body) == "metric default/m is unknown: NoData: no configuration has been loaded yet"


def test_names_ignore_case() -> None:
    """An HPA lower-cases the name it asks for; the item carries the author's spelling."""
    served = Served(result("MixedCase", value(7000)))
    for name in ("mixedcase", "MixedCase", "MIXEDCASE", "%4Dixedcase"):
        assert json.loads(served.ask(f"{VALUES}/{name}").body)["items"][0]["metricName"] == "MixedCase"


def test_cache_ends_with_the_result_and_with_time() -> None:
    """An encoded answer is used again only for the same result, and not from its valid_until_ms on."""
    served = Served(result("m", value(1000, valid_until_ms=NOW_MS + 10)))
    first = served.ask(f"{VALUES}/m").body
    assert served.ask(f"{VALUES}/m").body is first
    served.publish(result("other", value(1)))
    assert served.ask(f"{VALUES}/m").body is first
    served.publish(result("m", value(2000, valid_until_ms=NOW_MS + 10)))
    assert json.loads(served.ask(f"{VALUES}/m").body)["items"][0]["value"] == "2"
    served.now_ms = NOW_MS + 9
    assert served.ask(f"{VALUES}/m").status == 200
    served.now_ms = NOW_MS + 10
    assert message(served.ask(f"{VALUES}/m").body) == "metric default/m is unknown: Stale since 03:05:00Z"


def test_an_answer_passes_from_current_to_held_to_an_error_without_an_evaluation() -> None:
    """The same result is served from memory until holdFor has passed, to the millisecond, then it is an error."""
    policy = WhenUnknown(Then.HOLD, hold_for_ms=100)
    served = Served(replace(result("m", value(1000, valid_until_ms=NOW_MS + 10)), when_unknown=policy))
    body = served.ask(f"{VALUES}/m").body
    for now_ms in (NOW_MS + 9, NOW_MS + 10, NOW_MS + 109):
        served.now_ms = now_ms
        assert served.ask(f"{VALUES}/m").body == body
    served.now_ms = NOW_MS + 110
    assert message(served.ask(f"{VALUES}/m").body) == "metric default/m is unknown: Stale since 03:05:00Z"


def test_an_answer_passes_from_current_to_the_floor_without_an_evaluation() -> None:
    """From the end of maxAge on it is the floor, with the time of the sample, for what was known and what was not."""
    policy = WhenUnknown(Then.FLOOR, floor_milli=5_000, floor_after_ms=50)
    served = Served(replace(result("m", value(1000, A, valid_until_ms=NOW_MS + 10)), when_unknown=policy))
    time = json.loads(served.ask(f"{VALUES}/m").body)["items"][0]["timestamp"]
    served.now_ms = NOW_MS + 10
    (item,) = json.loads(served.ask(f"{VALUES}/m").body)["items"]
    assert (item["value"], item["timestamp"], item["metricLabels"]) == ("5", time, {"queue": "a"})
    lost = Unknown(Reason.SOURCE_ERROR, "timeout", NOW_MS)
    served.publish(replace(result("m", unknown=lost), when_unknown=policy))
    served.now_ms = NOW_MS + 50
    assert served.ask(f"{VALUES}/m?labelSelector=queue%3Db").status == 503
    served.now_ms = NOW_MS + 51
    (item,) = json.loads(served.ask(f"{VALUES}/m?labelSelector=queue%3Db,tier+in+(x,y)").body)["items"]
    assert (item["value"], item["timestamp"], item["metricLabels"]) == ("5", time, {"queue": "b"})
    served.publish(replace(result("m", value(1000, A)), when_unknown=policy))
    assert json.loads(served.ask(f"{VALUES}/m?labelSelector=queue%3Db").body)["items"] == []


def test_cache_tells_queries_and_forms_apart() -> None:
    """Each selector and each form has its own bytes."""
    served = Served(result("m", value(1000, A), value(2000, B)))
    bodies = {
        served.ask(f"{VALUES}/m{query}", headers={"Accept": accept}).body
        for query in ("", "?labelSelector=queue%3Da", "?labelSelector=queue%3Db", "?labelSelector=x")
        for accept in (
            "application/json",
            "application/json;pretty=1",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        )
    }
    assert len(bodies) == len(served.api.cache) == 16


def test_cache_is_bounded() -> None:
    """The cache holds so many entries and so many bytes, and drops what was used least recently."""
    cache, found = AnswerCache(max_entries=2, max_bytes=10), result("m")
    keys = [(ref("m"), query, Form.JSON) for query in "abc"]
    for key in keys[:2]:
        cache.put(key, found, None, b"1234")
    assert cache.get(keys[0], found, 0) == b"1234"
    cache.put(keys[2], found, None, b"1234")
    assert [cache.get(key, found, 0) for key in keys] == [b"1234", None, b"1234"]
    cache.put(keys[1], found, None, b"12345678")
    assert [cache.get(key, found, 0) for key in keys] == [None, b"12345678", None]
    cache.put(keys[1], found, None, b"x")
    assert cache.bytes == 1


@pytest.mark.parametrize(
    "target",
    [
        f"{VALUES}/m/x",
        f"{VALUES}/a%2Fb",
        f"{BASE}/namespaces/a%2Fb/m",
        f"{BASE}/namespaces//m",
        f"{VALUES}//",
        f"{BASE}/m",
        f"{BASE}/namespaces",
        "/apis/external.metrics.k8s.io/v1beta2",
        f"{BASE}//namespaces/default/m",
    ],
)
def test_no_such_resource(target: str) -> None:
    """Below the group every path that is no metric is the same 404, escaped slashes and empty segments included."""
    found = Served(result("m", value(1)), result("a/b", value(1))).ask(target)
    assert (found.status, message(found.body)) == (404, "the server could not find the requested resource")
    assert json.loads(found.body)["details"] == {}


def test_escapes() -> None:
    """An escape is decoded once; a bad one in the path is a bare 400, in the query it is not there."""
    served = Served(result("a b", value(1)), result("é", value(2)))
    assert served.ask(f"{VALUES}/a%20b").status == 200
    assert served.ask(f"{VALUES}/%C3%A9").status == 200
    assert message(served.ask(f"{VALUES}/a%252Fb").body).startswith("the server could not find the metric a%2Fb for")
    found = served.ask(f"{VALUES}/%zz")
    assert (found.status, found.body, found.headers["Connection"]) == (400, b"400 Bad Request", "close")
    assert served.ask(f"{VALUES}/a%20b?labelSelector=%zz&limit=%zz").status == 200
    assert served.ask(f"{VALUES}/a%20b?labelSelector=a;b").status == 200
    assert served.ask(f"https://10.0.0.1:6443{VALUES}/a%20b").status == 200
    assert message(served.ask(f"{VALUES}/%FF").body).startswith("the server could not find the metric �")


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        ("limit=", 400, 'strconv.ParseInt: parsing "": invalid syntax'),
        ("limit=9223372036854775808", 400, 'strconv.ParseInt: parsing "9223372036854775808": value out of range'),
        ("limit=-1&continue=zzz&allowWatchBookmarks=x&unknown=1&resourceVersion=abc", 200, ""),
        ("limit=1&limit=abc", 200, ""),
        ("timeoutSeconds=1&resourceVersion=1&resourceVersionMatch=Exact", 200, ""),
        ("limit=abc&labelSelector=%2C", 400, 'strconv.ParseInt: parsing "abc": invalid syntax'),
        ("timeout=abc&limit=abc", 400,
         'invalid timeout specified in the request URL - time: invalid duration "abc"'),
        ("timeout=5x", 400,
         'invalid timeout specified in the request URL - time: unknown unit "x" in duration "5x"'),
        ("timeout=1h2", 400,
         'invalid timeout specified in the request URL - time: missing unit in duration "1h2"'),
        ("timeout=-", 400, 'invalid timeout specified in the request URL - time: invalid duration "-"'),
        ("timeout=.", 400, 'invalid timeout specified in the request URL - time: invalid duration "."'),
        ("timeout=99999999999h", 400,
         'invalid timeout specified in the request URL - time: invalid duration "99999999999h"'),
        ("timeout=0", 200, ""),
        ("timeout=-1.5s", 200, ""),
        ("timeout=1h2m3.5s4ms5us6ns", 200, ""),
        ("timeout=", 200, ""),
        ("watch=false", 200, ""),
        ("watch=False&watch=1", 200, ""),
        ("watch", 405, 'watch is not supported on resources of kind "*.external.metrics.k8s.io"'),
        ("watch=true&timeout=abc", 405, 'watch is not supported on resources of kind "*.external.metrics.k8s.io"'),
        ("watch=1&resourceVersionMatch=Exact", 422,
         INVALID + "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch"),
        ("sendInitialEvents=true", 422,
         INVALID + "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ("resourceVersionMatch=Exact&resourceVersion=0&continue=x", 422,
         INVALID + "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided, "
         'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"]'),
        ("fieldSelector=metadata.name%3Dx", 200, ""),
        ("fieldSelector=metadata.name%21%3Dx,metadata.namespace%3D%3Dy", 200, ""),
        ("fieldSelector=foo%3Dx", 400,
         '"foo" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        ("fieldSelector=foo", 400, "invalid selector: 'foo'; can't understand 'foo'"),
        ("fieldSelector=a%3Db%3Dc", 400, "invalid field selector: unescaped character in value: ="),
        ("fieldSelector=a%3D%5Cx", 400, "invalid field selector: invalid escape sequence: \\x"),
        ("fieldSelector=metadata.name%3D%5C%2C", 200, ""),
    ],
)  # fmt: skip
def test_query_parameters(query: str, code: int, text: str) -> None:
    """A list's parameters are checked as Kubernetes checks them, though few of them mean anything here."""
    found = Served(result("m", value(1))).ask(f"{VALUES}/m?{query}")
    assert found.status == code
    assert code == 200 or message(found.body) == text


def test_pretty() -> None:
    """People get indented JSON, by the query or by what they use to ask."""
    served = Served(result("m", value(1)))
    for query, agent, pretty in (
        ("", "curl/8.5.0", True),
        ("", "Mozilla/5.0 (X11)", True),
        ("?pretty=false", "curl/8.5.0", False),
        ("?pretty=true", "kubectl/v1.32.4", True),
        ("?pretty=yes", "curl/8.5.0", False),
        ("?pretty=", "curl/8.5.0", True),
        ("", "kubectl/v1.32.4", False),
    ):
        found = served.ask(f"{VALUES}/m{query}", headers={"User-Agent": agent})
        assert found.body.startswith(b"{\n") is pretty


def test_audit_id() -> None:
    """The audit identifier is the client's, or a new one on each answer, errors included."""
    served = Served()
    assert served.ask("/apis", headers={"audit-id": "mine"}).headers["Audit-Id"] == "mine"
    ids = {served.ask(f"{VALUES}/m").headers["Audit-Id"] for _ in range(3)}
    assert len({uuid.UUID(found) for found in ids}) == 3


def test_impersonation_is_refused() -> None:
    """A request that asks to be somebody else is refused, whatever it asks for."""
    served = Served(result("m", value(1)))
    for name in ("Impersonate-User", "impersonate-group", "IMPERSONATE-EXTRA-scopes", "Impersonate-Uid"):
        found = served.ask(f"{VALUES}/m", headers={name: "system:masters"})
        assert (found.status, json.loads(found.body)["reason"]) == (403, "Forbidden")
        assert found.headers["X-Content-Type-Options"] == "nosniff"


def test_authorization_comes_before_everything_but_the_timeout() -> None:
    """Who may not read learns nothing: not whether a path, a metric or a method exists."""
    asked: list[tuple[Attributes, str]] = []

    def refuse(_: Request, attributes: Attributes, selector: Selector) -> ApiError:
        asked.append((attributes, str(selector)))
        return ForbiddenError("no") if attributes.resource else UnauthorizedError()

    served = Served(result("m", value(1)), authorize=refuse)
    assert served.ask(f"{VALUES}/m?timeout=abc").status == 400
    for target in (f"{VALUES}/m", f"{VALUES}/unknown", f"{VALUES}/m?labelSelector=%2C", f"{BASE}/m"):
        assert served.ask(target).status == served.ask(target, "POST").status == 403
    assert served.ask("/apis").status == served.ask("/nope").status == 401
    assert served.ask("/readyz").status == served.ask("/livez/ping").status == 401
    assert served.ask(f"{VALUES}/m", headers={"Impersonate-User": "x"}).status == 403
    assert served.ask("/apis", headers={"Impersonate-User": "x"}).status == 401
    asked.clear()
    served.ask(f"{VALUES}/M?labelSelector=queue%3Da")
    expected = Attributes("list", f"{VALUES}/M", "external.metrics.k8s.io", "v1beta1", "default", "M")
    assert asked == [(expected, "queue=a")]


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", f"{VALUES}/m?watch=1", ("watch", "default", "m", "", "")),
        ("GET", f"{VALUES}/m/x/y", ("get", "default", "m", "y", "x")),
        ("DELETE", f"{VALUES}/m", ("deletecollection", "default", "m", "", "")),
        ("DELETE", f"{VALUES}/m/x", ("delete", "default", "m", "", "x")),
        ("POST", f"{VALUES}/m", ("create", "default", "m", "", "")),
        ("OPTIONS", f"{VALUES}/m", ("", "default", "m", "", "")),
        ("GET", f"{BASE}/m", ("list", "", "m", "", "")),
        ("GET", f"{VALUES}/status", ("get", "default", "namespaces", "status", "default")),
        ("GET", f"{BASE}/namespaces/default", ("get", "default", "namespaces", "", "default")),
        ("GET", f"{BASE}/namespaces", ("list", "", "namespaces", "", "")),
        ("POST", BASE, ("post", "", "", "", "")),
        ("GET", "/openapi/v3/apis/g/v", ("get", "", "", "", "")),
    ],
)
def test_attributes(method: str, target: str, expected: tuple[str, ...]) -> None:
    """Authorization is asked what a Kubernetes API server would ask it."""
    asked: list[Attributes] = []
    Served(authorize=lambda _, attributes, __: asked.append(attributes)).ask(target, method)
    (found,) = asked
    assert (found.verb, found.namespace, found.resource, found.subresource, found.name) == expected


def test_probes() -> None:
    """A probe says ok, or 503 and which check failed; readiness and liveness are apart."""
    served = Served()
    for name in ("healthz", "livez", "readyz"):
        found = served.ask(f"/{name}")
        assert (found.status, found.body, found.headers["Content-Type"]) == (200, b"ok", "text/plain; charset=utf-8")
    assert served.ask("/readyz?verbose").body == b"[+]ping ok\n[+]shutdown ok\nreadyz check passed\n"
    served.probes.ready[1] = ("shutdown", "process is shutting down")
    found = served.ask("/readyz")
    assert (found.status, served.ask("/livez").status, served.ask("/healthz").status) == (503, 200, 200)
    assert found.body == b"[+]ping ok\n[-]shutdown failed: process is shutting down\nreadyz check failed\n"


def test_aggregated_discovery_is_tagged() -> None:
    """Who has the aggregated document is told so; the legacy one has no tag. Both depend on Accept."""
    served = Served()
    found = served.ask("/apis", headers={"Accept": AGGREGATED})
    assert found.headers["Content-Type"] == AGGREGATED
    again = served.ask("/apis", headers={"Accept": AGGREGATED, "If-None-Match": f'"x", W/{found.headers["ETag"]}'})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", found.headers["ETag"])
    legacy = served.ask("/apis", headers={"Accept": "application/json", "If-None-Match": found.headers["ETag"]})
    assert (legacy.status, legacy.headers["Vary"], "ETag" in legacy.headers) == (200, "Accept", False)


def test_discovery_depends_on_nothing() -> None:
    """Discovery is the same before a configuration, and with any metrics."""
    empty, full = Served(), Served(result("m", value(1)))
    empty.defined = None
    for target in ("/apis", "/apis/external.metrics.k8s.io", BASE):
        for accept in ("", "application/yaml", "application/vnd.kubernetes.protobuf"):
            asked = {"Accept": accept}
            assert empty.ask(target, headers=asked).body == full.ask(target, headers=asked).body
            assert empty.ask(target, headers=asked).status == 200
    assert b"externalmetrics" in empty.ask(BASE, headers={"Accept": "application/vnd.kubernetes.protobuf"}).body


def test_openapi() -> None:
    """The index names the group's document by its hash; every reference in a document leads somewhere in it."""
    served = Served()
    index = json.loads(served.ask("/openapi/v3").body)
    url = index["paths"]["apis/external.metrics.k8s.io/v1beta1"]["serverRelativeURL"]
    group = served.ask(url)
    assert group.headers["Cache-Control"] == "public, immutable, max-age=31536000"
    assert url.endswith(f"?hash={group.headers['ETag'].strip(chr(34))}")
    other = served.ask(url.replace("hash=", "hash=0"))
    assert (other.status, other.body, other.headers["Cache-Control"]) == (200, group.body, "no-cache, private")
    swagger = served.ask("/openapi/v2")
    assert served.ask("/openapi/v2", headers={"If-None-Match": swagger.headers["ETag"]}).status == 304
    for document in (json.loads(group.body), json.loads(swagger.body)):
        for reference in references(document):
            target: Any = document
            for part in reference.removeprefix("#/").split("/"):
                target = target[part]
            assert target["type"]
        path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metricName}"
        assert document["paths"][path]["get"]["responses"]["200"]


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for child in node.values() for found in references(child)]
    return [found for child in node for found in references(child)] if isinstance(node, list) else []


def test_other_methods_and_paths() -> None:
    """Documents are only to be read; the root lists the paths, and so does a path that is none."""
    served = Served()
    for target in ("/apis", BASE, "/version", "/openapi/v2", "/openapi/v3"):
        assert served.ask(target, "POST").status == served.ask(target, "HEAD").status == 405
    assert (served.ask("/").status, served.ask("/nope").status, served.ask("/api").status) == (200, 404, 404)
    assert served.ask("/").body == served.ask("/nope", "PUT").body


def test_every_answer_is_observed() -> None:
    """Telemetry is told of each answer: what kind of route, and the code."""
    served = Served(result("m", value(1)))
    for target in (f"{VALUES}/m", f"{VALUES}/x", "/apis", "/livez", "/nope", "/%zz", f"{BASE}/m"):
        served.ask(target)
    assert served.responses == [
        ("values", 200),
        ("values", 404),
        ("groups", 200),
        ("livez", 200),
        ("unknown-path", 404),
        ("unknown-path", 400),
        ("unknown-resource", 404),
    ]


@pytest.mark.parametrize("form", list(Form))
def test_a_large_answer_is_written_elsewhere(form: Form) -> None:
    """What takes long to write is written in a thread, counted once, and kept as any other answer."""
    items = [value(1000 + n, labels_of({"queue": str(n)})) for n in range(2500)]
    served = Served(result("m", *items))
    asked = request(f"{VALUES}/m{'?pretty=1' if form is Form.PRETTY else ''}", headers={"Accept": CONTENT_TYPES[form]})
    found = served.api.respond(asked)
    assert isinstance(found, Undecided)
    assert served.responses == []
    decided = asyncio.run(_decided(found))
    assert isinstance(decided, Response)
    assert (decided.status, decided.body) == (200, encode.values("m", items, form))
    again = served.api.respond(asked)
    assert isinstance(again, Response)
    assert (again.body, served.responses) == (decided.body, [("values", 200)] * 2)


async def _decided(found: Undecided) -> object:
    return await found.decide()
