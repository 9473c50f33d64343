"""One GET of one page, bounded in time and in bytes, with failures that are named the same each time."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
import zlib
from dataclasses import dataclass
from email.message import Message
from typing import Any

import aiohttp
from yarl import URL

from adapter.schema.policy import ALLOW_ALL, AddressPolicy
from adapter.sources import SourceFailureError
from adapter.sources.addresses import refusal
from adapter.sources.names import Resolver
from adapter.sources.retry_after import retry_after_ms
from adapter.sources.scrape_access import Ready

# Names are asked for as they are (allow-utf-8): to have them with underscores instead would make them others.
_TEXT = ("text/plain;version=1.0.0;escaping=allow-utf-8", "text/plain;version=0.0.4;escaping=allow-utf-8")
_OPENMETRICS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
    "application/openmetrics-text;version=0.0.1",
)
_NOT_READ = {
    "text/html": "not a metrics page",
    "application/json": "not a metrics page",
    "application/vnd.google.protobuf": "protobuf, and so native histograms, are not read; let it serve text",
}
_OPENMETRICS_TYPE = "application/openmetrics-text"
_MAX_REDIRECTS = 3
_ASKS_FOR_A_PAUSE = frozenset({429, 503})
_GZIP_WBITS = 16 + zlib.MAX_WBITS
_STEP_BYTES = 256 * 1024  # inflated at a time before other tasks get their turn, about half a millisecond
_ERRNO_DETAILS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.EMFILE: "too many open files",
}


class NotAdmittedError(SourceFailureError):
    """The server, or we, did not accept what the other showed: credentials or a certificate."""


class AddressRefusedError(OSError):
    """A page's host is at an address that must not be connected to."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a page holds, inflated, and whether it is OpenMetrics or Prometheus text."""

    text: bytearray
    openmetrics: bool


def accept(*, openmetrics_first: bool) -> str:
    """Return the header Accept.

    Prometheus text comes first: it says the same in fewer bytes and without exemplars to skip, and counters have the
    names they were given, where some libraries add _total in OpenMetrics. But only there most libraries tell when a
    series was created.
    """
    formats = (*_OPENMETRICS, *_TEXT) if openmetrics_first else (*_TEXT, *_OPENMETRICS)
    weighted = [f"{media};q=0.{9 - place}" for place, media in enumerate(formats)]
    return ",".join([*weighted, "*/*;q=0.1"])


def new_session(
    interval_ms: int, policy: AddressPolicy = ALLOW_ALL, *, openmetrics_first: bool = False
) -> aiohttp.ClientSession:
    """Return a session for one endpoint: one connection, kept from one read to the next, no cookies.

    A session of its own costs 5 KB, less than the connection it holds, and shares nothing with other namespaces.
    """

    def open_socket(address: tuple[Any, ...]) -> socket.socket:
        # Here an address is final: literal or DNS answer, it is the one that is connected to next.
        family, kind, protocol, _, (host, *_) = address
        reason = refusal(policy, host)
        if reason is not None:
            raise AddressRefusedError(reason)
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        limit=1, keepalive_timeout=2 * interval_ms / 1000, socket_factory=open_socket, resolver=Resolver(policy)
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # we inflate ourselves, within a bound
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        headers={
            "Accept": accept(openmetrics_first=openmetrics_first),
            "Accept-Encoding": "identity",
            "User-Agent": "spillway",
        },
        read_bufsize=_STEP_BYTES,
    )


async def fetch(
    session: aiohttp.ClientSession, url: str, timeout_ms: int, max_bytes: int, ready: Ready | None = None
) -> Body:
    """Return a page.

    A last line without a line feed gets one where the answer is known to be whole: many hand-written pages lack it. A
    body that simply ends with the connection is handed on as it is.

    Raises:
        SourceFailureError: There is no answer in time, it is not 200, not a metrics page, or larger than `max_bytes`.
    """
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            page = await _follow(session, URL(url), timeout_ms, max_bytes, ready or Ready())
    except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError; ValueError: a bad URL
        kind = NotAdmittedError if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError) else SourceFailureError
        raise kind(failure_detail(error)) from error
    if page.text[:64].lstrip().startswith(b"<"):
        raise SourceFailureError("body is HTML or XML, not a metrics page")
    return page


async def _follow(session: aiohttp.ClientSession, url: URL, timeout_ms: int, max_bytes: int, ready: Ready) -> Body:
    """Get a page, also from another path of the same server, which alone has a right to our credentials."""
    headers = {"X-Prometheus-Scrape-Timeout-Seconds": f"{timeout_ms / 1000:g}"}
    if ready.authorization is not None:
        headers["Authorization"] = ready.authorization
    origin = url.origin()
    for _ in range(_MAX_REDIRECTS + 1):
        async with session.get(
            url,
            headers=headers,
            allow_redirects=False,
            ssl=True if ready.context is None else ready.context,
            server_hostname=ready.server_name,
        ) as response:
            if response.status not in (301, 302, 303, 307, 308):
                return await _page(response, max_bytes)
            target = response.headers.get("Location", "")
        url = url.join(URL(target)).with_user(None)
        if not target or url.origin() != origin:
            raise SourceFailureError(f"HTTP {response.status}: redirects to another server are not followed")
    raise SourceFailureError(f"more than {_MAX_REDIRECTS} redirects")


async def _page(response: aiohttp.ClientResponse, max_bytes: int) -> Body:
    inflate = _check_head(response, max_bytes)
    text = await _body(response, inflate, max_bytes)
    whole = inflate or response.content_length is not None or "Transfer-Encoding" in response.headers
    if whole and text and text[-1] != ord("\n"):
        text += b"\n"
    return Body(text, response.content_type == _OPENMETRICS_TYPE)


def _refused(error: BaseException | None) -> str | None:
    """Return why an address was refused, if that is behind an error."""
    for _ in range(8):  # a chain of causes, which may in principle be a ring
        if isinstance(error, AddressRefusedError):
            return str(error)
        error = getattr(error, "os_error", None) or getattr(error, "__cause__", None)
    return None


def failure_detail(error: BaseException) -> str:
    """Name a failed request without ports, addresses or anything else that differs from one time to the next."""
    if isinstance(error, TimeoutError):
        return "timeout"
    refused = _refused(error)
    if refused is not None:
        return refused
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return "name not resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "")
        return f"certificate not accepted: {reason}" if reason else "certificate not accepted"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS handshake failed"
    if isinstance(error, OSError) and error.errno:
        return _ERRNO_DETAILS.get(error.errno) or os.strerror(error.errno).lower()
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "connection closed before an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "answer cut short"
    if isinstance(error, aiohttp.ClientResponseError):
        return "answer is not HTTP"
    if isinstance(error, ValueError):
        return "URL is not valid"
    return "request failed"


def _check_head(response: aiohttp.ClientResponse, max_bytes: int) -> bool:
    """Refuse an answer by its status and headers. Returns: whether the body is compressed."""
    if response.status in (401, 403):
        raise NotAdmittedError(f"HTTP {response.status}")
    if response.status in _ASKS_FOR_A_PAUSE:
        raise _pause(response)
    if response.status != 200:
        raise SourceFailureError(f"HTTP {response.status}")
    if "Content-Type" in response.headers and response.content_type in _NOT_READ:
        raise SourceFailureError(f"content type {response.content_type}: {_NOT_READ[response.content_type]}")
    if response.content_type == _OPENMETRICS_TYPE and _version(response) not in ("1.0.0", "0.0.1", ""):
        raise SourceFailureError("content type application/openmetrics-text: only versions 1.0.0 and 0.0.1 are read")
    if response.content_length is not None and response.content_length > max_bytes:
        raise _too_large(max_bytes)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise SourceFailureError("content encoding is neither identity nor gzip")
    return encoding.endswith("gzip")


def _pause(response: aiohttp.ClientResponse) -> SourceFailureError:
    """Return the failure of an answer that asks to be left alone. Its detail has no time: that may differ each time."""
    headers = response.headers
    asked_ms = None
    if "Retry-After" in headers:
        asked_ms = retry_after_ms(headers["Retry-After"], headers.get("Date", ""), time.time_ns() // 1_000_000)
    if response.status == 429:
        detail = "HTTP 429: it is asked more often than it allows"
        return SourceFailureError(detail, retry_after_ms=asked_ms or 0)
    return SourceFailureError(f"HTTP {response.status}", retry_after_ms=asked_ms)


def _version(response: aiohttp.ClientResponse) -> str:
    message = Message()
    message["Content-Type"] = response.headers.get("Content-Type", "")
    return str(message.get_param("version", ""))


async def _body(response: aiohttp.ClientResponse, inflate: bool, max_bytes: int) -> bytearray:
    page = bytearray()
    inflater = zlib.decompressobj(_GZIP_WBITS) if inflate else None
    received = 0
    async for chunk in response.content.iter_any():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        if inflater is None:
            page += chunk
        else:
            inflater = await _inflate(inflater, chunk, page, max_bytes)
    if inflater is not None and not inflater.eof:
        raise SourceFailureError("gzip body cut short")
    return page


async def _inflate(inflater: zlib._Decompress, data: bytes, page: bytearray, max_bytes: int) -> zlib._Decompress:
    """Append what a chunk inflates to. Returns: the inflater for the next chunk."""
    while data:
        if inflater.eof:  # gzip data may be several members, one after another
            inflater = zlib.decompressobj(_GZIP_WBITS)
        try:
            page += inflater.decompress(data, _STEP_BYTES)
        except zlib.error:
            raise SourceFailureError("body is not valid gzip") from None
        if len(page) > max_bytes:
            raise _too_large(max_bytes)
        data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        if data:
            await asyncio.sleep(0)
    return inflater


def _too_large(max_bytes: int) -> SourceFailureError:
    return SourceFailureError(f"body larger than {max_bytes} bytes")
