"""The secure port: aiohttp's HTTP/1.1 around the API, which decides everything else."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from adapter.api.peer import Peers
from adapter.api.request import Request, Response, Undecided

_KEEP_ALIVE_S = 120.0  # longer than the 90 s for which kube-apiserver keeps an idle connection to us
_MAX_HEADERS = 512  # kube-apiserver sends one X-Remote-Group a group of the user
_LINGERING_S = 1.0  # nothing we serve reads a body
_DRAIN_S = 5.0  # an answer is ready at once; only a slow reader can take longer

logger = logging.getLogger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Drop what aiohttp logs of a malformed request: anybody can send one, and it quotes the header, a token maybe."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


logger.addFilter(_is_ours)


class ApiServer:
    """Listens while its `async with` block runs.

    Args:
        respond: Answers one request from memory, or says what to wait for first.
        host: The address to bind.
        port: 0 takes a free one.
        ssl_context: None serves plain HTTP, for tests.
        drain_s: How long answers under way may take once the block is left.
    """

    def __init__(
        self,
        respond: Callable[[Request], Response | Undecided],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        drain_s: float = _DRAIN_S,
    ) -> None:
        self._respond = respond
        self._host = host
        self._ssl_context = ssl_context
        self._drain_s = drain_s
        self._peers = Peers()
        self._runner: web.ServerRunner | None = None
        self.port = port
        """The port that is bound, once it is."""
        self.stopping = False
        """Set it and each answer asks the client to take its next request elsewhere."""

    async def __aenter__(self) -> Self:
        server = web.Server(
            self._handle,
            logger=logger,
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_S,
            lingering_time=_LINGERING_S,
            max_headers=_MAX_HEADERS,
            auto_decompress=False,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=self._drain_s)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port, ssl_context=self._ssl_context).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stopping = True
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        # aiohttp answers 500, logs and closes this one connection if this raises.
        asked = Request(request.method, request.raw_path, request.headers, self._peers.chain(request.transport))
        answer = self._respond(asked)
        while isinstance(answer, Undecided):
            answer = self._respond(asked._replace(verdict=await answer.decide()))
        status, headers, body = answer
        response = web.Response(status=status, headers=headers, body=body)
        # aiohttp would name itself and its version.
        response.headers["Server"] = "spillway"
        if self.stopping or headers.get("Connection") == "close":
            response.force_close()
        return response
