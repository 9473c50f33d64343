"""A copy of a collection, and what each line of a watch makes of it. Pure."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from adapter.kube.errors import from_status, malformed

Key = tuple[str, str]
"""(namespace, name). The namespace of a cluster-scoped object is ""."""

Object = dict[str, Any]
"""One object as JSON, always with kind and apiVersion. Shared by reference: never change one."""

Keep = Callable[[Object], Object]

UNBOUNDED = sys.maxsize

_NONE: Mapping[Key, Object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class State:
    """A copy of a collection at one moment.

    Attributes:
        objects: By key; read-only.
        version: The resourceVersion to go on from; "" when the next step is a list.
        synced: A complete list has been seen. Until then `objects` is empty, and that means nothing.
        left_out: At least so many objects are not in it, because there was no room for more.
    """

    objects: Mapping[Key, Object] = field(default_factory=lambda: _NONE)
    version: str = ""
    synced: bool = False
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What has become of a collection. An object replaced by another of its name is modified: compare metadata.uid."""

    state: State
    added: frozenset[Key]
    modified: frozenset[Key]
    removed: frozenset[Key]

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.removed)


@dataclass(frozen=True, slots=True)
class Listed:
    """A complete list, but for so many objects that there was no room for."""

    objects: Mapping[Key, Object]
    version: str
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """ADDED or MODIFIED: the object is now this."""

    key: Key
    object: Object
    version: str


@dataclass(frozen=True, slots=True)
class Removed:
    """DELETED, or no longer matched by the selector."""

    key: Key
    version: str


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to this version has been sent."""

    version: str


@dataclass(frozen=True, slots=True)
class Expired:
    """410: what happened since our version is no longer known."""


Event = Listed | Stored | Removed | Bookmark | Expired


def reduce(state: State, event: Event) -> State:
    """Return the state after an event. Only a complete list and a deletion take objects away."""
    return apply(state, (event,))


def within(objects: dict[Key, Object], known: Mapping[Key, Object], most: int) -> tuple[dict[Key, Object], int]:
    """Return as many objects as there is room for, those known first, and how many are left out."""
    if len(objects) <= most:
        return objects, 0
    chosen = sorted(objects, key=lambda key: (key not in known, key))[:most]
    return {key: objects[key] for key in chosen}, len(objects) - most


def apply(state: State, events: Iterable[Event], most: int = UNBOUNDED) -> State:
    """Return the state after all events, as `reduce` one by one would, with one copy and at most so many objects.

    An object that there is no room for stays away until the next list, also if others go: it is no news to a watch.
    """
    objects: dict[Key, Object] | None = None
    version, synced, left_out = state.version, state.synced, state.left_out
    for event in events:
        match event:
            case Listed():
                before = state.objects if objects is None else objects
                objects = {key: _same(before.get(key), found) for key, found in event.objects.items()}
                version, synced, left_out = event.version, True, event.left_out
            case Stored():
                objects = dict(state.objects) if objects is None else objects
                if event.key in objects or len(objects) < most:
                    objects[event.key] = event.object
                else:
                    left_out = max(left_out, 1)
                version = event.version
            case Removed():
                objects = dict(state.objects) if objects is None else objects
                objects.pop(event.key, None)
                version = event.version
            case Bookmark():
                version = event.version
            case Expired():
                version = ""
    return State(state.objects if objects is None else MappingProxyType(objects), version, synced, left_out)


def change(before: State, after: State, events: Iterable[Event]) -> Change:
    """Return what these events, which led from one state to the other, have changed."""
    touched: set[Key] = set()
    for event in events:
        if isinstance(event, Listed):
            touched = before.objects.keys() | after.objects.keys()
            break
        if isinstance(event, Stored | Removed):
            touched.add(event.key)
    added, modified, removed = set(), set(), set()
    for key in touched:
        old, new = before.objects.get(key), after.objects.get(key)
        if old is None and new is not None:
            added.add(key)
        elif old is not None and new is None:
            removed.add(key)
        elif old != new:
            modified.add(key)
    return Change(after, frozenset(added), frozenset(modified), frozenset(removed))


def parse_line(line: bytes, keep: Keep) -> Event:
    """Return the event of one line of a watch.

    Raises:
        KubeError: An ERROR line other than 410, or one that no Kubernetes API sends.
    """
    try:
        event = json.loads(line)
        kind, found = event["type"], event["object"]
        if kind == "ERROR":
            return _error(found)
        version = _text(found["metadata"]["resourceVersion"])
        if kind == "BOOKMARK":
            return Bookmark(version)
        key = key_of(found)
        if kind in ("ADDED", "MODIFIED"):
            return Stored(key, keep(found), version)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise malformed("a watch event that makes no sense") from None
    if kind == "DELETED":
        return Removed(key, version)
    raise malformed("a watch event of an unknown type")


def parse_page(answer: Mapping[str, Any], keep: Keep) -> tuple[Listed, str]:
    """Return what one page of a list has, and the token of the next page, or "".

    Raises:
        KubeError: It is not a list.
    """
    try:
        metadata, items = answer["metadata"], answer["items"]
        version = _text(metadata["resourceVersion"])
        # Items of built-in types come without: the list says it for them.
        kind, api_version = answer["kind"].removesuffix("List"), answer["apiVersion"]
        objects = {
            key_of(item): keep({"kind": kind, "apiVersion": api_version, **item})
            for item in items or ()  # Go writes null for none
        }
        token = _text(metadata.get("continue") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise malformed("a list that makes no sense") from None
    return Listed(objects, version), token


def key_of(found: Mapping[str, Any]) -> Key:
    """Return an object's key.

    Raises:
        KeyError, TypeError, AttributeError: It has none.
    """
    metadata = found["metadata"]
    return _text(metadata.get("namespace", "")), _text(metadata["name"])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def without_managed_fields(found: Object) -> Object:
    """Return an object less metadata.managedFields, which is half of it and of interest to nobody here."""
    metadata = found["metadata"]
    if "managedFields" not in metadata:
        return found
    return {**found, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


def _same(old: Object | None, new: Object) -> Object:
    """Return the old one where both are equal, so that who holds it by reference sees no change."""
    return old if old is not None and old == new else new


def _error(status: object) -> Expired:
    if not isinstance(status, dict):
        raise malformed("an error that makes no sense")
    error = from_status(status)
    if error.code == 410:
        return Expired()
    raise error
