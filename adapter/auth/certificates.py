"""Client certificates: whether one was issued by an authority, for clients, and whom it names.

Written on cryptography's verifier. Its own policy is for the web's servers and refuses certificates that clusters are
full of: a front-proxy-client with a common name alone, an authority without a key identifier. So extensions are
permitted, and those that matter here are checked one by one.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from adapter.auth.user import User, authenticated

_CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
_FOR_CLIENTS = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises where a certificate makes no sense."""

_REMEMBERED = 1024  # chains an authority
_LONGEST = 16_384  # bytes of a chain that is remembered: certificates are 1 to 2 kB, and a client may pad what it sends
_REFUSED_FOR_S = 10.0  # a certificate may become valid, and a clock may be set


class Verified(NamedTuple):
    """A certificate that its authority vouches for between two moments (seconds since 1970).

    `user` is whom it names as a client's own certificate; None without a common name.
    """

    common_name: str
    user: User | None
    not_before_s: float
    not_after_s: float


class Refused(NamedTuple):
    """A certificate that is not trusted, and why; looked at anew from `until_s` on."""

    why: str
    until_s: float


class Authority:
    """A bundle of CA certificates, any of which is a root; remembers what it has verified."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self.certificates = tuple(certificates)
        self._store = verification.Store(list(certificates))
        self._remembered: OrderedDict[tuple[bytes, ...], Verified | Refused] = OrderedDict()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Authority) and self.certificates == other.certificates

    def __hash__(self) -> int:
        return hash(self.certificates)

    @property
    def remembered(self) -> int:
        """How many chains are remembered."""
        return len(self._remembered)

    def verify(self, chain: tuple[bytes, ...], now_s: float) -> Verified | Refused:
        """Verify a client certificate.

        Args:
            chain: DER; the client's own certificate, then what else it sent. Not empty.
            now_s: Seconds since 1970.
        """
        known = self._remembered.get(chain)
        if known is not None and _holds(known, now_s):
            return known
        found = self._verify(chain, now_s)
        if sum(map(len, chain)) > _LONGEST:
            return found
        self._remembered[chain] = found
        self._remembered.move_to_end(chain)
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return found

    def _verify(self, chain: tuple[bytes, ...], now_s: float) -> Verified | Refused:
        now = datetime.fromtimestamp(now_s, UTC)
        policy = verification.PolicyBuilder().store(self._store).time(now)
        policy = policy.extension_policies(ca_policy=_CA, ee_policy=_LEAF)
        try:
            leaf, *others = [x509.load_der_x509_certificate(der) for der in chain]
            trusted = policy.build_client_verifier().verify(leaf, others)
            return Verified(
                _common_name(leaf),
                _user(leaf, chain[0]),
                max(each.not_valid_before_utc.timestamp() for each in trusted.chain),
                min(each.not_valid_after_utc.timestamp() for each in trusted.chain),
            )
        except (verification.VerificationError, *UNREADABLE) as exc:
            return Refused(str(exc), now_s + _REFUSED_FOR_S)


def _holds(known: Verified | Refused, now_s: float) -> bool:
    if isinstance(known, Refused):
        return known.until_s - _REFUSED_FOR_S <= now_s < known.until_s
    return known.not_before_s <= now_s <= known.not_after_s


def _may_sign(_: verification.Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError(f"{_common_name(certificate)} may not sign certificates")


def _is_for_clients(_: verification.Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    if usage is not None and _FOR_CLIENTS.isdisjoint(usage):
        raise ValueError(f"the certificate of {_common_name(certificate)} is not for clients (extended key usage)")


_ANY = verification.Criticality.AGNOSTIC
_LEAF = verification.ExtensionPolicy.permit_all().may_be_present(x509.ExtendedKeyUsage, _ANY, _is_for_clients)
_CA = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _ANY, None)  # the verifier asks for cA and the path's length
    .may_be_present(x509.KeyUsage, _ANY, _may_sign)
    .may_be_present(x509.ExtendedKeyUsage, _ANY, _is_for_clients)
)


def _common_name(certificate: x509.Certificate) -> str:
    # Of several, Go takes the last.
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return _text(names[-1].value) if names else ""


def _user(leaf: x509.Certificate, der: bytes) -> User | None:
    name = _common_name(leaf)
    if not name:
        return None
    organizations = leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    credential = f"X509SHA256={hashlib.sha256(der).hexdigest()}"
    groups = tuple(_text(each.value) for each in organizations)
    return authenticated(User(name, groups=groups, extra=((_CREDENTIAL_ID, (credential,)),)))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
