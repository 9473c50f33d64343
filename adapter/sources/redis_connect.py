"""A connection to a Redis that may be asked: addresses, TLS, credentials, database; and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl

import hiredis

from adapter.sources import SourceFailureError
from adapter.sources.addresses import AddressPolicy, refusal
from adapter.sources.names import look_up
from adapter.sources.redis_access import Access
from adapter.sources.redis_address import Address, Socket
from adapter.sources.redis_replies import error_code, whole_failure
from adapter.sources.resp import ClosedError, Connection, RespError, encode, prepare

_ERRNO = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "no route to the host",
    errno.ETIMEDOUT: "timeout",
}


async def open_connection(address: Address | Socket, access: Access, patience_s: float) -> Connection:
    """Connect, log in and select the database.

    Args:
        address: The server and database.
        access: Who we are; its verification is used if the address says TLS.
        patience_s: For connecting, shared by the host's addresses, so that one that is silent leaves time for the next.

    Raises:
        SourceFailureError: It cannot be used; says why.
        ClosedError, RespError, OSError: For `explain`.
    """
    credentials = access.credentials
    # In a thread: files may be on a slow disk, and loading certificates would hold the loop.
    user, password = await asyncio.to_thread(credentials.read) if credentials is not None else (None, None)
    if isinstance(address, Socket):
        _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, address.path)
    else:
        context = await asyncio.to_thread(access.verification.context) if address.tls else None
        name = access.verification.server_name or address.host
        connection = await _dial(address, context, name, access.policy, patience_s)
    try:
        await _log_in(connection, user, password, address.db)
    except BaseException:
        connection.abort()
        raise
    return connection


async def _dial(
    address: Address, tls: ssl.SSLContext | None, server_name: str, policy: AddressPolicy, patience_s: float
) -> Connection:
    """Connect to the first address of a host that may be and can be connected to. The only way to any server.

    What the policy has allowed is what is connected to: names are resolved once, here.
    """
    loop = asyncio.get_running_loop()
    found = await look_up(address.host, address.port, tenant=policy)
    hosts = dict.fromkeys((str(sockaddr[0]), family) for family, _, _, _, sockaddr in found)
    refused = {host: reason for host, _ in hosts if (reason := refusal(policy, host)) is not None}
    allowed = [(host, family) for host, family in hosts if host not in refused]
    if refused and not allowed:
        raise SourceFailureError(min(refused.values()))  # a resolver shuffles; the detail must not
    error: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for host, family in allowed:
        try:
            async with asyncio.timeout(patience_s / len(allowed)):
                _, connection = await loop.create_connection(
                    Connection, host, address.port, family=family, ssl=tls, server_hostname=server_name if tls else None
                )
        except OSError as exc:
            error = exc
        else:
            return connection
    raise error


async def _log_in(connection: Connection, user: bytes | None, password: bytes | None, db: int) -> None:
    steps = []
    if user is not None or password is not None:
        steps.append(("AUTH", encode("AUTH", *([] if user is None else [user]), password or b"")))
    if db:
        steps.append(("SELECT", encode("SELECT", db)))
    replies = await connection.roundtrip(prepare([command] for _, command in steps))
    for (step, _), reply in zip(steps, replies, strict=True):
        if isinstance(reply, hiredis.ReplyError):
            raise SourceFailureError(_login_failure(step, reply, db))
        if reply != b"OK":
            raise RespError(f"{step} was not answered with OK")


def _login_failure(step: str, error: hiredis.ReplyError, db: int) -> str:
    """Say what is wrong without the error's own text: some servers repeat the command, and with it the password."""
    whole = whole_failure(error)
    if whole is not None:
        return whole
    code = error_code(error)
    if step == "SELECT":
        return {
            "NOPERM": "NOPERM: the user may not run SELECT",
            "ERR": f"SELECT {db}: the server has no such database, or cannot select one",
        }.get(code, f"SELECT {db}: {code}")
    if code == "ERR":
        return "AUTH: the server does not know this kind of login, or has no password set for the user default"
    return f"AUTH: {code}"


def explain(error: OSError | RespError) -> str:
    """Return what went wrong with a connection, in words that are the same each time it does."""
    if isinstance(error, ClosedError):
        if error.farewell is None:
            return str(error)
        return whole_failure(error.farewell) or f"refused by the server: {error_code(error.farewell)}"
    if isinstance(error, RespError):
        return f"protocol error: {error}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: certificate: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'handshake failed').replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror):
        return f"DNS: {error.strerror}"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionError) and error.errno is None:
        return "connection reset"
    if error.errno is None:
        return "connection failed"
    return _ERRNO.get(error.errno) or os.strerror(error.errno)
