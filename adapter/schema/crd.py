"""The CustomResourceDefinition of ExternalMetric, written by `python -m adapter.schema.crd`.

`make crd` puts it into manifests/crd/externalmetrics.yaml.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from adapter.schema.model import ExternalMetric
from adapter.schema.structural import Schema, structural

GROUP = "spillway.dev"
VERSION = "v1alpha1"
PLURAL = "externalmetrics"
KIND = "ExternalMetric"

CONDITIONS = ("Accepted", "Available", "Degraded")

_HEADER = "# Generated from adapter/schema by `make crd`. Do not edit.\n"

_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_GENERATION: Schema = {"type": "integer", "format": "int64", "minimum": 0}

_CONDITION: Schema = {
    "type": "object",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": {"description": "Accepted, Available or Degraded.", **_TEXT, "maxLength": 316},
        "status": {"description": "True, False or Unknown.", **_TEXT, "enum": ["True", "False", "Unknown"]},
        "observedGeneration": {"description": "The generation of the object that was looked at.", **_GENERATION},
        "lastTransitionTime": {"description": "When status became what it is.", **_TIME},
        "reason": {"description": "Why, in one word.", **_TEXT, "maxLength": 1_024},
        "message": {"description": "Why, in a sentence.", **_TEXT, "maxLength": 32_768},
    },
}

_STATUS: Schema = {
    "type": "object",
    "description": "What the adapter makes of the object, and the last known value.",
    "properties": {
        "observedGeneration": {"description": "The generation of the object that was looked at.", **_GENERATION},
        "lastValue": {
            "description": "The last known value for an HPA without a selector: the sum of all items, a quantity.",
            **_TEXT,
            "maxLength": 64,
        },
        "lastValueTime": {"description": "The time of the newest sample in lastValue.", **_TIME},
        "items": {"description": "How many items lastValue is the sum of.", "type": "integer", "format": "int64"},
        "conditions": {
            "description": "Accepted, Available and Degraded.",
            "type": "array",
            "maxItems": 16,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": _CONDITION,
        },
    },
}

_COLUMNS: list[Schema] = [
    {"name": "Value", "type": "string", "jsonPath": ".status.lastValue", "description": "The last known value."},
    {
        "name": "Value-Age",
        "type": "date",
        "jsonPath": ".status.lastValueTime",
        "description": "How old the newest sample in it is.",
    },
    {
        "name": "State",
        "type": "string",
        "jsonPath": '.status.conditions[?(@.type=="Available")].reason',
        "description": "Current, Held, Floored, or why there is no value now.",
    },
    {
        "name": "Degraded",
        "type": "string",
        "jsonPath": '.status.conditions[?(@.type=="Degraded")].status',
        "description": "Whether something is wrong although a value may be served.",
        "priority": 1,
    },
    {
        "name": "Message",
        "type": "string",
        "jsonPath": '.status.conditions[?(@.type=="Available")].message',
        "description": "Why there is no value now, in a sentence.",
        "priority": 1,
    },
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition as JSON."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["em"],
                "categories": ["spillway"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _schema()},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _COLUMNS,
                }
            ],
        },
    }


def _schema() -> Schema:
    schema = structural(ExternalMetric.model_json_schema(by_alias=True))
    fields = schema["properties"]
    for name in ("apiVersion", "kind", "metadata"):
        del fields[name]  # the server knows them better
    fields["status"] = _STATUS
    schema["required"] = ["spec"]
    schema["description"] = "A metric for HorizontalPodAutoscalers: what is read, and what is computed from it."
    return schema


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def document() -> str:
    """Return the definition as YAML."""
    return _HEADER + yaml.dump(definition(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    sys.stdout.write(document())
