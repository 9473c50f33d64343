"""Configurations for an adapter under test, as YAML documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NAMESPACE = "bench"


def metric(name: str, source: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """Return an ExternalMetric that is read every second."""
    return {
        "apiVersion": "spillway.dev/v1alpha1",
        "kind": "ExternalMetric",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"interval": "1s", "source": source, **spec},
    }


def static_metric(name: str, value: float, series: int = 1) -> dict[str, Any]:
    """Return a metric of some series with one fixed value, at rest: read as seldom as by default."""
    found = [{"labels": {"queue": f"q{n}"}, "value": value} for n in range(series)]
    return metric(name, {"static": {"series": found}}, interval="15s")


def list_metric(name: str, url: str, keys: Iterable[str]) -> dict[str, Any]:
    """Return the lengths of some Redis lists, each an item."""
    return metric(name, {"redis": {"url": url, "queues": [{"list": key} for key in keys]}})


def scrape_metric(name: str, urls: Sequence[str], source: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """Return what is made of one metric of some pages."""
    return metric(name, {"scrape": {"targets": {"urls": list(urls)}, **source}}, **spec)


def documents(metrics: Iterable[Mapping[str, Any]]) -> str:
    """Return metrics as a YAML file. Each document is JSON, which is YAML, and is written much faster."""
    return "".join(f"--- {json.dumps(each)}\n" for each in metrics)
