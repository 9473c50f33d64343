"""Statuses and Events are written by one replica, not too many, and against whatever the API does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapter.kube.client import Access, Kube, api_path
from adapter.kube.events import PER_OBJECT
from adapter.kube.status import StatusWriter, View
from adapter.kube.watch import Reflector
from adapter.schema.crd import GROUP, PLURAL, VERSION, definition
from adapter.schema.finding import Acceptance, Finding, ObjectKey
from scaler.model import EXTERNAL_METRICS_GROUP, ExternalMetricValue, MetricRef, MetricResult, Reason, Unknown
from tests.kube_api import Cause, KubeApi
from tests.waiting import until

METRICS = f"{PLURAL}.{GROUP}"
EVENTS = "events.events.k8s.io"
T0_MS = 1_767_323_045_000  # 2026-01-02T03:04:05Z
STATIC = {"source": {"static": {"series": [{"value": 1}]}}}
DOWN = Unknown(Reason.SOURCE_ERROR, "redis: timeout", T0_MS)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    with KubeApi(tmp_path) as api:
        api.create(definition())
        yield api


class World:
    """A clock, objects in an API, and what is known of them; a writer beside it."""

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.now_ms = T0_MS
        self.holder = True
        self.copies: dict[ObjectKey, Any] | None = None
        self.findings: dict[ObjectKey, Finding] = {}
        self.results: dict[MetricRef, MetricResult] = {}
        self.writes_ms: list[int] = []
        self.before_write: Callable[[], None] | None = None

    def add(self, name: str, milli: int = 1_500) -> ObjectKey:
        """Create an object whose metric has a value."""
        head = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "ExternalMetric"}
        self.api.create({**head, "metadata": {"name": name, "namespace": "shop"}, "spec": STATIC})
        key, ref = ("shop", name), MetricRef(EXTERNAL_METRICS_GROUP, "shop", name)
        self.findings[key] = Finding(1, Acceptance.ACCEPTED, "in use", ref, 1, 600_000)
        self.reads(name, milli)
        return key

    def reads(self, name: str, what: int | Unknown) -> None:
        """Let a read of the metric end now."""
        ref = MetricRef(EXTERNAL_METRICS_GROUP, "shop", name)
        unknown = what if isinstance(what, Unknown) else None
        items = (ExternalMetricValue((), self.now_ms, None, what, 2**60),) if isinstance(what, int) else ()
        self.results[ref] = MetricResult(name, items, unknown, self.now_ms, None)

    def view(self) -> View:
        listed = {(o["metadata"]["namespace"], o["metadata"]["name"]): o for o in self.api.list(METRICS)}
        return View(listed if self.copies is None else self.copies, self.findings, self.results)

    def status(self, name: str) -> dict[str, Any]:
        found = self.api.get(METRICS, "shop", name)
        assert found is not None
        status: dict[str, Any] = found.get("status", {})
        return status

    def condition(self, name: str, kind: str = "Available") -> tuple[str, str]:
        (found,) = [c for c in self.status(name)["conditions"] if c["type"] == kind]
        return found["status"], found["reason"]

    def wrote(self, verb: str = "patch", subresource: str = "status") -> list[str]:
        """Return the names of the objects that were asked to change."""
        return [r.name for r in self.api.requests if (r.verb, r.subresource) == (verb, subresource)]

    async def sleep(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        await asyncio.sleep(0)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[StatusWriter]:
        def noted(method: str, code: int) -> None:
            del code
            if method in {"PATCH", "POST"}:
                self.writes_ms.append(self.now_ms)

        async with Kube(Access(kubeconfig=str(self.api.kubeconfig)), on_answer=noted) as kube:
            yield StatusWriter(kube, self.view, lambda: self.holder, lambda: self.now_ms, "pod-a", sleep=self.sleep)

    async def pass_time(self, writer: StatusWriter, seconds: float) -> None:
        """Let the writer look ten times a second."""
        until_ms = self.now_ms + round(seconds * 1000)
        while self.now_ms < until_ms:
            await writer.step()
            self.now_ms += 100


def run(world: World, scenario: Callable[[StatusWriter], Any]) -> None:
    async def main() -> None:
        async with world.writing() as writer:
            await scenario(writer)

    asyncio.run(main())


def test_transitions_are_written_at_once(api: KubeApi) -> None:
    """A new object, a source that fails and one that is back: each is in the status within the next look."""
    world = World(api)
    world.add("orders")

    async def scenario(writer: StatusWriter) -> None:
        await writer.step()
        assert world.status("orders")["lastValue"] == "1500m"
        assert world.condition("orders") == ("True", "Current")
        await world.pass_time(writer, 10)
        world.reads("orders", DOWN)
        await writer.step()
        assert world.condition("orders") == ("False", "SourceError")
        await world.pass_time(writer, 10)
        world.reads("orders", 2_000)
        await writer.step()
        assert world.condition("orders") == ("True", "Current")
        assert world.wrote() == ["orders"] * 3

    run(world, scenario)


def test_a_value_is_written_once_a_minute(api: KubeApi) -> None:
    """However often a metric is read, its value and time are written once a minute."""
    world = World(api)
    world.add("orders")

    async def scenario(writer: StatusWriter) -> None:
        for second in range(0, 300, 5):
            world.reads("orders", 1_000 * second)
            await world.pass_time(writer, 5)
        assert world.wrote() == ["orders"] * 5
        assert int(world.status("orders")["lastValue"]) >= 235

    run(world, scenario)


def test_at_most_ten_writes_a_second(api: KubeApi) -> None:
    """Whatever happens to however many objects, no second sees more than ten writes, Events included."""
    world = World(api)
    names = [f"m{i:02}" for i in range(40)]
    for name in names:
        world.add(name)

    async def scenario(writer: StatusWriter) -> None:
        await world.pass_time(writer, 10)
        for name in names:
            world.reads(name, DOWN)
        await world.pass_time(writer, 10)

    run(world, scenario)
    assert {world.condition(name) for name in names} == {("False", "SourceError")}
    assert len(world.writes_ms) > 80
    assert all(later - first >= 1_000 for first, later in zip(world.writes_ms, world.writes_ms[10:], strict=False))


def test_every_object_has_its_turn(api: KubeApi) -> None:
    """No object is written twice before all others that wait have been written once, and values do not starve."""
    world = World(api)
    names = [f"m{i:02}" for i in range(60)]
    for name in names:
        world.add(name)

    async def scenario(writer: StatusWriter) -> None:
        await world.pass_time(writer, 30)
        assert sorted(world.wrote()) == names
        world.now_ms += 60_000
        for round_ in range(10):
            for name in names[1:]:
                world.reads(name, DOWN if round_ % 2 == 0 else 1)  # they come and go without end
            world.reads(names[0], 9_000 + round_)
            await world.pass_time(writer, 2)

    run(world, scenario)
    assert names[0] in world.wrote()[60:]
    again = world.wrote()[60:]
    assert len(set(again[:55])) == 55


def test_a_source_that_comes_and_goes(api: KubeApi) -> None:
    """One object's conditions are written at most every five seconds, and its Events are counted, not repeated."""
    world = World(api)
    world.add("orders")

    async def scenario(writer: StatusWriter) -> None:
        for second in range(120):
            world.reads("orders", DOWN if second % 2 else 1)
            await world.pass_time(writer, 1)

    run(world, scenario)
    assert 5 <= len(world.wrote()) <= 25
    events = api.list(EVENTS)
    assert len(world.wrote("create", "")) + len(world.wrote("patch", "")) <= PER_OBJECT
    assert {event["note"] for event in events if event["reason"] == "SourceError"} == {
        "SourceError: redis: timeout since 03:04:05Z"
    }
    (failing,) = [event for event in events if event["reason"] == "SourceError"]
    assert failing["series"]["count"] >= 2


def test_events_tell_of_transitions(api: KubeApi) -> None:
    """An Event is about the object, by its uid, and says type, reason and message of the condition."""
    world = World(api)
    world.add("orders")

    async def scenario(writer: StatusWriter) -> None:
        await writer.step()
        await world.pass_time(writer, 10)
        world.reads("orders", DOWN)
        await writer.step()

    run(world, scenario)
    told = [(event["type"], event["reason"], event["note"]) for event in api.list(EVENTS)]
    assert sorted(told) == [
        ("Normal", "Accepted", "in use"),
        ("Normal", "Current", "every item is known and current"),
        ("Warning", "SourceError", "SourceError: redis: timeout since 03:04:05Z"),
    ]
    stored = api.get(METRICS, "shop", "orders")
    assert stored is not None
    for event in api.list(EVENTS):
        assert event["regarding"]["uid"] == stored["metadata"]["uid"]
        assert (event["reportingController"], event["reportingInstance"]) == ("spillway.dev/adapter", "pod-a")


def test_a_conflict_is_read_again(api: KubeApi) -> None:
    """A status based on an older version is not written; what somebody else has set meanwhile stays."""
    world = World(api)
    key = world.add("orders")
    world.copies = dict(world.view().objects)
    other = {
        "type": "Paused",
        "status": "True",
        "reason": "ByHand",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    api.patch(METRICS, "shop", "orders", {"status": {"conditions": [other]}})

    async def scenario(writer: StatusWriter) -> None:
        await writer.step()
        assert world.wrote() == ["orders"] * 2
        assert [c["type"] for c in world.status("orders")["conditions"]] == [
            "Accepted",
            "Available",
            "Degraded",
            "Paused",
        ]
        assert world.copies is not None
        await world.pass_time(writer, 20)  # the copy is still the old one
        assert world.wrote() == ["orders"] * 2
        world.copies[key] = api.get(METRICS, "shop", "orders")
        await world.pass_time(writer, 20)
        assert world.wrote() == ["orders"] * 2

    run(world, scenario)


def test_only_the_holder_writes(api: KubeApi) -> None:
    """Without the Lease nothing is written, and a Lease that is lost stops what was waiting."""
    world = World(api)
    for i in range(20):
        world.add(f"m{i:02}")
    world.holder = False

    async def scenario(writer: StatusWriter) -> None:
        await world.pass_time(writer, 10)
        assert api.requests == ()
        world.holder = True
        await writer.step()
        count = len(world.wrote())
        assert 0 < count < 20
        world.holder = False
        await world.pass_time(writer, 10)
        assert len(world.wrote()) == count

    run(world, scenario)


def test_an_object_that_was_deleted_meanwhile(api: KubeApi) -> None:
    """A status of what is gone is not an error, nor is one of another object of that name; the others are written."""
    world = World(api)
    for name in ("gone", "jobs", "other"):
        world.add(name)
    world.copies = dict(world.view().objects)
    api.delete(METRICS, "shop", "gone")
    api.delete(METRICS, "shop", "other")
    metadata = {"name": "other", "namespace": "shop"}
    api.create({"apiVersion": f"{GROUP}/{VERSION}", "kind": "ExternalMetric", "metadata": metadata, "spec": STATIC})

    async def scenario(writer: StatusWriter) -> None:
        await writer.step()
        assert world.condition("jobs") == ("True", "Current")
        assert world.status("other") == {}
        world.copies = None
        del world.findings["shop", "gone"]
        await world.pass_time(writer, 10)
        assert world.condition("other") == ("True", "Current")

    run(world, scenario)


@pytest.mark.parametrize("fault", ["down", "forbidden", "overloaded"])
def test_an_api_that_does_not_take_it(api: KubeApi, fault: str) -> None:
    """While the API takes no writes it is asked less and less, and all is written once it does."""
    world = World(api)
    for i in range(5):
        world.add(f"m{i}")
    world.copies = dict(world.view().objects)

    async def scenario(writer: StatusWriter) -> None:
        if fault == "down":
            await asyncio.to_thread(api.down)
        else:
            api.fail(403 if fault == "forbidden" else 500, times=1_000, verb="patch")
        await world.pass_time(writer, 300)
        assert len(world.writes_ms) < 20
        if fault == "down":
            await asyncio.to_thread(api.up)
        api.heal()
        await world.pass_time(writer, 70)
        assert {world.condition(f"m{i}") for i in range(5)} == {("True", "Current")}

    run(world, scenario)


def test_a_status_that_is_refused(api: KubeApi) -> None:
    """What the API calls invalid is not tried again and again, and keeps no other object from being written."""
    world = World(api)
    world.add("orders")
    world.add("jobs")

    def refuse(obj: dict[str, Any]) -> list[Cause]:
        wrong = obj["metadata"]["name"] == "orders" and "status" in obj
        return [Cause("FieldValueInvalid", "must not be", "status")] if wrong else []

    api.validate(METRICS, refuse)

    async def scenario(writer: StatusWriter) -> None:
        await world.pass_time(writer, 30)
        assert world.wrote().count("orders") == 1
        assert world.condition("jobs") == ("True", "Current")

    run(world, scenario)


def test_with_a_copy_that_follows(api: KubeApi) -> None:
    """Beside a watch, in real time, a status is written once and what the watch brings back changes nothing."""
    world = World(api)
    world.add("orders")

    async def main() -> None:
        async with Kube(Access(kubeconfig=str(api.kubeconfig))) as kube, asyncio.TaskGroup() as tasks:
            reflector = Reflector(kube, api_path(GROUP, VERSION, PLURAL))
            look = lambda: View(reflector.objects, world.findings, world.results)  # noqa: E731 - a line of its own
            writer = StatusWriter(kube, look, lambda: True, lambda: world.now_ms, "pod-a")
            running = [tasks.create_task(reflector.run()), tasks.create_task(writer.run())]
            await until(lambda: "conditions" in world.status("orders"))
            await until(lambda: "status" in reflector.objects["shop", "orders"])
            await until(lambda: writer.writes == 3)  # a status and two Events
            world.reads("orders", DOWN)
            world.now_ms += 10_000
            await until(lambda: world.condition("orders") == ("False", "SourceError"))
            await until(lambda: writer.writes == 5)
            for task in running:
                task.cancel()

    asyncio.run(main())
    assert world.wrote() == ["orders"] * 2
