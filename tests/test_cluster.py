"""The adapter in a cluster: a real process against a stand-in of the Kubernetes API, read as an HPA reads."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.adapter_process import VALUES
from tests.cluster_process import ClusterAdapter, external_metric, prepare
from tests.counters import Counters
from tests.delegated import Cluster
from tests.kube_api import KubeApi
from tests.test_targets import pod
from tests.waiting import until_sync

Start = Callable[..., ClusterAdapter]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    with KubeApi(tmp_path / "kube") as server:
        yield server


@pytest.fixture
def cluster(api: KubeApi) -> Cluster:
    return prepare(api)


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Iterator[Start]:
    started: list[ClusterAdapter] = []

    def begin(
        name: str = "a", *flags: str, files: tuple[dict[str, Any], ...] = (), ready: bool = True
    ) -> ClusterAdapter:
        config = tmp_path / f"{name}.yaml"
        config.write_text(yaml.safe_dump_all(files))
        started.append(ClusterAdapter(cluster, tmp_path / name, config, *flags))
        return started[-1].start(ready=ready)

    yield begin
    for each in started:
        each.__exit__(None, None, None)


def fixed(value: float, **more: Any) -> dict[str, Any]:
    """Return a spec of one fixed value."""
    return {"source": {"static": {"series": [{"labels": {"queue": "a"}, "value": value}]}}, **more}


TWICE = {"source": {"static": {"series": [{"labels": {"queue": "a"}, "value": value} for value in (1, 2)]}}}
"""What a definition cannot refuse, and the adapter does: two series that are one."""


def status(api: KubeApi, name: str) -> dict[str, Any]:
    """Return an object's status."""
    found = api.get("externalmetrics.spillway.dev", "shop", name)
    return (found or {}).get("status") or {}


def conditions(api: KubeApi, name: str) -> dict[str, tuple[str, str]]:
    """Return an object's conditions: type → (status, reason)."""
    return {c["type"]: (c["status"], c["reason"]) for c in status(api, name).get("conditions", ())}


def test_a_team_creates_an_object_and_an_hpa_reads_it(api: KubeApi, cluster: Cluster, start: Start) -> None:
    """From an object to a value through the front proxy, with a certificate that the caBundle vouches for."""
    api.create(external_metric("orders", fixed(3)))
    adapter = start()
    assert adapter.values("orders") == {"queue=a": "3"}
    assert {asked.verb for _, asked in cluster.asked} == {"list"}
    until_sync(lambda: conditions(api, "orders").get("Available") == ("True", "Current"))
    api.patch("externalmetrics.spillway.dev", "shop", "orders", {"spec": fixed(4)})
    until_sync(lambda: adapter.serves("orders", {"queue=a": "4"}))
    api.create(external_metric("mail", fixed(5)))
    until_sync(lambda: adapter.get(VALUES + "mail").status == 200)
    api.delete("externalmetrics.spillway.dev", "shop", "orders")
    until_sync(lambda: adapter.get(VALUES + "orders").status == 404)
    assert not [name for name in adapter.metrics() if 'metric="orders"' in name]


def test_who_may_not_read_learns_nothing(cluster: Cluster, start: Start) -> None:
    """Without permission there is no difference between a metric that exists and one that does not."""
    cluster.api.create(external_metric("orders", fixed(3)))
    adapter = start()
    cluster.allowed = False
    adapter.user = "eve"
    answers = [adapter.get(VALUES + name) for name in ("orders", "nothing")]
    assert [answer.status for answer in answers] == [403, 403]
    assert answers[0].body.replace(b"orders", b"nothing") == answers[1].body


def test_a_bad_object_stops_nobody_and_keeps_its_last_good_spec(api: KubeApi, start: Start) -> None:
    """The condition names every error; the spec from before is served until there is a good one again."""
    api.create(external_metric("orders", fixed(3)))
    api.create(external_metric("worse", {"source": {}}))
    adapter = start()
    until_sync(lambda: conditions(api, "worse").get("Accepted") == ("False", "InvalidSpec"))
    assert adapter.values("orders") == {"queue=a": "3"}
    api.patch("externalmetrics.spillway.dev", "shop", "orders", {"spec": TWICE})
    until_sync(lambda: conditions(api, "orders").get("Accepted") == ("False", "InvalidSpec"))
    assert adapter.values("orders") == {"queue=a": "3"}
    api.patch("externalmetrics.spillway.dev", "shop", "orders", {"spec": fixed(4)})
    until_sync(lambda: conditions(api, "orders").get("Accepted", ("", ""))[0] == "True")
    until_sync(lambda: adapter.serves("orders", {"queue=a": "4"}))


def test_what_is_over_a_bound_says_so_and_stops_nobody(api: KubeApi, start: Start) -> None:
    """One object too many is not accepted, with the bound and its flag in the condition, and is counted."""
    api.create(external_metric("orders", fixed(3)))
    adapter = start("a", "--max-metrics", "1")
    assert adapter.values("orders") == {"queue=a": "3"}
    api.create(external_metric("zebra", fixed(4)))
    until_sync(lambda: conditions(api, "zebra").get("Accepted") == ("False", "TooManyMetrics"))
    (accepted,) = [each for each in status(api, "zebra")["conditions"] if each["type"] == "Accepted"]
    assert accepted["message"].endswith("the most that are served (--max-metrics)")
    assert adapter.values("orders") == {"queue=a": "3"}
    assert adapter.get(VALUES + "zebra").status == 404
    own = adapter.metrics()
    assert own['spillway_objects{reason="TooManyMetrics"}'] == 1
    assert own['spillway_objects{reason="Accepted"}'] == 1
    api.create(external_metric("zulu", fixed(5)))
    until_sync(lambda: adapter.metrics().get('spillway_objects{reason="LeftOut"}', 0) >= 1)
    assert "more objects than are kept" in adapter.log()


def test_a_file_wins_over_an_object(api: KubeApi, start: Start) -> None:
    """The administrator's word counts, and the object says so."""
    api.create(external_metric("orders", fixed(3)))
    adapter = start(files=(external_metric("orders", fixed(9)),))
    assert adapter.values("orders") == {"queue=a": "9"}
    until_sync(lambda: conditions(api, "orders").get("Accepted") == ("False", "DefinedInFile"))


def test_an_api_that_goes_away_takes_nothing_with_it(api: KubeApi, start: Start) -> None:
    """Metrics are read and served on while the Kubernetes API is down; who was allowed is, until that expires."""
    api.create(external_metric("orders", fixed(3)))
    adapter = start("a", "--authorization-webhook-cache-authorized-ttl", "1h")
    assert adapter.values("orders") == {"queue=a": "3"}
    api.down()
    for _ in range(20):
        assert adapter.values("orders") == {"queue=a": "3"}
    adapter.user = "somebody new"
    refused = adapter.get(VALUES + "orders")
    assert refused.status == 500
    assert refused.json()["kind"] == "Status"
    assert not adapter.ended()
    api.up()
    until_sync(lambda: adapter.get(VALUES + "orders").status == 200, 40)


def test_an_api_that_is_away_at_the_start_is_waited_for(api: KubeApi, start: Start) -> None:
    """It starts, is not ready and says why, and becomes ready by itself."""
    api.create(external_metric("orders", fixed(3)))
    api.down()
    adapter = start(ready=False)
    until_sync(lambda: adapter.probe("/livez").status == 200)
    until_sync(lambda: "[-]clients" in adapter.probe("/readyz").body.decode())
    assert "[-]certificate" in adapter.probe("/readyz").body.decode()
    api.up()
    until_sync(lambda: adapter.probe("/readyz").status == 200, 60)
    assert adapter.values("orders") == {"queue=a": "3"}


def test_two_replicas_answer_alike_and_one_writes(api: KubeApi, start: Start) -> None:
    """The Lease's holder writes; when it is killed the other takes over, and reads never fail."""
    api.create(external_metric("orders", fixed(3)))
    first, second = start("a"), start("b")
    assert first.values("orders") == second.values("orders") == {"queue=a": "3"}
    until_sync(lambda: conditions(api, "orders").get("Available") == ("True", "Current"))
    lease = api.get("leases.coordination.k8s.io", "spillway", "spillway")
    assert lease is not None
    holder, other = (first, second) if lease["spec"]["holderIdentity"].startswith("a_") else (second, first)
    holder.signal(signal.SIGTERM)
    assert holder.wait() == 0
    api.create(external_metric("mail", fixed(5)))
    until_sync(lambda: conditions(api, "mail").get("Available") == ("True", "Current"), 60)
    assert other.values("orders") == {"queue=a": "3"}


def test_pods_of_a_selector_are_scraped(api: KubeApi, start: Start) -> None:
    """A file's selector finds pods; their series carry pod and node; a pod that comes is part of the sum at once."""
    with Counters() as pages:

        def web(name: str, page: int) -> dict[str, Any]:
            made = {"apiVersion": "v1", "kind": "Pod", **pod(name, podIP="127.0.0.1")}
            made["metadata"]["labels"] = {"app": name}
            made["spec"]["containers"][0]["ports"] = [{"name": "metrics", "containerPort": pages.port}]
            return made

        def by_pod(name: str, page: int) -> dict[str, Any]:
            targets = {"selector": {"matchLabels": {"app": name}}, "port": "metrics", "path": f"/t/{page}"}
            scrape = {"scrape": {"targets": targets, "metric": "up"}}
            return external_metric(name, {"source": scrape, "aggregate": {"by": ["pod", "node"]}})

        api.create(web("web", 7))
        adapter = start(files=(by_pod("web", 7), by_pod("empty", 8)))
        assert adapter.values("web") == {"node=n1,pod=web": "7"}
        found = adapter.get(VALUES + "empty")
        assert found.status == 503
        assert "there are no targets" in found.json()["message"]
        api.create(web("empty", 8))
        until_sync(lambda: adapter.get(VALUES + "empty").status == 200)
        assert adapter.values("empty") == {"node=n1,pod=empty": "8"}


def test_a_metric_is_shared_only_if_both_sides_say_so(api: KubeApi, start: Start) -> None:
    """shareWith and --share together let another namespace read; its own metric of that name wins."""
    api.create(external_metric("orders", fixed(3, shareWith=["other", "third"])))
    adapter = start("a", "--share", "shop=other")
    other = "/apis/external.metrics.k8s.io/v1beta1/namespaces/other/orders"
    third = "/apis/external.metrics.k8s.io/v1beta1/namespaces/third/orders"

    def read(path: str) -> list[str]:
        return [item["value"] for item in adapter.get(path).json().get("items", ())]

    assert read(other) == ["3"]
    assert adapter.get(third).status == 404
    api.create(external_metric("orders", fixed(8), namespace="other"))
    until_sync(lambda: read(other) == ["8"])
    assert adapter.values("orders") == {"queue=a": "3"}


def test_a_rolling_update_leaves_no_moment_without_an_answer(api: KubeApi, start: Start) -> None:
    """Reads that go to whichever replica is ready never fail while one takes the place of the other."""
    api.create(external_metric("orders", fixed(3)))
    old = start("a", "--shutdown-delay", "2s")
    assert old.values("orders") == {"queue=a": "3"}
    new = start("b", ready=False)
    endpoints = [old]
    reads = 0

    def read() -> None:
        nonlocal reads
        for each in endpoints:
            assert each.values("orders") == {"queue=a": "3"}
            reads += 1

    def joined() -> bool:
        read()
        try:
            ready = new.probe("/readyz").status == 200
        except OSError:
            return False
        return ready

    until_sync(joined, 60)
    endpoints.append(new)
    read()
    old.signal(signal.SIGTERM)
    until_sync(lambda: old.probe("/readyz").status == 503)
    read()  # the endpoint is taken away only after it has said so, and it answers until then
    endpoints.remove(old)
    read()
    assert old.wait() == 0
    read()
    assert reads > 5


def test_a_tenant_reaches_no_loopback_address(api: KubeApi, start: Start) -> None:
    """What an administrator's file may do, an object may not; its condition and its answer say why."""
    with Counters() as pages:
        scrape = {"source": {"scrape": {"targets": {"urls": [pages.url(1)]}, "metric": "up"}}}
        api.create(external_metric("sly", scrape))
        adapter = start(files=(external_metric("fair", scrape),))
        until_sync(lambda: adapter.get(VALUES + "fair").status == 200)
        found = adapter.get(VALUES + "sly")
        assert found.status == 503
        assert "127.0.0.1 must not be connected to" in found.json()["message"]
        until_sync(lambda: conditions(api, "sly").get("Available", ("", ""))[0] == "False")
