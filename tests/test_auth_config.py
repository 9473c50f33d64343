"""The authentication ConfigMap, as kube-apiserver writes it and as a hand could."""

from __future__ import annotations

import json

import pytest

from adapter.auth.config import AuthenticationConfig, HeaderNames, read
from tests.api_fixtures import WIRE
from tests.certificates import Authority

EMPTY = AuthenticationConfig()
FRONT, CLIENTS = Authority("front-proxy-ca"), Authority("kubernetes")


def captured() -> dict[str, str]:
    """Return the data that a kube-apiserver has, with certificates in it."""
    (line,) = [each for each in map(json.loads, _lines()) if each["title"] == "read the authentication ConfigMap"]
    data: dict[str, str] = json.loads(line["body"])["data"]
    data["requestheader-client-ca-file"], data["client-ca-file"] = FRONT.pem, CLIENTS.pem
    return data


def _lines() -> list[str]:
    return (WIRE / "kube-api.jsonl").read_text().splitlines()


def test_captured() -> None:
    """What kube-apiserver publishes is understood without a problem; a key that is not there is an empty list."""
    found, problems = read(captured(), EMPTY)
    assert problems == ()
    assert found.request_header_ca is not None
    assert found.client_ca is not None
    assert found.certificates == (FRONT.pair.certificate, CLIENTS.pair.certificate)
    assert found.headers.allowed_names == {"front-proxy-client"}
    assert (found.headers.username, found.headers.groups) == (("x-remote-user",), ("x-remote-group",))
    assert (found.headers.uid, found.headers.extra_prefixes) == ((), ("x-remote-extra-",))


def test_bundles() -> None:
    """A bundle may hold several certificates and text between them; one in both bundles counts once."""
    data = captured() | {"client-ca-file": f"# old\n{FRONT.pem}\n# new\n{CLIENTS.pem}"}
    found, problems = read(data, EMPTY)
    assert (len(found.certificates), problems) == (2, ())


def test_nothing() -> None:
    """An empty ConfigMap recognises nobody, and says what that means."""
    found, problems = read({}, EMPTY)
    assert found == EMPTY
    assert problems == ("no usable requestheader-client-ca-file: kube-apiserver's aggregator cannot be recognised",)


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_bundle_that_cannot_be_used_leaves_trust_as_it_was(text: str) -> None:
    """A bad edit takes nobody's trust away, and gives none."""
    before, _ = read(captured(), EMPTY)
    found, problems = read(captured() | {"requestheader-client-ca-file": text, "client-ca-file": text}, before)
    assert found == before
    assert any("requestheader-client-ca-file: there is no certificate in it any more" in each for each in problems)
    none, problems = read(captured() | {"requestheader-client-ca-file": text}, EMPTY)
    assert none.request_header_ca is None
    assert none.certificates == (CLIENTS.pair.certificate,)
    assert problems


def test_one_bad_certificate_of_a_bundle() -> None:
    """A certificate that cannot be read is named, and the others of its bundle count."""
    bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    found, problems = read(captured() | {"client-ca-file": bad + CLIENTS.pem}, EMPTY)
    assert found.certificates == (FRONT.pair.certificate, CLIENTS.pair.certificate)
    assert len(problems) == 1
    assert problems[0].startswith("client-ca-file: certificate 1 cannot be read")


@pytest.mark.parametrize("text", ["front-proxy-client", '"a"', '{"a":"b"}', "[1]", '["a"', "null"])
@pytest.mark.parametrize("key", ["allowed-names", "username-headers", "uid-headers", "extra-headers-prefix"])
def test_lists_that_are_none(key: str, text: str) -> None:
    """A list that cannot be read never becomes the empty one that lets any name pass: nothing about headers changes."""
    data = captured() | {f"requestheader-{key}": text}
    before, _ = read(captured(), EMPTY)
    assert read(data, before) == (before, (f"requestheader-{key}: must be a JSON array of strings",))
    assert read(data, EMPTY)[0].headers == HeaderNames()


def test_lists() -> None:
    """Lists may be empty, hold several names, and differ in case; an empty header name or prefix means nothing."""
    data = captured() | {
        "requestheader-allowed-names": '["", "a"]',
        "requestheader-username-headers": '["", "x-ReMoTe-User", "X-User"]',
        "requestheader-extra-headers-prefix": '["X-Extra-", ""]',
    }
    found, _ = read(data, EMPTY)
    assert found.headers.allowed_names == {"", "a"}
    assert found.headers.username == ("x-remote-user", "x-user")
    assert found.headers.extra_prefixes == ("x-extra-",)
    assert read(captured() | {"requestheader-allowed-names": "[]"}, EMPTY)[0].headers.allowed_names == frozenset()


def test_an_authority_that_stays_keeps_what_it_remembers() -> None:
    """A change of names does not verify every certificate anew."""
    before, _ = read(captured(), EMPTY)
    found, _ = read(captured() | {"requestheader-allowed-names": '["other"]'}, before)
    assert found.request_header_ca is before.request_header_ca
    assert found.headers != before.headers
