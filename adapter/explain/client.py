"""Questions to a running adapter's explain port."""

from __future__ import annotations

import difflib
import json
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from adapter.explain.errors import ExplainError

_HOST = "127.0.0.1"
_TIMEOUT_S = 30.0
_NAMED = 5


class NoSuchMetricError(ExplainError):
    """The adapter answers, and has no such metric."""


class Adapter:
    """An adapter's explain port: `async with Adapter(8081) as adapter`.

    It is on loopback only, so that Kubernetes decides who may ask: in a cluster it is reached by port-forwarding. Every
    method raises ExplainError.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # trust_env stays off: a proxy has no way to our loopback.
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def explain(self, namespace: str, metric: str) -> dict[str, Any]:
        """Return everything that led to a metric's result."""
        return await self._of_metric(namespace, metric, "")

    async def values(self, namespace: str, metric: str) -> dict[str, Any]:
        """Return every item of a metric, and nothing else."""
        return await self._of_metric(namespace, metric, "/values")

    async def names(self) -> list[str]:
        """Return the metrics there are: "shop/orders-backlog"."""
        _, found = await self._get("/explain")
        return [f"{each['namespace']}/{each['metric']}" for each in found.get("metrics", ())]

    async def _of_metric(self, namespace: str, metric: str, what: str) -> dict[str, Any]:
        status, found = await self._get(f"/explain/{quote(namespace, safe='')}/{quote(metric, safe='')}{what}")
        if status == 404:
            raise NoSuchMetricError(no_such_metric(f"{namespace}/{metric}", await self.names()))
        return found

    async def _get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return status and JSON; of a 404 no JSON."""
        where = f"{_HOST}:{self._port}"
        if self._session is None:
            raise RuntimeError("Adapter is used outside its lifetime")
        try:
            async with self._session.get(f"http://{where}{path}") as response:
                body = await response.read()
        except TimeoutError:
            raise ExplainError(f"{where}: no answer within {_TIMEOUT_S:g} s: is the adapter overloaded?") from None
        except (aiohttp.ClientError, OSError) as error:
            cause = error.os_error.strerror if isinstance(error, aiohttp.ClientConnectorError) else None
            raise ExplainError(*unreachable(self._port, cause or type(error).__name__)) from None
        if response.status == 404 and path != "/explain":
            return 404, {}
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if response.status != 200 or not isinstance(found, dict):
            what = f"HTTP {response.status}, {response.content_type}"
            raise ExplainError(f"{where}: no explain port of Spillway ({what}): see --explain-port of the adapter")
        return 200, found


def unreachable(port: int, cause: str) -> tuple[str, str]:
    """Say what to do when nobody answers."""
    return (
        f"127.0.0.1:{port}: {cause}: no adapter answers there",
        (
            f"in a cluster: kubectl -n spillway port-forward deploy/spillway {port}:8081, and ask again beside it; "
            "elsewhere: --port is the adapter's --explain-port"
        ),
    )


def no_such_metric(name: str, names: list[str]) -> str:
    """Say which metrics there are instead, the likely ones first."""
    if not names:
        return f"there is no metric {name}: this adapter has none at all"
    near = difflib.get_close_matches(name, names, _NAMED, cutoff=0.5)
    shown = near or names[:_NAMED]
    more = f", … and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"there is no metric {name}; there {'is' if len(names) == 1 else 'are'} {', '.join(shown)}{more}"
