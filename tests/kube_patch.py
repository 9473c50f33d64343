"""How patches change an object: RFC 7386, RFC 6902 and as much of server-side apply as a status needs."""

from __future__ import annotations

import copy
from typing import Any

from tests.kube_status import StatusError

Object = dict[str, Any]


def merged(target: Any, patch: Any) -> Any:
    """Return the target after a JSON merge patch."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def applied(target: Any, wanted: Any) -> Any:
    """Return the target after an apply: maps are merged, lists of conditions by their type, other lists replaced."""
    if isinstance(wanted, dict):
        result = dict(target) if isinstance(target, dict) else {}
        return {**result, **{name: applied(result.get(name), value) for name, value in wanted.items()}}
    if isinstance(wanted, list) and wanted and all(isinstance(item, dict) and "type" in item for item in wanted):
        old = {item["type"]: item for item in target or []}
        new = {item["type"]: applied(old.get(item["type"]), item) for item in wanted}
        return list({**old, **new}.values())
    return copy.deepcopy(wanted)


def json_patched(target: Object, operations: list[Object]) -> Object:
    """Return the target after a JSON patch; raises StatusError where an operation does not fit."""
    document: Any = copy.deepcopy(target)
    for operation in operations:
        path = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        try:
            document = _operated(document, operation, path)
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            text = f"the server rejected our request due to an error in our request: {operation['op']}"
            raise StatusError(422, "Invalid", text, {}) from exc
    result: Object = document
    return result


def _operated(document: Any, operation: Object, path: list[str]) -> Any:
    if not path:
        return operation["value"]
    parent = document
    for part in path[:-1]:
        parent = parent[int(part)] if isinstance(parent, list) else parent[part]
    last: Any = path[-1]
    if isinstance(parent, list):
        last = len(parent) if last == "-" else int(last)
    match operation["op"]:
        case "add" if isinstance(parent, list):
            parent.insert(last, operation["value"])
        case "add":
            parent[last] = operation["value"]
        case "replace":
            parent[last]  # must be there
            parent[last] = operation["value"]
        case "remove":
            del parent[last]
        case "test":
            if parent[last] != operation["value"]:
                raise ValueError("differs")
        case _:
            raise ValueError("not supported here")
    return document
