"""The documents that do not change while we run: discovery, OpenAPI, the version, the list of paths."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from adapter.api import discovery, encode
from adapter.api.encode import CONTENT_TYPES, Form, Tree
from adapter.api.negotiate import Refusal, negotiate, prefers_aggregated_discovery, refused
from adapter.api.openapi import Document, OpenApi
from adapter.api.request import Request, Response, reply
from adapter.api.resolve import PATHS, Kind, Route
from adapter.errors import ApiError

_AGGREGATED = Document(discovery.AGGREGATED, discovery.AGGREGATED_ETAG)
_LEGACY = {
    Kind.GROUPS: discovery.GROUP_LIST,
    Kind.GROUP: discovery.GROUP,
    Kind.RESOURCES: discovery.RESOURCE_LIST,
}
_JSON = CONTENT_TYPES[Form.JSON]
_INDEX = encode.tree({"paths": PATHS}, Form.PRETTY)
_VARY: Mapping[str, str] = {"Vary": "Accept"}


class Documents:
    """All of them, built once. `version` is ours: "0.1.0"."""

    def __init__(self, version: str) -> None:
        self._openapi = OpenApi(version)
        self._version = encode.tree(_version_tree(version), Form.PRETTY)

    def answer(self, route: Route, asked: Request, pretty: bool) -> Response | ApiError:
        """Answer with the document that the route names."""
        match route.kind:
            case Kind.INDEX:
                return reply(asked, 200, _JSON, _INDEX)
            case Kind.VERSION:
                return reply(asked, 200, _JSON, self._version)
            case Kind.OPENAPI_V2:
                return _tagged(asked, self._openapi.v2)
            case Kind.OPENAPI_V3:
                return _tagged(asked, self._openapi.index_v3)
            case Kind.OPENAPI_V3_GROUP:
                # Whoever names the hash has the right document for as long as that hash is its name.
                immutable = route.target.first("hash") == self._openapi.group_v3.hash
                headers = {"Cache-Control": "public, immutable, max-age=31536000"} if immutable else {}
                return _tagged(asked, self._openapi.group_v3, headers=headers)
            case Kind.GROUPS if prefers_aggregated_discovery(asked.headers.get("accept")):
                return _tagged(asked, _AGGREGATED, discovery.AGGREGATED_TYPE, _VARY)
            case _:
                form = negotiate(asked.headers.get("accept"), pretty).form
                if isinstance(form, Refusal):
                    return refused(form)
                return reply(asked, 200, CONTENT_TYPES[form], _LEGACY[route.kind][form], _VARY)


def no_such_path(asked: Request) -> Response:
    """Answer with the paths that there are."""
    return reply(asked, 404, _JSON, _INDEX)


def _tagged(
    asked: Request,
    document: Document,
    content_type: str = _JSON,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer with a document, or with 304 if the client has it."""
    tags = [tag.strip().removeprefix("W/") for tag in asked.headers.get("if-none-match").split(",")]
    known = document.etag in tags or "*" in tags
    tagged = {"ETag": document.etag, **(headers or {})}
    return reply(asked, 304 if known else 200, content_type, b"" if known else document.body, tagged)


def _version_tree(version: str) -> Tree:
    major, minor, *_ = [*version.split("."), "", ""]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{version}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }
