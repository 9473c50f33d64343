"""TLS to a real redis-server."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from adapter.sources.redis_access import Verification
from tests.redis_cluster import RedisCluster
from tests.redis_reading import reading, redis_metric, source_error
from tests.redis_sentinel import MASTER, Sentinel
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


def test_a_certificate_that_nobody_vouches_for(port: int) -> None:
    """Only where verification is turned off is any certificate believed."""
    assert read_one(port, tls={"insecureSkipVerify": True}) == 2


@pytest.fixture
def strict_port(authority: Authority, tmp_path: Path) -> Iterator[int]:
    """A Redis that wants a certificate of its clients."""
    certificate, key = authority.server("redis.test")
    tls_port = free_port()
    files: dict[str, Any] = {
        "tls_cert_file": certificate,
        "tls_key_file": key,
        "tls_ca_cert_file": authority.ca_file,
    }
    with RedisServer(tmp_path, tls_port=tls_port, tls_auth_clients="yes", **files) as server:
        server.run("RPUSH k a b")
        yield tls_port


def test_client_certificates(strict_port: int, authority: Authority, tmp_path: Path) -> None:
    """Our own certificate is shown where there is one; without it, or with another's, the server turns us away."""
    ours = {"caFile": str(authority.ca_file), "serverName": "redis.test"}
    certificate, key = map(str, authority.server("spillway"))
    assert read_one(strict_port, tls={**ours, "certFile": certificate, "keyFile": key}) == 2
    detail = "TLS: closed by the server after the handshake: it may want a client certificate, or another one"
    assert read_one(strict_port, tls=ours) == source_error(detail)
    strangers, stranger_key = map(str, Authority(tmp_path, "strangers").server("spillway"))
    theirs = {**ours, "certFile": strangers, "keyFile": stranger_key}
    assert read_one(strict_port, tls=theirs) == source_error(detail)
    pair = f"reading certificate file {certificate}: no PEM certificate with the key in {stranger_key}"
    assert read_one(strict_port, tls={**ours, "certFile": certificate, "keyFile": stranger_key}) == source_error(pair)
    missing = f"reading key file {tmp_path}/none: No such file or directory"
    unread = {**ours, "certFile": certificate, "keyFile": f"{tmp_path}/none"}
    assert read_one(strict_port, tls=unread) == source_error(missing)


def test_a_key_with_a_passphrase(strict_port: int, authority: Authority, tmp_path: Path) -> None:
    """Nobody is asked for a passphrase: the key cannot be used."""
    certificate, key = authority.server("spillway")
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    found = read_one(strict_port, tls={"certFile": str(certificate), "keyFile": str(locked)})
    assert found == source_error(f"reading certificate file {certificate}: no PEM certificate with the key in {locked}")


def test_a_cluster_that_speaks_tls(authority: Authority, tmp_path: Path) -> None:
    """With tls every node is connected to over TLS, and must have a certificate."""
    certificate, key = authority.server("127.0.0.1")
    tls_port = free_port()
    options: dict[str, Any] = {
        "tls_port": tls_port,
        "tls_cluster": "yes",
        "tls_auth_clients": "no",
        "tls_cert_file": certificate,
        "tls_key_file": key,
        "tls_ca_cert_file": authority.ca_file,
    }
    with RedisCluster(tmp_path, masters=1, **options) as cluster:
        cluster.run("RPUSH k a b")
        address = {"addresses": [f"127.0.0.1:{tls_port}"]}
        ours = redis_metric(None, {"list": "k"}, cluster=address, tls={"caFile": str(authority.ca_file)})
        strangers = redis_metric(None, {"list": "k"}, cluster=address, tls={})

        async def main() -> None:
            async with reading(ours) as reader:
                assert await reader.one() == 2
            async with reading(strangers) as reader:
                assert "certificate" in str(await reader.one())

        asyncio.run(main())


def test_sentinels_that_speak_tls(port: int, authority: Authority, tmp_path: Path) -> None:
    """TLS to the sentinels and TLS to the master are settings of their own."""
    certificate, key = authority.server("sentinel.test")
    tls_port = free_port()
    lines = [
        f"tls-port {tls_port}",
        f"tls-cert-file {certificate}",
        f"tls-key-file {key}",
        f"tls-ca-cert-file {authority.ca_file}",
        "tls-auth-clients no",
        "tls-replication yes",
    ]
    ca = {"caFile": str(authority.ca_file)}
    with Sentinel(tmp_path / "sentinel", port, *lines):
        sentinel = {"addresses": [f"127.0.0.1:{tls_port}"], "master": MASTER}

        def read(to_sentinel: Any, to_master: Any) -> object:
            async def main() -> object:
                place = {"sentinel": {**sentinel, "tls": to_sentinel}, "tls": to_master}
                async with reading(redis_metric(None, {"list": "k"}, timeout_ms=2_000, **place)) as reader:
                    return await reader.one()

            return asyncio.run(main())

        assert read({**ca, "serverName": "sentinel.test"}, {**ca, "serverName": "redis.test"}) == 2
        assert "no sentinel knows the master" in str(read(ca, {**ca, "serverName": "redis.test"}))
        assert f"master 127.0.0.1:{port}: TLS" in str(read({**ca, "serverName": "sentinel.test"}, ca))


def test_plain_to_a_tls_port(port: int) -> None:
    """Without TLS a TLS port brings a failure, not a number."""
    assert "SourceError" in str(read_one(port, "redis"))


def test_tls_to_a_plain_port(authority: Authority, tmp_path: Path) -> None:
    """With TLS a plain port brings a failure, not a number."""
    with RedisServer(tmp_path) as server:
        found = read_one(server.port, timeout_ms=500, tls={"caFile": str(authority.ca_file)})
    assert "SourceError" in str(found)


def test_the_systems_authorities_are_not_read_at_each_connect(tmp_path: Path) -> None:
    """What is down is dialled again and again: only contexts with nothing of their own are shared."""
    plain = Verification().context()
    assert Verification(server_name="other.test").context() is plain
    assert plain.verify_mode is ssl.CERT_REQUIRED
    assert plain.check_hostname
    careless = Verification(insecure=True).context()
    assert careless is not plain
    assert careless.verify_mode is ssl.CERT_NONE
    own = Verification(ca_file=str(Authority(tmp_path, "own").ca_file))
    assert own.context() is not own.context()
