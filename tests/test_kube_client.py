"""Requests to the Kubernetes API, against a server with real sockets and TLS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adapter.kube.access import Access
from adapter.kube.client import JSON_PATCH, MERGE_PATCH, Kube, KubeError, api_path, wait_before_retry
from adapter.kube.errors import from_answer
from tests.kube_api import KubeApi
from tests.kube_asking import CONFIG_MAPS, asking, config_map, failing, in_cluster, version
from tests.scripted import answering, scripted_server


@pytest.fixture
def api(tmp_path: Path) -> Any:
    with KubeApi(tmp_path) as api:
        yield api


def test_objects_are_created_changed_and_removed(api: KubeApi) -> None:
    """Every method and both kinds of patch that are used arrive as they are meant."""

    async def ask(kube: Kube) -> None:
        await kube.request("POST", CONFIG_MAPS, body=config_map("a", x="1"))
        one = api_path("", "v1", "configmaps", namespace="shop", name="a")
        await kube.request("PATCH", one, body={"data": {"y": "2"}}, content_type=MERGE_PATCH)
        patch = [{"op": "add", "path": "/data/z", "value": "3"}]
        found = await kube.request("PATCH", one, body=patch, content_type=JSON_PATCH)
        assert found["data"] == {"x": "1", "y": "2", "z": "3"}
        found["data"] = {"ä<": "&"}
        await kube.request("PUT", one, body=found, query={"fieldManager": "a b,c"})
        assert (await kube.request("GET", one))["data"] == {"ä<": "&"}
        assert (await kube.request("DELETE", one))["status"] == "Success"

    asking(in_cluster(api), ask)
    assert api.list("configmaps") == []
    assert [asked.verb for asked in api.requests] == ["create", "patch", "patch", "update", "get", "delete"]


def test_a_refusal_says_what_the_status_says(api: KubeApi) -> None:
    """404, 409 and the text that is no Status keep code, reason, message and details."""
    api.create(config_map("a"))
    error = failing(in_cluster(api), lambda kube: kube.request("GET", CONFIG_MAPS + "/b"))
    assert (error.code, error.reason, error.message) == (404, "NotFound", 'configmaps "b" not found')
    assert error.details == {"name": "b", "kind": "configmaps"}
    error = failing(in_cluster(api), lambda kube: kube.request("POST", CONFIG_MAPS, body=config_map("a")))
    assert (error.code, error.reason) == (409, "AlreadyExists")
    error = failing(in_cluster(api), lambda kube: kube.request("GET", "/apis/no.such/v1/things"))
    assert (error.code, error.reason, error.message) == (404, "", "404 page not found")


@pytest.mark.parametrize(
    "content", [b"", b"nonsense\x00\x1b[31m" + b"x" * 10_000, b"[]", b'{"kind":"Pod"}', b"\xff\xfe"]
)
def test_a_refusal_that_is_no_status_has_a_short_printable_text(content: bytes) -> None:
    """What a proxy in between answers cannot break a log."""
    error = from_answer(503, content)
    assert error.code == 503
    assert error.message.isprintable()
    assert 0 < len(error.message) <= 200


def test_an_api_that_is_down_is_one_constant_error(api: KubeApi) -> None:
    """Connecting needs no answer, and each try fails with the same words until the API is back."""

    async def ask(kube: Kube) -> list[str]:
        texts = []
        for _ in range(2):
            with pytest.raises(KubeError) as caught:
                await version(kube)
            assert (caught.value.code, caught.value.reason) == (0, "Unreachable")
            texts.append(caught.value.message)
        api.up()
        await version(kube)
        return texts

    api.down()
    texts = asking(in_cluster(api), ask)
    assert texts == ["the Kubernetes API cannot be reached: connection refused"] * 2


def test_an_api_that_hangs_is_a_timeout(api: KubeApi) -> None:
    """A request ends with its time, whatever the server does."""
    api.hang()
    error = failing(in_cluster(api), lambda kube: kube.request("GET", CONFIG_MAPS, timeout_s=0.2))
    assert (error.code, error.reason) == (0, "Timeout")


def test_an_answer_that_is_cut_or_slow(api: KubeApi) -> None:
    """Half an answer is an error; one that comes in drops is not."""
    api.create(config_map("a", x="1"))
    api.cut()
    error = failing(in_cluster(api), lambda kube: kube.request("GET", CONFIG_MAPS))
    assert (error.code, error.reason) == (0, "Broken")
    api.drip(7)
    assert len(asking(in_cluster(api), lambda kube: kube.request("GET", CONFIG_MAPS))["items"]) == 1


def test_an_answer_that_kubernetes_would_not_give(tmp_path: Path) -> None:
    """200 with something else than an object is no success."""

    async def ask(body: bytes) -> KubeError:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body)
        async with scripted_server(answering(head + body)) as port:
            path = tmp_path / "kubeconfig"
            path.write_text(yaml.safe_dump(plain_kubeconfig(f"http://127.0.0.1:{port}")))
            async with Kube(Access(kubeconfig=str(path))) as kube:
                with pytest.raises(KubeError) as caught:
                    await version(kube)
                return caught.value

    for body in (b"<html>", b"[1]", b"\xff"):
        error = asyncio.run(ask(body))
        assert (error.code, error.reason) == (0, "Malformed")


def plain_kubeconfig(server: str, **user: Any) -> dict[str, Any]:
    return {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
    }


def test_what_the_server_asks_to_send_again_is_sent_again(api: KubeApi) -> None:
    """429 and 503 with Retry-After are tried again; without it, or for other codes, the caller decides."""
    api.fail(429, retry_after_s=0, times=2)
    api.fail(503, retry_after_s=0)
    asking(in_cluster(api), lambda kube: kube.request("GET", CONFIG_MAPS))
    assert len(api.requests) == 4
    for code, retry_after_s in ((503, None), (409, 0), (429, 3600)):
        api.forget_requests()
        api.fail(code, retry_after_s=retry_after_s)
        error = failing(in_cluster(api), lambda kube: kube.request("GET", CONFIG_MAPS))
        assert (error.code, error.retry_after_s) == (code, retry_after_s)
        assert len(api.requests) == 1


@given(
    st.sampled_from([0, 400, 409, 410, 429, 500, 503, 504]),
    st.none() | st.floats(0, 1e6),
    st.integers(1, 10),
    st.floats(-10, 60),
)
def test_a_wait_is_bounded_by_the_time_that_is_left(code: int, wait_s: float | None, tries: int, left_s: float) -> None:
    """No request waits longer than its caller or than ten seconds, and none is sent a fifth time."""
    found = wait_before_retry(KubeError(code, "", "", None, wait_s), tries, left_s)
    if found is not None:
        assert found == wait_s
        assert found < left_s
        assert found <= 10
        assert tries < 4
        assert code == 429 or code >= 500


def test_a_stream_yields_whole_lines(api: KubeApi) -> None:
    """However the bytes come: in drops, many lines at once, or longer than any buffer."""
    long = "x" * 900_000

    async def ask(kube: Kube) -> list[str]:
        api.create(config_map("a", long=long))
        api.create(config_map("b"))
        api.create(config_map("c"))
        query = {"watch": "true", "timeoutSeconds": "1"}
        async with kube.stream(CONFIG_MAPS, query=query) as batches:
            return [json.loads(line)["object"]["metadata"]["name"] async for lines in batches for line in lines]

    assert asking(in_cluster(api), ask) == ["a", "b", "c"]


def test_a_stream_that_is_refused_or_idle_or_cut(api: KubeApi) -> None:
    """Each is a KubeError where it happens."""
    query = {"watch": "true"}

    async def follow(kube: Kube, idle_s: float = 60.0) -> None:
        async with kube.stream(CONFIG_MAPS, query=query, idle_s=idle_s) as batches:
            async for _ in batches:
                pass

    async def cut(kube: Kube) -> None:
        async with kube.stream(CONFIG_MAPS, query=query) as batches:
            api.cut_watches("midway")
            async for _ in batches:
                pytest.fail("half a line is none")

    api.fail(403)
    assert failing(in_cluster(api), follow).code == 403
    assert failing(in_cluster(api), lambda kube: follow(kube, 0.1)).reason == "Timeout"
    assert failing(in_cluster(api), cut).reason == "Broken"


def test_each_try_is_reported(api: KubeApi) -> None:
    """Method and code, also where no answer came."""
    seen: list[tuple[str, int]] = []

    async def run() -> None:
        async with Kube(in_cluster(api), on_answer=lambda *found: seen.append(found)) as kube:
            api.fail(429, retry_after_s=0)
            await kube.request("GET", CONFIG_MAPS)
            api.down()
            with pytest.raises(KubeError):
                await kube.request("POST", CONFIG_MAPS, body={})

    asyncio.run(run())
    assert seen == [("GET", 429), ("GET", 200), ("POST", 0)]


def test_a_hundred_watches_leave_room_for_requests(api: KubeApi) -> None:
    """Each holds a connection, and there is no limit on those."""

    @asynccontextmanager
    async def watching(kube: Kube) -> AsyncIterator[None]:
        async with kube.stream(CONFIG_MAPS, query={"watch": "true"}):
            yield

    async def ask(kube: Kube) -> None:
        async def hold(count: int) -> None:
            if not count:
                await kube.request("GET", CONFIG_MAPS, timeout_s=20.0)
                return
            async with watching(kube):
                await hold(count - 1)

        await hold(110)

    asking(in_cluster(api), ask)


def test_paths_are_escaped() -> None:
    """A name cannot lead out of its collection."""
    assert api_path("", "v1", "secrets", namespace="a", name="b") == "/api/v1/namespaces/a/secrets/b"
    path = api_path("spillway.dev", "v1alpha1", "externalmetrics", namespace="a", name="../b?c", subresource="status")
    assert path == "/apis/spillway.dev/v1alpha1/namespaces/a/externalmetrics/..%2Fb%3Fc/status"
