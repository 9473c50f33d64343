"""The certificates of the client at the other end of a connection."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from weakref import WeakKeyDictionary

_DER = 2  # _ssl.ENCODING_DER


class Peers:
    """Remembers what each connection's client sent: it cannot change while the connection lasts."""

    def __init__(self) -> None:
        self._chains: WeakKeyDictionary[asyncio.BaseTransport, tuple[bytes, ...]] = WeakKeyDictionary()

    def chain(self, transport: asyncio.BaseTransport | None) -> tuple[bytes, ...]:
        """Return the client's certificates as DER, its own first; none without TLS, or if it sent none."""
        if transport is None:
            return ()
        known = self._chains.get(transport)
        if known is None:
            known = self._chains[transport] = _read(transport.get_extra_info("ssl_object"))
        return known


def _read(connection: ssl.SSLObject | None) -> tuple[bytes, ...]:
    own = connection.getpeercert(binary_form=True) if connection is not None else None
    if own is None:
        return ()
    # Public from Python 3.13 on. Before, an SSLObject has it one level down, as objects; no release will change that.
    inner: Any = connection if hasattr(connection, "get_unverified_chain") else getattr(connection, "_sslobj", None)
    sent = inner.get_unverified_chain() or ()
    others = [each if isinstance(each, bytes) else each.public_bytes(_DER) for each in sent]
    return (own, *(each for each in others if each != own))
