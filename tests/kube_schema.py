"""As much of a CustomResourceDefinition's schema as shapes what clients read: defaults, pruning, simple validity.

CEL rules are not run. A test that needs one gives KubeApi.validators a function.
"""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from tests.kube_status import Cause

Schema = dict[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_UNCHECKED = "some validation rules were not checked because the object was invalid; correct the existing errors to "
_UNCHECKED += "complete validation"


def defaulted(value: Any, schema: Schema) -> Any:
    """Return the value with the schema's defaults where there is none."""
    if isinstance(value, dict):
        value = dict(value)
        for name, inner in schema.get("properties", {}).items():
            if name not in value and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
            if name in value:
                value[name] = defaulted(value[name], inner)
        rest = schema.get("additionalProperties")
        if isinstance(rest, dict):
            value = {n: defaulted(v, rest) if n not in schema.get("properties", {}) else v for n, v in value.items()}
    elif isinstance(value, list):
        value = [defaulted(item, schema.get("items", {})) for item in value]
    return value


def pruned(value: Any, schema: Schema, path: str = "") -> tuple[Any, list[str]]:
    """Return the value without fields that the schema does not have, and their paths."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return value, []
    gone: list[str] = []
    if isinstance(value, dict):
        known, rest = schema.get("properties", {}), schema.get("additionalProperties")
        kept = {}
        for name, inner in value.items():
            here = f"{path}.{name}" if path else name
            if name in known or isinstance(rest, dict):
                kept[name], lost = pruned(inner, known.get(name, rest or {}), here)
                gone += lost
            elif not path and name in ("apiVersion", "kind", "metadata"):
                kept[name] = inner
            else:
                gone.append(here)
        return kept, gone
    if isinstance(value, list):
        pairs = [pruned(item, schema.get("items", {}), f"{path}[{at}]") for at, item in enumerate(value)]
        return [item for item, _ in pairs], [lost for _, some in pairs for lost in some]
    return value, []


def causes(value: Any, schema: Schema) -> list[Cause]:
    """Return why the value does not fit: required fields first, then the others, as the server orders them."""
    found = _causes(value, schema, "")
    found.sort(key=lambda cause: ("Required", "NotSupported", "").index(_rank(cause)))
    rules = _has_rules(schema)
    if found and rules:
        found.append(Cause("FieldValueInvalid", f"Invalid value: null: {_UNCHECKED}", "<nil>"))
    return found


def _rank(cause: Cause) -> str:
    return next((rank for rank in ("Required", "NotSupported") if cause.reason.endswith(rank)), "")


def _has_rules(schema: Any) -> bool:
    if isinstance(schema, dict):
        return "x-kubernetes-validations" in schema or any(map(_has_rules, schema.values()))
    return isinstance(schema, list) and any(map(_has_rules, schema))


def _causes(value: Any, schema: Schema, path: str) -> list[Cause]:
    if value is None and schema.get("nullable"):
        return []
    if schema.get("x-kubernetes-int-or-string"):
        return [] if isinstance(value, int | str) else [_invalid(path, value, "must be an integer or a string")]
    wanted = schema.get("type")
    if wanted and (not isinstance(value, _TYPES[wanted]) or (wanted != "boolean" and isinstance(value, bool))):
        text = f"{path} in body must be of type {wanted}: {json.dumps(_type_name(value))}"
        return [Cause("FieldValueTypeInvalid", f"Invalid value: {json.dumps(_type_name(value))}: {text}", path)]
    found: list[Cause] = []
    if "enum" in schema and value not in schema["enum"]:
        options = ", ".join(json.dumps(option) for option in schema["enum"])
        text = f"Unsupported value: {json.dumps(value)}: supported values: {options}"
        found.append(Cause("FieldValueNotSupported", text, path))
    if isinstance(value, str):
        found += _string_causes(value, schema, path)
    elif isinstance(value, int | float):
        found += _number_causes(value, schema, path)
    elif isinstance(value, dict):
        found += _object_causes(value, schema, path)
    elif isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            found.append(_too_many(path, len(value), schema["maxItems"]))
        if len(value) < schema.get("minItems", 0):
            found.append(_invalid(path, len(value), f"should have at least {schema['minItems']} items"))
        for at, item in enumerate(value):
            found += _causes(item, schema.get("items", {}), f"{path}[{at}]")
    return found


def _object_causes(value: dict[str, Any], schema: Schema, path: str) -> list[Cause]:
    found = [
        Cause("FieldValueRequired", "Required value", f"{path}.{name}" if path else name)
        for name in schema.get("required", ())
        if name not in value
    ]
    rest = schema.get("additionalProperties")
    for name, inner in value.items():
        known = schema.get("properties", {}).get(name, rest if isinstance(rest, dict) else None)
        if known is not None:
            found += _causes(inner, known, f"{path}.{name}" if path else name)
    if len(value) > schema.get("maxProperties", len(value)):
        found.append(_too_many(path, len(value), schema["maxProperties"]))
    return found


def _string_causes(value: str, schema: Schema, path: str) -> list[Cause]:
    found = []
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(_invalid(path, value, f"{path} in body should match '{schema['pattern']}'"))
    if len(value) > schema.get("maxLength", len(value)):
        text = f"Too long: may not be more than {schema['maxLength']} bytes"
        found.append(Cause("FieldValueTooLong", text, path))
    if len(value) < schema.get("minLength", 0):
        found.append(_invalid(path, value, f"{path} in body should be at least {schema['minLength']} chars long"))
    return found


def _number_causes(value: float, schema: Schema, path: str) -> list[Cause]:
    found = []
    if value < schema.get("minimum", value):
        found.append(_invalid(path, value, f"{path} in body should be greater than or equal to {schema['minimum']}"))
    if value > schema.get("maximum", value):
        found.append(_invalid(path, value, f"{path} in body should be less than or equal to {schema['maximum']}"))
    return found


def _invalid(path: str, value: Any, why: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {json.dumps(value)}: {why}", path)


def _too_many(path: str, count: int, most: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {count}: must have at most {most} items", path)


def _type_name(value: Any) -> str:
    return "null" if value is None else next(name for name, types in _TYPES.items() if isinstance(value, types))
