"""What the API stores: objects with versions, and the history that watches are served from. Used from any thread."""

from __future__ import annotations

import base64
import copy
import json
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.kube_kinds import BUILT_IN, Key, Kind, Selection, check_name, defined_by, key_of, no_kind
from tests.kube_schema import causes, defaulted, pruned
from tests.kube_status import (
    Cause,
    Object,
    StatusError,
    already_exists,
    bad_request,
    conflict,
    expired,
    invalid,
    not_found,
)

Validator = Callable[[Object], list[Cause]]

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter."
)


class Write(NamedTuple):
    """One moment of history: what an object was before and after."""

    version: int
    kind: str
    before: Object | None
    after: Object | None


class Page(NamedTuple):
    """Part of a list."""

    items: list[Object]
    version: int
    token: str
    remaining: int


class Store:
    """All collections, with one counter of versions for all, as etcd has it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.version = 259
        self.oldest = 260
        self.kinds = {kind.name: kind for kind in BUILT_IN}
        self.validators: dict[str, Validator] = {}
        self.on_write: Callable[[], None] = lambda: None
        self._objects: dict[str, dict[Key, Object]] = {}
        self._history: list[Write] = []

    def kind_of(self, obj: Object) -> Kind:
        """Return the kind of an object by its apiVersion and kind."""
        for kind in self.kinds.values():
            if (kind.api_version, kind.kind) == (obj.get("apiVersion"), obj.get("kind")):
                return kind
        raise no_kind(obj.get("apiVersion", ""), obj.get("kind", ""))

    def get(self, kind: Kind, key: Key) -> Object:
        with self.lock:
            found = self._objects.get(kind.name, {}).get(key)
            if found is None:
                raise not_found(kind.plural, kind.group, key[1])
            return copy.deepcopy(found)

    def create(self, kind: Kind, obj: Object, manager: str = "unknown") -> tuple[Object, list[str]]:
        """Store a new object. Returns it and the paths of fields that were pruned."""
        with self.lock:
            obj = {"kind": kind.kind, "apiVersion": kind.api_version, **copy.deepcopy(obj)}
            metadata = obj.setdefault("metadata", {})
            if not metadata.get("name") and metadata.get("generateName"):
                metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
            key = key_of(kind, obj)
            check_name(kind, key[1])
            if key in self._objects.get(kind.name, {}):
                raise already_exists(kind.plural, kind.group, key[1])
            if kind.status and kind.custom:
                obj.pop("status", None)
            obj, lost = self._valid(kind, obj)
            now = _now()
            obj["metadata"] = _ordered(
                {**obj["metadata"], "uid": str(uuid.uuid4()), "creationTimestamp": now}
                | ({"generation": 1} if kind.generations else {})
                | {"managedFields": [_managed(kind, obj, manager, now)]}
            )
            return self._write(kind, key, None, obj), lost

    def update(
        self, kind: Kind, key: Key, obj: Object, subresource: str = "", manager: str = "unknown"
    ) -> tuple[Object, list[str]]:
        """Replace an object's spec, or with subresource "status" its status, if it is still the version given."""
        with self.lock:
            old = self.get(kind, key)
            given = obj.get("metadata", {})
            if given.get("name", key[1]) != key[1]:
                raise bad_request(
                    f"the name of the object ({given['name']}) does not match the name on the URL ({key[1]})"
                )
            if given.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
                raise conflict(kind.plural, kind.group, key[1])
            if given.get("uid") not in (None, "", old["metadata"]["uid"]):
                uids = f"UID in precondition: {given['uid']}, UID in object meta: {old['metadata']['uid']}"
                raise conflict(kind.plural, kind.group, key[1], f"Precondition failed: {uids}")
            return self._replace(kind, key, old, copy.deepcopy(obj), subresource, manager)

    def put(self, kind: Kind, obj: Object) -> Object:
        """Store an object as it is, status and all, new or not."""
        with self.lock:
            key = key_of(kind, obj)
            old = self._objects.get(kind.name, {}).get(key)
            if old is None:
                status = obj.get("status")
                made, _ = self.create(kind, obj)
                return made if status is None or "status" in made else self.put(kind, {**made, "status": status})
            system = ("uid", "creationTimestamp", "generation", "managedFields")
            kept = {name: old["metadata"][name] for name in system if name in old["metadata"]}
            new = {**copy.deepcopy(obj), "metadata": {**kept, **copy.deepcopy(obj["metadata"])}}
            new, _ = self._valid(kind, new)
            if kind.generations and _spec(new) != _spec(old):
                new["metadata"]["generation"] = old["metadata"]["generation"] + 1
            return self._write(kind, key, old, new)

    def delete(self, kind: Kind, key: Key, preconditions: Object | None = None) -> Object:
        """Remove an object, or mark it where it has finalizers. Returns what it was."""
        with self.lock:
            old = self.get(kind, key)
            for name in ("uid", "resourceVersion"):
                if (preconditions or {}).get(name) not in (None, old["metadata"][name]):
                    raise conflict(kind.plural, kind.group, key[1], f"Precondition failed: {name} differs")
            if old["metadata"].get("finalizers"):
                marked = copy.deepcopy(old)
                marked["metadata"].setdefault("deletionTimestamp", _now())
                return self._write(kind, key, old, marked)
            self._write(kind, key, old, None)
            if kind.plural == "customresourcedefinitions":
                gone = defined_by(old)
                for theirs in list(self._objects.get(gone.name, {})):
                    self.delete(gone, theirs)
                self.kinds.pop(gone.name, None)
            return old

    def page(self, selection: Selection, limit: int = 0, token: str = "") -> Page:
        """Return a list, or as much of it as `limit` allows, all of it as it was at one version."""
        with self.lock:
            version, start = (self.version, "") if not token else _opened(token)
            if version < self.oldest - 1:
                raise expired(_TOO_OLD)
            found = self._at(selection.kind.name, version)
            rows = [(f"/{key[0]}/{key[1]}", obj) for key, obj in sorted(found.items()) if selection.takes(obj)]
            rows = [row for row in rows if row[0] >= start]
            taken = rows[:limit] if limit else rows
            more = len(rows) - len(taken)
            token = _sealed(version, taken[-1][0]) if more else ""
            return Page([copy.deepcopy(obj) for _, obj in taken], version, token, more if selection.everything else 0)

    def events(self, selection: Selection, since: int) -> tuple[list[tuple[str, Object]], int]:
        """Return what a watcher sees of the writes after a version, and the version it then has."""
        with self.lock:
            seen = []
            for write in self._history:
                if write.version <= since or write.kind != selection.kind.name:
                    continue
                was, is_now = selection.takes(write.before), selection.takes(write.after)
                if is_now and write.after is not None:
                    seen.append(("MODIFIED" if was else "ADDED", write.after))
                elif was and write.before is not None:
                    last = write.after or write.before
                    metadata = {**last["metadata"], "resourceVersion": str(write.version)}
                    seen.append(("DELETED", {**last, "metadata": metadata}))
            return seen, self.version

    def forget(self) -> None:
        """Make every version before now too old."""
        with self.lock:
            self.version += 1
            self.oldest = self.version + 1
            self.on_write()

    def _replace(
        self, kind: Kind, key: Key, old: Object, obj: Object, subresource: str, manager: str
    ) -> tuple[Object, list[str]]:
        if subresource == "status":
            new = (
                {**old, "status": obj["status"]} if "status" in obj else {n: v for n, v in old.items() if n != "status"}
            )
        else:
            theirs = {name: obj.get("metadata", {}).get(name) for name in _THEIRS}
            ours = {name: value for name, value in old["metadata"].items() if name not in _THEIRS}
            metadata = {**ours, **{name: value for name, value in theirs.items() if value}}
            new = {"kind": kind.kind, "apiVersion": kind.api_version, **obj, "metadata": metadata}
            if kind.status:
                new.pop("status", None)
                new |= {"status": old["status"]} if "status" in old else {}
        new, lost = self._valid(kind, new)
        if {**new, "metadata": _client(new)} == {**old, "metadata": _client(old)}:
            return copy.deepcopy(old), lost  # nothing changes, not even the version
        if kind.generations and _spec(new) != _spec(old):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        new["metadata"]["managedFields"] = [_managed(kind, new, manager, _now())]
        if not new["metadata"].get("finalizers") and "deletionTimestamp" in new["metadata"]:
            self._write(kind, key, old, None)
            return new, lost
        return self._write(kind, key, old, new), lost

    def _valid(self, kind: Kind, obj: Object) -> tuple[Object, list[str]]:
        lost: list[str] = []
        why: list[Cause] = []
        if kind.schema:
            obj, lost = pruned(defaulted(obj, kind.schema), kind.schema)
            why = causes(obj, kind.schema)
        if kind.plural == "apiservices":
            why = _check_apiservice(obj)
        if not why and kind.name in self.validators:
            why = self.validators[kind.name](obj)
        if why:
            raise invalid(kind.kind, kind.group, obj["metadata"].get("name", ""), why)
        return obj, lost

    def _write(self, kind: Kind, key: Key, before: Object | None, after: Object | None) -> Object:
        self.version += 1
        if after is not None:
            after["metadata"]["resourceVersion"] = str(self.version)
            after["metadata"] = _ordered(after["metadata"])
            self._objects.setdefault(kind.name, {})[key] = after
            if kind.plural == "customresourcedefinitions":
                defined = defined_by(after)
                self.kinds[defined.name] = defined
        else:
            del self._objects[kind.name][key]
        self._history.append(Write(self.version, kind.name, before, after))
        self.on_write()
        return copy.deepcopy(after or before or {})

    def _at(self, kind: str, version: int) -> dict[Key, Object]:
        """Return a collection as it was."""
        found = dict(self._objects.get(kind, {}))
        for write in reversed(self._history):
            if write.version <= version:
                break
            if write.kind == kind:
                shown = write.after or write.before or {}
                key = (shown["metadata"].get("namespace", ""), shown["metadata"]["name"])
                if write.before is None:
                    found.pop(key, None)
                else:
                    found[key] = write.before
        return found


_THEIRS = ("labels", "annotations", "finalizers", "ownerReferences")
_ORDER = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ordered(metadata: Object) -> Object:
    return {name: metadata[name] for name in _ORDER if name in metadata}


def _client(obj: Object) -> Object:
    return {name: value for name, value in obj["metadata"].items() if name in _THEIRS}


def _spec(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("metadata", "status")}


def _managed(kind: Kind, obj: Object, manager: str, now: str) -> Object:
    fields: Object = {f"f:{name}": {} for name in obj if name not in ("apiVersion", "kind", "metadata")}
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": kind.api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def _check_apiservice(obj: Object) -> list[Cause]:
    """Leave out what Go leaves out, and return what is wrong."""
    spec = obj["spec"]
    if not spec.get("insecureSkipTLSVerify"):
        spec.pop("insecureSkipTLSVerify", None)
    elif spec.get("caBundle"):
        text = "Invalid value: true: may not be true if caBundle is present"
        return [Cause("FieldValueInvalid", text, "spec.insecureSkipTLSVerify")]
    return []


def _sealed(version: int, after: str) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": after + "\0"}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _opened(token: str) -> tuple[int, str]:
    try:
        found: Any = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return found["rv"], found["start"]
    except (ValueError, KeyError, TypeError):
        text = "invalid character '\\x81' looking for beginning of value"
        raise StatusError(400, "BadRequest", f"invalid continue token: continue key is not valid: {text}") from None
