"""From pods and EndpointSlices to the pages to read. Pure.

A pod is a target from when it was first Ready until it is gone. Losing readiness under load must not remove its
traffic, nor must terminating: both would make a sum smaller than what is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapter.schema.target import Target
from scaler.model import labels_of

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """How a pod becomes a URL. `port` is a number or the name of a container's or a slice's port."""

    port: int | str
    path: str = "/metrics"
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the cluster gave.

    `ready` are the identities that have been Ready: hand it to the next look. `problems` name what should be a target
    and cannot be one: while there is any, the set is not known.
    """

    targets: tuple[Target, ...]
    ready: frozenset[str]
    problems: tuple[str, ...] = ()


def from_pods(pods: Iterable[Object], template: Template, ready_before: frozenset[str]) -> Found:
    """Return the targets among the pods a selector matches."""
    targets: list[Target] = []
    ready: set[str] = set()
    problems: list[str] = []
    for pod in pods:
        uid = str(_at(pod, "metadata", "uid") or "")
        if _at(pod, "status", "phase") in ("Succeeded", "Failed"):
            continue
        if uid not in ready_before and not _was_ready(pod):
            continue
        ready.add(uid)
        name, address = _at(pod, "metadata", "name"), _at(pod, "status", "podIP")
        if not address:
            continue  # between sandboxes: it serves nobody
        port = _container_port(pod, template.port)
        if port is None:
            problems.append(f"pod {name} has no port named {template.port}")
            continue
        labels = {"pod": name, "node": _at(pod, "spec", "nodeName") or ""}
        targets.append(_target(str(name), str(address), port, template, labels, _started_ms(pod)))
    return Found(_one_a_url(targets), frozenset(ready), tuple(sorted(problems)))


def _one_a_url(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Drop what an address stood for before: a pod that lingers beside the one that has its address now."""
    newest: dict[str, Target] = {}
    for target in sorted(targets, key=lambda target: (target.started_ms or 0, target.name)):
        newest[target.url] = target
    return tuple(sorted(newest.values(), key=lambda target: target.name))


def from_slices(slices: Iterable[Object], template: Template, ready_before: frozenset[str]) -> Found:
    """Return the targets among a Service's EndpointSlices.

    An address in several slices (they overlap while the controller moves endpoints) is one target.
    """
    targets: dict[str, Target] = {}
    ready: set[str] = set()
    problems: set[str] = set()
    # A dual-stack Service has its pods twice, once a family; a pod is one target, by its IPv4 address if it has one.
    for piece in sorted(slices, key=lambda piece: str(_at(piece, "addressType")) != "IPv6"):
        port = _slice_port(_at(piece, "ports") or (), template.port)
        for endpoint in _at(piece, "endpoints") or ():
            for address in _at(endpoint, "addresses") or ():
                identity = str(_at(endpoint, "targetRef", "uid") or address)
                if identity not in ready_before and not _endpoint_ready(endpoint):
                    continue
                ready.add(identity)
                if port is None:
                    problems.add(f"the Service has no port {template.port}")
                    continue
                pod = _at(endpoint, "targetRef", "name") if _at(endpoint, "targetRef", "kind") == "Pod" else None
                labels = {"pod": pod or "", "node": _at(endpoint, "nodeName") or ""}
                targets[identity] = _target(str(pod or address), str(address), port, template, labels, None)
    return Found(_one_a_url(targets.values()), frozenset(ready), tuple(sorted(problems)))


def _target(
    name: str, address: str, port: int, template: Template, labels: Mapping[str, str], started_ms: int | None
) -> Target:
    host = f"[{address}]" if ":" in address else address
    path = template.path if template.path.startswith("/") else f"/{template.path}"
    labels = {**labels, "instance": f"{host}:{port}"}
    kept = labels_of({label: value for label, value in labels.items() if value})
    return Target(f"{name} ({host}:{port})", f"{template.scheme}://{host}:{port}{path}", kept, started_ms)


def _was_ready(pod: Object) -> bool:
    """Tell whether a pod is Ready, or has been and lost it.

    One that has never been Ready is False since it was made; one that lost it has changed since its containers began.
    """
    for condition in _at(pod, "status", "conditions") or ():
        if condition.get("type") == "Ready":
            if condition.get("status") == "True":
                return True
            changed_ms = _time_ms(condition.get("lastTransitionTime"))
            started_ms = max(_container_starts_ms(pod), default=_time_ms(_at(pod, "status", "startTime")))
            return changed_ms is not None and started_ms is not None and changed_ms > started_ms + 1_000
    return False


def _endpoint_ready(endpoint: Object) -> bool:
    """Tell whether an endpoint takes traffic, or would but for being asked to stop. Absent conditions mean yes."""
    ready, serving = _at(endpoint, "conditions", "ready"), _at(endpoint, "conditions", "serving")
    return ready is not False or serving is True


def _container_port(pod: Object, wanted: int | str) -> int | None:
    if isinstance(wanted, int):
        return wanted
    for container in _containers(pod):
        for port in container.get("ports") or ():
            if port.get("name") == wanted and port.get("protocol", "TCP") == "TCP":
                return int(port["containerPort"])
    return None


def _containers(pod: Object) -> Iterator[Object]:
    yield from _at(pod, "spec", "containers") or ()
    yield from _at(pod, "spec", "initContainers") or ()  # a sidecar is an init container that keeps running


def _slice_port(ports: Sequence[Object], wanted: int | str) -> int | None:
    if isinstance(wanted, int):
        return wanted
    return next((int(port["port"]) for port in ports if port.get("name") == wanted and port.get("port")), None)


def _started_ms(pod: Object) -> int | None:
    """Return when the pod's oldest running container started, or the pod itself.

    Not the newest: a sidecar that starts again says nothing of when the application began to count.
    """
    started = list(_container_starts_ms(pod))
    return min(started) if started else _time_ms(_at(pod, "status", "startTime"))


def _container_starts_ms(pod: Object) -> Iterator[int]:
    for status in _at(pod, "status", "containerStatuses") or ():
        moment = _time_ms(_at(status, "state", "running", "startedAt"))
        if moment is not None:
            yield moment


def _time_ms(text: object) -> int | None:
    if not isinstance(text, str):
        return None
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return None


def _at(value: Any, *path: str) -> Any:
    """Return what is at a path of keys, or None."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
