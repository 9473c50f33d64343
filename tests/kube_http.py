"""The API over HTTP: who asks, whether they may, what is stored, what they hear of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

from aiohttp import web

from tests.kube_faults import Faults
from tests.kube_kinds import Key, Kind
from tests.kube_patch import applied, json_patched, merged
from tests.kube_rbac import ANONYMOUS, Attributes, Rbac, User, access_review, forbidden, token_review
from tests.kube_request import body_of, parse, whole_number
from tests.kube_status import (
    Cause,
    Object,
    StatusError,
    bad_request,
    details,
    encoded,
    invalid,
    no_such_path,
    qualified,
    unauthorized,
    unsupported_patch,
)
from tests.kube_store import Store
from tests.kube_streams import Streams, selection_of

_HEADERS = {"Cache-Control": "no-cache, private"}
_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_REVIEWS = {
    "tokenreviews.authentication.k8s.io": "TokenReview",
    "subjectaccessreviews.authorization.k8s.io": "SubjectAccessReview",
    "selfsubjectaccessreviews.authorization.k8s.io": "SelfSubjectAccessReview",
}
VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.2", "goVersion": "go1.27.3", "platform": "linux/amd64"}


class Asked(NamedTuple):
    """A request for a resource, as RBAC sees it. verb: get list watch create update patch delete deletecollection."""

    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str


class Http:
    """Answers requests. Runs in the server's thread; `requests`, `users`, `rbac` and the store are shared."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.users: dict[str, User] = {}
        self.rbac = Rbac()
        self.enforce_rbac = False
        self.requests: list[Asked] = []
        self.faults = Faults()
        self.streams = Streams(store, self.faults)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any request, as long as somebody listens."""
        try:
            return await self._handled(request)
        except ConnectionError:
            return web.Response()  # into the void

    async def _handled(self, request: web.Request) -> web.StreamResponse:
        info = parse(request)
        asked = info.attributes
        if asked.resource:
            self.requests.append(Asked(*asked[:6]))
        await self.faults.answering.wait()
        failure = self.faults.take(asked)
        try:
            if failure is not None and failure.error is not None:
                raise failure.error
            user = self._authorized(request, asked)
            if asked.verb == "watch" and not asked.path:
                return await self.streams.watch(request, self._kind(asked, info.version), asked)
            code, answer, headers = await self._answer(request, asked, info.version, user)
        except StatusError as error:
            code, answer = error.code, error.status() if error.text is None else error.text
            headers = error.headers
        return await self._sent(request, code, answer, headers, cut=failure is not None and failure.error is None)

    def _authorized(self, request: web.Request, asked: Attributes) -> User:
        """Return who asks; raises 401 and 403."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            user = ANONYMOUS
        elif (known := self.users.get(token)) is None:
            raise unauthorized()
        else:
            user = known._replace(groups=(*dict.fromkeys((*known.groups, "system:authenticated")),))
        if (self.enforce_rbac or user is ANONYMOUS) and not self.rbac.decision(user, asked).allowed:
            raise forbidden(user, asked)
        return user

    def _kind(self, asked: Attributes, version: str) -> Kind:
        kind = self.store.kinds.get(qualified(asked.resource, asked.group))
        if kind is None or kind.version != version or asked.subresource not in ("", *(["status"] * kind.status)):
            raise no_such_path()
        return kind

    async def _answer(
        self, request: web.Request, asked: Attributes, version: str, user: User
    ) -> tuple[int, Any, dict[str, str]]:
        """Return code, body and headers."""
        if asked.path:
            return 200, _other(asked.path), {}
        if qualified(asked.resource, asked.group) in _REVIEWS and asked.verb == "create":
            return 201, self._review(await body_of(request), asked, version, user), {}
        kind = self._kind(asked, version)
        key = (asked.namespace if kind.namespaced else "", asked.name)
        if kind.namespaced and not asked.namespace and asked.verb not in ("list", "watch"):
            text = "the server does not allow this method on the requested resource"
            raise StatusError(405, "MethodNotAllowed", text, {})
        match asked.verb:
            case "get":
                return 200, self.store.get(kind, key), {}
            case "list":
                return 200, self._list(request, kind, asked), {}
            case "create":
                obj = _in_namespace(await body_of(request), kind, asked.namespace)
                made, lost = self.store.create(kind, obj, _manager(request))
                return 201, made, _warnings(request, lost)
            case "update":
                obj = _in_namespace(await body_of(request), kind, asked.namespace)
                made, lost = self.store.update(kind, key, obj, asked.subresource, _manager(request))
                return 200, made, _warnings(request, lost)
            case "patch":
                return await self._patch(request, kind, key, asked)
            case "delete":
                gone = self.store.delete(kind, key, (await body_of(request)).get("preconditions"))
                about = details(asked.name, kind.group, kind.plural, uid=gone["metadata"]["uid"])
                head = {"kind": "Status", "apiVersion": "v1", "metadata": {}}
                return 200, {**head, "status": "Success", "details": about}, {}
        raise StatusError(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
        )

    def _list(self, request: web.Request, kind: Kind, asked: Attributes) -> Object:
        wanted = selection_of(request, kind, asked.namespace)
        page = self.store.page(wanted, whole_number(request, "limit"), request.query.get("continue", ""))
        metadata: Object = {"resourceVersion": str(page.version)}
        if page.token or kind.custom:
            metadata["continue"] = page.token
        if page.remaining:
            metadata["remainingItemCount"] = page.remaining
        items = page.items
        if not kind.custom:
            items = [{name: v for name, v in obj.items() if name not in ("kind", "apiVersion")} for obj in items]
        return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}

    async def _patch(
        self, request: web.Request, kind: Kind, key: Key, asked: Attributes
    ) -> tuple[int, Object, dict[str, str]]:
        patch = await body_of(request)
        with self.store.lock:
            if request.content_type == "application/json-patch+json":
                new = json_patched(self.store.get(kind, key), patch)
            elif request.content_type == "application/apply-patch+yaml":
                if not request.query.get("fieldManager"):
                    cause = Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager")
                    raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
                try:
                    new = applied(self.store.get(kind, key), patch)
                except StatusError:
                    if asked.subresource:
                        raise
                    made, lost = self.store.create(kind, _in_namespace(patch, kind, key[0]), _manager(request))
                    return 201, made, _warnings(request, lost)
            elif request.content_type == "application/merge-patch+json" or (
                request.content_type == "application/strategic-merge-patch+json" and not kind.custom
            ):
                new = merged(self.store.get(kind, key), patch)
            else:
                raise unsupported_patch(", ".join(_PATCHES))
            made, lost = self.store.update(kind, key, new, asked.subresource, _manager(request))
        return 200, made, _warnings(request, lost)

    def _review(self, body: Object, asked: Attributes, version: str, user: User) -> Object:
        spec = body.get("spec", {})
        if asked.resource == "tokenreviews":
            status = token_review(spec, self.users)
        else:
            status = access_review(spec, self.rbac, user if asked.resource.startswith("self") else None)
        kind = _REVIEWS[qualified(asked.resource, asked.group)]
        return {"kind": kind, "apiVersion": f"{asked.group}/{version}", "metadata": {}, "spec": spec, "status": status}

    async def _sent(
        self, request: web.Request, code: int, answer: Any, headers: dict[str, str], *, cut: bool
    ) -> web.StreamResponse:
        """Send an answer: at once, drop by drop, or half of it."""
        plain = isinstance(answer, str)
        content = answer.encode() if plain else encoded(answer)
        kind = "text/plain; charset=utf-8" if plain else "application/json"
        headers = {**_HEADERS, **headers, "Content-Type": kind}
        if not cut and not self.faults.drip_bytes:
            return web.Response(status=code, body=content, headers=headers)
        response = web.StreamResponse(status=code, headers={**headers, "Content-Length": str(len(content))})
        await response.prepare(request)
        if cut:
            await response.write(content[: len(content) // 2])
            await asyncio.sleep(0)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError
        await self.streams.write(response, content)
        await response.write_eof()
        return response


def _other(path: str) -> Any:
    if path == "/version":
        return VERSION
    if path in ("/healthz", "/livez", "/readyz"):
        return "ok"
    if path in ("/api", "/apis"):
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}
    raise no_such_path()


def _in_namespace(obj: Object, kind: Kind, namespace: str) -> Object:
    metadata = obj.get("metadata", {})
    if kind.namespaced and metadata.get("namespace", namespace) != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    return {**obj, "metadata": {**metadata, "namespace": namespace}} if kind.namespaced else obj


def _manager(request: web.Request) -> str:
    return request.query.get("fieldManager") or request.headers.get("User-Agent", "unknown").split("/")[0]


def _warnings(request: web.Request, lost: list[str]) -> dict[str, str]:
    """Return what is said of unknown fields; raises 400 where they are not tolerated."""
    mode = request.query.get("fieldValidation", "Warn")
    if not lost or mode == "Ignore":
        return {}
    texts = [f'unknown field "{path}"' for path in lost]
    if mode == "Strict":
        raise bad_request(f"strict decoding error: {', '.join(texts)}")
    return {"Warning": ", ".join(f"299 - {json.dumps(text)}" for text in texts)}
