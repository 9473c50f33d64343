"""The connections to one Kubernetes API server: TLS, the token, JSON."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

_READ_BYTES = 1 << 20  # an event of a watch is one line, and may hold an object of 1.5 MB


@dataclass(frozen=True, slots=True)
class Server:
    """Where the API is, and what requests to it are made with.

    Args:
        url: Scheme, host and port, and a path if the API is below one; no slash at the end.
        authorization: The header's value; None: a client certificate says who we are.
        ca_file: None: the system's authorities are trusted.
        cert_file, key_file: The client certificate.
        insecure: The server's certificate is not verified.
        server_name: The name it must have; None: the host of the URL.
        proxy: URL of an HTTP proxy; None: what the environment says.
        proxy_headers: For it.
    """

    url: str
    authorization: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure: bool = False
    server_name: str | None = None
    proxy: str | None = None
    proxy_headers: Mapping[str, str] | None = field(default=None, repr=False)


class Session:
    """What requests are made with, until the files behind it change.

    Attributes:
        authorization: May be set anew at any time.
        users: How many requests and watches use it.
    """

    def __init__(self, server: Server) -> None:
        """Make no connection yet.

        Raises:
            OSError, ValueError: A file cannot be read, or holds not what it should; ssl.SSLError is an OSError.
        """
        self.authorization = server.authorization
        self.users = 0
        self._server = server
        # A watch holds its connection, and there may be hundreds.
        connector = aiohttp.TCPConnector(limit=0, ssl=_context(server))
        self._session = aiohttp.ClientSession(
            connector=connector,
            trust_env=True,
            read_bufsize=_READ_BYTES,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": f"spillway/{version('spillway')}"},
        )

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | list[Any] | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """Send one request; its answer is not read yet. `path` is escaped, without query."""
        url = self._server.url + path
        if query:
            url += f"?{urlencode(query)}"
        headers = {"Content-Type": content_type}
        if self.authorization is not None:
            headers["Authorization"] = self.authorization
        return await self._session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=None if body is None else json.dumps(body).encode(),
            timeout=timeout,
            server_hostname=self._server.server_name,
            proxy=self._server.proxy,
            proxy_headers=self._server.proxy_headers,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def _context(server: Server) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=server.ca_file)
    if server.cert_file:
        context.load_cert_chain(server.cert_file, server.key_file)
    if server.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    # Python 3.13 asks for what RFC 5280 wants of a CA (key identifiers, key usage) and many clusters' CAs do not have.
    # The chain, the names and the dates are verified all the same.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
