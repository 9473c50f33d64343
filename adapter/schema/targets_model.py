"""Where pages are: the part of the ExternalMetric schema below `spec.source.scrape.targets`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from adapter.schema.ports import Port
from adapter.schema.strict import Path, Strict, cel
from adapter.schema.text import DNS_LABEL, QUALIFIED_NAME, Text, selectable_name
from adapter.schema.urls import MAX_URL_CHARS, http_url_problem

DEFAULT_PATH = "/metrics"


def _key_problem(key: str) -> str | None:
    return None if selectable_name(key) else "must be a Kubernetes label key, such as app.kubernetes.io/name"


_LabelKey = Annotated[
    str, Text("must be a Kubernetes label key", pattern="[-A-Za-z0-9_./]+", max_chars=317, check=_key_problem)
]
_LabelValue = Annotated[
    str,
    Text(
        "must be a Kubernetes label value: at most 63 letters, digits, -, _ and .",
        pattern=f"({QUALIFIED_NAME})?",
        max_chars=63,
    ),
]


class Requirement(Strict):
    """One condition on one label of a pod."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.operator in ['In', 'NotIn'] ? has(self.values) : !has(self.values)",
                "values is for operator In and NotIn, which need it",
            )
        )
    )

    key: _LabelKey = Field(description="The label's key.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="In, NotIn: the value is one of `values`, or is not. Exists, DoesNotExist: the label is there, or "
        "is not."
    )
    values: Annotated[tuple[_LabelValue, ...], Field(strict=False, min_length=1, max_length=64)] | None = Field(
        default=None, description="The values, 1 to 64. Required with In and NotIn, and only with them. Default none."
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Values are there where they mean something."""
        if unread & {"operator", "values"}:
            return
        if self.operator in {"In", "NotIn"} and self.values is None:
            yield ("values",), f"is required with operator {self.operator}"
        if self.operator in {"Exists", "DoesNotExist"} and self.values is not None:
            yield ("values",), f"must not be set with operator {self.operator}"


class PodSelector(Strict):
    """Pods by their labels, as a Deployment's selector has it; a pod must meet all of it."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.matchLabels) || has(self.matchExpressions)",
                "must have matchLabels or matchExpressions: it would select every pod of the namespace",
            )
        )
    )

    match_labels: Annotated[dict[_LabelKey, _LabelValue], Field(min_length=1, max_length=32)] | None = Field(
        default=None, description="Labels the pods have, with these values, 1 to 32. Default none."
    )
    match_expressions: Annotated[tuple[Requirement, ...], Field(strict=False, min_length=1, max_length=32)] | None = (
        Field(default=None, description="Further conditions on labels, 1 to 32. Default none.")
    )

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Something is selected by."""
        if self.match_labels is None and self.match_expressions is None and not unread:
            yield (), "must have matchLabels or matchExpressions: it would select every pod of the namespace"


class ScrapeTargets(Strict):
    """Where the pages are: exactly one of selector, service and urls."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "[has(self.selector), has(self.service), has(self.urls)].filter(x, x).size() == 1",
                "must have exactly one of selector, service and urls",
            ),
            ("has(self.urls) || has(self.port)", "port is required with selector and service"),
            (
                "!has(self.urls) || !(has(self.port) || has(self.path) || has(self.scheme))",
                "port, path and scheme are for selector and service: a URL says them itself",
            ),
        )
    )

    selector: PodSelector | None = Field(
        default=None, description="Every pod of the object's namespace with these labels is a target. Default none."
    )
    service: Annotated[str, Text("must be the name of a Service, a DNS-1123 label", DNS_LABEL, 63)] | None = Field(
        default=None,
        description="Every pod behind this Service of the object's namespace is a target, by its EndpointSlices. "
        "Default none.",
    )
    urls: Annotated[
        tuple[
            Annotated[
                str,
                Text(
                    "must be an absolute http:// or https:// URL",
                    max_chars=MAX_URL_CHARS,
                    check=http_url_problem,
                    shown=False,
                    published="[hH][tT][tT][pP][sS]?://[!-~]+",
                ),
            ],
            ...,
        ],
        Field(strict=False, min_length=1, max_length=5_000, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(
        default=(),
        description="The pages, 1 to 5000 absolute http:// or https:// URLs without user info and fragment. Each is "
        "a target: together they are the whole. Default none.",
        json_schema_extra={"default": None},
    )
    port: Annotated[int | str, Port()] | None = Field(
        default=None,
        description="The port of each pod, a number or the name it has in the pod, or in the Service's EndpointSlices. "
        "Required with selector and service; no default, because a pod has many.",
    )
    path: Annotated[str, Text("must be a path that starts with / and has no fragment", r'/[!"$-~]*')] | None = Field(
        default=None,
        description="Only with selector and service: the path of the page, with its query. Default /metrics.",
    )
    scheme: Literal["http", "https"] | None = Field(
        default=None, description="Only with selector and service: http or https. Default http."
    )

    @property
    def encrypted(self) -> bool:
        """Some target is read over https."""
        return self.scheme == "https" or any(url.lower().startswith("https:") for url in self.urls)

    @property
    def plain(self) -> bool:
        """Some target is read over http."""
        return any(url.lower().startswith("http:") for url in self.urls) if self.urls else self.scheme != "https"

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """One kind of targets, with what it needs; each page is read once."""
        kinds = {"selector": self.selector, "service": self.service, "urls": self.urls or None}
        chosen = [kind for kind, value in kinds.items() if value is not None or kind in unread]
        if len(chosen) > 1:
            yield (), f"must have one of selector, service and urls, got {' and '.join(chosen)}"
        if not chosen and unread <= type(self).names():
            yield (), "must have one of selector, service and urls"
        if chosen == ["urls"]:
            yield from self._said_by_urls(unread)
        elif len(chosen) == 1 and self.port is None and "port" not in unread:
            yield ("port",), f"is required with {chosen[0]}"

    def _said_by_urls(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        for name, value in (("port", self.port), ("path", self.path), ("scheme", self.scheme)):
            if value is not None and name not in unread:
                yield (name,), "must not be set with urls: they say it themselves"
        first: dict[str, int] = {}
        for index, url in enumerate(() if "urls" in unread else self.urls):
            if first.setdefault(url, index) != index:
                yield ("urls", index), f"must not repeat urls[{first[url]}]: it would count twice"
