"""A request to the API, taken apart as kube-apiserver does it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import unquote

import yaml
from aiohttp import web

from tests.kube_rbac import Attributes
from tests.kube_status import bad_request

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


class Info(NamedTuple):
    """What a request is about. `attributes.path` is set where it is about no resource."""

    attributes: Attributes
    version: str = ""


def parse(request: web.Request) -> Info:
    """Return what is asked for, by method and path."""
    segments = [unquote(part) for part in request.rel_url.raw_path.strip("/").split("/")]
    if segments[0] == "api" and len(segments) >= 3:
        group, version, rest = "", segments[1], segments[2:]
    elif segments[0] == "apis" and len(segments) >= 4:
        group, version, rest = segments[1], segments[2], segments[3:]
    else:
        return Info(Attributes(request.method.lower(), path=request.rel_url.path))
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
        elif not group:
            return _info(request, group, version, "", rest)
    return _info(request, group, version, namespace, rest)


def _info(request: web.Request, group: str, version: str, namespace: str, rest: list[str]) -> Info:
    resource, name, subresource = [*rest, "", ""][:3]
    query = request.query
    if request.method in ("GET", "HEAD"):
        verb = "get" if name else "watch" if query.get("watch") in ("true", "1") else "list"
    elif request.method == "DELETE":
        verb = "delete" if name else "deletecollection"
    else:
        verb = _VERBS.get(request.method, "")
    if verb in ("list", "watch") and not name:
        # RBAC sees the name where a selector allows only one.
        terms = [term.partition("=") for term in query.get("fieldSelector", "").split(",")]
        name = next((value.lstrip("=") for field, _, value in terms if field == "metadata.name"), "")
    return Info(Attributes(verb, group, resource, subresource, namespace, name), version)


async def body_of(request: web.Request) -> Any:
    """Return the body as JSON, or YAML for an apply; raises StatusError 400."""
    content = await request.read()
    if not content:
        return {}
    try:
        return yaml.safe_load(content) if "yaml" in request.content_type else json.loads(content)
    except (ValueError, yaml.YAMLError):
        raise bad_request("the object provided is unrecognized") from None


def whole_number(request: web.Request, name: str) -> int:
    """Return a number of the query, 0 without it; raises StatusError 400."""
    text = request.query.get(name, "0") or "0"
    if not text.isdigit():
        raise bad_request(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text)
