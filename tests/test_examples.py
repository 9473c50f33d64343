"""The examples are what a team copies: each is a metric and the HPAs that read it, and each works as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from adapter.config.objects import read
from adapter.kube.secrets import SecretKey, usable_for
from adapter.kube.secrets import parse as parse_secret
from adapter.schema.metric import Metric
from adapter.schema.model import RedisSource, ScrapeSource, StaticSource
from adapter.simulate.quantity import parse_milli
from adapter.sources.redis_wanted import series_of
from scaler.model import Labels, labels_of
from scaler.rules import Function
from scaler.selector import EVERYTHING, Selector
from scaler.selector import parse as parse_selector
from tests.kubectl import MANIFESTS, Object, named
from tests.test_crd import refusals

FILES = sorted((MANIFESTS / "examples").glob("*.yaml"))
VERSIONS = ("1.34", "1.37")

FAMILIES = (
    {Function.VALUE, Function.LAST_OVER_TIME, Function.PRESENT_OVER_TIME},
    {Function.RATE, Function.IRATE},
    {Function.INCREASE, Function.RESETS, Function.CHANGES},
    {Function.DERIV, Function.DELTA, Function.IDELTA},
    {Function.PREDICT_LINEAR},
    {Function.AVG_OVER_TIME, Function.SUM_OVER_TIME, Function.STDDEV_OVER_TIME},
    {Function.MAX_OVER_TIME, Function.MIN_OVER_TIME},
    {Function.QUANTILE_OVER_TIME},
    {Function.HISTOGRAM_QUANTILE},
)
"""Functions that an HPA uses alike: one example of each will do."""


def documents(file: Path, kind: str = "") -> list[Object]:
    """Return the objects of a file, all or of a kind."""
    return [one for one in yaml.safe_load_all(file.read_text()) if kind in ("", one["kind"])]


def metric_of(obj: Object) -> Metric:
    """Return the metric of an ExternalMetric that is as good as it can be."""
    key = obj["metadata"]["namespace"], obj["metadata"]["name"]
    errors, hints, metric = read(key, obj)
    assert errors == ()
    assert hints == ()
    assert metric is not None
    return metric


def everything(kind: str) -> Iterator[Object]:
    for file in FILES:
        yield from documents(file, kind)


def milli(text: str) -> int:
    """Return a quantity in milli-units."""
    found = parse_milli(text)
    assert found is not None, text
    return found


def target_of(metric: Object) -> Object:
    target: Object = metric["external"]["target"]
    return target


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_metrics_are_accepted(file: Path) -> None:
    """By the adapter without an error or a warning, and by a kube-apiserver with its schema and rules."""
    for obj in documents(file, "ExternalMetric"):
        metric_of(obj)
        assert refusals(obj["spec"], obj["metadata"]["name"]) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_kubernetes_takes_the_rest(file: Path, version: str) -> None:
    """HPAs and Secrets fit their schemas, without a field that is not known."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for obj in documents(file):
        if obj["kind"] not in {"ExternalMetric", "VerticalPodAutoscaler"}:
            kubernetes_validate.validate(obj, version, strict=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_hpas_read_the_metrics_beside_them(file: Path) -> None:
    """Every HPA finds its metric and an item in it by its selector, and every metric is read."""
    metrics = {named(obj).partition(" ")[2]: metric_of(obj) for obj in documents(file, "ExternalMetric")}
    seen = set()
    for hpa in documents(file, "HorizontalPodAutoscaler"):
        for wanted in hpa["spec"]["metrics"]:
            assert wanted["type"] == "External"
            about = wanted["external"]["metric"]
            name = f"{hpa['metadata']['namespace']}/{about['name']}"
            seen.add(name)
            wanted_items = _selector(about.get("selector"))
            items = _items(metrics[name])
            assert items is None or any(wanted_items.matches(item) for item in items), name
            aggregate = metrics[name].rule.aggregate
            names = {need.key for need in wanted_items.requirements}
            assert aggregate is None or names <= {*aggregate.by}, name
    assert seen == metrics.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_numbers_make_sense_and_say_why(file: Path) -> None:
    """AverageValue, but for a quantile, which cannot be shared out: then never 0 replicas. A reason beside each."""
    functions = {
        obj["metadata"]["name"]: metric_of(obj).rule.signal.function for obj in documents(file, "ExternalMetric")
    }
    for hpa in documents(file, "HorizontalPodAutoscaler"):
        spec = hpa["spec"]
        assert 0 <= spec["minReplicas"] < spec["maxReplicas"]
        assert "stabilizationWindowSeconds" in spec["behavior"]["scaleDown"]
        for wanted in spec["metrics"]:
            target = target_of(wanted)
            shared = functions[wanted["external"]["metric"]["name"]] is not Function.HISTOGRAM_QUANTILE
            assert target["type"] == ("AverageValue" if shared else "Value")
            assert shared or spec["minReplicas"] > 0
            assert milli(target["averageValue" if shared else "value"]) > 0
    lines = file.read_text().splitlines()
    assert lines[0].startswith("# ")
    for line in lines:
        if "averageValue:" in line or "stabilizationWindowSeconds:" in line or "type: Value" in line:
            assert " # " in line, line


def test_every_source_and_every_kind_of_function_has_one() -> None:
    """Whatever a team has, there is something to begin with."""
    metrics = [metric_of(obj) for obj in everything("ExternalMetric")]
    assert {function for family in FAMILIES for function in family} == {*Function}
    shown = {metric.rule.signal.function for metric in metrics}
    assert [family for family in FAMILIES if not family & shown] == []
    sources = [metric.source for metric in metrics]
    redis = [source for source in sources if isinstance(source, RedisSource)]
    assert {queue.kind for source in redis for queue in source.queues} == {"list", "set", "sortedSet", "hash", "stream"}
    assert any(queue.glob for source in redis for queue in source.queues)
    assert {way for source in redis for way in ("url", "sentinel", "cluster") if getattr(source, way)} == {
        *("url", "sentinel", "cluster")
    }
    targets = [source.targets for source in sources if isinstance(source, ScrapeSource)]
    assert {way for one in targets for way in ("selector", "service", "urls") if getattr(one, way)} == {
        *("selector", "service", "urls")
    }
    assert any(isinstance(source, StaticSource) for source in sources)
    least = [hpa["spec"]["minReplicas"] for hpa in everything("HorizontalPodAutoscaler")]
    assert 0 in least


def test_all_of_them_together() -> None:
    """No two examples define the same object, so that the folder can be applied at once."""
    names = [named(obj) for file in FILES for obj in documents(file)]
    assert len({*names}) == len(names)


def test_beside_a_vpa() -> None:
    """The VPA sizes the pods whose number the HPA sets, and the HPA does not look at what the VPA changes."""
    (vpa,) = everything("VerticalPodAutoscaler")
    file = MANIFESTS / "examples/with-vpa.yaml"
    (hpa,) = documents(file, "HorizontalPodAutoscaler")
    assert vpa["spec"]["targetRef"] == hpa["spec"]["scaleTargetRef"]
    assert vpa["metadata"]["namespace"] == hpa["metadata"]["namespace"]
    assert vpa["spec"]["updatePolicy"]["updateMode"] in {"Off", "Initial", "Recreate", "InPlaceOrRecreate"}
    (policy,) = vpa["spec"]["resourcePolicy"]["containerPolicies"]
    assert milli(policy["minAllowed"]["cpu"]) < milli(policy["maxAllowed"]["cpu"])


def test_blue_and_green() -> None:
    """Two workloads, one metric."""
    blue, green = documents(MANIFESTS / "examples/blue-green.yaml", "HorizontalPodAutoscaler")
    assert blue["spec"]["scaleTargetRef"] != green["spec"]["scaleTargetRef"]
    (one,), (other,) = blue["spec"]["metrics"], green["spec"]["metrics"]
    assert one["external"]["metric"] == other["external"]["metric"]
    assert target_of(one) != target_of(other)


def test_credentials() -> None:
    """The Secrets of an example may be used for its host, and tenant/ lets the adapter read exactly these."""
    secrets = {obj["metadata"]["name"]: obj for obj in everything("Secret")}
    used = set()
    for obj in everything("ExternalMetric"):
        source = metric_of(obj).source
        if isinstance(source, RedisSource) and source.auth and source.tls and source.url:
            assert source.auth.secret_ref is not None
            assert source.tls.ca_secret_ref is not None
            host = source.url.partition("//")[2].partition(":")[0]
            for name in (source.auth.secret_ref.name, source.tls.ca_secret_ref.name):
                used.add(name)
                key = SecretKey(obj["metadata"]["namespace"], name)
                assert secrets[name]["metadata"]["namespace"] == key.namespace
                assert usable_for(parse_secret(secrets[name]), key, [host]) is None
    role = documents(MANIFESTS / "tenant/role.yaml", "Role")[0]
    (rule,) = role["rules"]
    assert used == secrets.keys() == {*rule["resourceNames"]}


def _items(metric: Metric) -> list[Labels] | None:
    """Return the labels of the items that a metric can have; None where only its pages or keys know."""
    match metric.source:
        case RedisSource(queues=queues) if not any(queue.glob for queue in queues):
            series = [labels for queue in queues for labels in series_of(queue)]
        case StaticSource(series=fixed):
            series = [labels_of(one.labels) for one in fixed]
        case _:
            return None
    aggregate = metric.rule.aggregate
    if aggregate is None:
        return series
    return [tuple((name, value) for name, value in labels if name in aggregate.by) for labels in series]


def _selector(wanted: Object | None) -> Selector:
    """Return an HPA's selector."""
    if wanted is None:
        return EVERYTHING
    parts = [f"{key}={value}" for key, value in wanted.get("matchLabels", {}).items()]
    needs = wanted.get("matchExpressions", ())
    parts += [f"{need['key']} {need['operator'].lower()} ({','.join(need['values'])})" for need in needs]
    return parse_selector(",".join(parts))
