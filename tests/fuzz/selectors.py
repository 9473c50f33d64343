"""What a reader's request line says: the label selector and the other parameters of a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote_from_bytes

from adapter.api.request import BadEscapeError, attributes
from adapter.api.resolve import Kind, resolve
from adapter.errors import ApiError
from scaler.model import Labels
from scaler.selector import Operator, Requirement, Selector, SelectorError, parse
from tests.api_fixtures import VALUES

_LABELS: tuple[Labels, ...] = (
    (),
    (("queue", "a"),),
    (("queue", "b"), ("zone", "1")),
    (("queue", ""), ("zone", "-7")),
    (("x.io/y", "9223372036854775807"),),
)


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    yield check


def check(data: bytes) -> None:
    """Read the bytes as a selector, as a query and as a whole request target."""
    text = data.decode("utf-8", "surrogateescape")
    found = _selector(text)
    route = resolve(f"{VALUES}/m?labelSelector={quote_from_bytes(data)}")
    assert route.kind is Kind.VALUES
    assert route.metric_name == "m"
    if found is None:
        assert isinstance(route.options_error, ApiError)
        assert route.options_error.code == 400
    else:
        assert (route.selector, route.options_error) == (found, None)
    for target in (f"{VALUES}/m?{text}", f"{VALUES}/{text}", text):
        _target(target)


def _selector(text: str) -> Selector | None:
    try:
        found = parse(text)
    except SelectorError:
        return None
    assert parse(str(found)) == found
    for labels in _LABELS:
        assert found.matches(labels) is all(_means(each, dict(labels)) for each in found.requirements)
    for key, value in found.equality_labels():
        assert any(each.key == key and each.values == (value,) for each in found.requirements)
    return found


def _means(one: Requirement, labels: dict[str, str]) -> bool:
    """Say by the words of the Kubernetes documentation whether a requirement holds."""
    value = labels.get(one.key)
    match one.operator:
        case Operator.EXISTS:
            return value is not None
        case Operator.DOES_NOT_EXIST:
            return value is None
        case Operator.NOT_IN | Operator.NOT_EQUALS:
            return value is None or value not in one.values
        case Operator.GREATER_THAN | Operator.LESS_THAN:
            digits = (value or "").removeprefix("-").removeprefix("+")
            if value is None or not (digits.isascii() and digits.isdigit()) or not -(2**63) <= int(value) < 2**63:
                return False
            bound = int(one.values[0])
            return int(value) > bound if one.operator is Operator.GREATER_THAN else int(value) < bound
        case _:
            return value is not None and value in one.values


def _target(raw: str) -> None:
    try:
        route = resolve(raw)
    except BadEscapeError:
        return
    for method in ("GET", "DELETE", "X"):
        attributes(method, route.target)
    if route.kind is Kind.VALUES:
        assert route.ref.name == route.metric_name.lower()


def seeds() -> list[bytes]:
    """Return inputs to start from."""
    return [
        b"queue=a",
        b"queue in (a,b),zone!=1",
        b"!queue,x.io/y",
        b"zone>-8,zone<9223372036854775807",
        b"queue notin (,),zone==",
        b"labelSelector=queue%3Da&limit=500&resourceVersion=0&resourceVersionMatch=Exact",
        b"timeout=1h2.5ms&watch=false&fieldSelector=metadata.name%3D\\,a",
        b"a%2fb/%00?pretty=1;x&+=%zz",
        b"/apis/external.metrics.k8s.io/v1beta1/namespaces/status/m",
    ]
