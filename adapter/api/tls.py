"""The serving certificate: given as files and reloaded when they change, or self-signed.

A context that loads a second certificate of another key type serves either, at the client's choice. So a new pair gets
a new SSLContext, which each handshake is pointed to by the callback for the server's name.
"""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509

logger = logging.getLogger(__name__)

# ECDHE with an AEAD. TLS 1.3 has its own list, all of which is fine.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class CertificateError(Exception):
    """The serving certificate cannot be used; the message says which file and why."""


class ClientTrust(Protocol):
    """Adds to a new context what client certificates are verified against."""

    def __call__(self, context: ssl.SSLContext, /) -> None:
        """Change the context before its first handshake."""
        ...


def server_context(cert_file: Path, key_file: Path, trust: ClientTrust | None = None) -> ssl.SSLContext:
    """Return a context that serves this pair: TLS 1.2 or later, HTTP/1.1 only in ALPN.

    HTTP/2 costs a client of this API more than it gives, so it is not offered.

    Raises:
        CertificateError: A file cannot be read, is no PEM, or the key is not the certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a callback OpenSSL asks the terminal for the password of an encrypted key.
        context.load_cert_chain(cert_file, key_file, password=lambda: "")
    except (OSError, ValueError) as exc:  # an SSLError is an OSError
        reason = exc.strerror or exc.args[0] if isinstance(exc, OSError) else exc
        raise CertificateError(f"serving certificate {cert_file}, key {key_file}: {reason}") from exc
    if trust is not None:
        trust(context)
    return context


class ServingCertificate:
    """A pair of PEM files and the context that serves what is in them.

    Files that change are loaded at the next handshake. A new pair that cannot be used, or has expired, is logged once,
    and the one before it serves on.

    Raises:
        CertificateError: The first pair cannot be used.
    """

    def __init__(self, cert_file: Path, key_file: Path, trust: ClientTrust | None = None) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._trust = trust
        self._signature = self._read_signature()
        self._current, self._not_after = self._load()
        # The listener keeps this one for its lifetime; only its callback matters after the first rotation.
        self.context = self._current
        self.context.sni_callback = self._choose

    @property
    def not_after(self) -> datetime:
        """When the certificate being served expires, in UTC."""
        return self._not_after

    def refresh(self) -> str | None:
        """Load the files again if they have changed. Returns why a new pair cannot be used, once; None otherwise."""
        signature = self._read_signature()
        if signature == self._signature:
            return None
        self._signature = signature
        try:
            self._current, self._not_after = self._better(*self._load())
        except CertificateError as exc:
            logger.warning("%s; the certificate valid until %s serves on", exc, self._not_after.isoformat())
            return str(exc)
        logger.info("serving certificate %s loaded, valid until %s", self._cert_file, self._not_after.isoformat())
        return None

    def rotate(self) -> None:
        """Make a new context from the same files: what client certificates are verified against has changed.

        Raises:
            CertificateError: The files cannot be used any more; the context before serves on.
        """
        self._current, self._not_after = self._load()

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        self.refresh()
        if self._current is not self.context:
            connection.context = self._current

    def _load(self) -> tuple[ssl.SSLContext, datetime]:
        context = server_context(self._cert_file, self._key_file, self._trust)
        return context, not_after(self._cert_file)

    def _better(self, context: ssl.SSLContext, ends: datetime) -> tuple[ssl.SSLContext, datetime]:
        """Return a new pair's context and end, unless it has expired and the present one has not."""
        if ends <= datetime.now(UTC) < self._not_after:
            raise CertificateError(f"serving certificate {self._cert_file} has expired at {ends.isoformat()}")
        return context, ends

    def _read_signature(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_signature, (self._cert_file, self._key_file)))


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def not_after(cert_file: Path) -> datetime:
    """Return when the first certificate of a PEM file expires, in UTC.

    Raises:
        CertificateError: There is none in it.
    """
    try:
        return x509.load_pem_x509_certificate(cert_file.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as exc:
        raise CertificateError(f"serving certificate {cert_file}: {exc}") from exc
