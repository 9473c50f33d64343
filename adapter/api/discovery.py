"""Discovery: constant documents, in every form, that depend on nothing.

A broken or slow discovery of one API group blocks kubectl and the deletion of any namespace, cluster-wide. So the
list of resources does not name the metrics: it is one entry, and an answer is a look-up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from adapter.api import encode, protobuf
from adapter.api.encode import GROUP_VERSION, LIST_KIND, Form, Tree
from scaler.model import EXTERNAL_METRICS_GROUP

VERSION = "v1beta1"
RESOURCE = "externalmetrics"
AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_VERSION_TREE: dict[str, Tree] = {"groupVersion": GROUP_VERSION, "version": VERSION}
_GROUP_TREE: dict[str, Tree] = {
    "name": EXTERNAL_METRICS_GROUP,
    "versions": [_VERSION_TREE],
    "preferredVersion": _VERSION_TREE,
}
_GROUP_LIST_TREE: Tree = {"kind": "APIGroupList", "groups": [_GROUP_TREE]}  # Go writes no apiVersion here
_RESOURCE_LIST_TREE: Tree = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": GROUP_VERSION,
    "resources": [{"name": RESOURCE, "singularName": "", "namespaced": True, "kind": LIST_KIND, "verbs": ["get"]}],
}
_AGGREGATED_TREE: Tree = {
    "kind": "APIGroupDiscoveryList",
    "apiVersion": "apidiscovery.k8s.io/v2",
    "metadata": {},
    "items": [
        {
            "metadata": {"name": EXTERNAL_METRICS_GROUP, "creationTimestamp": None},
            "versions": [
                {
                    "version": VERSION,
                    "resources": [
                        {
                            "resource": RESOURCE,
                            "responseKind": {"group": EXTERNAL_METRICS_GROUP, "version": VERSION, "kind": LIST_KIND},
                            "scope": "Namespaced",
                            "singularResource": "",
                            "verbs": ["get"],
                        }
                    ],
                    "freshness": "Current",
                }
            ],
        }
    ],
}

_VERSION_PB = protobuf.text(1, GROUP_VERSION) + protobuf.text(2, VERSION)
_GROUP_PB = (
    protobuf.text(1, EXTERNAL_METRICS_GROUP) + protobuf.message(2, _VERSION_PB) + protobuf.message(3, _VERSION_PB)
)
_RESOURCE_PB = protobuf.message(
    2,
    protobuf.text(1, RESOURCE),
    protobuf.integer(2, 1),
    protobuf.text(3, LIST_KIND),
    protobuf.message(4, protobuf.text(1, "get")),
    *(protobuf.text(field, "") for field in (6, 8, 9, 10)),
)


def _forms(tree: Tree, proto: bytes) -> Mapping[Form, bytes]:
    written = {form: encode.tree(tree, form) for form in (Form.JSON, Form.PRETTY, Form.YAML)}
    return {**written, Form.PROTOBUF: proto}


GROUP_LIST = _forms(_GROUP_LIST_TREE, protobuf.envelope("v1", "APIGroupList", protobuf.message(1, _GROUP_PB)))
GROUP = _forms({"kind": "APIGroup", "apiVersion": "v1", **_GROUP_TREE}, protobuf.envelope("v1", "APIGroup", _GROUP_PB))
RESOURCE_LIST = _forms(
    _RESOURCE_LIST_TREE,
    protobuf.envelope("v1", "APIResourceList", protobuf.text(1, GROUP_VERSION), _RESOURCE_PB),
)
AGGREGATED = encode.tree(_AGGREGATED_TREE, Form.JSON)


def etag(body: bytes) -> str:
    """Return the entity tag of a document, as the Kubernetes libraries make it."""
    return f'"{hashlib.sha512(body).hexdigest().upper()}"'


AGGREGATED_ETAG = etag(AGGREGATED)
