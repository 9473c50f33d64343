"""The certificates of the client at the other end of a connection."""

from __future__ import annotations

import ssl
from typing import Any

_DER = 2  # _ssl.ENCODING_DER


def chain(connection: ssl.SSLObject | None) -> tuple[bytes, ...]:
    """Return the client's certificates as DER, its own first; none without TLS, or if it sent none."""
    own = connection.getpeercert(binary_form=True) if connection is not None else None
    if own is None:
        return ()
    # Public from Python 3.13 on. Before, an SSLObject has it one level down, as objects; no release will change that.
    inner: Any = connection if hasattr(connection, "get_unverified_chain") else getattr(connection, "_sslobj", None)
    sent = inner.get_unverified_chain() or ()
    others = [each if isinstance(each, bytes) else each.public_bytes(_DER) for each in sent]
    return (own, *(each for each in others if each != own))
