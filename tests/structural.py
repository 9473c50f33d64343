"""What a kube-apiserver asks of a CustomResourceDefinition's schema, as far as we come near it.

Source: kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions": structural schemas, defaulting,
validation rules and their cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_FORBIDDEN = frozenset(
    {
        *("$ref", "$defs", "definitions", "const", "not", "oneOf", "allOf", "patternProperties", "propertyNames"),
        *("dependencies", "discriminator", "readOnly", "writeOnly", "xml", "deprecated", "id", "uniqueItems"),
        *("exclusiveMinimum", "exclusiveMaximum", "nullable", "title", "examples"),
    }
)
"""The server refuses most of these, takes others in one form only, and drops the rest without a word."""

_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean"})
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_RULE_LIMIT = 10_000_000
_TOTAL_LIMIT = 100_000_000


def problems(schema: Schema, path: str = "") -> Iterator[str]:
    """Yield what makes a schema no structural one."""
    for word in sorted(schema.keys() & _FORBIDDEN):
        yield f"{path}: {word}"
    either = schema.get("x-kubernetes-int-or-string") is True
    if either and (schema.get("anyOf") != _INT_OR_STRING or "type" in schema):
        yield f"{path}: x-kubernetes-int-or-string needs its anyOf, and no type"
    if not either and schema.get("type") not in _TYPES:
        yield f"{path}: type {schema.get('type')}"
    if not either and "anyOf" in schema:
        yield f"{path}: anyOf"
    if "additionalProperties" in schema and ("properties" in schema or schema["additionalProperties"] is False):
        yield f"{path}: additionalProperties beside properties"
    if schema.get("type") == "array" and not isinstance(schema.get("items"), dict):
        yield f"{path}: items"
    if schema.get("x-kubernetes-list-type") == "set" and schema["items"].get("type") in {"object", "array"}:
        yield f"{path}: a set of what cannot be compared"
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        if key not in schema["items"].get("required", ()):
            yield f"{path}: the key {key} is not required"
    for name in schema.get("required", ()):
        if name not in schema.get("properties", {}):
            yield f"{path}: required {name} is no property"
    if "default" in schema and "default" in path:
        yield f"{path}: default in a default"
    for rule in schema.get("x-kubernetes-validations", ()):
        if not rule.get("rule") or "\n" in rule["message"] or len(rule["message"]) > 2_048:
            yield f"{path}: rule or message"
    yield from _bad_patterns(schema, path)
    for name, child in children(schema):
        yield from problems(child, f"{path}.{name}")


def _bad_patterns(schema: Schema, path: str) -> Iterator[str]:
    pattern = schema.get("pattern", "")
    if re.search(r"\(\?[=!<]|\\[1-9Z]", pattern):
        yield f"{path}: RE2 knows no lookaround and no back reference: {pattern}"


def children(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the schemas right below one."""
    yield from schema.get("properties", {}).items()
    if "items" in schema:
        yield "[]", schema["items"]
    if isinstance(schema.get("additionalProperties"), dict):
        yield "{}", schema["additionalProperties"]


def unbounded(schema: Schema, path: str = "", *, within: bool = False) -> Iterator[str]:
    """Yield each list, map and string without a bound that a rule can see."""
    within = within or "x-kubernetes-validations" in schema
    bound = {"array": "maxItems", "string": "maxLength"}.get(schema.get("type", ""))
    if "additionalProperties" in schema:
        bound = "maxProperties"
    if "x-kubernetes-int-or-string" in schema:
        bound = "maxLength"
    if within and bound and bound not in schema:
        yield f"{path}: {bound}"
    for name, child in children(schema):
        yield from unbounded(child, f"{path}.{name}", within=within)


def costs(schema: Schema, path: str = "", count: int = 1) -> Iterator[tuple[str, int]]:
    """Yield each rule's cost, above what the server estimates, with how often it runs.

    A token costs the server 1, 10 if it makes a list, and a step of a list some 15 more; here each costs 10. A function
    that reads a text costs a tenth of the text's length; here all of it.
    """
    for rule in schema.get("x-kubernetes-validations", ()):
        tokens = re.findall(r"'[^']*'|\w+|[^\w\s]+", rule["rule"])
        reading = sum(token in {"lowerAscii", "matches", "contains", "startsWith"} for token in tokens)
        yield f"{path}: {rule['rule']}", (10 * len(tokens) + 2_048 * reading) * count
    if schema.get("type") == "array":
        count *= schema.get("maxItems", 3_000_000)
    elif "additionalProperties" in schema:
        count *= schema.get("maxProperties", 3_000_000)
    for name, child in children(schema):
        yield from costs(child, f"{path}.{name}", count)


def too_expensive(schema: Schema) -> list[str]:
    """Return the rules above the server's limits."""
    found = list(costs(schema))
    over = [f"{name} costs {cost}" for name, cost in found if cost > _RULE_LIMIT]
    total = sum(cost for _, cost in found)
    return over if total <= _TOTAL_LIMIT else [*over, f"all of them cost {total}"]


def with_defaults(schema: Schema, value: Any) -> Any:
    """Return a value with the server's defaults, and without what the schema does not know."""
    if isinstance(value, dict) and "properties" in schema:
        known = {name: value[name] for name in value if name in schema["properties"]}
        for name, child in schema["properties"].items():
            if name not in known and "default" in child:
                known[name] = child["default"]
            if name in known:
                known[name] = with_defaults(child, known[name])
        return known
    if isinstance(value, dict) and "additionalProperties" in schema:
        return {name: with_defaults(schema["additionalProperties"], part) for name, part in value.items()}
    if schema.get("type") == "number" and isinstance(value, int):
        return float(value)  # what a rule sees of a number is always a double
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(schema["items"], part) for part in value]
    return value


def places(schema: Schema, value: Any, path: str = "") -> Iterator[tuple[str, Schema, Any]]:
    """Yield each value below one with its schema."""
    yield path, schema, value
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                yield from places(child, value[name], f"{path}.{name}")
        if "additionalProperties" in schema:
            for name, part in value.items():
                yield from places(schema["additionalProperties"], part, f"{path}.{name}")
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from places(schema["items"], part, f"{path}[{index}]")
