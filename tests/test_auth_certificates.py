"""Client certificates against their authority, one fact a certificate."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from adapter.auth.certificates import Authority, Refused, Verified
from tests.certificates import NOW, SERVER_AUTH, Pair
from tests.certificates import Authority as Issuer

NOW_S = NOW.timestamp()


def verify(issuer: Issuer, *chain: Pair, now_s: float = NOW_S) -> Verified | Refused:
    """Verify as a request would."""
    return Authority([issuer.pair.certificate]).verify(tuple(pair.der for pair in chain), now_s)


def why_not(issuer: Issuer, *chain: Pair, now_s: float = NOW_S) -> str:
    """Return why a certificate is refused."""
    found = verify(issuer, *chain, now_s=now_s)
    assert isinstance(found, Refused)
    return found.why


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("dns", ["", "front-proxy.example"])
def test_common_name_alone_is_enough(bare: bool, dns: str) -> None:
    """A certificate with nothing but a common name counts, and an authority without key identifiers and usages too."""
    issuer = Issuer(bare=bare)
    found = verify(issuer, issuer.issue("front-proxy-client", dns=dns))
    assert isinstance(found, Verified)
    assert found.common_name == "front-proxy-client"


def test_whom_it_names() -> None:
    """The last common name is the user, each organization a group, and the certificate's hash is known afterwards."""
    issuer = Issuer()
    pair = issuer.issue("first", "alice", organizations=("dev", "ops"))
    found = verify(issuer, pair)
    assert isinstance(found, Verified)
    assert found.user is not None
    assert (found.user.name, found.user.groups) == ("alice", ("dev", "ops", "system:authenticated"))
    credential = f"X509SHA256={hashlib.sha256(pair.der).hexdigest()}"
    assert found.user.extra == (("authentication.kubernetes.io/credential-id", (credential,)),)
    nameless = verify(issuer, issuer.issue(organizations=("dev",)))
    assert isinstance(nameless, Verified)
    assert (nameless.common_name, nameless.user) == ("", None)


def test_what_it_is_for() -> None:
    """It must be for clients, where it says what it is for."""
    issuer = Issuer()
    assert isinstance(verify(issuer, issuer.issue("alice", usage=None)), Verified)
    assert "not for clients" in why_not(issuer, issuer.issue("alice", usage=SERVER_AUTH))


def test_who_issued_it() -> None:
    """An authority with another key, one that may not sign and one that has expired vouch for nobody."""
    issuer = Issuer()
    assert "signature" in why_not(issuer, Issuer().issue("alice"))
    assert why_not(issuer, Issuer("other").issue("alice"))
    assert why_not(issuer, Issuer("other").pair)
    silent = Issuer(may_sign=False)
    assert "may not sign" in why_not(silent, silent.issue("alice"))
    old = Issuer(not_after=NOW - timedelta(minutes=1))
    assert "not valid" in why_not(old, old.issue("alice"))
    leaf = issuer.issue("not-an-authority")
    pretender = Issuer("not-an-authority")
    pretender.pair = leaf
    assert why_not(issuer, pretender.issue("alice"), leaf)


def test_time() -> None:
    """A certificate counts from its first second to its last, whatever was remembered of it before or after."""
    issuer = Issuer()
    pair = issuer.issue("alice", not_before=NOW, not_after=NOW + timedelta(minutes=1))
    authority = Authority([issuer.pair.certificate])

    def at(seconds: float) -> bool:
        return isinstance(authority.verify((pair.der,), NOW_S + seconds), Verified)

    assert [at(seconds) for seconds in (0, 60, 61, 62, 30)] == [True, True, False, False, True]
    assert [at(seconds) for seconds in (-1, -0.5, 9.5)] == [False, False, True]
    assert "not valid" in why_not(issuer, pair, now_s=NOW_S + 61)


def test_an_authoritys_end_ends_what_it_vouched_for() -> None:
    """What is remembered ends with the first certificate of the chain that does."""
    issuer = Issuer(not_after=NOW + timedelta(minutes=1))
    authority = Authority([issuer.pair.certificate])
    pair = issuer.issue("alice")
    assert isinstance(authority.verify((pair.der,), NOW_S), Verified)
    assert isinstance(authority.verify((pair.der,), NOW_S + 61), Refused)


def test_certificates_between() -> None:
    """A certificate between may come with the client's own, or be a root itself."""
    issuer = Issuer()
    between = issuer.intermediate()
    pair = between.issue("alice")
    assert why_not(issuer, pair)
    assert isinstance(verify(issuer, pair, between.pair), Verified)
    assert isinstance(verify(between, pair), Verified)


def test_a_bundle() -> None:
    """Each certificate of a bundle is a root."""
    old, new = Issuer(), Issuer()
    authority = Authority([old.pair.certificate, new.pair.certificate])
    for issuer in (old, new):
        assert isinstance(authority.verify((issuer.issue("alice").der,), NOW_S), Verified)


def test_what_makes_no_sense() -> None:
    """What is no certificate is refused, not raised."""
    issuer = Issuer()
    authority = Authority([issuer.pair.certificate])
    for chain in ((b"",), (b"nonsense",), (issuer.issue("alice").der, b"nonsense"), (issuer.issue("a").der[:-1],)):
        assert isinstance(authority.verify(chain, NOW_S), Refused)


def test_what_is_remembered_is_bounded() -> None:
    """A thousand and more certificates do not fill the memory."""
    authority = Authority([Issuer().pair.certificate])
    for number in range(1500):
        authority.verify((str(number).encode(),), NOW_S)
    assert authority.remembered == 1024


def test_a_padded_chain_is_not_remembered() -> None:
    """A client that sends much beside its certificate is verified, and anew each time: it fills no memory."""
    issuer = Issuer()
    authority = Authority([issuer.pair.certificate])
    leaf, padding = issuer.issue("alice"), issuer.pair
    chain = (leaf.der, *[padding.der] * (16_384 // len(padding.der)))
    for _ in range(2):
        assert isinstance(authority.verify(chain, NOW_S), Verified)
        assert authority.remembered == 0
    assert isinstance(authority.verify(chain[:2], NOW_S), Verified)
    assert authority.remembered == 1
