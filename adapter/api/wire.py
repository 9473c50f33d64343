"""An answer as the bytes of HTTP/1.1."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from adapter.api import encode
from adapter.api.encode import CONTENT_TYPES, Form
from adapter.api.request import Response
from adapter.errors import InternalError

SERVER = "spillway"
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}

TOO_LARGE = Response(431, {"Content-Type": "text/plain; charset=utf-8"}, b"431 Request Header Fields Too Large")
"""For a head above the bound: the words of Go's server."""

MALFORMED = Response(400, {"Content-Type": "text/plain; charset=utf-8"}, b"400 Bad Request")
"""For what begins as no head does. aiohttp would wait for its end, and keep megabytes of it."""

_BUG = InternalError("Internal error occurred: a bug of the adapter, whose log says more")
BUG = Response(500, {"Content-Type": CONTENT_TYPES[Form.JSON], "Connection": "close"}, encode.status(_BUG, Form.JSON))
"""For a request that we failed to answer."""


def written(response: Response, *, close: bool) -> bytes:
    """Return status line, header fields and body. `close` tells the client that the connection ends here."""
    status, headers, body = response
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items() if name != "Connection"])
    length = "" if status == HTTPStatus.NOT_MODIFIED else f"Content-Length: {len(body)}\r\n"
    end = "Connection: close\r\n\r\n" if close else "\r\n"
    date = _date(int(time.time()))
    head = f"{_STATUS_LINES[status]}{fields}Server: {SERVER}\r\n{length}Date: {date}\r\n{end}"
    return head.encode() + body


@lru_cache(maxsize=1)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)
