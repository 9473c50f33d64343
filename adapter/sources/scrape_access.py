"""What gets us to a page: credentials and certificates, read from files again and again, shared, and never shown."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from adapter.schema.metric import SecretData
from adapter.schema.model import ScrapeSource
from adapter.sources import SourceFailureError

_REREAD_S = 10.0
"""How long what was read is used: a rotated token is picked up in time, and thousands of targets share one reading."""

_RETRY_S = 1.0
"""How long, after it was refused."""

_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Access:
    """Where credentials and certificates are; None: there are none. Equal ones are read together."""

    token_file: str | None = None
    username: str | None = field(default=None, repr=False)
    password_file: str | None = None
    auth_secret: SecretData | None = None
    ca_file: str | None = None
    ca_secret: SecretData | None = None
    server_name: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure: bool = False
    tls: bool = False

    def open(self) -> Keys:
        """Return what holds the contents, the same object for all who have this Access open."""
        keys = _open.get(self)
        if keys is None:
            keys = _open[self] = Keys(self)
        return keys


NO_ACCESS = Access()


def access_to(source: ScrapeSource, secrets: Mapping[str, SecretData]) -> Access:
    """Return how the pages of a source are got to. `secrets` are those it names."""
    auth, tls = source.auth, source.tls
    if auth is None and tls is None:
        return NO_ACCESS
    return Access(
        token_file=auth.bearer_token_file if auth else None,
        username=auth.username if auth else None,
        password_file=auth.password_file if auth else None,
        auth_secret=secrets.get(auth.secret_ref.name) if auth and auth.secret_ref else None,
        ca_file=tls.ca_file if tls else None,
        ca_secret=secrets.get(tls.ca_secret_ref.name) if tls and tls.ca_secret_ref else None,
        server_name=tls.server_name if tls else None,
        cert_file=tls.cert_file if tls else None,
        key_file=tls.key_file if tls else None,
        insecure=tls.insecure_skip_verify if tls else False,
        tls=tls is not None,
    )


@dataclass(frozen=True, slots=True)
class Ready:
    """What a request is made with.

    Args:
        authorization: The header's value; None: none is sent.
        context: For TLS; None: the system's authorities are trusted.
        server_name: The name a certificate must have; None: the host of the URL.
    """

    authorization: str | None = field(default=None, repr=False)
    context: ssl.SSLContext | None = None
    server_name: str | None = None


class Keys:
    """The contents behind an Access. A context takes 10 ms and half a megabyte, so that targets must share it."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._ready = Ready()
        self._digest = b""
        self._read_s = self._until_s = float("-inf")
        self._reading = asyncio.Lock()

    async def ready(self) -> Ready:
        """Return what requests are made with now.

        Raises:
            SourceFailureError: A file cannot be read, or holds not what it should.
        """
        if self._access == NO_ACCESS:
            return self._ready
        async with self._reading:
            now_s = asyncio.get_running_loop().time()
            if now_s >= self._until_s:
                # In a thread: files may be on a slow disk, and loading certificates would hold the loop.
                await asyncio.to_thread(self._read)
                self._read_s, self._until_s = now_s, now_s + _REREAD_S
        return self._ready

    def forget(self) -> None:
        """Read again soon: what was sent was refused."""
        self._until_s = min(self._until_s, self._read_s + _RETRY_S)

    def _read(self) -> None:
        access = self._access
        authorization = _authorization(access)
        files = [(what, path, _content(path, what)) for what, path in _tls_files(access)]
        digest = hashlib.sha256(b"\0".join(content for _, _, content in files)).digest()
        context = self._ready.context
        if access.tls and (context is None or digest != self._digest):
            context = _context(access)
        self._ready, self._digest = Ready(authorization, context, access.server_name), digest


_open: WeakValueDictionary[Access, Keys] = WeakValueDictionary()


def _authorization(access: Access) -> str | None:
    if access.auth_secret is not None:
        return _from_secret(access.auth_secret.data)
    if access.token_file is not None:
        return f"Bearer {_line(_content(access.token_file, 'token'), f'reading token file {access.token_file}')}"
    if access.username is not None and access.password_file is not None:
        password = _first_line(_content(access.password_file, "password"))
        if not password:
            raise SourceFailureError(f"reading password file {access.password_file}: empty")
        return _basic(access.username.encode(), password)
    return None


def _from_secret(data: Mapping[str, bytes]) -> str:
    if token := data.get("token"):
        return f"Bearer {_line(token, 'key token of the Secret')}"
    user, password = data.get("username"), data.get("password")
    if not user or not password:
        raise SourceFailureError("the Secret has neither token nor username and password")
    return _basic(_first_line(user), _first_line(password))


def _basic(user: bytes, password: bytes) -> str:
    return f"Basic {base64.b64encode(user + b':' + password).decode()}"


def _line(content: bytes, where: str) -> str:
    """Return a token, which must be able to stand in a header."""
    line = _first_line(content).strip()
    if not line:
        raise SourceFailureError(f"{where}: empty")
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable():
        raise SourceFailureError(f"{where}: not a token of printable ASCII")
    return text


def _first_line(content: bytes) -> bytes:
    # An editor or echo ends a file with a newline; spaces can be part of a password.
    return content.partition(b"\n")[0].removesuffix(b"\r")


def _content(path: str, what: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SourceFailureError(f"reading {what} file {path}: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise SourceFailureError(f"reading {what} file {path}: larger than {_MAX_BYTES} bytes")
    return content


def _tls_files(access: Access) -> list[tuple[str, str]]:
    named = (("CA", access.ca_file), ("certificate", access.cert_file), ("key", access.key_file))
    return [(what, path) for what, path in named if path is not None]


def _context(access: Access) -> ssl.SSLContext:
    authorities = None
    where = f"reading CA file {access.ca_file}"
    if access.ca_secret is not None:
        where = "key ca.crt of the Secret"
        authorities = access.ca_secret.data.get("ca.crt", b"").decode("ascii", "replace")
        if not authorities.strip():  # to OpenSSL that would mean the system's
            raise SourceFailureError(f"{where}: missing or empty")
    try:
        context = ssl.create_default_context(cafile=access.ca_file, cadata=authorities)
    except (ssl.SSLError, ValueError):
        raise SourceFailureError(f"{where}: no PEM certificate") from None
    except OSError as error:
        raise SourceFailureError(f"{where}: {error.strerror}") from None
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.cert_file is not None and access.key_file is not None:
        try:
            # Without a password of ours OpenSSL would ask for one on the terminal.
            context.load_cert_chain(access.cert_file, access.key_file, password="")
        except (ssl.SSLError, OSError):
            detail = (
                f"reading certificate file {access.cert_file}: no PEM certificate with the key in {access.key_file}"
            )
            raise SourceFailureError(detail) from None
    return context
