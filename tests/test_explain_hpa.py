"""The HPA's arithmetic in `spillway explain`: the controller's own, and where its inputs come from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from adapter.explain.arithmetic import Replicas, arithmetic
from adapter.explain.cluster import access_of, from_cluster, from_file
from adapter.explain.errors import ExplainError
from adapter.explain.hpa_object import hpa_of
from adapter.kube.access import Access
from scaler.hpa import decide
from scaler.hpa_model import History, MetricError, Recommendation, State
from tests.kube_api import KubeApi
from tests.test_explain_render import ABLE, ACTIVE, CONDITION, LIMITED, external, hpa_object, status

LONG_AGO_S = -1e9
BEHAVIORS: list[dict[str, Any]] = [
    {},
    {"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}}},
    {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}, "scaleUp": {"tolerance": "0.5"}}},
]


def served(name: str, values: list[int] | None) -> dict[str, Any] | str:
    """Return what the explain port says of a metric: items of so many milli-units, or none."""
    items = [{"labels": {"n": str(n)}, "milli": milli, "validForMs": 1} for n, milli in enumerate(values or ())]
    state = {"known": values is not None, "message": None if values is not None else "NoData: not read yet"}
    return {"namespace": "shop", "metric": name, "items": items, "itemsInAll": len(items), "state": state}


METRICS = st.lists(
    st.tuples(
        st.sampled_from(["AverageValue", "Value"]),
        st.integers(1, 50),
        st.one_of(st.none(), st.lists(st.integers(0, 200_000), max_size=3)),
    ),
    min_size=1,
    max_size=3,
)


@given(METRICS, st.integers(0, 12), st.integers(0, 12), st.sampled_from(BEHAVIORS))
def test_it_wants_what_the_controller_would_set(
    metrics: list[tuple[str, int, list[int] | None]], asked: int, there: int, behavior: dict[str, Any]
) -> None:
    """With a memory that holds nothing recent the controller sets what the steps end with, and holds where they do."""
    names = [f"m{n}" for n in range(len(metrics))]
    hpa = hpa_of(
        hpa_object(
            *(external(name, kind, str(target)) for name, (kind, target, _) in zip(names, metrics, strict=True)),
            minReplicas=2,
            maxReplicas=10,
            **behavior,
        ),
        "hpa",
    )
    assert hpa.spec is not None
    values = {name: served(name, each[2]) for name, each in zip(names, metrics, strict=True)}
    found = arithmetic(hpa, Replicas(asked, there, there, there, "x"), values, "m0", 0)
    readings = [MetricError("unknown") if each is None else each for _, _, each in metrics]
    history = History((Recommendation(LONG_AGO_S, asked),))
    decision = decide(hpa.spec, State(asked, there, there, there), readings, history, 0.0)
    if found["wants"] is None:
        assert decision.replicas == asked
    else:
        assert decision.replicas == found["wants"]
    json.dumps(found, allow_nan=False)


def test_a_selector_chooses_the_items_and_an_unknown_one_of_them_is_unknown() -> None:
    """Items that the selector does not match do not count, known or not."""
    values = served("m", [1_000, 2_000, 4_000])
    assert isinstance(values, dict)
    values["items"][2] = {"labels": {"n": "2"}, "unknown": {"reason": "WrongType", "detail": "", "sinceMs": None}}
    values["state"] = {"known": False, "message": "n=2: WrongType"}
    for selector, total, error in (
        ({"n": "1"}, 2_000, None),
        ({"n": "2"}, None, "metric shop/m is unknown: n=2: WrongType"),
    ):
        hpa = hpa_of(hpa_object(external("M", selector=selector)), "hpa")
        (metric,) = arithmetic(hpa, Replicas(1, 1, 1, 1, "x"), {"m": values}, "m", 0)["metrics"]
        assert (metric["sumMilli"], metric["error"], metric["mine"]) == (total, error, True)
    hpa = hpa_of(hpa_object(external("m", selector={"n": "9"})), "hpa")
    (metric,) = arithmetic(hpa, Replicas(1, 1, 1, 1, "x"), {"m": values}, "m", 0)["metrics"]
    assert metric["error"] == "no items match its selector, which an HPA takes for an error"


def test_a_value_target_without_pods_says_what_is_missing() -> None:
    """Where ready pods could not be counted no count is made up, and the reason names them."""
    hpa = hpa_of(hpa_object(external("m", "Value", "1")), "hpa")
    for replicas, words in (
        (Replicas(3, 3, None, None, "x"), "could not be counted"),
        (Replicas(None, None, None, None, "x"), "--replicas"),
    ):
        found = arithmetic(hpa, replicas, {"m": served("m", [9_000])}, "m", 0)
        assert found["wants"] is None
        assert words in found["metrics"][0]["error"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"kind": "Deployment"},
            "hpa.yaml: must be an autoscaling/v2 HorizontalPodAutoscaler, got autoscaling/v2 Deployment",
        ),
        ({"apiVersion": "autoscaling/v1"}, "got autoscaling/v1 HorizontalPodAutoscaler"),
        ({"spec": {}}, "spec.metrics: is required"),
        ({"spec": {"metrics": [external("m", target="x")]}}, "spec.metrics.0.external.target.averageValue"),
    ],
)
def test_what_is_no_hpa_is_refused(changes: dict[str, Any], words: str) -> None:
    """Kind, version and each field that cannot be read are named."""
    with pytest.raises(ExplainError) as refused:
        hpa_of(hpa_object(external("m")) | changes, "hpa.yaml")
    assert any(words in line for line in refused.value.args), refused.value.args


def test_findings_name_what_differs() -> None:
    """Each way in which the HPA's own word can differ has a sentence."""
    cases = [
        (ACTIVE | {"status": "False", "reason": "FailedGetExternalMetric"}, 3, "its requests do not get here"),
        (
            ACTIVE | {"status": "False", "reason": "InvalidSelector"},
            3,
            "It could not compute a count since 11:50:00Z: InvalidSelector",
        ),
        (ACTIVE, 4, "Its desiredReplicas is 4, not 5: it syncs every 15 s"),
        (ACTIVE, 9, "Its desiredReplicas is 9, not 5: it syncs every 15 s"),
    ]
    now_ms = 1_800_014_400_000
    for active, desired, words in cases:
        said = status(3, desired, ABLE, active, LIMITED)
        hpa = hpa_of(hpa_object(external("m"), status=said), "hpa")
        found = arithmetic(hpa, Replicas(3, 3, 3, 3, "x"), {"m": served("m", [42_000])}, "m", now_ms)
        assert any(words in finding for finding in found["findings"]), found["findings"]
    up = ABLE | {"reason": "ScaleUpStabilized"}
    hpa = hpa_of(hpa_object(external("m"), status=status(3, 3, up, ACTIVE)), "hpa")
    found = arithmetic(hpa, Replicas(3, 3, 3, 3, "x"), {"m": served("m", [42_000])}, "m", now_ms)
    assert any("ScaleUpStabilized" in finding for finding in found["findings"])
    hpa = hpa_of(hpa_object(external("m"), status=status(3, 3, ABLE | {"status": "False"}, ACTIVE)), "hpa")
    found = arithmetic(hpa, Replicas(3, 3, 3, 3, "x"), {"m": "no answer"}, "m", now_ms)
    assert any(finding.startswith("It cannot scale at all") for finding in found["findings"])
    assert any("now m cannot be" in finding for finding in found["findings"])


def test_an_hpa_of_a_file_may_be_one_of_a_list(tmp_path: Path) -> None:
    """What kubectl writes is read; of several the name says which; replicas are the status' unless they are given."""
    file = tmp_path / "hpas.yaml"
    one, two = hpa_object(external("m"), status=status(4, 4)), hpa_object(external("m"))
    two["metadata"]["name"] = "other"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [one, two]}))
    document, replicas = from_file(file, "orders-worker", None)
    assert (document["metadata"]["name"], replicas.asked, replicas.ready) == ("orders-worker", 4, None)
    assert from_file(file, "other", 7)[1] == Replicas(7, 7, 7, 7, "as given")
    assert from_file(file, "other", None)[1].asked is None
    for name, words in ((None, "got 2; it has orders-worker, other"), ("third", "got 0")):
        with pytest.raises(ExplainError, match=words):
            from_file(file, name, None)
    with pytest.raises(ExplainError, match="No such file"):
        from_file(tmp_path / "none.yaml", None, None)
    file.write_text("a: [")
    with pytest.raises(ExplainError, match="not valid YAML"):
        from_file(file, None, None)


@asynccontextmanager
async def api_with_scale(*pods: tuple[str, str]) -> AsyncIterator[Access]:
    """Serve an HPA, its Deployment's scale and some pods, (phase, Ready)."""

    async def hpa(_: web.Request) -> web.Response:
        return web.json_response(hpa_object(external("m")))

    async def scale(_: web.Request) -> web.Response:
        return web.json_response(
            {"spec": {"replicas": 4}, "status": {"replicas": 3, "selector": "app=orders"}, "kind": "Scale"}
        )

    async def listing(request: web.Request) -> web.Response:
        assert request.query["labelSelector"] == "app=orders"
        items = [
            {"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}} for phase, ready in pods
        ]
        return web.json_response({"items": items})

    app, base = web.Application(), "/namespaces/shop"
    app.router.add_get(f"/apis/autoscaling/v2{base}/horizontalpodautoscalers/orders-worker", hpa)
    app.router.add_get(f"/apis/apps/v1{base}/deployments/orders-worker/scale", scale)
    app.router.add_get(f"/api/v1{base}/pods", listing)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Access(kubeconfig=str(runner.addresses[0][1]))
    finally:
        await runner.cleanup()


def test_replicas_are_those_of_the_scale_and_its_pods(tmp_path: Path) -> None:
    """Asked for and there are the scale's; ready are the pods that are Running and Ready."""

    async def scenario() -> Replicas:
        async with api_with_scale(("Running", "True"), ("Running", "False"), ("Pending", "True")) as at:
            config = {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{at.kubeconfig}"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
            file = tmp_path / "kubeconfig"
            file.write_text(yaml.safe_dump(config))
            return (await from_cluster(access_of(file, None, {}), "shop", "orders-worker"))[1]

    assert asyncio.run(scenario()) == Replicas(4, 3, 3, 1, "of the scale")


def test_without_the_scale_the_hpas_status_counts(tmp_path: Path) -> None:
    """Who may not read the scale gets the arithmetic with the replicas of the last sync, and is told so."""
    with KubeApi(tmp_path) as api:
        hpa = hpa_object(external("m"))
        hpa["metadata"] = {"name": "orders-worker", "namespace": "shop"}
        api.put(hpa | {"status": status(6, 6)})
        access = access_of(None, "admin", {"KUBECONFIG": str(api.kubeconfig)})
        document, replicas = asyncio.run(from_cluster(access, "shop", "orders-worker"))
        assert hpa_of(document, "hpa").target == "Deployment/orders-worker"
        assert (replicas.asked, replicas.there, replicas.ready) == (6, 6, None)
        assert replicas.source.startswith("of the HPA's status; its scale cannot be read: 404")
        with pytest.raises(ExplainError, match="HPA shop/none cannot be read: 404 NotFound"):
            asyncio.run(from_cluster(access, "shop", "none"))
    with pytest.raises(ExplainError, match=r"--hpa: .* cannot be used"):
        asyncio.run(from_cluster(access_of(tmp_path / "nothing", None, {}), "shop", "x"))


def test_moments_of_conditions_are_read() -> None:
    """lastTransitionTime becomes milliseconds since the epoch."""
    hpa = hpa_of(hpa_object(external("m"), status=status(1, 1, ABLE)), "hpa")
    (condition,) = arithmetic(hpa, Replicas(1, 1, 1, 1, "x"), {"m": served("m", [1])}, "m", 0)["conditions"]
    assert condition["sinceMs"] == 1_800_013_800_000, CONDITION
