"""What authorization is asked, how its answer is read, and what whoever may not is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapter.api import encode
from adapter.api.encode import Form
from adapter.api.request import attributes, parse_target
from adapter.auth.access import Decision, Question, decision, forbidden, is_remembered, question, review
from adapter.auth.user import ANONYMOUS, User
from scaler.selector import parse
from tests.api_fixtures import BASE, VALUES, WIRE

GROUPS = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
NO = Decision(allowed=False)
HPA = User("system:serviceaccount:kube-system:horizontal-pod-autoscaler", groups=GROUPS)


def captured(title: str) -> dict[str, Any]:
    """Return a recorded exchange with a kube-apiserver."""
    (found,) = [
        each for each in map(json.loads, (WIRE / "kube-api.jsonl").read_text().splitlines()) if each["title"] == title
    ]
    return dict(found)


def asked(target: str, user: User = HPA, method: str = "GET") -> Question:
    """Return what a request makes us ask."""
    parsed = parse_target(target)
    found = question(user, attributes(method, parsed), parse(parsed.first("labelSelector")))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("title", "target", "user"),
    [
        ("SubjectAccessReview, the HPA controller", "orders", HPA),
        (
            "SubjectAccessReview, with a label selector",
            "orders?labelSelector=queue%3Da",
            HPA._replace(groups=("system:authenticated",)),
        ),
        ("SubjectAccessReview, nobody", "orders", User("nobody", groups=("system:authenticated",))),
    ],
)
def test_captured(title: str, target: str, user: User) -> None:
    """Our review is the one that a kube-apiserver accepted, and we read its answer."""
    exchange = captured(title)
    assert review(asked(f"{BASE}/namespaces/shop/{target}", user)) == exchange["requestBody"]
    status = json.loads(exchange["body"])["status"]
    assert decision(status).allowed is status["allowed"]


def test_an_hpa_read() -> None:
    """A read with everything that can be said of user and selector asks what the Go libraries ask."""
    selector = "queue=a,x.io/y,zone+notin+(b,a),!gone,tier!=x,n>3"
    user = HPA._replace(uid="d7687486", extra=(("authentication.kubernetes.io/credential-id", ("JTI=1",)),))
    found = review(asked(f"{BASE}/namespaces/wire/queue_depth?labelSelector={selector}", user))
    assert found is not None
    assert found["spec"] == {
        "resourceAttributes": {
            "namespace": "wire",
            "verb": "list",
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "resource": "queue_depth",
            "labelSelector": {
                "requirements": [
                    {"key": "gone", "operator": "DoesNotExist"},
                    {"key": "queue", "operator": "In", "values": ["a"]},
                    {"key": "tier", "operator": "NotIn", "values": ["x"]},
                    {"key": "x.io/y", "operator": "Exists"},
                    {"key": "zone", "operator": "NotIn", "values": ["a", "b"]},
                ]
            },
        },
        "user": HPA.name,
        "groups": list(GROUPS),
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]},
        "uid": "d7687486",
    }


def test_paths() -> None:
    """What is no resource is asked for by its path."""
    found = review(asked("/openapi/v2?timeout=32s"))
    assert found is not None
    assert found["spec"]["nonResourceAttributes"] == {"path": "/openapi/v2", "verb": "get"}


def test_only_lists_have_a_selector() -> None:
    """A selector narrows a list, and nothing else."""
    for method, verb in (("POST", "create"), ("DELETE", "deletecollection"), ("GET", "list")):
        found = asked(f"{VALUES}/m?labelSelector=a", method=method)
        assert (found.verb, len(found.requirements)) == (verb, int(verb != "create"))


def test_nothing_to_ask() -> None:
    """system:masters may do anything; the three probes are for everybody, and nothing near them is."""
    masters = User("system:kube-aggregator", groups=("system:masters", "system:authenticated"))
    assert question(masters, attributes("GET", parse_target(BASE)), parse("")) is None
    for path in ("/healthz", "/livez", "/readyz", "/readyz?verbose"):
        assert question(ANONYMOUS, attributes("GET", parse_target(path)), parse("")) is None
    for path in ("/livez/ping", "/livez/", "//livez", "/LIVEZ", "/healthz/..", "/apis/livez", "/metrics", "/version"):
        assert asked(path, ANONYMOUS).verb == "get"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"allowed": True, "reason": "yes"}, Decision(allowed=True, reason="yes")),
        ({"allowed": False}, NO),
        ({"allowed": False, "reason": "no"}, NO._replace(reason="no")),
        ({"allowed": True, "denied": True, "reason": "both"}, NO._replace(reason="both")),
        ({}, NO),
        ({"allowed": "true", "reason": 1}, NO),
        ({"allowed": 1}, NO),
    ],
)
def test_answers(status: dict[str, Any], expected: Decision) -> None:
    """Only a plain yes is one."""
    assert decision(status) == expected


_IN_DEFAULT = 'in API group "external.metrics.k8s.io" in the namespace "default"'
_QUEUE = 'n.external.metrics.k8s.io is forbidden: User "system:anonymous" cannot list resource "n" '
_ODD = """m.external.metrics.k8s.io "n" is forbidden: User "&lt;a&amp;b&gt;" cannot get resource "m/s" """
_CLUSTER = """m.external.metrics.k8s.io is forbidden: User "u" cannot list resource "m" in API group """


@pytest.mark.parametrize(
    ("target", "user", "reason", "message", "details"),
    [
        (f"{VALUES}/n", ANONYMOUS, "", f"""{_QUEUE}{_IN_DEFAULT}""", '{"group":"external.metrics.k8s.io","kind":"n"}'),
        ("/apis", ANONYMOUS, "", 'forbidden: User "system:anonymous" cannot get path "/apis"', "{}"),
        (
            f"{VALUES}/m/n/s",
            User("<a&b>"),
            "because & <so>",
            f"{_ODD}{_IN_DEFAULT}: because & <so>",
            '{"name":"n","group":"external.metrics.k8s.io","kind":"m"}',
        ),
        (
            f"{BASE}/m",
            User("u"),
            "",
            f'{_CLUSTER}"external.metrics.k8s.io" at the cluster scope',
            '{"group":"external.metrics.k8s.io","kind":"m"}',
        ),
    ],
)
def test_refusals(target: str, user: User, reason: str, message: str, details: str) -> None:
    """A refusal is the Go libraries', byte for byte."""
    error = forbidden(asked(target, user), reason)
    escaped = json.dumps(message).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    expected = (
        f'{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":{escaped},'
        f'"reason":"Forbidden","details":{details},"code":403}}\n'
    )
    assert encode.status(error, Form.JSON).decode() == expected
    assert error.headers == {"X-Content-Type-Options": "nosniff"}


def test_what_is_no_text_cannot_be_asked() -> None:
    """Bytes that are no Unicode would be asked as something else: they are not asked at all."""
    assert review(asked(f"{VALUES}/%ff")) is None
    assert review(asked("/%ff")) is None
    assert review(asked("/apis", User("\udcff"))) is None
    assert review(asked("/apis", User("a", extra=(("k", ("\udcff",)),)))) is None
    assert review(asked(f"{VALUES}/%C3%A4", User("ä"))) is not None


def test_large_questions_are_not_remembered() -> None:
    """Whoever asks cannot fill the memory with what they ask; their own name is not theirs to choose."""
    assert is_remembered(asked(f"{VALUES}/{'m' * 9_000}"))
    assert not is_remembered(asked(f"{VALUES}/{'m' * 10_000}"))
    assert not is_remembered(asked("/" + "p" * 10_000))
    values = ",".join(f"{'v' * 60}{number}" for number in range(200))
    assert not is_remembered(asked(f"{VALUES}/m?labelSelector=k in ({values})"))
    assert is_remembered(asked("/apis", User("u" * 10_000)))
