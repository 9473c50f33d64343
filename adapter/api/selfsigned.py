"""A self-signed serving certificate, for trying things out and where nobody verifies it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_LIFETIME = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=30)
_CERT_NAME, _KEY_NAME = "tls.crt", "tls.key"


def ensure(directory: Path, names: tuple[str, ...] = (), now: datetime | None = None) -> tuple[Path, Path]:
    """Return a certificate and its key in a directory, made anew unless there is a good pair already.

    Good: it names localhost and all of `names` (DNS names or addresses), its key is the other file, and 30 days or
    more are left. Both files are readable by their owner only.

    Raises:
        OSError: The directory cannot be written.
    """
    now = now or datetime.now(UTC)
    wanted = (*LOCAL_NAMES, *names)
    cert_file, key_file = directory / _CERT_NAME, directory / _KEY_NAME
    if not _is_good(cert_file, key_file, wanted, now):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        cert, key = create(wanted, now)
        _write_private(key_file, key)
        _write_private(cert_file, cert)
    return cert_file, key_file


def create(names: tuple[str, ...], now: datetime) -> tuple[bytes, bytes]:
    """Return a new certificate for these names and its P-256 key, as PEM. It is valid for a year."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "spillway")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in dict.fromkeys(names)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _is_good(cert_file: Path, key_file: Path, wanted: tuple[str, ...], now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        names = set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return (
        certificate.public_key() == key.public_key()
        and certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc - _RENEW_BEFORE
        and names >= {_general_name(name) for name in wanted}
    )


def _write_private(path: Path, content: bytes) -> None:
    """Replace a file in one step; nobody else can read it at any moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
