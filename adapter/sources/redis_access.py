"""What gets us into a Redis: credentials and certificates, read from files at each connect and kept nowhere."""

from __future__ import annotations

import os
import ssl
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from adapter.sources import SourceFailureError
from adapter.sources.addresses import ALLOW_ALL, AddressPolicy

MAX_CREDENTIAL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where user and password are. Files and variables are read at each connect, and kept nowhere.

    A tenant's come from a Secret, which is read elsewhere; another version of it is another identity.
    """

    username: str | None = field(default=None, repr=False)
    username_file: str | None = None
    password_file: str | None = None
    password_env: str | None = None
    secret_version: str = ""
    secret_user: bytes | None = field(default=None, repr=False)
    secret_password: bytes | None = field(default=None, repr=False)

    def read(self) -> tuple[bytes | None, bytes | None]:
        """Return user and password as they are now. Blocks.

        Raises:
            SourceFailureError: A file or variable cannot be read or is empty.
        """
        user = None if self.username is None else self.username.encode("utf-8", "surrogatepass")
        if self.username_file is not None:
            user = _first_line(self.username_file, "user name")
        if self.secret_version:
            return self.secret_user, self.secret_password
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


_SYSTEM_S = 60.0
"""How long the system's authorities count as read: they take 18 ms of processor time, and what is down is dialled
again and again."""


@lru_cache(maxsize=1)
def _by_the_system(minute: float) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities; connections share it, and nothing changes it."""
    del minute
    return ssl.create_default_context()


@dataclass(frozen=True, slots=True)
class Verification:
    """How the server's certificate is verified, and what we show of our own. The files are read at each connect, the
    system's authorities once a minute.

    Args:
        ca_file: The authorities to trust; None: the system's.
        server_name: The name the certificate must have; None: the host connected to.
        cert_file: Our certificate; None: none.
        key_file: Its key.
        insecure: Any certificate will do.
        ca_data: The authorities to trust, as PEM: what a Secret holds.
    """

    ca_file: str | None = None
    server_name: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure: bool = False
    ca_data: str | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext:
        """Return a client context. Blocks: the system's authorities take some 10 ms to load.

        Raises:
            SourceFailureError: A file cannot be read or does not hold what it should.
        """
        if self == Verification(server_name=self.server_name):
            return _by_the_system(time.monotonic() // _SYSTEM_S)
        try:
            context = ssl.create_default_context(cafile=self.ca_file, cadata=self.ca_data)
        except ssl.SSLError:
            if self.ca_data is not None:
                raise SourceFailureError("the Secret's ca.crt holds no PEM certificate") from None
            raise SourceFailureError(f"reading CA file {self.ca_file}: no PEM certificate") from None
        except OSError as exc:
            raise SourceFailureError(f"reading CA file {self.ca_file}: {exc.strerror}") from None
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file is not None and self.key_file is not None:
            self._show_certificate(context, self.cert_file, self.key_file)
        return context

    def _show_certificate(self, context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
        for what, path in (("certificate", cert_file), ("key", key_file)):
            try:
                Path(path).open("rb").close()
            except OSError as exc:
                raise SourceFailureError(f"reading {what} file {path}: {exc.strerror}") from None
        try:
            # Without a password of ours OpenSSL would ask for one on the terminal.
            context.load_cert_chain(cert_file, key_file, password="")
        except ssl.SSLError:
            detail = f"reading certificate file {cert_file}: no PEM certificate with the key in {key_file}"
            raise SourceFailureError(detail) from None


@dataclass(frozen=True, slots=True)
class Access:
    """As whom, over what kind of TLS, and to which addresses we connect."""

    credentials: Credentials | None = None
    verification: Verification = Verification()
    policy: AddressPolicy = ALLOW_ALL
