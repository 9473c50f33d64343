"""How clients are recognised: what kube-apiserver publishes in kube-system/extension-apiserver-authentication.

Pure. A part of the ConfigMap that cannot be used leaves that part as it was: trust is not lost by a bad edit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509

from adapter.auth.certificates import UNREADABLE, Authority

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class HeaderNames:
    """Which certificates may vouch for a user in headers, and which headers those are.

    `allowed_names`: common names; none: any. The names of headers are in lower case.
    """

    allowed_names: frozenset[str] = frozenset()
    username: tuple[str, ...] = ()
    uid: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    extra_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthenticationConfig:
    """What clients are verified against. An authority that is None recognises nobody."""

    request_header_ca: Authority | None = None
    client_ca: Authority | None = None
    headers: HeaderNames = HeaderNames()

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """All CA certificates, each once."""
        authorities = (self.request_header_ca, self.client_ca)
        found = [certificate for each in authorities if each is not None for certificate in each.certificates]
        return tuple(dict.fromkeys(found))


def read(data: Mapping[str, str], previous: AuthenticationConfig) -> tuple[AuthenticationConfig, tuple[str, ...]]:
    """Return the configuration in the ConfigMap's data, and what of it cannot be used.

    Authorities that have not changed are those of `previous`, with what they remember.
    """
    problems: list[str] = []
    request_header_ca = _authority(data, "requestheader-client-ca-file", previous.request_header_ca, problems)
    client_ca = _authority(data, "client-ca-file", previous.client_ca, problems)
    if request_header_ca is None:
        problems.append("no usable requestheader-client-ca-file: kube-apiserver's aggregator cannot be recognised")
    return AuthenticationConfig(request_header_ca, client_ca, _headers(data, previous.headers, problems)), tuple(
        problems
    )


def _authority(data: Mapping[str, str], key: str, previous: Authority | None, problems: list[str]) -> Authority | None:
    certificates = []
    for number, block in enumerate(_BLOCK.findall(data.get(key, "")), 1):
        try:
            certificates.append(x509.load_pem_x509_certificate(block.encode()))
        except UNREADABLE as exc:
            problems.append(f"{key}: certificate {number} cannot be read: {exc}")
    if not certificates:
        if previous is not None:
            problems.append(f"{key}: there is no certificate in it any more; the ones before stay")
        return previous
    found = Authority(certificates)
    return previous if found == previous else found


def _headers(data: Mapping[str, str], previous: HeaderNames, problems: list[str]) -> HeaderNames:
    before = len(problems)
    allowed = _strings(data, "requestheader-allowed-names", problems)
    username = _strings(data, "requestheader-username-headers", problems)
    uid = _strings(data, "requestheader-uid-headers", problems)
    groups = _strings(data, "requestheader-group-headers", problems)
    prefixes = _strings(data, "requestheader-extra-headers-prefix", problems)
    if len(problems) > before:
        return previous
    return HeaderNames(
        # An empty name would still be a name: dropping it could turn "nobody" into "anybody".
        frozenset(allowed),
        _names(username),
        _names(uid),
        _names(groups),
        _names(prefixes),
    )


def _names(headers: Sequence[str]) -> tuple[str, ...]:
    return tuple(each.lower() for each in headers if each)


def _strings(data: Mapping[str, str], key: str, problems: list[str]) -> list[str]:
    """Return a JSON array of strings that is written in a string; nothing written is an empty one."""
    text = data.get(key, "")
    if not text:
        return []
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        problems.append(f"{key}: must be a JSON array of strings")
        return []
    return found
