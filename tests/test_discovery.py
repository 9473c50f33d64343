"""Targets that come and go in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.kube.client import Access, Kube
from adapter.kube.discovery import Discovery, selector_text
from adapter.schema.metric import Metric
from adapter.schema.model import ScrapeSource
from adapter.schema.targets_model import PodSelector
from scaler.model import EXTERNAL_METRICS_GROUP, MetricRef
from scaler.rules import MetricRule
from tests.kube_api import KubeApi
from tests.test_targets import endpoint, piece, pod
from tests.waiting import until


def metric(name: str, targets: dict[str, Any]) -> Metric:
    """Return a metric that scrapes what the cluster has."""
    source = ScrapeSource.model_validate({"targets": targets, "metric": "requests_total"})
    rule = MetricRule(MetricRef(EXTERNAL_METRICS_GROUP, "shop", name), name, "s", 1_000, ())
    return Metric(rule, source, 500, "test")


BY_LABEL = {"selector": {"matchLabels": {"app": "web"}}, "port": "metrics"}
BY_SERVICE = {"service": "web", "port": "metrics"}


def web(name: str, address: str = "10.0.0.7", app: str = "web", **changes: Any) -> dict[str, Any]:
    """Return a pod object of the app."""
    made = {"apiVersion": "v1", "kind": "Pod", **pod(name, podIP=address, **changes)}
    made["metadata"]["labels"] = {"app": app}
    return made


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    with KubeApi(tmp_path) as server:
        yield server


def drive(api: KubeApi, scenario: Callable[[Discovery, list[None]], Awaitable[None]], **bounds: int) -> None:
    """Run a scenario beside a Discovery."""

    async def main() -> None:
        changes: list[None] = []
        async with Kube(Access(kubeconfig=str(api.kubeconfig))) as kube, asyncio.TaskGroup() as tasks:
            discovery = Discovery(kube, tasks, lambda: changes.append(None), **bounds)
            await scenario(discovery, changes)
            discovery.stop()

    asyncio.run(main())


def test_pods_come_and_go(api: KubeApi) -> None:
    """Before the first list targets are not known; then they are the pods that have been Ready, until they are gone."""
    api.create(web("a"))
    api.create(web("elsewhere", app="db"))
    asked = metric("m", BY_LABEL)

    async def scenario(discovery: Discovery, changes: list[None]) -> None:
        discovery.apply([asked])
        assert discovery.resolve(asked).rule.waiting == "pods app=web: not listed yet"

        def names() -> tuple[str, ...]:
            return discovery.resolve(asked).rule.targets

        await until(lambda: names() == ("a (10.0.0.7:9090)",))
        assert discovery.resolve(asked).rule.waiting == ""
        api.create(web("b", "10.0.0.8", ready=False, changed="2026-01-02T02:59:58Z"))
        ready_lost = [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-02T02:59:58Z"}]
        api.patch("pods", "shop", "a", {"status": {"conditions": ready_lost}})
        before = len(changes)
        await until(lambda: len(changes) > before)
        assert names() == ("a (10.0.0.7:9090)",)
        api.patch("pods", "shop", "b", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        await until(lambda: names() == ("a (10.0.0.7:9090)", "b (10.0.0.8:9090)"))
        api.delete("pods", "shop", "a")
        await until(lambda: names() == ("b (10.0.0.8:9090)",))

    drive(api, scenario)


def test_a_lost_history_and_an_api_that_is_away_remove_nothing(api: KubeApi) -> None:
    """410 and an API that is down leave the targets as they were; changes meanwhile are seen afterwards."""
    api.create(web("a"))
    asked = metric("m", BY_LABEL)

    async def scenario(discovery: Discovery, changes: list[None]) -> None:
        discovery.apply([asked])
        await until(lambda: len(discovery.resolve(asked).rule.targets) == 1)
        await until(lambda: api.watches == 1)
        api.down()
        api.store.create(api.store.kind_of(web("b")), web("b", "10.0.0.8"))
        assert len(discovery.resolve(asked).rule.targets) == 1
        api.forget_history()
        api.up()
        await until(lambda: len(discovery.resolve(asked).rule.targets) == 2, 40)

    drive(api, scenario)


def test_one_watch_serves_every_metric_that_asks_the_same(api: KubeApi) -> None:
    """Ten metrics of one selector are one list; what nobody asks for any more is not watched."""
    ten = [metric(f"m{n}", BY_LABEL) for n in range(10)]

    async def scenario(discovery: Discovery, changes: list[None]) -> None:
        discovery.apply(ten)
        await until(lambda: api.watches == 1)
        discovery.apply(ten[:1])
        await until(lambda: [asked.verb for asked in api.requests] == ["list", "watch"])
        discovery.apply([])
        await until(lambda: api.watches == 0)

    drive(api, scenario)


def test_a_service_is_its_slices(api: KubeApi) -> None:
    """Targets of a Service are the endpoints of all its EndpointSlices; a missing port keeps them unknown."""
    api.create(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "addressType": "IPv4",
            "metadata": {"namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            **piece(endpoint("10.0.0.1", ready=True), endpoint("10.0.0.2", ready=True)),
        }
    )
    asked, wrong = metric("m", BY_SERVICE), metric("w", {**BY_SERVICE, "port": "https"})

    async def scenario(discovery: Discovery, changes: list[None]) -> None:
        discovery.apply([asked, wrong])
        await until(lambda: len(discovery.resolve(asked).rule.targets) == 2)
        resolved = discovery.resolve(asked)
        assert resolved.targets is not None
        assert {target.url for target in resolved.targets} == {
            "http://10.0.0.1:9090/metrics",
            "http://10.0.0.2:9090/metrics",
        }
        assert discovery.resolve(wrong).rule.waiting == "Service web: the Service has no port https"

    drive(api, scenario)


def test_a_selector_is_written_as_kubernetes_writes_it() -> None:
    """Equal selectors are one text, whatever their order."""
    selector = PodSelector.model_validate(
        {
            "matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["y", "x"]},
                {"key": "canary", "operator": "DoesNotExist"},
                {"key": "zone", "operator": "Exists"},
                {"key": "env", "operator": "NotIn", "values": ["dev"]},
            ],
        }
    )
    assert selector_text(selector) == "!canary,a=1,b=2,env notin (dev),tier in (x,y),zone"


def test_more_targets_than_the_bound_are_none(api: KubeApi) -> None:
    """A metric with too many targets is unknown, never read in part, and known again when there are fewer."""
    for n in range(3):
        api.create(web(f"web-{n}", f"10.0.0.{n + 1}"))
    asked = metric("m", BY_LABEL)

    async def scenario(discovery: Discovery, changes: list[None]) -> None:
        discovery.apply([asked])
        why = "pods app=web: more than 2 targets (--max-targets)"
        await until(lambda: discovery.resolve(asked).rule.waiting == why)
        assert discovery.resolve(asked).targets == ()
        api.delete("pods", "shop", "web-0")
        await until(lambda: len(discovery.resolve(asked).rule.targets) == 2)

    drive(api, scenario, max_targets=2)


def test_pods_past_all_bounds_are_not_kept_and_make_no_part(api: KubeApi) -> None:
    """Where not even all pods are kept, how many of them are targets is not asked."""
    for n in range(9):
        api.create(web(f"web-{n}", f"10.0.0.{n + 1}", ready=n < 2, changed="2026-01-02T02:59:58Z"))
    asked = metric("m", BY_LABEL)

    async def scenario(discovery: Discovery, changes: list[None]) -> None:
        discovery.apply([asked])
        await until(lambda: "more than 2 targets" in discovery.resolve(asked).rule.waiting)

    drive(api, scenario, max_targets=2)


def test_a_namespace_has_so_many_watches(api: KubeApi) -> None:
    """Metrics that ask more are unknown and say why; those that ask what is watched already are not concerned."""
    api.create(web("a"))
    first, same = metric("first", BY_LABEL), metric("same", BY_LABEL)
    more = metric("more", {"selector": {"matchLabels": {"app": "other"}}, "port": 1})

    async def scenario(discovery: Discovery, changes: list[None]) -> None:
        discovery.apply([first])
        discovery.apply([more, first, same])
        assert discovery.watches == 1
        why = "pods app=other: more than 1 selectors and Services in this namespace (--max-watches-per-namespace)"
        assert discovery.resolve(more).rule.waiting == why
        await until(lambda: discovery.resolve(same).rule.targets == ("a (10.0.0.7:9090)",))
        discovery.apply([more])
        await until(lambda: discovery.resolve(more).rule.waiting == "")

    drive(api, scenario, max_watches=1)
