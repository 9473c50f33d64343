"""Who we are to a page's server, who it is to us, and where its redirects may lead."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from adapter.config.files import File
from adapter.config.load import parse
from adapter.schema.metric import SecretData
from adapter.schema.model import ScrapeSource
from adapter.schema.strict import Origin
from adapter.sources import SourceFailureError
from adapter.sources.scrape import ScrapeSpec, plan
from adapter.sources.scrape_access import access_to
from tests.certificates import Authority, Pair
from tests.pages import Connection, PageServer, http, serving

PAGE = b"up 1\n"
NEVER_PART = "{}: unknown field: a password is never part of the configuration; "
NAME_ALONE = "must be the name of a metric alone, without blanks, braces and quotes: its labels go into match"
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH


def source(url: str, **fields: object) -> ScrapeSource:
    data = {"targets": {"urls": [url]}, "metric": "up", **fields}
    origin = Origin.OBJECT if "secretRef" in str(fields) or "caSecretRef" in str(fields) else Origin.FILE
    return ScrapeSource.model_validate(data, by_alias=True, by_name=False, context=origin)


def spec(url: str, secrets: Mapping[str, SecretData] | None = None, **fields: object) -> ScrapeSpec:
    (one,) = plan_of(source(url, **fields), secrets or {})
    return one


def plan_of(of: ScrapeSource, secrets: Mapping[str, SecretData]) -> list[ScrapeSpec]:
    (metric,) = parse([File("m.yaml", document(of.targets.urls[0]).encode())]).metrics
    return plan([replace(metric, source=of, secrets=secrets)])


def document(url: str, **scrape: object) -> str:
    more = "".join(f", {name}: {value}" for name, value in scrape.items())
    return (
        "apiVersion: spillway.dev/v1alpha1\nkind: ExternalMetric\nmetadata: {name: up}\n"
        f'spec: {{source: {{scrape: {{targets: {{urls: ["{url}"]}}, metric: up{more}}}}}}}\n'
    )


def outcome(of: ScrapeSpec) -> str:
    """Return "read", or why it was not."""
    return asyncio.run(outcome_of(of))


async def outcome_of(of: ScrapeSpec) -> str:
    endpoint = of.open()
    try:
        (batch,) = await endpoint.collect(1)
    except SourceFailureError as error:
        return error.unknown.detail
    finally:
        await endpoint.close()
    assert batch.values.tolist() == [1]
    return "read"


class Guard:
    """Answers with the page to requests with this Authorization, on a keep-alive connection."""

    def __init__(self, server: PageServer, expected: str) -> None:
        self.server = server
        self.expected = expected
        server.answer = self.answer

    async def answer(self, connection: Connection) -> None:
        admitted = f"\r\nAuthorization: {self.expected}\r\n".encode() in self.server.requests[-1]
        await connection.send(http(PAGE) if admitted else http(b"", status="401 Unauthorized"))


def test_bearer_token(tmp_path: Path) -> None:
    """The token of a file is sent, without the line feed it ends with."""
    (tmp_path / "token").write_text("s3cret.token\n")

    async def run() -> str:
        async with serving() as server:
            Guard(server, "Bearer s3cret.token")
            return await outcome_of(spec(server.url, auth={"bearerTokenFile": str(tmp_path / "token")}))

    assert asyncio.run(run()) == "read"


def test_basic_authentication(tmp_path: Path) -> None:
    """User and password are sent as UTF-8."""
    (tmp_path / "password").write_text("pä:ss word\r\n")
    expected = "Basic " + base64.b64encode("scräper:pä:ss word".encode()).decode()

    async def run() -> str:
        async with serving() as server:
            Guard(server, expected)
            auth = {"username": "scräper", "passwordFile": str(tmp_path / "password")}
            return await outcome_of(spec(server.url, auth=auth))

    assert asyncio.run(run()) == "read"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"token": b"abc\n"}, "Bearer abc"),
        ({"username": b"me", "password": b"pw"}, "Basic bWU6cHc="),
        ({"token": b"abc", "username": b"me", "password": b"pw"}, "Bearer abc"),
    ],
)
def test_credentials_from_a_secret(data: Mapping[str, bytes], expected: str) -> None:
    """A Secret holds a token, or user and password."""

    async def run() -> str:
        async with serving() as server:
            Guard(server, expected)
            secrets = {"web": SecretData("1", data)}
            return await outcome_of(spec(server.url, secrets, auth={"secretRef": {"name": "web"}}))

    assert asyncio.run(run()) == "read"


def test_a_rotated_token(tmp_path: Path) -> None:
    """A token that was refused is read again soon, without a restart, and in between the file is left alone."""
    token = tmp_path / "token"
    token.write_text("old")

    async def run() -> None:
        async with serving() as server:
            guard = Guard(server, "Bearer old")
            endpoint = spec(server.url, auth={"bearerTokenFile": str(token)}).open()
            try:
                await endpoint.collect(1)
                token.write_text("new")
                await endpoint.collect(2)
                guard.expected = "Bearer new"
                with pytest.raises(SourceFailureError, match=r"^HTTP 401$"):
                    await endpoint.collect(3)
                async with asyncio.timeout(10):
                    while True:
                        try:
                            await endpoint.collect(4)
                        except SourceFailureError:
                            await asyncio.sleep(0.05)
                        else:
                            break
            finally:
                await endpoint.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (None, "reading token file {path}: No such file or directory"),
        (b"", "reading token file {path}: empty"),
        (b"\n", "reading token file {path}: empty"),
        (b"hunter2\r\x01x\n", "reading token file {path}: not a token of printable ASCII"),
        ("hünter2".encode(), "reading token file {path}: not a token of printable ASCII"),
        (b"x" * (1 << 20) + b"y", "reading token file {path}: larger than 1048576 bytes"),
    ],
)
def test_tokens_that_cannot_be_sent(content: bytes | None, detail: str, tmp_path: Path) -> None:
    """Nothing is sent without the credentials that were asked for, and nothing of them is shown."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)

    async def run() -> str:
        async with serving(http(PAGE)) as server:
            found = await outcome_of(spec(server.url, auth={"bearerTokenFile": str(path)}))
            assert not server.requests
            return found

    assert asyncio.run(run()) == detail.format(path=path)


def test_secrets_that_do_not_hold_it() -> None:
    """A Secret without what is needed is named as that; an empty CA never means the system's."""
    cases = [
        (
            {"auth": {"secretRef": {"name": "s"}}},
            {"password": b"x"},
            "the Secret has neither token nor username and password",
        ),
        ({"auth": {"secretRef": {"name": "s"}}}, {"token": b"\n"}, "key token of the Secret: empty"),
        ({"tls": {"caSecretRef": {"name": "s"}}}, {}, "key ca.crt of the Secret: missing or empty"),
        ({"tls": {"caSecretRef": {"name": "s"}}}, {"ca.crt": b"junk"}, "key ca.crt of the Secret: no PEM certificate"),
    ]
    for fields, data, detail in cases:
        of = spec("https://127.0.0.1:9/metrics", {"s": SecretData("1", data)}, **fields)
        assert outcome(of) == detail
        assert "junk" not in repr(of)


def server_tls(pair: Pair, directory: Path, clients: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair.load_into(context, directory)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.pem)
    return context


def client_files(pair: Pair, directory: Path) -> dict[str, str]:
    pair.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), directory)
    stem = directory / str(pair.certificate.serial_number)
    return {"certFile": f"{stem}.crt", "keyFile": f"{stem}.key"}


def test_tls(tmp_path: Path) -> None:
    """A page's certificate is verified against the authorities and the name that are given, or not at all."""
    authority, other = Authority("pages"), Authority("others")
    pair = authority.issue("page", usage=SERVER_AUTH, dns="pages.test")
    ca, wrong_ca = tmp_path / "ca.pem", tmp_path / "other.pem"
    ca.write_text(authority.pem)
    wrong_ca.write_text(other.pem)
    name = "Hostname mismatch, certificate is not valid for 'other.test'"
    secret = {"ca": SecretData("1", {"ca.crt": authority.pem.encode()})}

    async def run() -> list[str]:
        async with serving(http(PAGE), tls=server_tls(pair, tmp_path)) as server:
            return [
                await outcome_of(spec(server.url, secret, tls=tls))
                for tls in (
                    {"caFile": str(ca), "serverName": "pages.test"},
                    {"caSecretRef": {"name": "ca"}, "serverName": "pages.test"},
                    {"insecureSkipVerify": True},
                    {"caFile": str(ca), "serverName": "other.test"},
                    {"caFile": str(wrong_ca), "serverName": "pages.test"},
                    {"serverName": "pages.test"},
                    {"caFile": str(tmp_path / "absent.pem")},
                    {"caFile": str(pair_key(tmp_path))},
                )
            ]

    found = asyncio.run(run())
    assert found[:3] == ["read"] * 3
    assert found[3].startswith(f"certificate not accepted: {name}")
    assert found[4] == "certificate not accepted: unable to get local issuer certificate"
    assert found[5] == "certificate not accepted: unable to get local issuer certificate"
    assert found[6] == f"reading CA file {tmp_path / 'absent.pem'}: No such file or directory"
    assert found[7] == f"reading CA file {pair_key(tmp_path)}: no PEM certificate"


def pair_key(directory: Path) -> Path:
    return next(directory.glob("*.key"))


def test_client_certificate(tmp_path: Path) -> None:
    """A server that wants a certificate gets ours; without one, or with another's key, the page is not read."""
    authority = Authority("pages")
    pair = authority.issue("page", usage=SERVER_AUTH, dns="pages.test")
    (tmp_path / "ca.pem").write_text(authority.pem)
    verified = {"caFile": str(tmp_path / "ca.pem"), "serverName": "pages.test"}
    ours = client_files(authority.issue("scraper"), tmp_path)
    theirs = client_files(authority.issue("scraper"), tmp_path)
    mixed = {"certFile": ours["certFile"], "keyFile": theirs["keyFile"]}

    async def run() -> list[str]:
        async with serving(http(PAGE), tls=server_tls(pair, tmp_path, clients=authority)) as server:
            return [await outcome_of(spec(server.url, tls={**verified, **show})) for show in (ours, {}, mixed)]

    read, nothing_shown, not_ours = asyncio.run(run())
    assert read == "read"
    assert nothing_shown != "read"
    key = f"no PEM certificate with the key in {theirs['keyFile']}"
    assert not_ours == f"reading certificate file {ours['certFile']}: {key}"


def test_contexts_are_shared(tmp_path: Path) -> None:
    """Targets of one configuration share what was read; a new certificate authority makes a new context."""
    (tmp_path / "ca.pem").write_text(Authority("pages").pem)
    of = source("https://a/", tls={"caFile": str(tmp_path / "ca.pem")})
    first, second = access_to(of, {}), access_to(of, {})
    keys = first.open()
    assert second.open() is keys

    async def contexts() -> tuple[ssl.SSLContext | None, ssl.SSLContext | None, ssl.SSLContext | None]:
        before = (await keys.ready()).context
        keys._until_s = 0
        same = (await keys.ready()).context
        (tmp_path / "ca.pem").write_text(Authority("pages").pem)
        keys._until_s = 0
        return before, same, (await keys.ready()).context

    before, same, after = asyncio.run(contexts())
    assert before is same
    assert after is not before


@pytest.mark.parametrize(
    ("path", "location", "detail"),
    [
        ("/metrics", "/real", "read"),
        ("/metrics", "real?x=1", "read"),
        ("/metrics", "{url}/deep/real", "read"),
        ("/metrics", "/loop", "more than 3 redirects"),
        ("/metrics", "http://localhost:{port}/real", "HTTP 302: redirects to another server are not followed"),
        ("/metrics", "http://127.0.0.1:9/real", "HTTP 302: redirects to another server are not followed"),
        ("/metrics", "https://127.0.0.1:{port}/real", "HTTP 302: redirects to another server are not followed"),
        ("/metrics", "//example.com/hunter2", "HTTP 302: redirects to another server are not followed"),
        ("/metrics", "file:///etc/passwd", "URL is not valid"),
        ("/metrics", "http://[", "URL is not valid"),
        ("/metrics", "", "HTTP 302: redirects to another server are not followed"),
        ("/metrics", "http://user:hunter2@127.0.0.1:{port}/real", "read"),
    ],
)
def test_redirects(path: str, location: str, detail: str, tmp_path: Path) -> None:
    """A redirect is followed on the same server, at most three times; nothing is ever sent to another one."""
    (tmp_path / "token").write_text("hunter2")

    async def run() -> str:
        async with serving() as server:
            root = server.url.removesuffix("/metrics")

            async def answer(connection: Connection) -> None:
                asked = server.requests[-1].split(b" ")[1].decode()
                target = "/loop" if asked == "/loop" else location.format(url=root, port=server.port)
                found = http(b"", f"Location: {target}", status="302 Found")
                await connection.send(http(PAGE) if "real" in asked else found)

            server.answer = answer
            found = await outcome_of(spec(root + path, auth={"bearerTokenFile": str(tmp_path / "token")}))
            assert all(b"\r\nAuthorization: Bearer hunter2\r\n" in request for request in server.requests)
            assert len(server.requests) <= 4
            return found

    found = asyncio.run(run())
    assert found == detail
    assert "hunter2" not in found


def test_what_is_warned_of() -> None:
    """Belief in any certificate, and credentials on a line others can read, are warned of when loading."""
    place = "m.yaml:4: default/up: spec.source.scrape"
    careless = document("https://web/", tls="{insecureSkipVerify: true}")
    (warning,) = parse([File("m.yaml", careless.encode())]).warnings
    believed = "any certificate is believed: give caFile or caSecretRef instead"
    assert warning == f"{place}.tls.insecureSkipVerify: {believed}"
    plain = document("http://web/", auth="{bearerTokenFile: /token}")
    (warning,) = parse([File("m.yaml", plain.encode())]).warnings
    assert warning == f"{place}.auth: credentials are sent over http, where others can read them: use https"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ("auth: {}", "auth: must have credentials: bearerTokenFile, or username and passwordFile"),
        ("auth: {username: me}", "auth.passwordFile: is required with username"),
        ("auth: {passwordFile: /p}", "auth.username: is required with passwordFile"),
        (
            "auth: {bearerTokenFile: /t, username: me, passwordFile: /p}",
            "auth: must have bearerTokenFile or username and passwordFile, not both",
        ),
        (
            "auth: {token: hunter2}",
            NEVER_PART.format("auth.token") + "name its bearerTokenFile or passwordFile",
        ),
        (
            'auth: {username: "me:hunter2", passwordFile: /p}',
            "auth.username: must be a user name without colon and control characters",
        ),
        (
            "auth: {secretRef: {name: web}}",
            "auth.secretRef: must not be set in a file: only an object of the cluster has a namespace to look in",
        ),
        ("tls: {serverName: web}", "tls: must not be set for http: it is for https"),
        (
            "metric: 'up{a=\"b\"}'",
            f'metric: {NAME_ALONE}, got "up{{a=\\"b\\"}}"',
        ),
    ],
)
def test_what_is_refused(fields: str, error: str) -> None:
    """A configuration that could not work is refused, in words that show no secret."""
    text = document("http://web/").replace(
        "metric: up}", ("metric: up, " if "metric" not in fields else "") + fields + "}"
    )
    (found,) = parse([File("m.yaml", text.encode())]).errors
    assert found == f"m.yaml:4: default/up: spec.source.scrape.{error}"
