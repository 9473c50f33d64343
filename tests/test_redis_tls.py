"""TLS to a real redis-server."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.redis_reading import reading, redis_metric, source_error
from tests.redis_server import RedisServer, free_port

DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority; its certificate is in `ca_file`."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
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
        builder = self._builder(self._name, self._key).add_extension(constraints, critical=True)
        builder = builder.add_extension(usage, critical=True)
        self.ca_file = self._write(f"{name}.pem", builder.sign(self._key, hashes.SHA256()))

    def server(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate for this DNS name or address, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            general: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            general = x509.DNSName(name)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = self._builder(subject, key).add_extension(x509.SubjectAlternativeName([general]), critical=False)
        builder = builder.add_extension(identifier, critical=False)
        certificate = self._write(f"{name}.crt", builder.sign(self._key, hashes.SHA256()))
        key_file = self._directory / f"{name}.key"
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, key_file

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self._directory / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    return Authority(directory, "ours")


@pytest.fixture(scope="module")
def port(authority: Authority, directory: Path) -> Iterator[int]:
    """A Redis that speaks TLS as redis.test."""
    certificate, key = authority.server("redis.test")
    tls_port = free_port()
    with RedisServer(
        directory,
        tls_port=tls_port,
        tls_cert_file=certificate,
        tls_key_file=key,
        tls_ca_cert_file=authority.ca_file,
        tls_auth_clients="no",
    ) as server:
        server.run("RPUSH k a b")
        yield tls_port


def read_one(port: int, scheme: str = "rediss", **kwargs: Any) -> object:
    async def main() -> object:
        url = f"{scheme}://127.0.0.1:{port}/0"
        async with reading(redis_metric(url, {"list": "k"}, **kwargs)) as reader:
            first = await reader.one()
            assert await reader.one() == first
            return first

    return asyncio.run(main())


def test_the_authority_and_the_name_are_verified(port: int, authority: Authority) -> None:
    """With the right authority and the server's name the queue is read."""
    assert read_one(port, tls={"caFile": str(authority.ca_file), "serverName": "redis.test"}) == 2


def test_another_name_is_refused(port: int, authority: Authority) -> None:
    """A certificate for another name is not accepted, and the reason says which name was wanted."""
    assert read_one(port, tls={"caFile": str(authority.ca_file)}) == source_error(
        "TLS: certificate: IP address mismatch, certificate is not valid for '127.0.0.1'"
    )
    detail = "TLS: certificate: Hostname mismatch, certificate is not valid for 'other.test'"
    assert read_one(port, tls={"caFile": str(authority.ca_file), "serverName": "other.test"}) == source_error(detail)


def test_another_authority_is_refused(port: int, directory: Path) -> None:
    """Neither the system's authorities nor any other vouch for the server."""
    expected = source_error("TLS: certificate: self-signed certificate in certificate chain")
    assert read_one(port, tls={"serverName": "redis.test"}) == expected
    other = Authority(directory, "other")
    assert read_one(port, tls={"caFile": str(other.ca_file), "serverName": "redis.test"}) == expected


def test_an_authority_that_cannot_be_read(port: int, tmp_path: Path) -> None:
    """A file of authorities that is missing or holds none is named."""
    file = tmp_path / "ca.pem"
    assert read_one(port, tls={"caFile": str(file)}) == source_error(
        f"reading CA file {file}: No such file or directory"
    )
    file.write_text("not a certificate")
    assert read_one(port, tls={"caFile": str(file)}) == source_error(f"reading CA file {file}: no PEM certificate")


def test_plain_to_a_tls_port(port: int) -> None:
    """Without TLS a TLS port brings a failure, not a number."""
    assert "SourceError" in str(read_one(port, "redis"))


def test_tls_to_a_plain_port(authority: Authority, tmp_path: Path) -> None:
    """With TLS a plain port brings a failure, not a number."""
    with RedisServer(tmp_path) as server:
        found = read_one(server.port, timeout_ms=500, tls={"caFile": str(authority.ca_file)})
    assert "SourceError" in str(found)
