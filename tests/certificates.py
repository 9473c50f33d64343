"""Certificate authorities and client certificates of every kind, good and bad."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

NOW = datetime.now(UTC).replace(microsecond=0)
CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
_CA = x509.BasicConstraints(ca=True, path_length=None)
_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Pair:
    """A certificate, its key, and the certificates between it and its root."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    between: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        encryption = serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

    def load_into(self, context: ssl.SSLContext, directory: Path) -> None:
        """Show this to the server."""
        cert, key = (directory / f"{self.certificate.serial_number}.{end}" for end in ("crt", "key"))
        self.write(cert, key)
        context.load_cert_chain(cert, key)

    def write(self, cert: Path, key: Path) -> None:
        """Write this as PEM files."""
        chain = (self.certificate, *self.between)
        cert.write_bytes(b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain))
        key.write_bytes(self.key_pem)


@dataclass
class Authority:
    """Issues certificates. With `bare` its own has nothing but basic constraints, and those not critical."""

    name: str = "kubernetes"
    bare: bool = False
    not_after: datetime = field(default_factory=lambda: NOW + timedelta(days=10))
    may_sign: bool = True
    pair: Pair = field(init=False)

    def __post_init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[tuple[x509.ExtensionType, bool]] = [(_CA, not self.bare)]
        if not self.bare:
            usage = _SIGNS if self.may_sign else _usage_without_signing()
            extensions += [(usage, True), (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)]
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        self.pair = Pair(_sign(name, name, key, key, extensions, NOW - timedelta(days=1), self.not_after), key)

    @property
    def pem(self) -> str:
        return self.pair.pem

    def issue(
        self,
        *names: str,
        organizations: Sequence[str] = (),
        usage: ObjectIdentifier | None = CLIENT_AUTH,
        not_before: datetime = NOW - timedelta(hours=1),
        not_after: datetime = NOW + timedelta(days=1),
        dns: str = "",
    ) -> Pair:
        """Return a client certificate with these common names."""
        extensions: list[tuple[x509.ExtensionType, bool]] = []
        if usage is not None:
            extensions.append((x509.ExtendedKeyUsage([usage]), False))
        if dns:
            extensions.append((x509.SubjectAlternativeName([x509.DNSName(dns)]), False))
        return self._issue(_subject(names, organizations), extensions, not_before, not_after)

    def intermediate(self, name: str = "intermediate") -> Authority:
        """Return an authority that this one vouches for; what it issues comes with its certificate."""
        found = Authority(name)
        subject = found.pair.certificate.subject
        certificate = _sign(
            subject,
            self.pair.certificate.subject,
            found.pair.key,
            self.pair.key,
            [(_CA, True), (_SIGNS, True)],
            NOW - timedelta(days=1),
            self.not_after,
        )
        found.pair = Pair(certificate, found.pair.key, (certificate, *self.pair.between))
        return found

    def _issue(
        self,
        subject: x509.Name,
        extensions: list[tuple[x509.ExtensionType, bool]],
        not_before: datetime,
        not_after: datetime,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.pair.certificate.subject
        if not self.bare:
            # As Go does. Without it OpenSSL cannot tell authorities of one name apart.
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.pair.key.public_key())
            extensions.append((identifier, False))
        certificate = _sign(subject, issuer, key, self.pair.key, extensions, not_before, not_after)
        return Pair(certificate, key, self.pair.between)


def _subject(names: Sequence[str], organizations: Sequence[str]) -> x509.Name:
    found = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations]
    return x509.Name([*found, *(x509.NameAttribute(NameOID.COMMON_NAME, each) for each in names)])


def _usage_without_signing() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    not_before: datetime,
    not_after: datetime,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())
