"""The two plain ports: `/metrics` for Prometheus, and explain on loopback for whoever may port-forward to it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry

from adapter.metrics_page import MetricsPage
from scaler.model import EXTERNAL_METRICS_GROUP, MetricRef

Explain = Callable[[MetricRef], Awaitable[dict[str, Any] | None]]
Values = Callable[[MetricRef], dict[str, Any] | None]
Readers = Callable[[MetricRef], list[dict[str, Any]]]
Endpoints = Callable[[MetricRef], dict[str, Any]]
_PIECES_AT_ONCE = 2000  # of JSON, some characters each: half a millisecond's work
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})

logger = logging.getLogger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Drop what aiohttp logs of a malformed request: anybody can send one, and it quotes the header, a token maybe."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


logger.addFilter(_is_ours)


def metrics_app(registry: CollectorRegistry) -> web.Application:
    """Return the application behind the metrics port: `/metrics` and nothing else."""
    page = MetricsPage(registry)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=await page.read(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app


def explain_app(
    explain: Explain, names: Callable[[], list[MetricRef]], values: Values, readers: Readers, endpoints: Endpoints
) -> web.Application:
    """Return the application behind the explain port, all JSON.

    Args:
        explain: What led to a metric's result: `/explain/{namespace}/{metric}`.
        names: The metrics there are: `/explain`.
        values: Every item of a metric, and nothing else: `/explain/{namespace}/{metric}/values`.
        readers: Who read a metric last; part of its explanation.
        endpoints: What a metric is read from, and the states of those breakers; likewise.
    """

    @web.middleware
    async def local_host_only(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        # A page in the browser of someone who port-forwards must not reach us under a name of its own.
        if request.host.rsplit(":", 1)[0] not in _LOCAL_HOSTS and request.host not in _LOCAL_HOSTS:
            raise web.HTTPForbidden(text="the Host header must be localhost\n")
        return await handler(request)

    async def listing(_: web.Request) -> web.Response:
        return await _json({"metrics": [{"namespace": ref.namespace, "metric": ref.name} for ref in names()]})

    async def one(request: web.Request) -> web.Response:
        ref = _ref(request)
        found = await explain(ref)
        if found is None:
            raise _no_metric(ref)
        return await _json(found | {"readers": readers(ref)} | endpoints(ref))

    async def all_values(request: web.Request) -> web.Response:
        ref = _ref(request)
        found = await asyncio.to_thread(values, ref)
        if found is None:
            raise _no_metric(ref)
        return await _json(found, indent=None)

    app = web.Application(middlewares=[local_host_only])
    app.router.add_get("/explain", listing)
    app.router.add_get("/explain/{namespace}/{metric}", one)
    app.router.add_get("/explain/{namespace}/{metric}/values", all_values)
    return app


def _ref(request: web.Request) -> MetricRef:
    return MetricRef(EXTERNAL_METRICS_GROUP, request.match_info["namespace"], request.match_info["metric"].lower())


def _no_metric(ref: MetricRef) -> web.HTTPNotFound:
    return web.HTTPNotFound(text=f"there is no metric {ref.namespace}/{ref.name}; GET /explain lists them\n")


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve an application while the context lasts; the value is the port it has."""
    runner = web.AppRunner(app, access_log=None, logger=logger)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _json(document: dict[str, Any], indent: int | None = 2) -> web.Response:
    # In pieces: a metric may have thousands of items, and the event loop has other things to do meanwhile.
    pieces: list[str] = []
    for piece in json.JSONEncoder(indent=indent).iterencode(document):
        pieces.append(piece)
        if len(pieces) % _PIECES_AT_ONCE == 0:
            await asyncio.sleep(0)
    return web.Response(text=f"{''.join(pieces)}\n", content_type="application/json")
