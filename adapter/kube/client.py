"""Requests to the Kubernetes API: one lifetime, one kind of error."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from adapter.kube.access import Access, Credentials
from adapter.kube.errors import KubeConfigError, KubeError, from_answer, malformed, translated
from adapter.kube.lines import aborted, content_of, keep_alive, lines_of
from adapter.kube.session import Session

__all__ = ["APPLY_PATCH", "JSON_PATCH", "MERGE_PATCH", "Access", "Kube", "KubeConfigError", "KubeError", "api_path"]

log = logging.getLogger(__name__)

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_REFRESH_S = 60.0
_REFRESH_AGAIN_S = 5.0
_OPEN_S = 30.0
_GOODBYE_S = 0.1
_MAX_TRIES = 4
_MAX_WAIT_S = 10.0


class Kube:
    """A connection to the Kubernetes API: `async with Kube(Access()) as kube`.

    Entering reads configuration and makes no request: the API may be down. Tokens and certificates are read again once
    a minute, and at once when the API does not accept them.

    Attributes:
        clock_skew_s: The server's clock less ours at the last answer, ± 1 s; None before.
    """

    def __init__(self, access: Access, *, on_answer: Callable[[str, int], None] | None = None) -> None:
        """Make no connection yet.

        Args:
            on_answer: Called with method and status code (0: none came) of each try.
        """
        self._credentials = Credentials(access)
        self._on_answer = on_answer or (lambda _method, _code: None)
        self._session: Session | None = None
        self._retired: list[Session] = []
        self._refreshing = asyncio.Lock()
        self._refresh_at_s = 0.0
        self._hurry_again_s = 0.0
        self._unanswered = 0
        self.clock_skew_s: float | None = None

    async def __aenter__(self) -> Self:
        """Read the configuration.

        Raises:
            KubeConfigError: There is none, or it makes no sense.
        """
        await self._credentials.load()
        self._connect()
        self._refresh_at_s = asyncio.get_running_loop().time() + _REFRESH_S
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in filter(None, (self._session, *self._retired)):
            await session.close()
        self._session = None
        # Connections end in the loop's next turn; those of requests without an answer after TLS has said goodbye.
        await asyncio.sleep(_GOODBYE_S if self._unanswered else 0.0)

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self._credentials.server.url

    @property
    def namespace(self) -> str | None:
        """The namespace of our pod, or of the kubeconfig's context; None if neither says."""
        return self._credentials.namespace

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | list[Any] | None = None,
        content_type: str = "application/json",
        timeout_s: float = 10.0,
    ) -> dict[str, Any]:
        """Return the answer's object. 429 and 5xx with Retry-After are tried again within `timeout_s`.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: Escaped, without query: `api_path`.
            body: A list for JSON_PATCH, an object otherwise.
            content_type: For PATCH: MERGE_PATCH, JSON_PATCH or APPLY_PATCH.
            timeout_s: For all tries together.

        Raises:
            KubeError: Everything but 2xx.
        """
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        tries = 0
        while True:
            tries += 1
            left_s = deadline_s - asyncio.get_running_loop().time()
            try:
                return await self._try(method, path, query, body, content_type, left_s)
            except KubeError as error:
                wait_s = wait_before_retry(error, tries, deadline_s - asyncio.get_running_loop().time())
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)

    def stream(
        self, path: str, *, query: Mapping[str, str] | None = None, idle_s: float = 400.0
    ) -> AbstractAsyncContextManager[AsyncIterator[list[bytes]]]:
        """Open a watch and yield its lines, whole ones, those of one read together. All of it raises KubeError.

        Args:
            path: As for `request`.
            query: `watch=true` is the caller's to give.
            idle_s: The longest time without a byte.
        """
        return self._stream(path, dict(query or {}), idle_s)

    async def _try(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | list[Any] | None,
        content_type: str,
        timeout_s: float,
    ) -> dict[str, Any]:
        async with self._translating(method), asyncio.timeout(timeout_s), self._using() as session:
            call = session.call(method, path, query, body, content_type, aiohttp.ClientTimeout())
            response = await self._awaited(call)
            with aborted(response):
                content = await content_of(response)
            self._answered(method, response)
            if not 200 <= response.status <= 299:
                raise self._refused(response, content)
            return _object(content)

    @asynccontextmanager
    async def _stream(
        self, path: str, query: dict[str, str], idle_s: float
    ) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        async with self._using() as session:
            async with self._translating("GET"), asyncio.timeout(_OPEN_S):
                timeout = aiohttp.ClientTimeout(sock_read=idle_s)
                response = await self._awaited(session.call("GET", path, query, None, "application/json", timeout))
            with aborted(response):
                self._answered("GET", response)
                if response.status != 200:
                    async with self._translating("GET"), asyncio.timeout(_OPEN_S):
                        content = await content_of(response)
                    raise self._refused(response, content)
                keep_alive(response)
                async with contextlib.aclosing(lines_of(response)) as lines:
                    yield lines

    @asynccontextmanager
    async def _translating(self, method: str) -> AsyncIterator[None]:
        """Raise KubeError for all that the network does, and look at our certificates again when they are the cause."""
        try:
            with translated():
                yield
        except KubeError as error:
            if error.code == 0:
                self._on_answer(method, 0)
            if error.reason == "Untrusted":
                self._hurry()
            raise

    async def _awaited(self, call: Coroutine[Any, Any, aiohttp.ClientResponse]) -> aiohttp.ClientResponse:
        self._unanswered += 1
        response = await call
        self._unanswered -= 1
        return response

    def _answered(self, method: str, response: aiohttp.ClientResponse) -> None:
        self._on_answer(method, response.status)
        with contextlib.suppress(KeyError, ValueError, TypeError):
            served = email.utils.parsedate_to_datetime(response.headers["Date"]).timestamp()
            self.clock_skew_s = served - time.time()

    def _refused(self, response: aiohttp.ClientResponse, content: bytes) -> KubeError:
        error = from_answer(response.status, content, response.headers.get("Retry-After"))
        if error.code == 401:
            self._hurry()
        return error

    def _connect(self) -> None:
        """Begin with new connections; those in use end with what they are used for."""
        before = self._session
        try:
            self._session = Session(self._credentials.server)
        except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
            raise KubeConfigError("its CA or its certificate cannot be used: no PEM, or not that of the key") from exc
        if before is not None:
            self._retired.append(before)

    def _hurry(self) -> None:
        """Make the next request read credentials again: what it has may have been rotated. Not at every failure."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._hurry_again_s:
            self._hurry_again_s = now_s + _REFRESH_AGAIN_S
            self._refresh_at_s = now_s

    async def _refresh(self) -> None:
        """Read credentials again when it is time. One request does it; the others go on with what there is."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._refresh_at_s or self._refreshing.locked():
            return
        async with self._refreshing:
            identity = self._credentials.identity
            try:
                await self._credentials.load()
                if self._credentials.identity != identity:
                    self._connect()
                elif self._session is not None:
                    self._session.authorization = self._credentials.server.authorization
                self._refresh_at_s = loop.time() + _REFRESH_S
            except KubeConfigError as exc:
                # In the middle of a rotation, or for good: what was read before may still be valid.
                self._credentials.identity = identity
                self._refresh_at_s = loop.time() + _REFRESH_AGAIN_S
                log.warning("credentials for the Kubernetes API kept", extra={"reason": str(exc)})

    @asynccontextmanager
    async def _using(self) -> AsyncIterator[Session]:
        """Yield the session; it is not closed before this ends, whatever is read in the meantime."""
        await self._refresh()
        session = self._session
        if session is None:
            raise RuntimeError("Kube is used outside its lifetime")
        session.users += 1
        try:
            yield session
        finally:
            session.users -= 1
            # Looked for anew each time: meanwhile another request may have closed one.
            while idle := next((retired for retired in self._retired if not retired.users), None):
                self._retired.remove(idle)
                await idle.close()


def api_path(
    group: str, version: str, resource: str, *, namespace: str = "", name: str = "", subresource: str = ""
) -> str:
    """Return the escaped path of a collection, an object or a subresource. The core group is ""."""
    parts = ["apis", group, version] if group else ["api", version]
    parts += ["namespaces", namespace] if namespace else []
    parts += [part for part in (resource, name, subresource) if part]
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def wait_before_retry(error: KubeError, tries: int, left_s: float) -> float | None:
    """Return how long to wait before the next try, or None if there is none.

    Only what the server asks to send again is: 429 and 5xx with Retry-After. A longer wait than 10 s, or than there is
    time, is the caller's to decide.
    """
    wait_s = error.retry_after_s
    if wait_s is None or (error.code != 429 and error.code < 500):
        return None
    if tries >= _MAX_TRIES or wait_s > _MAX_WAIT_S or wait_s >= left_s:
        return None
    return wait_s


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise malformed("something that is not JSON") from None
    if not isinstance(found, dict):
        raise malformed("JSON that is not an object")
    return found
