"""The OpenAPI documents of the API, version 2 (Swagger) and 3. Built once; kube-apiserver reads them every minute."""

from __future__ import annotations

from typing import Literal, NamedTuple

from adapter.api import encode
from adapter.api.discovery import VERSION, etag
from adapter.api.encode import GROUP_VERSION, LIST_KIND, Form, Tree
from scaler.model import EXTERNAL_METRICS_GROUP

_METRICS = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_PATH = f"/apis/{GROUP_VERSION}/namespaces/{{namespace}}/{{metricName}}"

_DefinitionsAt = Literal["#/definitions/", "#/components/schemas/"]


class Document(NamedTuple):
    """A document and its entity tag, in quotes."""

    body: bytes
    etag: str

    @property
    def hash(self) -> str:
        """The tag without its quotes, as a URL carries it."""
        return self.etag.strip('"')


def _schemas(at: _DefinitionsAt) -> dict[str, Tree]:
    def ref(name: str, description: str) -> dict[str, Tree]:
        # Beside a bare $ref both versions ignore everything else.
        return {"description": description, "allOf": [{"$ref": at + name}]}

    def text(description: str) -> dict[str, Tree]:
        return {"type": "string", "description": description}

    value: dict[str, Tree] = {
        "metricName": text("Name of the metric."),
        "metricLabels": {
            "type": "object",
            "description": "Labels that tell this series from the others of the metric.",
            "additionalProperties": {"type": "string"},
        },
        "timestamp": ref(f"{_META}.Time", "When the newest sample of the value was taken."),
        "window": {
            "type": "integer",
            "format": "int64",
            "description": "Seconds before the timestamp that the value covers; absent for a value of one moment.",
        },
        "value": ref(_QUANTITY, "Value of the metric."),
    }
    value_list: dict[str, Tree] = {
        "apiVersion": text("Version of the schema of this object."),
        "kind": text("Kind of this object."),
        "metadata": ref(f"{_META}.ListMeta", "Empty: the list has no version and no pages."),
        "items": {
            "type": "array",
            "description": "One item a series that the label selector matches.",
            "items": {"$ref": f"{at}{_METRICS}.ExternalMetricValue"},
        },
    }
    return {
        f"{_METRICS}.ExternalMetricValue": _object(
            "A metric value of one series.",
            value,
            ["metricName", "metricLabels", "timestamp", "value"],
            "ExternalMetricValue",
        ),
        f"{_METRICS}.{LIST_KIND}": _object("Values of a metric.", value_list, ["items"], LIST_KIND),
        f"{_META}.ListMeta": {
            "type": "object",
            "description": "Metadata that lists have.",
            "properties": {
                "continue": text("Token of the next page."),
                "remainingItemCount": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Items on the pages that follow.",
                },
                "resourceVersion": text("Version of the list."),
                "selfLink": text("Not used any more."),
            },
        },
        f"{_META}.Time": {"type": "string", "format": "date-time", "description": "A time as RFC 3339 writes it."},
        _QUANTITY: text("A fixed-point number with a suffix: 1500m is 1.5, 2k is 2000."),
    }


def _object(description: str, properties: dict[str, Tree], required: list[Tree], kind: str) -> Tree:
    return {
        "type": "object",
        "description": description,
        "required": required,
        "properties": properties,
        "x-kubernetes-group-version-kind": [_gvk(kind)],
    }


def _gvk(kind: str) -> dict[str, Tree]:
    return {"group": EXTERNAL_METRICS_GROUP, "kind": kind, "version": VERSION}


_PARAMETERS: tuple[tuple[str, str, bool, str], ...] = (
    ("namespace", "path", True, "Namespace of the metric."),
    ("metricName", "path", True, "Name of the metric; upper and lower case are the same."),
    ("labelSelector", "query", False, "Which series to return; everything if absent."),
    ("pretty", "query", False, "If 'true', the answer is indented."),
)
_RESPONSES = (
    ("200", "OK"),
    ("400", "Bad Request: the selector or another parameter is malformed"),
    ("401", "Unauthorized"),
    ("403", "Forbidden"),
    ("404", "Not Found: the metric is not defined"),
    ("503", "Service Unavailable: the value is unknown now"),
)


def _operation() -> dict[str, Tree]:
    return {
        "description": "list the current values of a metric",
        "operationId": "listExternalMetricsV1beta1NamespacedExternalMetricValue",
        "tags": ["externalMetrics_v1beta1"],
        "x-kubernetes-action": "list",
        "x-kubernetes-group-version-kind": _gvk(LIST_KIND),
    }


def _v2(version: str) -> Tree:
    produces: list[Tree] = [encode.CONTENT_TYPES[form] for form in (Form.JSON, Form.YAML, Form.PROTOBUF)]
    at: _DefinitionsAt = "#/definitions/"
    responses: dict[str, Tree] = {code: {"description": text} for code, text in _RESPONSES}
    responses["200"] = {"description": "OK", "schema": {"$ref": f"{at}{_METRICS}.{LIST_KIND}"}}
    parameters: list[Tree] = [
        {"name": name, "in": place, "required": required, "description": text, "type": "string"}
        for name, place, required, text in _PARAMETERS
    ]
    operation = {
        **_operation(),
        "produces": produces,
        "schemes": ["https"],
        "parameters": parameters,
        "responses": responses,
    }
    return {
        "swagger": "2.0",
        "info": {"title": "Spillway", "version": version},
        "paths": {_PATH: {"get": operation}},
        "definitions": _schemas(at),
    }


def _v3(version: str) -> Tree:
    at: _DefinitionsAt = "#/components/schemas/"
    schema: Tree = {"schema": {"$ref": f"{at}{_METRICS}.{LIST_KIND}"}}
    responses: dict[str, Tree] = {code: {"description": text} for code, text in _RESPONSES}
    content: Tree = {encode.CONTENT_TYPES[form]: schema for form in (Form.JSON, Form.YAML, Form.PROTOBUF)}
    responses["200"] = {"description": "OK", "content": content}
    parameters: list[Tree] = [
        {
            "name": name,
            "in": place,
            "required": required,
            "description": text,
            "schema": {"type": "string"},
        }
        for name, place, required, text in _PARAMETERS
    ]
    operation = {**_operation(), "parameters": parameters, "responses": responses}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Spillway", "version": version},
        "paths": {_PATH: {"get": operation}},
        "components": {"schemas": _schemas(at)},
    }


class OpenApi:
    """The documents of one version of Spillway."""

    def __init__(self, version: str) -> None:
        self.v2 = _document(_v2(version))
        self.group_v3 = _document(_v3(version))
        path = f"apis/{GROUP_VERSION}"
        # A hash in the address lets a client keep the group's document until it changes.
        url = f"/openapi/v3/{path}?hash={self.group_v3.hash}"
        self.index_v3 = _document({"paths": {path: {"serverRelativeURL": url}}})


def _document(tree: Tree) -> Document:
    body = encode.tree(tree, Form.JSON)
    return Document(body, etag(body))
