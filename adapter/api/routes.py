"""The API: a request in, an answer out, from memory alone.

The order of decisions is that of a Kubernetes API server: the timeout parameter, who asks, whether they may, whether
there is such a path, method and form, and then the handler. Who may not read learns nothing of what there is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from adapter.api import encode
from adapter.api.cache import AnswerCache
from adapter.api.documents import Documents, no_such_path
from adapter.api.encode import CONTENT_TYPES, Form
from adapter.api.negotiate import Refusal, negotiate, refused
from adapter.api.request import Attributes, BadEscapeError, Request, Response, Undecided, attributes, reply
from adapter.api.resolve import HEALTH, Kind, Route, metric_not_found, resolve, resource_not_found
from adapter.errors import (
    NO_DETAILS,
    ApiError,
    ForbiddenError,
    MethodNotAllowedError,
    TooManyRequestsError,
    UnavailableError,
)
from scaler.answer import UnknownAnswer, answer
from scaler.model import ExternalMetricValue, MetricRef, MetricResult, Reason, Snapshot
from scaler.selector import Selector

_PEOPLE = ("curl", "Wget", "Mozilla/5.0")
# All that somebody but an HPA's controller can wait for. Discovery and health are needed most when there is too much.
_SHED = frozenset({Kind.VALUES, Kind.UNKNOWN_RESOURCE, Kind.UNKNOWN_PATH})
# Items that are written at once: a millisecond's work or two. Forms for people take longer.
_MANY = {Form.JSON: 2000, Form.PROTOBUF: 2000, Form.PRETTY: 100, Form.YAML: 50}
_TEXT = "text/plain; charset=utf-8"
_NOSNIFF: Mapping[str, str] = {"X-Content-Type-Options": "nosniff"}
# Go's server refuses a bad escape before there is a request to speak of.
_BAD_ESCAPE = Response(400, {"Content-Type": _TEXT, "Connection": "close"}, b"400 Bad Request")


class Health(Protocol):
    """Answers the probes: pairs of a check's name and what is wrong (None: nothing)."""

    def livez(self) -> Sequence[tuple[str, str | None]]:
        """Return the checks that a restart would help."""
        ...

    def readyz(self) -> Sequence[tuple[str, str | None]]:
        """Return the checks that say whether to send requests here."""
        ...


class Authorizer(Protocol):
    """Decides who may, probes included. Never waits."""

    def __call__(self, request: Request, asked: Attributes, selector: Selector, /) -> ApiError | Undecided | None:
        """Return None if the request may go on, why it may not, or that somebody has to be asked first.

        A request with a verdict is decided.
        """
        ...


class Api:
    """Every route of the secure port.

    Args:
        snapshot: What is known now.
        now_ms: The time.
        health: Answers the probes.
        defined: Whether a metric is configured; None while no configuration has been loaded.
        serves: Which metric answers for the one that is asked for: another namespace's, where it is shared.
        version: Ours, for /version and the OpenAPI documents.
        authorize: None lets everybody pass: standalone, on a loopback address.
        on_response: Told of each answer: kind of route, HTTP code, seconds.
        on_read: Told of each read of a metric, see Readers.note.
    """

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        now_ms: Callable[[], int],
        health: Health,
        defined: Callable[[MetricRef], bool | None],
        version: str = "0.0.0",
        serves: Callable[[MetricRef], MetricRef] = lambda ref: ref,
        authorize: Authorizer | None = None,
        on_response: Callable[[str, int, float], None] | None = None,
        on_read: Callable[[MetricRef, Route, str, MetricResult, int, int], None] | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._now_ms = now_ms
        self._health = health
        self._defined = defined
        self._serves = serves
        self._authorize = authorize
        self._on_response = on_response
        self._on_read = on_read
        self._documents = Documents(version)
        self.cache = AnswerCache()

    def respond(self, request: Request) -> Response | Undecided:
        """Answer a request. Never waits, and never raises for anything that a client can send."""
        started = time.perf_counter()
        try:
            route = resolve(request.raw_target)
        except BadEscapeError:
            kind, response = Kind.UNKNOWN_PATH, _BAD_ESCAPE
        else:
            found = self._respond(route, request)
            if isinstance(found, Undecided):
                return found
            kind, response = route.kind, found
        if self._on_response is not None:
            self._on_response(kind, response.status, time.perf_counter() - started)
        return response

    def _respond(self, route: Route, request: Request) -> Response | Undecided:
        headers = request.headers
        pretty = route.pretty
        if pretty is None:
            pretty = headers.get("user-agent").startswith(_PEOPLE)
        try:
            found = self._admit(route, request) or self._handle(route, request, pretty)
        except ApiError as error:
            found = error
        if isinstance(found, Response | Undecided):
            return found
        form = negotiate(headers.get("accept"), pretty).error_form
        return reply(request, found.code, CONTENT_TYPES[form], encode.status(found, form), found.headers)

    def _admit(self, route: Route, request: Request) -> ApiError | Undecided | None:
        if request.shed and route.kind in _SHED:
            return TooManyRequestsError()
        if route.timeout_error is not None:
            return route.timeout_error
        if self._authorize is not None:
            asked = route.gets if request.method == "GET" else attributes(request.method, route.target)
            found = self._authorize(request, asked, route.selector)
            if found is not None:
                return found
        if request.headers.impersonates:
            return ForbiddenError("impersonation is not supported here: ask kube-apiserver, which does it itself")
        return None

    def _handle(self, route: Route, request: Request, pretty: bool) -> Response | Undecided | ApiError:
        if route.kind in HEALTH:
            return self._probe(route, request)
        if route.kind is Kind.UNKNOWN_PATH:
            return no_such_path(request)
        if route.kind is Kind.UNKNOWN_RESOURCE:
            return resource_not_found()
        if request.method != "GET":
            return MethodNotAllowedError("the server does not allow this method on the requested resource", NO_DETAILS)
        if route.kind is Kind.VALUES:
            return self._values(route, request, pretty)
        return self._documents.answer(route, request, pretty)

    def _values(self, route: Route, asked: Request, pretty: bool) -> Response | Undecided | ApiError:
        form = negotiate(asked.headers.get("accept"), pretty).form
        if isinstance(form, Refusal):
            return refused(form)
        if route.options_error is not None:
            return route.options_error
        ref = self._serves(route.ref)
        result = self._snapshot().results.get(ref)
        if result is None:
            return self._absent(route)
        now_ms = self._now_ms()
        key = (ref, route.target.raw_query, form)
        body = self.cache.get(key, result, now_ms)
        if body is None:
            items = answer(result, route.selector, now_ms)
            if isinstance(items, UnknownAnswer):
                self._note(ref, route, asked, result, UnavailableError.code, now_ms)
                return UnavailableError(items.message(route.ref.namespace))
            if len(items) > _MANY[form]:
                return Undecided(partial(self._write_elsewhere, route, asked, key, result, items))
            body = encode.values(result.metric_name, items, form)
            self.cache.put(key, result, min((item.valid_until_ms for item in items), default=None), body)
        self._note(ref, route, asked, result, 200, now_ms)
        return reply(asked, 200, CONTENT_TYPES[form], body)

    async def _write_elsewhere(
        self,
        route: Route,
        asked: Request,
        key: tuple[MetricRef, str, Form],
        result: MetricResult,
        items: tuple[ExternalMetricValue, ...],
    ) -> Response:
        """Write a large answer in a thread: meanwhile the event loop has other readers to answer."""
        started = time.perf_counter()
        ref, _, form = key
        body = await asyncio.to_thread(encode.values, result.metric_name, items, form)
        self.cache.put(key, result, min(item.valid_until_ms for item in items), body)
        self._note(ref, route, asked, result, 200, self._now_ms())
        if self._on_response is not None:
            self._on_response(route.kind, 200, time.perf_counter() - started)
        return reply(asked, 200, CONTENT_TYPES[form], body)

    def _note(self, ref: MetricRef, route: Route, asked: Request, result: MetricResult, code: int, now_ms: int) -> None:
        if self._on_read is not None:
            self._on_read(ref, route, asked.headers.get("user-agent"), result, code, now_ms)

    def _absent(self, route: Route) -> ApiError:
        defined = self._defined(route.ref)
        if defined is False:
            return metric_not_found(route.metric_name)
        why = "no configuration has been loaded yet" if defined is None else "not collected yet"
        unknown = UnknownAnswer(route.metric_name, Reason.NO_DATA, f"{Reason.NO_DATA}: {why}")
        return UnavailableError(unknown.message(route.ref.namespace))

    def _probe(self, route: Route, asked: Request) -> Response:
        checks = self._health.readyz() if route.kind is Kind.READYZ else self._health.livez()
        healthy = all(error is None for _, error in checks)
        if healthy and "verbose" not in route.target.query:
            return reply(asked, 200, _TEXT, b"ok", _NOSNIFF)
        lines = [f"[+]{name} ok" if error is None else f"[-]{name} failed: {error}" for name, error in checks]
        lines.append(f"{route.kind} check {'passed' if healthy else 'failed'}\n")
        return reply(asked, 200 if healthy else 503, _TEXT, "\n".join(lines).encode(), _NOSNIFF)
