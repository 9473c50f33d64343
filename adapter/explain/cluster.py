"""The HPA and its workload, from the Kubernetes API or from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from adapter.explain.arithmetic import Replicas
from adapter.explain.errors import ExplainError
from adapter.kube.access import SERVICE_ACCOUNT, Access
from adapter.kube.client import Kube, KubeConfigError, KubeError, api_path

Json = Mapping[str, Any]
_MAX_BYTES = 1 << 20


def access_of(kubeconfig: Path | None, context: str | None, environ: Mapping[str, str]) -> Access:
    """Return how to reach the API, as kubectl finds it: the flag, KUBECONFIG, ~/.kube/config, the pod's account."""
    if kubeconfig is not None:
        return Access(kubeconfig=str(kubeconfig), context=context)
    if environ.get("KUBECONFIG"):
        return Access(kubeconfig=environ["KUBECONFIG"], context=context)
    home = Path("~/.kube/config").expanduser()
    if home.is_file() and not (SERVICE_ACCOUNT / "token").is_file():
        return Access(kubeconfig=os.fspath(home), context=context)
    return Access()


async def from_cluster(access: Access, namespace: str, name: str) -> tuple[dict[str, Any], Replicas]:
    """Return an HPA's object and its workload's replicas.

    Raises:
        ExplainError: The API cannot be reached, or does not give the HPA.
    """
    try:
        async with Kube(access) as kube:
            path = api_path("autoscaling", "v2", "horizontalpodautoscalers", namespace=namespace, name=name)
            document = await kube.request("GET", path)
            return document, await _replicas(kube, namespace, document)
    except KubeConfigError as error:
        raise ExplainError(f"--hpa: {error}", "without a cluster: --hpa-file FILE") from None
    except KubeError as error:
        raise ExplainError(f"HPA {namespace}/{name} cannot be read: {error}") from None


async def _replicas(kube: Kube, namespace: str, document: Json) -> Replicas:
    """Ask for the target's scale and its pods, as the HPA does. Who may not, falls back on the HPA's status."""
    target = (document.get("spec") or {}).get("scaleTargetRef") or {}
    group, _, version = str(target.get("apiVersion") or "apps/v1").rpartition("/")
    plural = f"{str(target.get('kind', '')).lower()}s"
    try:
        path = api_path(group, version, plural, namespace=namespace, name=str(target.get("name")), subresource="scale")
        scale = await kube.request("GET", path)
    except KubeError as error:
        return from_status(document, f"its scale cannot be read: {error}")
    spec, status = scale.get("spec") or {}, scale.get("status") or {}
    asked, there = int(spec.get("replicas") or 0), int(status.get("replicas") or 0)
    selector = str(status.get("selector") or "")
    try:
        pods = await kube.request(
            "GET", api_path("", "v1", "pods", namespace=namespace), query={"labelSelector": selector}
        )
    except KubeError as error:
        return Replicas(asked, there, None, None, f"of the scale; the pods cannot be listed: {error}")
    found = pods.get("items") or []
    return Replicas(asked, there, len(found), sum(map(_ready, found)), "of the scale")


def _ready(pod: Json) -> bool:
    """Tell whether a pod counts for a Value target: Running, and Ready."""
    status = pod.get("status") or {}
    ready = {each.get("type"): each.get("status") for each in status.get("conditions") or ()}
    return status.get("phase") == "Running" and ready.get("Ready") == "True"


def from_status(document: Json, why: str) -> Replicas:
    """Return the replicas that the HPA's status shows, which are those of its last sync."""
    current = (document.get("status") or {}).get("currentReplicas")
    if not isinstance(current, int):
        return Replicas(None, None, None, None, why)
    return Replicas(current, current, None, None, f"of the HPA's status; {why}")


def from_file(path: Path, name: str | None, replicas: int | None) -> tuple[dict[str, Any], Replicas]:
    """Return an HPA's object from a YAML file, with the replicas that were given, all of them ready.

    Raises:
        ExplainError: The file cannot be read, or does not hold one such HPA.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ExplainError(f"{path}: must be at most 1 MiB")
        documents = list(yaml.safe_load_all(content))
    except OSError as error:
        raise ExplainError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        raise ExplainError(f"{path}{f':{place.line + 1}' if place else ''}: not valid YAML") from None
    objects = [item for each in documents if isinstance(each, dict) for item in _listed(each)]
    found = [each for each in objects if each.get("kind") == "HorizontalPodAutoscaler"]
    names = [str((each.get("metadata") or {}).get("name", "")) for each in found]
    if name is not None:
        found = [each for each, its in zip(found, names, strict=True) if its == name]
    if len(found) != 1:
        wanted = "one HorizontalPodAutoscaler" if name is None else f"one HorizontalPodAutoscaler {name}"
        has = f"; it has {', '.join(names)}: say which with --hpa" if names else ""
        raise ExplainError(f"{path}: must hold {wanted}, got {len(found)}{has}")
    if replicas is not None:
        return found[0], Replicas(replicas, replicas, replicas, replicas, "as given")
    known = from_status(found[0], "say --replicas N")
    return found[0], known if known.asked is None else replace(known, source="of the status in the file")


def _listed(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a document: of a List, as kubectl writes it, those in it."""
    items = document.get("items")
    if document.get("kind") != "List" or not isinstance(items, list):
        return [document]
    return [item for item in items if isinstance(item, dict)]
