"""Our own CA and serving certificate through the years."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from adapter.kube import pki

NAMES = ("spillway.spillway.svc",)
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def trusted(bundle: bytes, data: Mapping[str, bytes], name: str, now: datetime) -> None:
    """Verify the served certificate as a client does that trusts the bundle; raises if it would not."""
    store = Store(x509.load_pem_x509_certificates(bundle))
    verifier = PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName(name))
    verifier.verify(x509.load_pem_x509_certificate(data[pki.TLS_CERT]), [])


def test_a_client_trusts_what_is_served_on_every_day_of_fifteen_years() -> None:
    """Through renewals of certificate and CA, replicas that lag a day behind still serve what clients trust."""
    data: Mapping[str, bytes] | None = None
    lagging: Mapping[str, bytes] | None = None
    published = b""
    authorities, certificates = set(), set()
    for day in range(15 * 365):
        now = START + timedelta(days=day)
        planned = pki.plan(data, published, NAMES, now)
        lagging, data = data, planned or data
        assert data is not None
        if day:
            assert lagging is not None
            trusted(published, lagging, NAMES[0], now)
            trusted(published, data, NAMES[0], now)
        published = data[pki.CA_CERT]
        trusted(published, data, NAMES[0], now)
        authorities.add(published)
        certificates.add(data[pki.TLS_CERT])
    assert len(authorities) >= 3  # the first, both, and later the second alone
    assert 15 * 365 / 90 < len(certificates) < 15 * 365 / 50


def test_what_is_fine_is_left_alone() -> None:
    """A second look at the same moment, or with a caBundle that is not ours, changes nothing."""
    data = pki.plan(None, None, NAMES, START)
    assert data is not None
    assert pki.plan(data, data[pki.CA_CERT], NAMES, START) is None
    assert pki.plan(data, None, NAMES, START + timedelta(days=50)) is None
    assert pki.not_after(data) == (START + timedelta(days=90)).replace(microsecond=0)


def test_another_name_gets_another_certificate_from_the_same_ca() -> None:
    """A Service that was renamed is served under its new name, and clients need no new CA."""
    data = pki.plan(None, None, NAMES, START)
    assert data is not None
    renamed = pki.plan(data, data[pki.CA_CERT], ("other.spillway.svc",), START)
    assert renamed is not None
    assert renamed[pki.CA_CERT] == data[pki.CA_CERT]
    trusted(data[pki.CA_CERT], renamed, "other.spillway.svc", START)


@pytest.mark.parametrize(
    "damage",
    [
        {pki.CA_CERT: b""},
        {pki.CA_KEY: b"garbage"},
        {pki.CA_CERT: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
    ],
)
def test_a_damaged_ca_is_replaced(damage: dict[str, bytes]) -> None:
    """A Secret whose CA cannot be used gets a new CA and a certificate of it."""
    data = pki.plan(None, None, NAMES, START)
    assert data is not None
    mended = pki.plan({**data, **damage}, data[pki.CA_CERT], NAMES, START)
    assert mended is not None
    trusted(mended[pki.CA_CERT], mended, NAMES[0], START)


@pytest.mark.parametrize("damage", [{pki.TLS_CERT: b""}, {pki.TLS_KEY: b"garbage"}])
def test_a_damaged_certificate_is_issued_anew_by_the_same_ca(damage: dict[str, bytes]) -> None:
    """The CA stays, for clients trust it."""
    data = pki.plan(None, None, NAMES, START)
    assert data is not None
    mended = pki.plan({**data, **damage}, data[pki.CA_CERT], NAMES, START)
    assert mended is not None
    assert mended[pki.CA_CERT] == data[pki.CA_CERT]
    trusted(data[pki.CA_CERT], mended, NAMES[0], START)


def test_a_key_of_another_certificate_is_not_served() -> None:
    """Certificate and key of two different issues are replaced together."""
    data = pki.plan(None, None, NAMES, START)
    other = pki.plan(None, None, NAMES, START)
    assert data is not None
    assert other is not None
    assert pki.plan({**data, pki.TLS_KEY: other[pki.TLS_KEY]}, None, NAMES, START) is not None
