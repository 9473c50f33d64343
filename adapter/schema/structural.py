"""The typed model → a structural schema, as a CustomResourceDefinition must have it. Pure.

Source: kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions", specifying a structural schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

_KEPT = (
    "description",
    "type",
    "default",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "format",
    "x-kubernetes-list-type",
    "x-kubernetes-validations",
)
"""What is taken over as it is. All else is translated here or, as `title` and `propertyNames`, left to the adapter."""

_INT_OR_STRING = ("x-kubernetes-int-or-string", "anyOf")


def structural(schema: Schema) -> Schema:
    """Return pydantic's JSON schema of a model without references, null, `const` and what only files may say."""
    return _node(schema, schema.get("$defs", {}))


def _node(node: Schema, defs: Mapping[str, Schema]) -> Schema:
    node = _resolved(node, defs)
    if "const" in node:
        node = {**node, "enum": [node["const"]]}
    result = {name: node[name] for name in _KEPT if name in node}
    if result.get("default", ...) is None:
        del result["default"]  # absent is the default, and null is no value of a structural schema
    if isinstance(result.get("default"), dict):
        result["default"] = {}  # the defaults of its fields follow
    if "enum" in result:
        result["maxLength"] = max(len(value) for value in result["enum"])
    if "x-kubernetes-int-or-string" in node:
        result.update({name: node[name] for name in _INT_OR_STRING})
    if "properties" in node:
        result.update(_fields(node, defs))
    elif result.get("type") == "object":
        # A pattern of names cannot be said: the adapter sees to names, the server to values.
        (values,) = node.get("patternProperties", {"": node.get("additionalProperties")}).values()
        result["additionalProperties"] = _node(values, defs)
    if "items" in node:
        result["items"] = _node(node["items"], defs)
    return result


def _resolved(node: Schema, defs: Mapping[str, Schema]) -> Schema:
    """Put what a node refers to in its place; what is said beside the reference counts more."""
    while True:
        beside = {name: value for name, value in node.items() if name not in {"$ref", "anyOf", "allOf"}}
        if "$ref" in node:
            node = {**defs[node["$ref"].rpartition("/")[2]], **beside}
        elif "anyOf" in node and "x-kubernetes-int-or-string" not in node:
            choices = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
            if len(choices) != 1:
                raise ValueError(f"a structural schema has no unions, and this is one: {node['anyOf']}")
            node = {**choices[0], **beside}
        else:
            return node


def _fields(node: Schema, defs: Mapping[str, Schema]) -> Schema:
    fields = {name: field for name, field in node["properties"].items() if not field.get("x-spillway-file-only")}
    needed = [
        name
        for name, field in fields.items()
        if name in node.get("required", ()) or field.get("x-spillway-object-required")
    ]
    properties = {name: _node(field, defs) for name, field in fields.items()}
    return {"properties": properties, **({"required": needed} if needed else {})}
