"""Our own CA and serving certificate, as the data of a Secret. Pure but for the random keys.

The Secret holds `ca.crt` (every CA a client should trust, the newest first), `ca.key` (the newest one's), `tls.crt` and
`tls.key`. A new CA is published before it signs what we serve, so that there is no moment in which a client does not
trust what it gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_CERT, CA_KEY, TLS_CERT, TLS_KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"

_CA_LIFE, _CA_RENEW = timedelta(days=3650), timedelta(days=365)
_LIFE, _RENEW = timedelta(days=90), timedelta(days=30)
_SKEW = timedelta(hours=1)  # clocks differ

Data = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class _Held:
    """What a Secret holds, readable."""

    authorities: Sequence[x509.Certificate]
    ca_key: ec.EllipticCurvePrivateKey
    serving: x509.Certificate | None


def plan(data: Data | None, published: bytes | None, names: Sequence[str], now: datetime) -> dict[str, bytes] | None:
    """Return what the Secret should hold instead, or None if it is fine.

    Args:
        data: What it holds; None: there is none.
        published: The caBundle clients use at present; None: not ours to look at, so everything counts as published.
        names: DNS names to serve under.
        now: The time, with a zone.
    """
    held = _read(data or {}, now)
    if held is None:
        authority, key = _new_ca(now)
        return _write([authority], key, *_issue(authority, key, names, now))
    authorities, key = list(held.authorities), held.ca_key
    if authorities[0].not_valid_after_utc - now < _CA_RENEW:
        authority, key = _new_ca(now)
        return _write([authority, *authorities], key, (data or {}).get(TLS_CERT, b""), (data or {}).get(TLS_KEY, b""))
    newest_is_published = published is None or _pem(authorities[0]) in published
    stays = _signed_by(held.serving, authorities[0]) or not newest_is_published
    if stays and _is_fine(held.serving, authorities, names, now):
        return None
    return _write(authorities, key, *_issue(authorities[0], key, names, now))


def is_pair(data: Data) -> bool:
    """Tell whether certificate and key are there and belong together."""
    return _serving(data) is not None


def not_after(data: Data) -> datetime | None:
    """Return when the serving certificate expires; None: it cannot be read."""
    try:
        return x509.load_pem_x509_certificate(data.get(TLS_CERT, b"")).not_valid_after_utc
    except ValueError:
        return None


def _read(data: Data, now: datetime) -> _Held | None:
    try:
        found = x509.load_pem_x509_certificates(data.get(CA_CERT, b""))
        key = serialization.load_pem_private_key(data.get(CA_KEY, b""), password=None)
    except (ValueError, TypeError):
        return None
    authorities = [ca for ca in found if ca.not_valid_after_utc > now]
    if not authorities or not isinstance(key, ec.EllipticCurvePrivateKey):
        return None
    if authorities[0].public_key() != key.public_key():
        return None
    return _Held(authorities, key, _serving(data))


def _serving(data: Data) -> x509.Certificate | None:
    try:
        certificate = x509.load_pem_x509_certificate(data.get(TLS_CERT, b""))
        key = serialization.load_pem_private_key(data.get(TLS_KEY, b""), password=None)
    except (ValueError, TypeError):
        return None
    return certificate if certificate.public_key() == key.public_key() else None


def _is_fine(
    serving: x509.Certificate | None, authorities: Sequence[x509.Certificate], names: Sequence[str], now: datetime
) -> bool:
    if serving is None or not any(_signed_by(serving, authority) for authority in authorities):
        return False
    try:
        given = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    named = set(given.get_values_for_type(x509.DNSName))
    return named >= set(names) and serving.not_valid_before_utc <= now <= serving.not_valid_after_utc - _RENEW


def _signed_by(certificate: x509.Certificate | None, authority: x509.Certificate) -> bool:
    if certificate is None:
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _new_ca(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    # Each CA has a name of its own: a verifier finds the right one of two by it.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"spillway-ca {now:%Y-%m-%dT%H:%M:%SZ}")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key, now, _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _issue(
    authority: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime
) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    certificate = (
        _builder(subject, authority.subject, key, now, _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _pem(certificate), private


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _write(
    authorities: Sequence[x509.Certificate], key: ec.EllipticCurvePrivateKey, tls_cert: bytes, tls_key: bytes
) -> dict[str, bytes]:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    bundle = b"".join(_pem(authority) for authority in authorities)
    return {CA_CERT: bundle, CA_KEY: private, TLS_CERT: tls_cert, TLS_KEY: tls_key}


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
