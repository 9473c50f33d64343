"""Who read a metric last: what is remembered of requests, and how much of it."""

from __future__ import annotations

from adapter.api.headers import Headers
from adapter.api.readers import Readers
from adapter.api.request import Request, Response
from adapter.api.resolve import resolve
from adapter.api.routes import Api
from scaler.model import ExternalMetricValue, MetricRef, MetricResult, Reason, Snapshot, Unknown
from tests.builders import REF, queue

PATH = "/apis/external.metrics.k8s.io/v1beta1/namespaces/"
ITEMS = tuple(
    ExternalMetricValue(queue(name), 1_000, None, milli, 60_000) for name, milli in (("a", 1_500), ("b", 500))
)


class NoHealth:
    """Nothing to probe."""

    def livez(self) -> list[tuple[str, str | None]]:
        return []

    readyz = livez


class Scene:
    """An API with one metric, shop/m, which shop-eu may read too, and a clock."""

    def __init__(self) -> None:
        self.now_ms = 2_000
        self.result = MetricResult("m", ITEMS, None, 1_000, 60_000)
        self.readers = Readers(lambda: [REF])
        self.api = Api(
            snapshot=lambda: Snapshot({REF: self.result}, 1_000),
            now_ms=lambda: self.now_ms,
            health=NoHealth(),
            defined=lambda ref: ref == REF,
            serves=lambda ref: REF if ref.namespace == "shop-eu" else ref,
            on_read=self.readers.note,
        )

    def get(self, path: str, agent: str = "hpa") -> int:
        response = self.api.respond(Request("GET", PATH + path, Headers([("User-Agent", agent)])))
        assert isinstance(response, Response)
        return response.status


def test_each_reader_is_known_by_what_it_got() -> None:
    """User agent, selector, namespace, code and the sum of what was served; the last one first."""
    scene = Scene()
    assert scene.get("shop/m") == 200
    scene.now_ms = 3_000
    assert scene.get("shop/m?labelSelector=queue%3Db", "curl/8") == 200
    assert scene.get("shop-eu/M?labelSelector=queue%3Dz") == 200
    found = scene.readers.of(REF, 5_000)
    got = [
        (each["userAgent"], each["selector"], each["namespace"], each["ageMs"], each["items"], each["milli"])
        for each in found
    ]
    assert sorted(got[:2]) == [("curl/8", "queue=b", "shop", 2_000, 1, 500), ("hpa", "queue=z", "shop-eu", 2_000, 0, 0)]
    assert got[2:] == [("hpa", "", "shop", 3_000, 2, 2_000)]
    assert {each["code"] for each in found} == {200}


def test_a_read_of_an_unknown_metric_is_one_too() -> None:
    """503 is what the reader got, and no value; the same reader stands once, with its last read."""
    scene = Scene()
    scene.get("shop/m")
    scene.result = MetricResult("m", (), Unknown(Reason.NO_DATA, "gone"), 2_000, None)
    assert scene.get("shop/m") == 503
    assert [(each["code"], each["milli"]) for each in scene.readers.of(REF, 2_000)] == [(503, None)]


def test_what_is_remembered_is_bounded() -> None:
    """Of a metric the eight last readers, of a user agent 256 characters; of what is not defined nothing."""
    scene = Scene()
    for n in range(30):
        scene.now_ms += 1
        scene.get("shop/m", f"{n:02}" + "x" * 5_000)
    assert scene.get("shop/none") == 404
    found = scene.readers.of(REF, scene.now_ms)
    assert [each["userAgent"][:2] for each in found] == [f"{n:02}" for n in range(29, 21, -1)]
    assert {len(each["userAgent"]) for each in found} == {256}
    assert scene.readers.of(MetricRef(REF.group, "shop", "none"), 0) == []


def test_metrics_that_are_gone_are_forgotten() -> None:
    """A stream of metrics that come and go does not fill the memory."""
    scene, route = Scene(), resolve(f"{PATH}shop/m")
    scene.get("shop/m")
    for n in range(1_000):
        scene.readers.note(MetricRef(REF.group, "shop", f"m{n}"), route, "hpa", scene.result, 200, 1)
    assert len(scene.readers) < 100
    assert scene.readers.of(REF, 2_000)
