"""Accept headers, as they are sent and as they should not be."""

from __future__ import annotations

import pytest

from adapter.api.encode import Form
from adapter.api.negotiate import Refusal, negotiate, prefers_aggregated_discovery, refused

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
TABLE = f"{JSON};as=Table;v=v1;g=meta.k8s.io"
PARTIAL = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
V2 = f"{JSON};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
V2BETA1 = f"{JSON};g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"


@pytest.mark.parametrize(
    ("accept", "form", "error_form"),
    [
        ("", Form.JSON, Form.JSON),
        ("*/*", Form.JSON, Form.JSON),
        ("*", Refusal.ROUTER, Form.JSON),
        (JSON, Form.JSON, Form.JSON),
        (f"{JSON}; charset=utf-8", Form.JSON, Form.JSON),
        (f"{JSON};stream=watch", Form.JSON, Form.JSON),
        (f"{YAML};stream=watch", Refusal.NEGOTIATION, Form.PRETTY),
        (f"{JSON};stream=other", Refusal.NEGOTIATION, Form.PRETTY),
        (f"{JSON};pretty=1", Form.PRETTY, Form.PRETTY),
        (f"{JSON};pretty=0", Form.JSON, Form.JSON),
        (YAML, Form.YAML, Form.YAML),
        (f"{YAML};pretty=1", Form.YAML, Form.YAML),
        (PROTOBUF, Form.PROTOBUF, Form.PROTOBUF),
        (f"{PROTOBUF}, */*", Form.PROTOBUF, Form.PROTOBUF),
        (f"*/*, {PROTOBUF}", Form.PROTOBUF, Form.PROTOBUF),
        (f"{PROTOBUF},{JSON}", Form.PROTOBUF, Form.PROTOBUF),
        (f"{JSON},{PROTOBUF}", Form.JSON, Form.JSON),
        (f"{JSON};q=0.1, {YAML}", Form.YAML, Form.YAML),
        (f"{YAML};q=0.5,{PROTOBUF};q=0.9,{JSON};q=0.7", Form.PROTOBUF, Form.PROTOBUF),
        (f"{YAML};q=x,{JSON};q=0.1", Form.JSON, Form.JSON),
        (f"{YAML};q=nan,{JSON};q=0.1", Form.JSON, Form.JSON),
        ("text/html,*/*;q=0.8", Form.JSON, Form.JSON),
        ("application/*", Refusal.ROUTER, Form.JSON),
        (f"application/*,{YAML}", Form.YAML, Form.YAML),
        ("application/xml", Refusal.ROUTER, Form.PRETTY),
        ("text/html", Refusal.ROUTER, Form.PRETTY),
        ("application/cbor", Refusal.ROUTER, Form.PRETTY),
        ("garbage", Refusal.ROUTER, Form.PRETTY),
        (",;,=;q", Refusal.ROUTER, Form.PRETTY),
        (TABLE, Refusal.NEGOTIATION, Form.PRETTY),
        (f"{TABLE},{JSON};as=Table;v=v1beta1;g=meta.k8s.io,{JSON}", Form.JSON, Form.JSON),
        (PARTIAL, Refusal.CONVERSION, Form.PRETTY),
        (f"{JSON};as=PartialObjectMetadataList;g=other;v=v1", Refusal.NEGOTIATION, Form.PRETTY),
        (V2, Refusal.NEGOTIATION, Form.PRETTY),
        ("x/y," * 1000 + JSON, Refusal.ROUTER, Form.PRETTY),
    ],
)  # fmt: skip
def test_forms(accept: str, form: Form | Refusal, error_form: Form) -> None:
    """The first clause that fits decides, by quality; conversions that we lack are passed over."""
    if accept.startswith("x/y"):
        form = Refusal.NEGOTIATION  # what comes after the 64th clause is not looked at
    found = negotiate(accept, pretty=False)
    assert (found.form, found.error_form) == (form, error_form)


def test_people_get_indented_json() -> None:
    """A person's JSON is indented, and nothing else changes."""
    assert negotiate("", pretty=True).form is Form.PRETTY
    assert negotiate(YAML, pretty=True).form is Form.YAML
    assert negotiate(PROTOBUF, pretty=True).form is Form.PROTOBUF
    assert negotiate("application/*", pretty=True).error_form is Form.PRETTY


@pytest.mark.parametrize(
    ("accept", "aggregated"),
    [
        (f"{V2},{V2BETA1}", True),
        (f"{V2},{V2BETA1},{JSON}", True),
        (f"{V2BETA1},{V2}", True),
        (V2BETA1, False),
        (f"{V2BETA1},{JSON}", False),
        (f"{JSON},{V2}", False),
        (f"{V2};q=0.5,{JSON}", False),
        ("", False),
        (JSON, False),
        ("*/*", False),
    ],
)
def test_aggregated_discovery(accept: str, aggregated: bool) -> None:
    """Aggregated discovery is for who prefers it, in the version that there is."""
    assert prefers_aggregated_discovery(accept) is aggregated


def test_refusals_are_errors() -> None:
    """Each refusal has its code: two are the client's doing, one a conversion that fails."""
    assert [refused(refusal).code for refusal in Refusal] == [406, 406, 500]
