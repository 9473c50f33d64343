"""The serving certificate: made, kept, given, reloaded."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from adapter.api import selfsigned
from adapter.api.tls import CertificateError, ServingCertificate, not_after, server_context

NOW = datetime.now(UTC).replace(microsecond=0)


def write_pair(directory: Path, name: str, now: datetime = NOW) -> tuple[Path, Path]:
    """Write a new pair for a host over tls.crt and tls.key."""
    cert, key = selfsigned.create((name,), now)
    cert_file, key_file = directory / "tls.crt", directory / "tls.key"
    key_file.write_bytes(key)
    cert_file.write_bytes(cert)
    return cert_file, key_file


def handshake(
    context: ssl.SSLContext, host: str | None = None, alpn: tuple[str, ...] = (), maximum: ssl.TLSVersion | None = None
) -> tuple[bytes, str | None, str | None]:
    """Connect to a context; return the certificate served (DER), the protocol by ALPN and the version of TLS."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    if alpn:
        client.set_alpn_protocols(list(alpn))
    if maximum is not None:
        client.maximum_version = maximum
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10)
        ours.settimeout(10)

        def serve() -> None:
            try:
                with context.wrap_socket(theirs, server_side=True) as connection:
                    connection.recv(1)
            except OSError:
                theirs.close()

        server = threading.Thread(target=serve)
        server.start()
        try:
            with client.wrap_socket(ours, server_hostname=host) as connection:
                certificate = connection.getpeercert(binary_form=True)
                assert certificate is not None
                found = certificate, connection.selected_alpn_protocol(), connection.version()
        finally:
            ours.close()
            server.join()
    return found


def der(cert_file: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(cert_file.read_text())


def test_self_signed(tmp_path: Path) -> None:
    """A new certificate names this host and what was asked for; its files are the owner's alone."""
    cert_file, key_file = selfsigned.ensure(tmp_path / "certs", ("spillway.shop.svc", "10.0.0.1"))
    certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "spillway.shop.svc"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address(text) for text in ("127.0.0.1", "::1", "10.0.0.1")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (cert_file, key_file)} == {0o600}
    assert sorted(path.name for path in cert_file.parent.iterdir()) == ["tls.crt", "tls.key"]


def test_self_signed_is_kept_while_good(tmp_path: Path) -> None:
    """A pair is used again until 30 days before its end, unless it lacks a name, a file or its key."""
    cert_file, key_file = selfsigned.ensure(tmp_path)
    first = cert_file.read_bytes()

    def made_anew(*names: str, now: datetime | None = None) -> bool:
        before = cert_file.read_bytes() if cert_file.exists() else b""
        selfsigned.ensure(tmp_path, names, now)
        return cert_file.read_bytes() != before

    assert not made_anew()
    assert not made_anew(now=NOW + timedelta(days=330))
    assert cert_file.read_bytes() == first
    assert made_anew("other.example")
    assert not made_anew()
    assert made_anew(now=NOW + timedelta(days=340))
    assert made_anew()  # the one before is not valid yet
    key_file.write_bytes(selfsigned.create(("localhost",), NOW)[1])
    assert made_anew()
    cert_file.write_bytes(b"nonsense")
    assert made_anew()
    cert_file.unlink()
    assert made_anew()
    server_context(cert_file, key_file)


def test_protocols(tmp_path: Path) -> None:
    """HTTP/1.1 is all that ALPN offers, and TLS 1.2 the oldest that is spoken."""
    context = ServingCertificate(*selfsigned.ensure(tmp_path)).context
    assert handshake(context, alpn=("h2", "http/1.1"))[1:] == ("http/1.1", "TLSv1.3")
    assert handshake(context, maximum=ssl.TLSVersion.TLSv1_2)[2] == "TLSv1.2"
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    assert all("ECDHE" in cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2")


@pytest.mark.parametrize("host", [None, "spillway.shop.svc"])
def test_new_files_are_served(tmp_path: Path, host: str | None) -> None:
    """New files are served from the next handshake on, to clients that name the host and to those that do not."""
    serving = ServingCertificate(*write_pair(tmp_path, "one.example"))
    first = handshake(serving.context, host)[0]
    assert first == der(tmp_path / "tls.crt")
    for name, days in (("two.example", 10), ("three.example", 20)):
        cert_file, _ = write_pair(tmp_path, name, NOW + timedelta(days=days))
        served = handshake(serving.context, host, alpn=("h2", "http/1.1"))
        assert served[:2] == (der(cert_file), "http/1.1")
        assert serving.not_after == not_after(cert_file) == NOW + timedelta(days=365 + days)


def test_bad_files_are_not_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A new pair that cannot be used is said once; the one before serves on until there is a good one."""
    cert_file, key_file = write_pair(tmp_path, "one.example")
    good = der(cert_file)
    serving = ServingCertificate(cert_file, key_file)
    cert_file.write_bytes(selfsigned.create(("two.example",), NOW)[0])
    for _ in range(3):
        assert handshake(serving.context)[0] == good
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "tls.crt" in caplog.text
    assert "one.example" not in caplog.text
    key_file.unlink()
    assert serving.refresh() is not None
    assert serving.refresh() is None
    assert handshake(serving.context)[0] == good
    write_pair(tmp_path, "three.example")
    assert handshake(serving.context)[0] == der(cert_file) != good


def test_an_expired_pair_does_not_replace_a_good_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, and the good pair serves on; where both have expired, the newer one counts."""
    cert_file, key_file = write_pair(tmp_path, "one.example")
    good, (certificate, key) = der(cert_file), (cert_file.read_bytes(), key_file.read_bytes())
    write_pair(tmp_path, "old.example", NOW - timedelta(days=400))
    expired, pair = der(cert_file), (cert_file.read_bytes(), key_file.read_bytes())
    cert_file.write_bytes(certificate)
    key_file.write_bytes(key)
    serving = ServingCertificate(cert_file, key_file)
    cert_file.write_bytes(pair[0])
    key_file.write_bytes(pair[1])
    for _ in range(2):
        assert handshake(serving.context)[0] == good
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "has expired at" in caplog.text
    serving = ServingCertificate(cert_file, key_file)
    write_pair(tmp_path, "older.example", NOW - timedelta(days=500))
    assert handshake(serving.context)[0] == der(cert_file) != expired


def test_client_trust_is_rotated(tmp_path: Path) -> None:
    """What client certificates are verified against is asked for with each new context."""
    asked: list[ssl.SSLContext] = []
    serving = ServingCertificate(*write_pair(tmp_path, "one.example"), trust=asked.append)
    serving.rotate()
    assert len(set(map(id, asked))) == 2
    assert handshake(serving.context)[0] == der(tmp_path / "tls.crt")


@pytest.mark.parametrize("missing", ["tls.crt", "tls.key"])
def test_first_pair_must_be_good(tmp_path: Path, missing: str) -> None:
    """Without a usable first pair there is nothing to serve, and the message names the files."""
    pair = write_pair(tmp_path, "one.example")
    (tmp_path / missing).unlink()
    with pytest.raises(CertificateError, match=r"tls\.crt, key .*tls\.key: No such file"):
        ServingCertificate(*pair)
    (tmp_path / missing).write_text("nonsense")
    with pytest.raises(CertificateError, match=r"tls\.key"):
        ServingCertificate(*pair)
