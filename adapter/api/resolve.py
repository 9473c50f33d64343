"""From a request target to what is asked: pure, and remembered, because the same clients ask the same again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from adapter.api import listoptions
from adapter.api.discovery import VERSION
from adapter.api.request import Attributes, Target, attributes, is_watch, parse_target
from adapter.errors import NO_DETAILS, ApiError, NotFoundError
from scaler.model import EXTERNAL_METRICS_GROUP, MetricRef
from scaler.selector import EVERYTHING, Selector

PATHS = (
    "/apis",
    f"/apis/{EXTERNAL_METRICS_GROUP}",
    f"/apis/{EXTERNAL_METRICS_GROUP}/{VERSION}",
    "/healthz",
    "/livez",
    "/openapi/v2",
    "/openapi/v3",
    f"/openapi/v3/apis/{EXTERNAL_METRICS_GROUP}/{VERSION}",
    "/readyz",
    "/version",
)
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})


class Kind(StrEnum):
    """What a target names. Our telemetry counts by it."""

    VALUES = "values"
    GROUPS = "groups"
    GROUP = "group"
    RESOURCES = "resources"
    OPENAPI_V2 = "openapi-v2"
    OPENAPI_V3 = "openapi-v3"
    OPENAPI_V3_GROUP = "openapi-v3-group"
    VERSION = "version"
    HEALTHZ = "healthz"
    LIVEZ = "livez"
    READYZ = "readyz"
    INDEX = "index"
    UNKNOWN_RESOURCE = "unknown-resource"
    UNKNOWN_PATH = "unknown-path"


HEALTH = frozenset({Kind.HEALTHZ, Kind.LIVEZ, Kind.READYZ})

_KINDS: dict[tuple[str, ...], Kind] = {
    (): Kind.INDEX,
    ("apis",): Kind.GROUPS,
    ("apis", EXTERNAL_METRICS_GROUP): Kind.GROUP,
    ("apis", EXTERNAL_METRICS_GROUP, VERSION): Kind.RESOURCES,
    ("openapi", "v2"): Kind.OPENAPI_V2,
    ("openapi", "v3"): Kind.OPENAPI_V3,
    ("openapi", "v3", "apis", EXTERNAL_METRICS_GROUP, VERSION): Kind.OPENAPI_V3_GROUP,
    ("version",): Kind.VERSION,
    ("healthz",): Kind.HEALTHZ,
    ("livez",): Kind.LIVEZ,
    ("readyz",): Kind.READYZ,
}
_VALUES_PREFIX = ("apis", EXTERNAL_METRICS_GROUP, VERSION, "namespaces")
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class Route:
    """A target, understood. `gets` is what authorization is asked about a GET.

    `ref` and `metric_name` (as the client wrote it) are set for VALUES. `timeout_error` comes before anything else,
    `options_error` once the metric is reached. `pretty` is None where the query does not say.
    """

    kind: Kind
    target: Target
    gets: Attributes
    ref: MetricRef
    metric_name: str
    selector: Selector
    pretty: bool | None
    timeout_error: ApiError | None
    options_error: ApiError | None


_NO_REF = MetricRef("", "", "")
_LONGEST_REMEMBERED = 1024  # characters; bounds the memory that strange targets can take


def resolve(raw_target: str) -> Route:
    """Return what a request target asks for.

    Raises:
        BadEscapeError: No path can be read from it.
    """
    return _remembered(raw_target) if len(raw_target) <= _LONGEST_REMEMBERED else _resolve(raw_target)


def _resolve(raw_target: str) -> Route:
    target = parse_target(raw_target)
    kind = _kind(target.segments)
    ref, metric_name, selector = _NO_REF, "", EVERYTHING
    timeout_error: ApiError | None = None
    options_error: ApiError | None = None
    if not is_watch(target):  # a watch has no deadline
        try:
            listoptions.check_timeout(target)
        except ApiError as exc:
            timeout_error = exc
    if kind is Kind.VALUES:
        namespace, metric_name = target.segments[4:]
        ref = MetricRef(EXTERNAL_METRICS_GROUP, namespace, metric_name.lower())
        if metric_name in _NAMESPACE_SUBRESOURCES:
            # Kubernetes reads these as parts of the namespace; no metric can have such a name.
            options_error = metric_not_found("namespaces")
        try:
            selector = listoptions.selector_of(target)
        except ApiError as exc:
            options_error = exc
    pretty = target.first("pretty") in _TRUE if target.first("pretty") else None
    gets = attributes("GET", target)
    return Route(kind, target, gets, ref, metric_name, selector, pretty, timeout_error, options_error)


_remembered = lru_cache(maxsize=4096)(_resolve)


def _kind(segments: tuple[str, ...]) -> Kind:
    if (kind := _KINDS.get(segments)) is not None:
        return kind
    if segments[:4] == _VALUES_PREFIX and len(segments) == 6:
        # An empty segment or an escaped slash never names a namespace or a metric.
        named = all(segment and "/" not in segment for segment in segments[4:])
        return Kind.VALUES if named else Kind.UNKNOWN_RESOURCE
    return Kind.UNKNOWN_RESOURCE if segments[:2] == _VALUES_PREFIX[:2] else Kind.UNKNOWN_PATH


def metric_not_found(metric_name: str) -> ApiError:
    """Return the error for a metric that nobody has defined."""
    resource = f"externalmetrics.{EXTERNAL_METRICS_GROUP}"
    return NotFoundError(f"the server could not find the metric {metric_name} for {resource}")


def resource_not_found() -> ApiError:
    """Return the error for a path below the group that is no resource."""
    return NotFoundError("the server could not find the requested resource", NO_DETAILS)
