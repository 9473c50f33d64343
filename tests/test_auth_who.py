"""Who asks: certificates, headers and tokens over real TLS, against a Kubernetes API."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from tests.api_fixtures import BASE
from tests.certificates import NOW, SERVER_AUTH, Authority
from tests.delegated import AS_HPA, HPA, READ, TOKENS, becomes, delegated
from tests.kube_api import KubeApi, User
from tests.waiting import until

ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))
ANOTHER = User("bob", "7", ("dev", "system:authenticated"), (("scopes", ("a", "b")),))
CONFIG_MAP = "ConfigMap kube-system/extension-apiserver-authentication"
AUTHENTICATED = "system:authenticated"
UNAUTHORIZED = (
    b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized",'
    b'"reason":"Unauthorized","code":401}\n'
)
FORGED = ("X-Remote-User: system:admin", "X-Remote-Group: system:masters", "X-Remote-Uid: 0")


def test_certificates(tmp_path: Path) -> None:
    """Each certificate, with each set of headers, is whom it may be and nobody else."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            front, clients, proxy = port.cluster.front, port.cluster.clients, port.cluster.front_proxy
            alice = clients.issue("alice", organizations=("dev",))

            found = await port.user(*AS_HPA, client=proxy)
            assert found == User(HPA, groups=("system:serviceaccounts", AUTHENTICATED))
            usual = front.issue("front-proxy-client", usage=None)
            assert await port.user("x-REMOTE-user: a", client=usual) == User("a", groups=(AUTHENTICATED,))
            twice = ("X-Remote-User: a", "X-Remote-User: system:admin", "X-Remote-Group: g", "x-remote-group: h")
            assert await port.user(*twice, client=proxy) == User("a", groups=("g", "h", AUTHENTICATED))

            assert await port.user(client=proxy) == 401
            assert await port.user("X-Remote-User:", *FORGED[1:], client=proxy) == 401
            assert await port.user(*AS_HPA, client=front.issue("other")) == 401
            assert await port.user(*AS_HPA, client=front.issue("front-proxy-client", "other")) == 401

            for forged in ((), FORGED):
                found = await port.user(*forged, client=alice)
                assert isinstance(found, User)
                assert (found.name, found.uid, found.groups) == ("alice", "", ("dev", AUTHENTICATED))
                assert [key for key, _ in found.extra] == ["authentication.kubernetes.io/credential-id"]
            namesake = clients.issue("front-proxy-client")
            found = await port.user(*FORGED, client=namesake)
            assert isinstance(found, User)
            assert (found.name, found.groups) == ("front-proxy-client", (AUTHENTICATED,))

            assert await port.user() == ANONYMOUS
            assert await port.user(*FORGED) == ANONYMOUS
            assert await port.user(client=clients.issue(organizations=("system:masters",))) == 401

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_certificates_that_do_not_get_in(tmp_path: Path) -> None:
    """A certificate that no authority stands behind ends the handshake, with or without headers."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            clients, front = port.cluster.clients, port.cluster.front
            past, future = NOW - timedelta(minutes=30), NOW + timedelta(minutes=30)
            for bad in (
                Authority("kubernetes").issue("alice"),
                Authority("front-proxy-ca").issue("front-proxy-client"),
                clients.issue("alice", not_after=past),
                clients.issue("alice", not_before=future),
                clients.issue("alice", usage=SERVER_AUTH),
                front.issue("front-proxy-client", usage=SERVER_AUTH),
            ):
                assert await port.user(*FORGED, client=bad) == "handshake"

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_certificates_between(tmp_path: Path) -> None:
    """A client may bring the certificates between its own and the authority."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            found = await port.user(client=port.cluster.clients.intermediate().issue("alice"))
            assert isinstance(found, User)
            assert found.name == "alice"
            proxy = port.cluster.front.intermediate().issue("front-proxy-client")
            assert await port.user("X-Remote-User: a", client=proxy) == User("a", groups=(AUTHENTICATED,))

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_a_certificate_that_expires_on_an_open_connection(tmp_path: Path) -> None:
    """Each request looks at the time, not only the handshake; what is not accepted closes the connection."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            alice = port.cluster.clients.issue("alice", not_after=NOW + timedelta(minutes=10))
            connection = await port.connect(alice)
            assert (await port.on(connection)).code == 200
            port.clock.s += 601
            answer = await port.on(connection)
            assert (answer.code, answer.headers["connection"]) == (401, "close")
            assert await connection.is_closed()
            await connection.close()

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_tokens(tmp_path: Path) -> None:
    """A good token names its holder, a bad one ends everything, and other kinds of authorization are nothing."""

    async def run(api: KubeApi) -> None:
        api.users["bobs"] = ANOTHER
        async with delegated(tmp_path, api) as port:
            front, clients = port.cluster.front, port.cluster.clients
            assert await port.user("Authorization: Bearer bobs") == ANOTHER
            assert await port.user("authorization: bearer bobs", *FORGED) == ANOTHER
            assert await port.user("Authorization: Bearer bobs", client=front.issue("other")) == ANOTHER
            assert await port.user("Authorization: Bearer bobs", client=port.cluster.front_proxy) == ANOTHER
            alice = await port.user("Authorization: Bearer bad", client=clients.issue("alice"))
            assert isinstance(alice, User)
            assert alice.name == "alice"
            assert await port.user("Authorization: Bearer bad") == 401
            assert await port.user("Authorization: Bearer bad", *FORGED) == 401
            assert await port.user("Authorization: Basic Ym9iOng=") == ANONYMOUS
            assert await port.user("Authorization: Bearer") == ANONYMOUS
            for target in ("/healthz", "/livez", "/nope", BASE, READ):
                answer = await port.get("Authorization: Bearer bad", target=target)
                assert (answer.code, answer.body) == (401, UNAUTHORIZED)
                assert (answer.headers["connection"], "www-authenticate" in answer.headers) == ("close", False)
            assert (await port.get("Authorization: Bearer bad", target=f"{READ}?timeout=abc")).code == 400

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_what_is_remembered_of_tokens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A good token is asked about once in ten seconds, a review with an error each time; none is ever logged."""

    async def run(api: KubeApi) -> None:
        api.users["bobs-secret"] = ANOTHER
        async with delegated(tmp_path, api) as port:
            for _ in range(3):
                assert (await port.get("Authorization: Bearer bobs-secret")).code == 200
            assert port.cluster.reviews(TOKENS) == 1
            port.clock.s += 10
            del api.users["bobs-secret"]
            for expected in (2, 3):
                assert (await port.get("Authorization: Bearer bobs-secret")).code == 401
                assert port.cluster.reviews(TOKENS) == expected
            assert len(port.auth.tokens) == 0

            api.users["bobs-secret"] = ANOTHER
            assert (await port.get("Authorization: Bearer bobs-secret")).code == 200
            api.down()
            assert (await port.get("Authorization: Bearer bobs-secret")).code == 200
            port.clock.s += 10
            assert (await port.get("Authorization: Bearer bobs-secret")).code == 401
            api.up()
            await becomes(lambda: port.code("Authorization: Bearer bobs-secret"), 200)

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))
    assert "secret" not in caplog.text


def test_probes_need_nobody(tmp_path: Path) -> None:
    """The kubelet's probes are answered while there is no Kubernetes API, and nothing else that is new is."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            api.down()
            for target in ("/healthz", "/livez", "/readyz"):
                assert (await port.get(target=target)).code == 200
            assert (await port.get(target="/livez/ping")).code == 500

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_masters(tmp_path: Path) -> None:
    """The aggregator's own requests are allowed without asking anybody; its group is not ours to forge."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            as_aggregator = ("X-Remote-User: system:kube-aggregator", "X-Remote-Group: system:masters")
            api.down()
            assert (await port.get(*as_aggregator, client=port.cluster.front_proxy, target=BASE)).code == 200
            assert (await port.get(*as_aggregator, target=BASE)).code == 500
            alice = port.cluster.clients.issue("alice")
            assert (await port.get(*as_aggregator, client=alice, target=BASE)).code == 500

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_the_front_proxys_authority_is_replaced(tmp_path: Path) -> None:
    """Another authority counts at once: for new handshakes, and for each request of a connection from before."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            old, new = port.cluster.front, Authority("front-proxy-ca")
            proxy = new.issue("front-proxy-client")
            connection = await port.connect(port.cluster.front_proxy)
            assert (await port.on(connection, *AS_HPA)).code == 200
            assert await port.user(*AS_HPA, client=proxy) == "handshake"

            port.cluster.publish(requestheader_client_ca_file=old.pem + new.pem)
            await becomes(lambda: port.code(*AS_HPA, client=proxy), 200)
            assert (await port.on(connection, *AS_HPA)).code == 200

            port.cluster.publish(requestheader_client_ca_file=new.pem)
            await becomes(lambda: port.user(*AS_HPA, client=port.cluster.front_proxy), "handshake")
            assert (await port.on(connection, *AS_HPA)).code == 401
            assert await connection.is_closed()
            assert (await port.get(*AS_HPA, client=proxy)).code == 200
            await connection.close()

            # Authorities may trade places: what one vouches for, the other does not.
            port.cluster.publish(requestheader_client_ca_file=port.cluster.clients.pem, client_ca_file=new.pem)
            await becomes(lambda: port.named(*AS_HPA, client=proxy), "front-proxy-client")

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_allowed_names_and_headers_are_replaced(tmp_path: Path) -> None:
    """Other names and headers count at once, without another handshake; a bad edit changes nothing."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            connection = await port.connect(port.cluster.front_proxy)
            other = await port.connect(port.cluster.front.issue("other"))
            assert (await port.on(connection, *AS_HPA)).code == 200
            port.cluster.publish(requestheader_allowed_names="nonsense", requestheader_client_ca_file="")
            port.cluster.publish(requestheader_allowed_names='["another"]', requestheader_username_headers='["X-User"]')
            await becomes(lambda: port.code(*AS_HPA, client=port.cluster.front_proxy), 401)
            assert (await port.on(connection, *AS_HPA)).code == 401
            port.cluster.publish(requestheader_allowed_names="[]", requestheader_username_headers='["X-User"]')
            await becomes(lambda: port.code("X-User: b", client=port.cluster.front_proxy), 200)
            assert (await port.on(other, "X-User: a")).code == 200
            assert port.cluster.asked[-1][0] == User("a", groups=(AUTHENTICATED,))
            for each in (connection, other):
                await each.close()

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_before_the_config_map_is_known(tmp_path: Path) -> None:
    """Nobody gets in by certificate before the ConfigMap has been read, and readiness says what is missing."""

    async def run(api: KubeApi) -> None:
        api.down()
        async with delegated(tmp_path, api, published=False) as port:
            proxy = port.cluster.front_proxy
            await until(lambda: "cannot be reached" in (port.auth.not_ready() or ""))
            assert (port.auth.not_ready() or "").startswith(f"{CONFIG_MAP} has not been read yet: ")
            assert await port.user(*AS_HPA, client=proxy) == "handshake"
            assert await port.code(target="/readyz") == 200
            api.up()
            await until(lambda: port.auth.not_ready() == f"there is no {CONFIG_MAP}")
            port.cluster.publish(requestheader_client_ca_file=None)
            await until(lambda: port.auth.not_ready() == f"{CONFIG_MAP} has no usable requestheader-client-ca-file")
            port.cluster.publish()
            await until(lambda: port.auth.not_ready() is None)
            assert await port.code(*AS_HPA, client=proxy) == 200

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_the_config_map_is_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What it said before stays, also through an hour without a Kubernetes API."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            api.delete("configmaps", "kube-system", "extension-apiserver-authentication")
            await until(lambda: "there is no authentication ConfigMap" in caplog.text)
            assert await port.code(*AS_HPA, client=port.cluster.front_proxy) == 200
            api.down()
            port.clock.s += 3600
            masters = (*AS_HPA, "X-Remote-Group: system:masters")
            assert await port.code(*masters, client=port.cluster.front_proxy) == 200
            assert port.auth.not_ready() is None

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))
