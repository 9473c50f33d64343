"""An Api over a snapshot, a clock, probes and a configuration that a test may change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adapter.api.headers import Headers
from adapter.api.request import Request, Response
from adapter.api.routes import Api, Authorizer
from scaler.model import (
    EXTERNAL_METRICS_GROUP,
    ExternalMetricValue,
    Labels,
    MetricRef,
    MetricResult,
    Snapshot,
    Unknown,
    UnknownItem,
)

WIRE = Path(__file__).parent / "testdata" / "wire"
BASE = f"/apis/{EXTERNAL_METRICS_GROUP}/v1beta1"
VALUES = f"{BASE}/namespaces/default"
NOW_MS = 1_767_323_100_000
FOREVER_MS = 2**62


def request(target: str, method: str = "GET", headers: dict[str, str] | None = None) -> Request:
    """Return a request as the server makes it."""
    fields = Headers((headers or {}).items())
    return Request(method, target, fields, fields.get("audit-id"))


def ref(name: str, namespace: str = "default") -> MetricRef:
    """Return the reference of a metric as a reader asks for it."""
    return MetricRef(EXTERNAL_METRICS_GROUP, namespace, name.lower())


def value(milli: int, labels: Labels = (), valid_until_ms: int = FOREVER_MS) -> ExternalMetricValue:
    """Return a known item, sampled now."""
    return ExternalMetricValue(labels, NOW_MS, None, milli, valid_until_ms)


def result(name: str, *items: ExternalMetricValue | UnknownItem, unknown: Unknown | None = None) -> MetricResult:
    """Return a result, evaluated now."""
    return MetricResult(name, items, unknown, NOW_MS, None)


class Probes:
    """Health with settable answers."""

    def __init__(self) -> None:
        self.live: list[tuple[str, str | None]] = [("ping", None)]
        self.ready: list[tuple[str, str | None]] = [("ping", None), ("shutdown", None)]

    def livez(self) -> Sequence[tuple[str, str | None]]:
        return self.live

    def readyz(self) -> Sequence[tuple[str, str | None]]:
        return self.ready


class Served:
    """The Api, and everything it looks at."""

    def __init__(self, *results: MetricResult, authorize: Authorizer | None = None) -> None:
        self.snapshot = Snapshot({ref(found.metric_name): found for found in results}, NOW_MS)
        self.now_ms = NOW_MS
        self.defined: bool | None = False
        self.probes = Probes()
        self.responses: list[tuple[str, int]] = []
        self.api = Api(
            snapshot=lambda: self.snapshot,
            now_ms=lambda: self.now_ms,
            health=self.probes,
            defined=lambda _: self.defined,
            version="0.1.0",
            authorize=authorize,
            on_response=lambda kind, code, _: self.responses.append((kind, code)),
        )

    def publish(self, *results: MetricResult) -> None:
        """Replace what is known of these metrics."""
        changed = {ref(found.metric_name): found for found in results}
        self.snapshot = Snapshot({**self.snapshot.results, **changed}, NOW_MS)

    def ask(self, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> Response:
        """Ask the Api, without a socket."""
        found = self.api.respond(request(target, method, headers))
        assert isinstance(found, Response)
        return found
