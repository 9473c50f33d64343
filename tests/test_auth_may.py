"""Whether they may: decisions that are asked for, remembered, renewed and forgotten, against a Kubernetes API."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from adapter.api.request import Undecided
from adapter.auth.delegated import Ttls
from tests.api_fixtures import BASE, VALUES
from tests.delegated import ACCESS, AS_HPA, HPA, READ, becomes, delegated
from tests.kube_api import Attributes, KubeApi, User
from tests.test_server import recorded_requests
from tests.waiting import until


def test_who_may_and_who_may_not(tmp_path: Path) -> None:
    """A read is allowed or forbidden as the Kubernetes API says; who may not read learns nothing of what there is."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            answer = await port.as_hpa()
            assert (answer.code, json.loads(answer.body)["items"][0]["value"]) == (200, "1500m")
            user, asked = port.cluster.asked[-1]
            assert (user.name, user.groups) == (HPA, ("system:serviceaccounts", "system:authenticated"))
            group = "external.metrics.k8s.io"
            assert (asked.verb, asked.group, asked.resource, asked.namespace) == ("list", group, "m", "default")
            assert await port.code(*AS_HPA, client=port.cluster.front_proxy, target=f"{VALUES}/unknown") == 404

            port.cluster.allowed = False
            for target in (f"{VALUES}/m2", f"{VALUES}/unknown2", f"{VALUES}/m2/x/y", f"{BASE}/m2"):
                answer = await port.as_hpa(target)
                assert (answer.code, answer.headers["x-content-type-options"]) == (403, "nosniff")
                assert "connection" not in answer.headers
            assert (await port.as_hpa(f"{VALUES}/m2")).message == (
                f'm2.external.metrics.k8s.io is forbidden: User "{HPA}" cannot list resource "m2" in API group '
                '"external.metrics.k8s.io" in the namespace "default": no rule says so'
            )
            answer = await port.as_hpa("/nope")
            assert answer.message == f'forbidden: User "{HPA}" cannot get path "/nope": no rule says so'

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_roles_decide(tmp_path: Path) -> None:
    """A cluster's own rules: discovery for the authenticated, /version for everybody, values for whom a role allows."""

    async def run(api: KubeApi) -> None:
        api.allow(HPA, "get list watch", "*", group="external.metrics.k8s.io")
        async with delegated(tmp_path, api) as port:
            api.decide(None)
            proxy = port.cluster.front_proxy
            assert (await port.as_hpa()).code == 200
            for target in ("/apis", BASE, "/openapi/v2"):
                assert await port.code("X-Remote-User: system:aggregator", client=proxy, target=target) == 200
                assert await port.code(target=target) == 403
            assert await port.code("X-Remote-User: bob", client=proxy) == 403
            assert await port.code(target="/version") == 200
            assert await port.code(target="/metrics") == 403
            assert await port.code("X-Remote-User: system:anonymous", client=proxy, target="/apis") == 403

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_recorded_requests(tmp_path: Path) -> None:
    """What a kube-apiserver sent, byte for byte and on one connection, passes by a cluster's own rules."""

    async def run(api: KubeApi) -> None:
        api.allow(HPA, "get list watch", "*", group="external.metrics.k8s.io")
        async with delegated(tmp_path, api) as port:
            seen: list[tuple[User, Attributes]] = []
            api.decide(lambda user, asked: seen.append((user, asked)))
            connection = await port.connect(port.cluster.front_proxy)
            codes = [(await connection.ask(request))[0].split()[1] for request in recorded_requests()]
            await connection.close()
            # The two metrics are not defined here, and only who may read them is told so.
            assert codes == ["404", "200", "404", *["200"] * 5]
            aggregator = User("system:aggregator", groups=("system:authenticated",))
            assert [user.name for user, _ in seen] == [HPA, "system:kube-aggregator", *[aggregator.name] * 2]
            assert seen[0][0] == User(
                HPA,
                "2308159a-8c78-417b-8a62-e203924ee0a4",
                ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"),
                (("authentication.kubernetes.io/credential-id", ("JTI=d9245245-77c5-4098-84fb-cb97f9177270",)),),
            )
            assert seen[2:] == [(aggregator, Attributes("get", path=f"/openapi/v{version}")) for version in (2, 3)]

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_decisions_are_remembered(tmp_path: Path) -> None:
    """A decision counts for ten seconds, a yes as long as a no, for the same user, verb, object and selector only."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api, ttls=Ttls(allowed_s=10, denied_s=20)) as port:
            for _ in range(3):
                assert (await port.as_hpa()).code == 200
            assert port.cluster.reviews() == 1
            assert port.at_once() is None
            for target in (f"{READ}?labelSelector=a", f"{VALUES}/M", f"{READ}/x", f"{READ}?watch=1"):
                before = port.cluster.reviews()
                await port.as_hpa(target)
                await port.as_hpa(target)
                assert port.cluster.reviews() == before + 1
            await port.get(*AS_HPA, "X-Remote-Group: another", client=port.cluster.front_proxy)
            await port.get(*AS_HPA, "X-Remote-Extra-Scope: x", client=port.cluster.front_proxy)
            assert port.cluster.reviews() == 7

            port.cluster.allowed = False
            assert (await port.as_hpa()).code == 200
            port.clock.s += 9.99
            assert port.at_once() is None
            port.clock.s += 0.01
            assert (await port.as_hpa()).code == 403
            port.cluster.allowed = True
            port.clock.s += 19
            assert (await port.as_hpa()).code == 403
            port.clock.s += 1
            assert (await port.as_hpa()).code == 200

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_nothing_is_remembered_for_no_time(tmp_path: Path) -> None:
    """With a time of zero each request asks."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api, ttls=Ttls(allowed_s=0, denied_s=0)) as port:
            for expected in (1, 2, 3):
                assert (await port.as_hpa()).code == 200
                assert port.cluster.reviews() == expected

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_permissions_in_use_are_renewed(tmp_path: Path) -> None:
    """Whoever reads every 15 s waits once; a minute after the last read nobody asks for them any more."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            assert (await port.as_hpa()).code == 200
            for second in range(1, 61):
                port.clock.s += 1
                await port.renewed(1 + second // 6)
                if second % 15 == 0:
                    assert port.at_once() is None
            assert port.cluster.reviews() == 11
            for reviews in range(12, 21):
                port.clock.s += 6
                await port.renewed(reviews)
            port.clock.s += 6
            await asyncio.gather(*(port.code(target="/livez") for _ in range(50)))
            assert port.cluster.reviews() == 20
            port.clock.s += 4
            assert isinstance(port.at_once(), Undecided)

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_a_permission_that_ends(tmp_path: Path) -> None:
    """A renewal that says no counts at once, and without a wait."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            assert (await port.as_hpa()).code == 200
            port.cluster.allowed = False
            port.clock.s += 6
            await until(lambda: port.at_once() is not None)
            assert not isinstance(port.at_once(), Undecided)
            assert (await port.as_hpa()).code == 403
            reviews = port.cluster.reviews()
            port.clock.s += 9
            await asyncio.gather(*(port.code(target="/livez") for _ in range(50)))
            assert port.cluster.reviews() == reviews == 2

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_without_a_kubernetes_api(tmp_path: Path) -> None:
    """Decisions count until their end, then a read is a 500 with one constant text: never a yes."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            assert (await port.as_hpa()).code == 200
            api.down()
            port.clock.s += 9
            assert (await port.as_hpa()).code == 200
            port.clock.s += 1
            answers = [await port.as_hpa() for _ in range(2)]
            assert [answer.code for answer in answers] == [500, 500]
            assert [json.loads(answer.body) for answer in answers] == [
                {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Failure",
                    "message": "Internal error occurred: the Kubernetes API cannot be asked whether this request is "
                    "allowed",
                    "reason": "InternalError",
                    "details": {},
                    "code": 500,
                }
            ] * 2
            assert "retry-after" not in answers[0].headers
            api.up()
            await becomes(lambda: port.code(*AS_HPA, client=port.cluster.front_proxy), 200)

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_a_renewal_that_fails(tmp_path: Path) -> None:
    """A failure takes no permission away before its time, and the next try before its end is enough."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            assert (await port.as_hpa()).code == 200
            api.fail(503, verb="create", resource="subjectaccessreviews.authorization.k8s.io")
            port.clock.s += 7
            await port.renewed(3)
            assert port.at_once() is None
            port.clock.s += 5
            assert port.at_once() is None

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_failures_that_may_pass(tmp_path: Path) -> None:
    """What may pass is tried five times, what will not is not; an answer that makes no sense is a failure."""

    async def run(api: KubeApi) -> None:
        seen: list[tuple[str, bool]] = []
        resource = "subjectaccessreviews.authorization.k8s.io"

        def note(name: str, answered: bool, _: float) -> None:
            seen.append((name, answered))

        async with delegated(tmp_path, api, on_review=note) as port:
            api.fail(500, times=4, resource=resource)
            assert (await port.as_hpa(f"{VALUES}/a")).code == 404
            assert port.cluster.reviews() == 5
            api.fail(500, times=5, resource=resource)
            assert (await port.as_hpa(f"{VALUES}/b")).code == 500
            assert port.cluster.reviews() == 10
            api.cut(times=2, resource=resource)
            assert (await port.as_hpa(f"{VALUES}/c")).code == 404
            api.fail(403, resource=resource)
            assert (await port.as_hpa(f"{VALUES}/d")).code == 500
            assert seen == [(ACCESS, True), (ACCESS, False), (ACCESS, True), (ACCESS, False)]

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_one_question_is_asked_once(tmp_path: Path) -> None:
    """Thirty reads at once that all have to wait for the same answer share it; nobody else waits."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            api.hang()
            reads = [asyncio.create_task(port.as_hpa()) for _ in range(30)]
            await until(lambda: port.auth.decisions.flights.waiting == 29)
            assert await port.code(target="/livez") == 200
            api.hang(on=False)
            assert {answer.code for answer in await asyncio.gather(*reads)} == {200}
            assert port.cluster.reviews() == 1

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_a_thousand_users(tmp_path: Path) -> None:
    """A thousand users are asked about once each, a few at a time, and no more than a bound are remembered."""

    async def run(api: KubeApi) -> None:
        async with delegated(tmp_path, api) as port:
            connections = [await port.connect(port.cluster.front_proxy) for _ in range(20)]

            async def ask(start: int) -> None:
                for number in range(start, 1000, 20):
                    answer = await port.on(connections[start], f"X-Remote-User: user-{number}")
                    assert answer.code == 200

            await asyncio.gather(*map(ask, range(20)))
            assert (port.cluster.reviews(), len(port.auth.decisions)) == (1000, 1000)
            for connection in connections:
                await connection.close()

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))
