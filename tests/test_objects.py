"""Objects of the cluster become metrics, each for itself; and none of them can name what is the administrator's."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from adapter.config.objects import MAX_MESSAGE_CHARS, ObjectSet, read, take
from adapter.schema.finding import Acceptance, ObjectKey
from adapter.schema.model import ExternalMetric, ExternalMetricSpec
from adapter.schema.strict import Origin, Strict
from scaler.model import MetricRef

STATIC: dict[str, Any] = {"source": {"static": {"series": [{"value": 1}]}}}
BROKEN: dict[str, Any] = {"source": {"static": {"series": []}}, "interval": "1"}


def ref(name: str, namespace: str = "shop") -> MetricRef:
    return MetricRef("external.metrics.k8s.io", namespace, name)


def made(
    name: str,
    spec: Mapping[str, Any] = STATIC,
    *,
    namespace: str = "shop",
    generation: int = 1,
    uid: str = "",
    second: int = 0,
) -> dict[ObjectKey, dict[str, Any]]:
    """Return one object as the API has it, under its key."""
    metadata = {
        "name": name,
        "namespace": namespace,
        "generation": generation,
        "uid": uid or f"{namespace}/{name}",
        "creationTimestamp": f"2026-01-02T03:04:{second:02}Z",
        "resourceVersion": "7",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    head = {"apiVersion": "spillway.dev/v1alpha1", "kind": "ExternalMetric"}
    return {(namespace, name): {**head, "metadata": metadata, "spec": dict(spec), "status": {"lastValue": "1"}}}


def taken(*objects: Mapping[ObjectKey, Any], files: tuple[MetricRef, ...] = (), most: int = 10) -> ObjectSet:
    return take(ObjectSet(), {key: one for part in objects for key, one in part.items()}, files, most)


def served(state: ObjectSet) -> list[str]:
    return [metric.origin.removeprefix("ExternalMetric ") for metric in state.metrics]


def test_an_object_becomes_a_metric() -> None:
    """Its reference is namespace and lower-cased metricName, and it is known to be a tenant's."""
    state = taken(made("orders", {**STATIC, "metricName": "Orders", "interval": "5s"}))
    (metric,) = state.metrics
    assert (metric.rule.ref, metric.rule.metric_name, metric.tenant) == (ref("orders"), "Orders", True)
    finding = state.findings["shop", "orders"]
    assert (finding.reason, finding.message, finding.ref) == (Acceptance.ACCEPTED, "in use", ref("orders"))
    assert (finding.generation, finding.served_generation, finding.interval_ms) == (1, 1, 5_000)


def test_errors_are_all_told_in_our_words() -> None:
    """Every error of an object is in its finding: path, value and bound."""
    state = taken(made("orders", BROKEN))
    assert state.metrics == ()
    assert state.findings["shop", "orders"].message == (
        'nothing is served: spec.interval: must be a duration such as 15s or 1m30s, got "1"; '
        "spec.source.static.series: must have at least 1, got 0"
    )


def test_one_bad_object_stops_no_other() -> None:
    """Objects that are no metric at all leave the others as they are."""
    shapeless: dict[ObjectKey, Any] = {
        ("shop", "empty"): {"metadata": {}},
        ("shop", "list"): {**made("list")["shop", "list"], "spec": []},
        ("shop", "kind"): {**made("kind")["shop", "kind"], "kind": "Metric"},
    }
    state = taken(shapeless, made("broken", BROKEN), made("orders"))
    assert served(state) == ["shop/orders"]
    refused = {key[1]: finding.reason for key, finding in state.findings.items() if finding.ref is None}
    assert refused == dict.fromkeys(["empty", "list", "kind", "broken"], Acceptance.INVALID_SPEC)


def test_an_object_made_invalid_keeps_its_last_good_spec() -> None:
    """The metric stays as it was until there is a good spec again, and the finding says which generation it is."""
    before = taken(made("orders", {**STATIC, "interval": "5s"}))
    worse = take(before, made("orders", BROKEN, generation=2), ())
    assert worse.metrics == before.metrics
    finding = worse.findings["shop", "orders"]
    assert (finding.generation, finding.served_generation, finding.ref) == (2, 1, ref("orders"))
    assert finding.reason is Acceptance.INVALID_SPEC
    assert finding.message.startswith("an older spec stays in use: spec.interval: ")
    again = take(worse, made("orders", BROKEN, generation=3), ())
    assert again.metrics == before.metrics
    assert again.findings["shop", "orders"].served_generation == 1
    better = take(again, made("orders", {**STATIC, "interval": "7s"}, generation=4), ())
    assert better.metrics[0].rule.interval_ms == 7_000
    assert better.findings["shop", "orders"].served_generation == 4


def test_a_deleted_object_is_gone() -> None:
    """Nothing stays of it, and another object of its name does not inherit its last good spec."""
    before = taken(made("orders"))
    assert take(before, {}, ()) == ObjectSet()
    other = take(before, made("orders", BROKEN, uid="another"), ())
    assert other.metrics == ()


def test_an_object_is_read_once_a_generation() -> None:
    """Labels, status and versions may change without anything being read again."""
    before = taken(made("orders"), made("jobs"))
    objects = {**made("orders"), **made("jobs", generation=2)}
    objects["shop", "orders"]["metadata"]["resourceVersion"] = "8"
    after = take(before, objects, ())
    assert after.known["shop", "orders"] is before.known["shop", "orders"]
    assert after.known["shop", "jobs"] is not before.known["shop", "jobs"]
    assert after.metrics == before.metrics


def test_files_win() -> None:
    """A metric that a file defines is not an object's, whatever the case of its name."""
    orders = made("orders", {**STATIC, "metricName": "ORDERS"})
    state = taken(orders, made("jobs"), files=(ref("orders"),))
    assert served(state) == ["shop/jobs"]
    finding = state.findings["shop", "orders"]
    assert (finding.reason, finding.ref) == (Acceptance.DEFINED_IN_FILE, None)
    assert finding.message == "metric ORDERS is defined in the adapter's configuration files, which win"
    assert served(take(state, {**orders, **made("jobs")}, ())) == ["shop/jobs", "shop/orders"]


def test_the_older_object_has_the_name() -> None:
    """Of two objects with one metric the first created is served, in any order, and takes over once it is alone."""
    old, new = made("b", {**STATIC, "metricName": "M"}, second=1), made("a", {**STATIC, "metricName": "m"}, second=2)
    for state in (taken(old, new), taken(new, old)):
        assert served(state) == ["shop/b"]
        finding = state.findings["shop", "a"]
        assert (finding.reason, finding.ref) == (Acceptance.NAME_TAKEN, None)
        assert finding.message == "metric m is defined by ExternalMetric b, which is older"
    assert served(take(taken(old, new), new, ())) == ["shop/a"]
    assert served(taken(old, made("a", {**STATIC, "metricName": "m"}, namespace="blog"))) == ["blog/a", "shop/b"]


def test_a_namespace_has_a_bound() -> None:
    """Of too many metrics those created first are served; other namespaces do not notice."""
    many = [made(f"m{i}", second=i) for i in range(4)]
    state = taken(*many, made("m", namespace="blog", second=59), most=2)
    assert served(state) == ["shop/m0", "shop/m1", "blog/m"]
    assert state.findings["shop", "m3"].reason is Acceptance.TOO_MANY_METRICS
    message = "the namespace has 2 older metrics, the most it may have (--max-metrics-per-namespace)"
    assert state.findings["shop", "m3"].message == message


def test_hints_are_told_with_what_is_used() -> None:
    """What is valid and will likely disappoint is in the message of an accepted object."""
    state = taken(made("orders", {"source": {"static": {"series": [{"labels": {"q": "a:b"}, "value": 1}]}}}))
    finding = state.findings["shop", "orders"]
    assert finding.reason is Acceptance.ACCEPTED
    assert finding.message.startswith('in use; spec.source.static.series[0]: no HPA selector can hold q="a:b"')


def test_messages_are_bounded() -> None:
    """However much is wrong, a finding fits into a condition and says how much it leaves out."""
    state = taken(made("orders", {"source": {"redis": {"url": "redis://r", "queues": [{}] * 10_000}}}))
    message = state.findings["shop", "orders"].message
    assert len(message) <= MAX_MESSAGE_CHARS
    assert message.count("must name") + int(message.split()[-2]) == 10_000


def test_no_secret_in_any_message() -> None:
    """What may be a password is not repeated."""
    auth = {"password": "hunter2", "username": "hunter2", "secretRef": {"name": "redis-auth"}}
    source = {"redis": {"url": "redis://u:hunter2@r", "auth": auth, "queues": [{"list": "a"}]}}
    errors, _, _ = read(("shop", "orders"), made("orders", {"source": source})["shop", "orders"])
    assert len(errors) == 3
    assert "hunter2" not in str(errors)
    assert "Secret" in next(error for error in errors if "auth.password:" in error)


@given(st.permutations(range(5)), st.sets(st.integers(0, 4)), st.sets(st.integers(0, 4)))
def test_what_is_served_does_not_depend_on_order(order: list[int], broken: set[int], in_files: set[int]) -> None:
    """The same objects give the same metrics and findings in whatever order they come."""
    names = ["a", "b", "c", "A", "B"]
    specs = [BROKEN if i in broken else {**STATIC, "metricName": names[i]} for i in range(5)]
    files = tuple(ref(names[i].lower()) for i in in_files)
    objects = [made(f"o{i}", specs[i], second=i % 2) for i in range(5)]
    assert taken(*(objects[i] for i in order), files=files) == taken(*objects, files=files)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
WHOLE: dict[str, Any] = {
    "interval": "5s",
    "source": {
        "redis": {
            "url": "redis://r",
            "auth": {"secretRef": {"name": "a"}},
            "queues": [{"list": "a", "labels": {"b": "c"}}],
        },
        "scrape": {"targets": {"selector": {"matchLabels": {"a": "b"}}, "port": 80}, "metric": "up", "match": 'a="b"'},
    },
    "signal": {"function": "rate", "window": "1m"},
    "aggregate": {"by": ["a"]},
}


def changed(value: Any, draw: st.DrawFn) -> Any:
    """Return JSON with one part of it replaced by anything."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: changed(value[name], draw)}
    if isinstance(value, list) and draw(st.booleans()):
        return [changed(part, draw) for part in value]
    return draw(json_values)


@given(st.composite(lambda draw: changed(WHOLE, draw))())
def test_whatever_an_object_holds_is_judged(spec: Any) -> None:
    """No JSON makes the reading of an object fail: it is a metric, or there are errors."""
    errors, _, metric = read(("shop", "orders"), {**made("orders")["shop", "orders"], "spec": spec})
    assert bool(errors) is (metric is None)


Step = tuple[str, bool]
"""A field as users write it, and whether a list of it is meant."""


def fields(model: type[Strict], path: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], str, Any, Any]]:
    """Yield each field below a model: path to its model, name as users write it, type and marks."""
    for name, field in model.model_fields.items():
        alias = field.alias or name
        yield path, alias, field.annotation, field.json_schema_extra
        listed, below = _models(field.annotation)
        for child in below:
            yield from fields(child, (*path, (alias, listed)))


def _models(annotation: Any) -> tuple[bool, list[type[Strict]]]:
    """Return the models in an annotation, and whether they are items of a list."""
    if inspect.isclass(annotation):
        return False, [annotation] if issubclass(annotation, Strict) else []
    found = [_models(part) for part in get_args(annotation)]
    listed = getattr(annotation, "__origin__", None) is tuple or any(inner for inner, _ in found)
    return listed, [model for _, models in found for model in models]


def is_file_only(marks: Any) -> bool:
    return isinstance(marks, dict) and "x-spillway-file-only" in marks


FILE_ONLY = [(path, name) for path, name, _, marks in fields(ExternalMetricSpec) if is_file_only(marks)]


def test_every_reference_to_the_adapters_machine_is_marked() -> None:
    """Each field whose name or type speaks of a file, a variable or a socket is for files only."""
    assert {"passwordFile", "passwordEnv", "usernameFile", "caFile"} <= {name for _, name in FILE_ONLY}
    closed = {(*(step for step, _ in path), name) for path, name in FILE_ONLY}
    for path, name, annotation, _ in fields(ExternalMetricSpec):
        place = (*(step for step, _ in path), name)
        words = ("file", "env", "dir", "directory", "socket")
        if name.lower().endswith(words) or "path of a file" in str(annotation):
            assert any(place[: len(start)] == start for start in closed), place


@pytest.mark.parametrize(("path", "name"), FILE_ONLY, ids=lambda part: part if isinstance(part, str) else None)
@pytest.mark.parametrize("value", ["/etc/passwd", None, "", {"path": "/run/redis.sock"}, ["HOME"]])
def test_no_object_can_name_a_file_a_variable_or_a_socket(path: tuple[Step, ...], name: str, value: object) -> None:
    """Whatever its value, such a field is an error of its own in an object, in a file it is not."""
    data: Any = {name: value}
    place: tuple[str | int, ...] = (name,)
    for step, listed in reversed(path):
        data = {step: [data] if listed else data}
        place = (step, 0, *place) if listed else (step, *place)
    refused = "must not be set in an object of the cluster: only a configuration file may"
    assert refused in _errors(data, Origin.OBJECT)[("spec", *place)]
    assert refused not in str(_errors(data, Origin.FILE))


def test_no_file_can_name_a_secret() -> None:
    """A file has no namespace to look for a Secret in."""
    data = {"source": {"redis": {"url": "rediss://r", "auth": {"secretRef": {"name": "a"}}, "queues": [{"list": "a"}]}}}
    (message,) = _errors(data, Origin.FILE)["spec", "source", "redis", "auth", "secretRef"]
    assert message.startswith("must not be set in a file: ")
    assert _errors(data, Origin.OBJECT) == {}


@pytest.mark.parametrize("name", ["kube-system/token", "../token", "Token", "", "a" * 254])
def test_a_secret_is_named_by_name_only(name: str) -> None:
    """A Secret's name is a DNS-1123 subdomain, and there is no field for its namespace."""
    for secret in ({"name": name}, {"name": "a", "namespace": "kube-system"}, name):
        data = {"source": {"redis": {"url": "redis://r", "auth": {"secretRef": secret}, "queues": [{"list": "a"}]}}}
        (place,) = _errors(data, Origin.OBJECT)
        assert place[:5] == ("spec", "source", "redis", "auth", "secretRef")


def _errors(spec: Mapping[str, Any], origin: Origin) -> dict[tuple[str | int, ...], list[str]]:
    head = {"apiVersion": "spillway.dev/v1alpha1", "kind": "ExternalMetric", "metadata": {"name": "a"}}
    model: type[BaseModel] = ExternalMetric
    found: dict[tuple[str | int, ...], list[str]] = {}
    try:
        model.model_validate({**head, "spec": spec}, by_alias=True, by_name=False, context=origin)
    except ValidationError as exc:
        for error in exc.errors():
            found.setdefault(error["loc"], []).append(error["msg"])
    return found


def test_all_namespaces_together_have_a_bound() -> None:
    """Of too many metrics in all those created first are served, and the others say so."""
    objects = {**made("a", second=1), **made("b", namespace="blog", second=2), **made("c", second=3)}
    state = take(ObjectSet(), objects, (), 10, 2)
    assert served(state) == ["shop/a", "blog/b"]
    found = state.findings["shop", "c"]
    assert found.reason is Acceptance.TOO_MANY_METRICS
    assert found.message == "there are 2 older metrics in all namespaces, the most that are served (--max-metrics)"
