"""A copy of a collection through everything that happens to its watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapter.kube.access import Access
from adapter.kube.backoff import Backoff
from adapter.kube.client import Kube, api_path
from adapter.kube.lines import MAX_ANSWER_BYTES
from adapter.kube.watch import Change, Reflector
from tests.kube_api import KubeApi
from tests.waiting import until

WIRE = Path(__file__).parent / "testdata" / "wire"
CONFIG_MAPS = api_path("", "v1", "configmaps")
QUICK = Backoff(base_s=0.01, cap_s=0.05)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    with KubeApi(tmp_path) as api:
        yield api


def put(api: KubeApi, name: str, value: str = "", namespace: str = "shop", **labels: str) -> None:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}})


def values(reflector: Reflector) -> dict[str, str]:
    return {name: found["data"]["value"] for (_, name), found in reflector.objects.items()}


@asynccontextmanager
async def following(api: KubeApi, path: str = CONFIG_MAPS, **options: Any) -> AsyncIterator[Reflector]:
    """Run a reflector, as an adapter in the cluster does."""
    async with Kube(Access(service_account=api.service_account, environ=api.environ)) as kube:
        reflector = Reflector(kube, path, **{"backoff": QUICK, **options})
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(reflector.run())
            try:
                yield reflector
            finally:
                task.cancel()


def seeing(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await test()

    asyncio.run(run())


def asked(api: KubeApi, verb: str) -> int:
    return sum(request.verb == verb for request in api.requests)


def test_a_copy_follows_what_happens(api: KubeApi) -> None:
    """Created, changed and deleted objects are seen with one list and one watch, and told as they are."""
    told: list[Change] = []

    async def test() -> None:
        put(api, "old", "1")
        async with following(api, on_change=told.append) as reflector:
            assert (reflector.synced, reflector.objects) == (False, {})
            await reflector.wait_synced()
            assert values(reflector) == {"old": "1"}
            put(api, "new", "1")
            put(api, "old", "2")
            await until(lambda: values(reflector) == {"old": "2", "new": "1"})
            api.delete("configmaps", "shop", "old")
            await until(lambda: values(reflector) == {"new": "1"})
        found = reflector.objects["shop", "new"]
        assert (found["kind"], found["apiVersion"]) == ("ConfigMap", "v1")
        assert "managedFields" not in found["metadata"]

    seeing(test)
    assert (asked(api, "list"), asked(api, "watch")) == (1, 1)
    old, new = ("shop", "old"), ("shop", "new")
    assert told[0] == Change(told[0].state, frozenset({old}), frozenset(), frozenset())
    assert frozenset().union(*(made.added for made in told[1:])) == {new}
    assert frozenset().union(*(made.modified for made in told[1:])) == {old}
    assert told[-1].removed == {old}


def test_an_empty_collection_is_known_to_be_empty(api: KubeApi) -> None:
    """The first complete list is told even if nothing is in it."""
    told: list[Change] = []

    async def test() -> None:
        async with following(api, on_change=told.append) as reflector:
            state = await reflector.wait_synced()
            assert (state.synced, dict(state.objects)) == (True, {})

    seeing(test)
    assert len(told) == 1


def test_selectors_narrow_a_copy(api: KubeApi) -> None:
    """By name, namespace and label; an object that no longer matches leaves."""

    async def test() -> None:
        for name, app in (("a", "web"), ("b", "web"), ("c", "db")):
            put(api, name, app=app)
        path = api_path("", "v1", "configmaps", namespace="shop")
        async with (
            following(api, path, label_selector="app=web") as web,
            following(api, path, field_selector="metadata.name=c") as named,
            following(api, api_path("", "v1", "configmaps", namespace="other")) as other,
        ):
            await web.wait_synced()
            await named.wait_synced()
            await other.wait_synced()
            assert (set(values(web)), set(values(named)), values(other)) == ({"a", "b"}, {"c"}, {})
            put(api, "b", app="db")
            put(api, "c", app="web")
            await until(lambda: set(values(web)) == {"a", "c"})

    seeing(test)


def test_a_large_collection_comes_in_pages(api: KubeApi) -> None:
    """All pages make one list, as it was at one moment."""

    async def test() -> None:
        for number in range(25):
            put(api, f"m{number}")
        async with following(api, page_size=10) as reflector:
            assert len((await reflector.wait_synced()).objects) == 25
        assert asked(api, "list") == 3

    seeing(test)


def test_a_page_that_expired_is_no_reason_to_give_up(api: KubeApi) -> None:
    """Where history is lost between two pages, the list is read again at once."""

    class Losing(Kube):
        async def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
            answer = await super().request(method, path, **options)
            if answer.get("metadata", {}).get("continue"):
                api.forget_history()
            return answer

    async def run() -> None:
        for number in range(3):
            put(api, f"m{number}")
        async with Losing(Access(service_account=api.service_account, environ=api.environ)) as kube:
            reflector = Reflector(kube, CONFIG_MAPS, page_size=2, backoff=QUICK)
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(reflector.run())
                assert len((await reflector.wait_synced()).objects) == 3
                task.cancel()

    asyncio.run(run())


def test_a_part_of_a_list_is_nothing(api: KubeApi) -> None:
    """While the second page fails there is no copy, and none is lost when it fails later."""

    async def test() -> None:
        for number in range(3):
            put(api, f"m{number}")
        api.cut(verb="list", times=1)
        async with following(api, page_size=2) as reflector:
            await reflector.wait_synced()
            assert len(values(reflector)) == 3
            api.fail(500, verb="list", times=1_000)
            api.forget_history()
            api.cut_watches()
            put(api, "m3")
            await until(lambda: reflector.error is not None)
            await until(lambda: asked(api, "list") > 10)
            assert (reflector.synced, len(values(reflector))) == (True, 3)
            api.heal()
            await until(lambda: len(values(reflector)) == 4)
            assert reflector.error is None

    seeing(test)


@pytest.mark.parametrize("how", ["reset", "midway", "eof"])
def test_a_watch_that_is_cut_goes_on_where_it_was(api: KubeApi, how: str) -> None:
    """Nothing is missed, and nothing is listed again."""

    async def test() -> None:
        async with following(api) as reflector:
            await reflector.wait_synced()
            for number in range(3):
                await until(lambda: api.watches == 1)
                put(api, "a", str(number))
                api.cut_watches(how)
                put(api, "b", str(number))
                await until(lambda number=number: values(reflector) == {"a": str(number), "b": str(number)})  # type: ignore[misc]  # a default binds it
            assert asked(api, "list") == 1

    seeing(test)


def test_lost_history_means_a_new_list(api: KubeApi) -> None:
    """410 comes as a line or in place of a watch; what has gone in the meantime is removed, the rest stays as it is."""
    told: list[Change] = []

    async def test() -> None:
        put(api, "stays", "1")
        put(api, "goes", "1")
        async with following(api, on_change=told.append) as reflector:
            await reflector.wait_synced()
            stays = reflector.objects["shop", "stays"]
            await until(lambda: api.watches == 1)
            api.fail(410, verb="watch")
            api.cut_watches("reset")
            await until(lambda: asked(api, "list") == 2)
            await until(lambda: api.watches == 1)
            api.cut_watches("gone")
            api.forget_history()
            api.delete("configmaps", "shop", "goes")
            put(api, "comes", "1")
            await until(lambda: values(reflector) == {"stays": "1", "comes": "1"})
            assert reflector.objects["shop", "stays"] is stays
            assert reflector.error is None

    seeing(test)
    assert len([made for made in told if made.modified]) == 0


def test_bookmarks_spare_a_new_list(api: KubeApi) -> None:
    """A quiet collection keeps up with the versions of busy ones, so that a cut watch finds its history."""

    async def test() -> None:
        async with following(api, api_path("", "v1", "secrets")) as reflector:
            first = await reflector.wait_synced()
            await until(lambda: api.watches == 1)
            api.forget_history()
            put(api, "busy")
            api.bookmark()
            await until(lambda: int(reflector.state.version) > int(first.version))
            assert reflector.objects is first.objects
            api.cut_watches()
            await until(lambda: asked(api, "watch") == 2 and api.watches == 1)
            assert asked(api, "list") == 1

    seeing(test)


def test_an_idle_watch_is_ended_by_the_server_and_opened_again(api: KubeApi) -> None:
    """timeoutSeconds is the server's to keep; its end is no failure."""

    async def test() -> None:
        async with following(api, watch_s=1) as reflector:
            await reflector.wait_synced()
            await until(lambda: asked(api, "watch") >= 2)
            assert reflector.error is None
            put(api, "a", "1")
            await until(lambda: values(reflector) == {"a": "1"})
            assert asked(api, "list") == 1

    seeing(test)


def test_an_api_that_is_down_takes_nothing_away(api: KubeApi) -> None:
    """At the start and later: the copy stays, the error says why, and the API is noticed when it is back."""

    async def test() -> None:
        put(api, "a", "1")
        api.down()
        async with following(api) as reflector:
            await until(lambda: reflector.error is not None)
            assert not reflector.synced
            api.up()
            await reflector.wait_synced()
            await until(lambda: api.watches == 1)
            api.down()
            await until(lambda: reflector.error is not None)
            assert (reflector.synced, values(reflector)) == (True, {"a": "1"})
            put(api, "a", "2")
            api.up()
            await until(lambda: values(reflector) == {"a": "2"})
            assert reflector.error is None

    seeing(test)


def test_a_definition_that_is_not_there_yet(api: KubeApi) -> None:
    """404 is a failure like others until the collection exists."""
    exchanges = map(json.loads, (WIRE / "kube-api.jsonl").read_text().splitlines())
    definition = next(e for e in exchanges if e["title"] == "the definition is accepted")["requestBody"]

    async def test() -> None:
        async with following(api, api_path("spillway.dev", "v1alpha1", "externalmetrics")) as reflector:
            await until(lambda: reflector.error is not None and reflector.error.code == 404)
            api.create(definition)
            await reflector.wait_synced()
            metric = {"metadata": {"name": "m", "namespace": "n"}, "spec": {"source": {"static": {"value": 1}}}}
            api.create({"apiVersion": "spillway.dev/v1alpha1", "kind": "ExternalMetric", **metric})
            await until(lambda: ("n", "m") in reflector.objects)
            api.delete("customresourcedefinitions.apiextensions.k8s.io", "", "externalmetrics.spillway.dev")
            await until(lambda: not reflector.objects)  # each was deleted, and said so
            api.cut_watches()
            await until(lambda: reflector.error is not None and reflector.error.code == 404)
            assert reflector.synced

    seeing(test)


def test_a_busy_server_and_a_slow_line(api: KubeApi) -> None:
    """429 is waited for, and events that come in drops are events."""

    async def test() -> None:
        api.fail(429, retry_after_s=0, verb="list", times=2)
        api.fail(429, retry_after_s=0, verb="watch", times=2)
        async with following(api) as reflector:
            await reflector.wait_synced()
            await until(lambda: api.watches == 1)
            api.drip(5)
            put(api, "a", "1")
            put(api, "b", "2")
            await until(lambda: values(reflector) == {"a": "1", "b": "2"})
            assert asked(api, "list") == 3

    seeing(test)


def test_a_server_that_ends_every_watch_at_once_is_not_asked_without_end(api: KubeApi) -> None:
    """Waits grow although each try succeeds."""

    async def test() -> None:
        waits: list[float] = []

        def jitter() -> float:
            waits.append(0.0)
            return 0.0

        backoff = Backoff(base_s=0.01, cap_s=10.0, jitter=jitter)
        async with following(api, backoff=backoff) as reflector:
            await reflector.wait_synced()
            await until(lambda: [api.cut_watches("eof")] and len(waits) >= 4)

    seeing(test)


def test_a_slow_reader_sees_the_newest_state(api: KubeApi) -> None:
    """Updates are states, not a queue."""

    async def test() -> None:
        async with following(api) as reflector:
            updates = reflector.updates()
            assert not (await anext(updates)).objects
            for number in range(5):
                put(api, "a", str(number))
            await until(lambda: values(reflector) == {"a": "4"})
            assert next(iter((await anext(updates)).objects.values()))["data"]["value"] == "4"
            waiting = asyncio.ensure_future(anext(updates))
            put(api, "a", "5")
            assert next(iter((await waiting).objects.values()))["data"]["value"] == "5"
            await updates.aclose()  # type: ignore[attr-defined]  # a generator is all it can be

    seeing(test)


def test_a_projection_keeps_what_it_says(api: KubeApi) -> None:
    """`keep` decides what is held in memory, in lists and watches alike."""

    async def test() -> None:
        put(api, "a", "1")
        async with following(api, keep=lambda found: {"data": found["data"]}) as reflector:
            await reflector.wait_synced()
            put(api, "b", "2")
            await until(lambda: len(reflector.objects) == 2)
            assert all(set(found) == {"data"} for found in reflector.objects.values())

    seeing(test)


def test_a_collection_is_kept_up_to_its_bound(api: KubeApi) -> None:
    """Those known stay, of others there is no more than room; that some are left out is known, and ends with them."""

    async def test() -> None:
        for number in range(4):
            put(api, f"m{number}")
        async with following(api, max_objects=3, page_size=2, watch_s=1) as reflector:
            await reflector.wait_synced()
            assert (set(values(reflector)), reflector.left_out) == ({"m0", "m1", "m2"}, 1)
            put(api, "a")
            put(api, "m1", "new")
            await until(lambda: values(reflector)["m1"] == "new")
            assert set(values(reflector)) == {"m0", "m1", "m2"}
            for name in ("m0", "m3"):
                api.delete("configmaps", "shop", name)
            await until(lambda: set(values(reflector)) == {"a", "m1", "m2"} and not reflector.left_out, 60)

    seeing(test)


def test_being_full_is_news(api: KubeApi) -> None:
    """One object too many is told, although the copy stays what it was."""
    told: list[Change] = []

    async def test() -> None:
        put(api, "a")
        async with following(api, max_objects=1, on_change=told.append) as reflector:
            await reflector.wait_synced()
            put(api, "b")
            await until(lambda: reflector.left_out and len(told) == 2)
            assert set(values(reflector)) == {"a"}

    seeing(test)


def test_pages_that_are_too_large_are_asked_for_in_smaller_ones(api: KubeApi) -> None:
    """Objects of many megabytes do not keep the others from being seen, and no answer takes the memory."""

    async def test() -> None:
        for number in range(4):
            put(api, f"m{number}", "x" * (MAX_ANSWER_BYTES // 3))
        async with following(api) as reflector:
            await reflector.wait_synced()
            assert set(reflector.objects) == {("shop", f"m{number}") for number in range(4)}

    seeing(test)
