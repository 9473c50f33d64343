"""A connection to a Redis that may be asked: addresses, TLS, credentials, database; and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import hiredis

from adapter.sources import SourceFailureError
from adapter.sources.redis_address import Address
from adapter.sources.redis_replies import error_code, whole_failure
from adapter.sources.resp import ClosedError, Connection, RespError, encode, prepare

MAX_CREDENTIAL_BYTES = 64 * 1024

_ERRNO = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "no route to the host",
    errno.ETIMEDOUT: "timeout",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where user and password are. They are read at each connect, and kept nowhere."""

    username: str | None = field(default=None, repr=False)
    username_file: str | None = None
    password_file: str | None = None
    password_env: str | None = None

    def read(self) -> tuple[bytes | None, bytes | None]:
        """Return user and password as they are now. Blocks.

        Raises:
            SourceFailureError: A file or variable cannot be read or is empty.
        """
        user = None if self.username is None else self.username.encode("utf-8", "surrogatepass")
        if self.username_file is not None:
            user = _first_line(self.username_file, "user name")
        password = None
        if self.password_file is not None:
            password = _first_line(self.password_file, "password")
        elif self.password_env is not None:
            value = os.environ.get(self.password_env)
            if not value:
                raise SourceFailureError(f"the environment variable {self.password_env} is not set or empty")
            password = os.fsencode(value)
        return user, password


def _first_line(path: str, what: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_CREDENTIAL_BYTES + 1)
    except OSError as exc:
        raise SourceFailureError(f"reading {what} file {path}: {exc.strerror}") from None
    if len(content) > MAX_CREDENTIAL_BYTES:
        raise SourceFailureError(f"reading {what} file {path}: larger than {MAX_CREDENTIAL_BYTES} bytes")
    # An editor or echo ends a file with a newline; spaces can be part of a password.
    line = content.partition(b"\n")[0].removesuffix(b"\r")
    if not line:
        raise SourceFailureError(f"reading {what} file {path}: empty")
    return line


@dataclass(frozen=True, slots=True)
class Verification:
    """How the server's certificate is verified. The CA file is read at each connect."""

    ca_file: str | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return a client context. Blocks: the system's authorities take some 10 ms to load.

        Raises:
            SourceFailureError: The CA file cannot be read or holds no certificate.
        """
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError:
            raise SourceFailureError(f"reading CA file {self.ca_file}: no PEM certificate") from None
        except OSError as exc:
            raise SourceFailureError(f"reading CA file {self.ca_file}: {exc.strerror}") from None


async def open_connection(
    address: Address, credentials: Credentials | None, verification: Verification, patience_s: float
) -> Connection:
    """Connect, log in and select the database.

    Args:
        address: The server and database.
        credentials: Who we are; None: nobody.
        verification: Used if the address says TLS.
        patience_s: For connecting, shared by the host's addresses, so that one that is silent leaves time for the next.

    Raises:
        SourceFailureError: It cannot be used; says why.
        ClosedError, RespError, OSError: For `explain`.
    """
    # In a thread: files may be on a slow disk, and loading certificates would hold the loop.
    context = await asyncio.to_thread(verification.context) if address.tls else None
    user, password = await asyncio.to_thread(credentials.read) if credentials is not None else (None, None)
    connection = await _dial(address, context, verification.server_name or address.host, patience_s)
    try:
        await _log_in(connection, user, password, address.db)
    except BaseException:
        connection.abort()
        raise
    return connection


async def _dial(address: Address, tls: ssl.SSLContext | None, server_name: str, patience_s: float) -> Connection:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    hosts = list(dict.fromkeys((str(sockaddr[0]), family) for family, _, _, _, sockaddr in found))
    error: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for host, family in hosts:
        try:
            async with asyncio.timeout(patience_s / len(hosts)):
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
