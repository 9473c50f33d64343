"""The CustomResourceDefinition: a kube-apiserver takes it, and it says what the schema says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.config.objects import read
from adapter.schema.crd import definition, document
from tests.structural import Schema, costs, places, problems, too_expensive, unbounded, with_defaults

MANIFEST = Path(__file__).parent.parent / "manifests" / "crd" / "externalmetrics.yaml"
VERSION: dict[str, Any] = definition()["spec"]["versions"][0]
SCHEMA: Schema = VERSION["schema"]["openAPIV3Schema"]
SPEC: Schema = SCHEMA["properties"]["spec"]

LIST = {"list": "orders"}
REDIS = {"url": "redis://redis.shop:6379/0", "queues": [LIST]}
TLS_REDIS = {**REDIS, "url": "rediss://redis.shop"}
PAGES = {"targets": {"urls": ["http://web/metrics"]}, "metric": "up"}
STATIC = {"series": [{"labels": {"queue": "a"}, "value": 1.5}]}
STREAM = {"stream": "events", "group": "workers"}
RATE = {"function": "rate", "window": "1m"}


def spec(**fields: Any) -> dict[str, Any]:
    return {"source": {"static": STATIC}, **fields}


def redis(**fields: Any) -> dict[str, Any]:
    return {"source": {"redis": {**REDIS, **fields}}}


def pods(**targets: Any) -> dict[str, Any]:
    return {"source": {"scrape": {**PAGES, "targets": targets}}, "signal": RATE}


SELECTOR = {
    "matchLabels": {"app": "web"},
    "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}],
}

GOOD: dict[str, dict[str, Any]] = {
    "static": spec(),
    "everything": spec(
        metricName="Orders.Backlog",
        interval="5s",
        timeout="500ms",
        signal={"function": "increase", "window": "15s", "counterStart": "zero"},
        aggregate={"by": ["queue", "app.kubernetes.io/name"], "with": "max"},
        guard={"min": 0, "max": 9e15},
        whenUnknown={"maxAge": "10s", "then": "error"},
        maxSeries=1_000_000,
    ),
    "full window": spec(signal={**RATE, "fullWindow": True}),
    "hold": spec(whenUnknown={"then": "hold"}),
    "hold for an hour": spec(whenUnknown={"then": "hold", "holdFor": "1h"}),
    "floor": spec(whenUnknown={"then": "floor", "floor": 2.5}, guard={"min": 2.5, "max": 2.5}),
    "steps": spec(guard={"maxStep": 0.001, "fallHalfLife": "24h"}),
    "redis": redis(onMissing="unknown", onMissingGroup="all"),
    "redis with a Secret": {
        "source": {
            "redis": {**TLS_REDIS, "auth": {"secretRef": {"name": "redis-auth"}}, "tls": {"serverName": "redis"}}
        }
    },
    "a CA from a Secret": {"source": {"redis": {**TLS_REDIS, "tls": {"caSecretRef": {"name": "ca.redis"}}}}},
    "queues": redis(
        queues=[LIST, {"set": "a"}, {"sortedSet": "b"}, {"hash": "c", "labels": {"queue": "x", "state": "y"}}, STREAM]
    ),
    "a stream": redis(queues=[{**STREAM, "count": ["waiting"], "labels": {"a": "b"}, "onMissingGroup": "all"}]),
    "pages": {"source": {"scrape": PAGES}, "signal": RATE},
    "private pages": {
        "source": {
            "scrape": {
                **PAGES,
                "targets": {"urls": ["https://web/metrics"]},
                "tls": {"caSecretRef": {"name": "ca"}, "serverName": "web"},
                "auth": {"secretRef": {"name": "web-auth"}},
            }
        }
    },
    "pods": pods(selector=SELECTOR, port="metrics"),
    "pods by number": pods(selector={"matchLabels": {"app": "web"}}, port=8080, path="/stats?format=prometheus"),
    "a service": pods(service="web", port=443, scheme="https"),
}

BAD: dict[str, dict[str, Any]] = {
    "no source": {"source": {}},
    "two sources": {"source": {"static": STATIC, "redis": REDIS}},
    "interval": spec(interval="500ms"),
    "no duration": spec(interval="5"),
    "timeout": spec(interval="5s", timeout="6s"),
    "window": spec(signal={"function": "rate", "window": "44s"}),
    "no window": spec(signal={"function": "rate"}),
    "window of value": spec(signal={"window": "1m"}),
    "counterStart": spec(signal={"function": "delta", "window": "1m", "counterStart": "zero"}),
    "maxAge": spec(interval="1m", whenUnknown={"maxAge": "119s"}),
    "guard": spec(guard={"min": 2, "max": 1}),
    "maxStep": spec(guard={"maxStep": 0}),
    "fallHalfLife": spec(guard={"fallHalfLife": "999ms"}),
    "then": spec(whenUnknown={"then": "zero"}),
    "holdFor without hold": spec(whenUnknown={"holdFor": "10m"}),
    "holdFor of floor": spec(whenUnknown={"then": "floor", "floor": 1, "holdFor": "10m"}),
    "holdFor": spec(whenUnknown={"then": "hold", "holdFor": "0s"}),
    "floor without floor": spec(whenUnknown={"floor": 1}),
    "floor of hold": spec(whenUnknown={"then": "hold", "floor": 1}),
    "no floor": spec(whenUnknown={"then": "floor"}),
    "floor of zero": spec(whenUnknown={"then": "floor", "floor": 0}),
    "floor below min": spec(whenUnknown={"then": "floor", "floor": 1}, guard={"min": 2}),
    "floor above max": spec(whenUnknown={"then": "floor", "floor": 3.5}, guard={"max": 3}),
    "fullWindow of value": spec(signal={"fullWindow": True}),
    "metricName": spec(metricName="Finalize"),
    "a path as metricName": spec(metricName="a/b"),
    "no queue": redis(queues=[]),
    "two keys": redis(queues=[{"list": "a", "set": "a"}]),
    "no key": redis(queues=[{"labels": {}}]),
    "stream without group": redis(queues=[{"stream": "a"}]),
    "group without stream": redis(queues=[{"list": "a", "group": "b"}]),
    "count without stream": redis(queues=[{"list": "a", "count": ["waiting"]}]),
    "state of a stream": redis(queues=[{**STREAM, "labels": {"state": "b"}}]),
    "tls": redis(tls={"serverName": "redis"}),
    "user info": {"source": {"redis": {**REDIS, "url": "redis://user:secret@redis"}}},
    "auth without a Secret": redis(auth={}),
    "a Secret elsewhere": redis(auth={"secretRef": {"name": "kube-system/admin"}}),
    "no targets": pods(),
    "two kinds of targets": pods(service="web", urls=["http://web"]),
    "no port": pods(service="web"),
    "port beside urls": pods(urls=["http://web"], port=80),
    "port 0": pods(service="web", port=0),
    "tls without https": {
        "source": {"scrape": {**PAGES, "targets": {"service": "web", "port": 80}, "tls": {"serverName": "web"}}}
    },
    "every pod": pods(selector={}, port=80),
    "values": pods(selector={"matchExpressions": [{"key": "a", "operator": "In"}]}, port=80),
    "values of Exists": pods(
        selector={"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}, port=80
    ),
}


def test_the_manifest_is_what_the_schema_makes() -> None:
    """manifests/crd has the definition that `make crd` writes."""
    assert MANIFEST.read_text() == document()
    assert yaml.safe_load(document()) == definition()


def test_the_schema_is_structural() -> None:
    """There is nothing in it that a kube-apiserver refuses or drops."""
    assert list(problems(SCHEMA)) == []
    assert SCHEMA["properties"].keys() == {"spec", "status"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"$ref": "#/definitions/x"},
        {"type": "string", "const": "a"},
        {"type": "null"},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
        {"type": "object", "additionalProperties": False},
        {"type": "array"},
        {"type": "string", "pattern": "^(?!a)"},
        {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}},
    ],
    ids=json.dumps,
)
def test_what_is_not_structural_is_noticed(wrong: Schema) -> None:
    """The check sees each thing that a kube-apiserver would refuse, wherever it is."""
    schema = copy.deepcopy(SCHEMA)
    schema["properties"]["spec"]["properties"]["source"]["properties"]["x"] = wrong
    assert len(list(problems(schema))) >= 1


def test_rules_are_cheap() -> None:
    """Everything a rule can see has a bound, and no rule comes near what a kube-apiserver allows."""
    assert list(unbounded(SPEC)) == []
    assert too_expensive(SCHEMA) == []
    endless = copy.deepcopy(SPEC)
    del endless["properties"]["source"]["properties"]["redis"]["properties"]["queues"]["maxItems"]
    assert len(list(costs(SPEC))) > 20
    assert too_expensive(endless) != []


def test_the_definition_is_valid() -> None:
    """It fits Kubernetes' own schema of a CustomResourceDefinition."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(definition(), "1.36", strict=True)


def test_what_kubectl_shows() -> None:
    """`kubectl get em` shows value, its age and the state, and status is a subresource."""
    names = definition()["spec"]["names"]
    assert (names["shortNames"], names["plural"]) == (["em"], "externalmetrics")
    shown = [column["name"] for column in VERSION["additionalPrinterColumns"] if not column.get("priority")]
    assert shown == ["Value", "Value-Age", "State", "Age"]
    assert VERSION["subresources"] == {"status": {}}


def test_the_schema_has_no_file_in_it() -> None:
    """No field that names a file, a variable or a socket is part of the definition."""
    text = json.dumps(SCHEMA)
    for word in ("File", "Env", "socket", "Socket"):
        assert f'{word}":' not in text


@pytest.mark.parametrize("name", GOOD)
def test_defaults_are_those_of_the_schema(name: str) -> None:
    """An object means the same whether the server or the adapter has filled in the defaults."""
    plain, filled = GOOD[name], with_defaults(SPEC, GOOD[name])
    assert filled["interval"] == plain.get("interval", "15s")
    assert filled["signal"]["function"] == plain.get("signal", {}).get("function", "value")
    results = [read(("shop", "orders"), _object(one)) for one in (plain, filled)]
    assert results[0][0] == results[1][0] == ()
    assert results[0][2] is not None
    assert results[1][2] is not None
    assert results[0][2].rule == results[1][2].rule


@pytest.mark.parametrize("name", GOOD)
def test_the_server_takes_what_the_adapter_takes(name: str) -> None:
    """An object that the adapter would use passes the definition's schema and rules."""
    assert refusals(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_the_server_refuses_at_once(name: str) -> None:
    """What is wrong by itself, and relations between fields, are refused when the object is created."""
    errors, _, metric = read(("shop", "orders"), _object(BAD[name]))
    assert errors != ()
    assert metric is None
    assert refusals(BAD[name]) != []


@pytest.mark.parametrize("name", ["status", "finalize"])
def test_a_name_that_no_metric_can_have(name: str) -> None:
    """An object named status needs a metricName, for the adapter and for the server."""
    assert read(("shop", name), _object(spec(), name))[0] != ()
    assert read(("shop", name), _object(spec(metricName="a"), name))[0] == ()
    assert refusals(spec(), name) != []
    assert refusals(spec(metricName="a"), name) == []


def _object(fields: dict[str, Any], name: str = "orders") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "generation": 1, "uid": name}
    return {"apiVersion": "spillway.dev/v1alpha1", "kind": "ExternalMetric", "metadata": metadata, "spec": fields}


def refusals(fields: dict[str, Any], name: str = "orders") -> list[str]:
    """Return what a server would find wrong with an object, by schema and rules."""
    celpy = pytest.importorskip("celpy")
    jsonschema = pytest.importorskip("jsonschema")
    filled = {**_object(fields, name), "spec": with_defaults(SPEC, fields)}
    found = [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(filled)]
    if found:
        return found  # the server looks at rules only then, too
    environment = celpy.Environment()
    # Kubernetes' names for fields whose own name is reserved; and a function of its string library.
    functions = {"lowerAscii": lambda text: celpy.celtypes.StringType(str(text).lower())}
    for path, schema, value in places(SCHEMA, filled):
        for rule in schema.get("x-kubernetes-validations", ()):
            program = environment.program(environment.compile(rule["rule"]), functions=functions)
            if not program.evaluate({"self": celpy.json_to_cel(_escaped(value))}):
                found.append(f"{path}: {rule['message']}")
    return found


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {f"__{name}__" if name in {"function"} else name: _escaped(part) for name, part in value.items()}
    return [_escaped(part) for part in value] if isinstance(value, list) else value
