"""One queue of a Redis: the part of the ExternalMetric schema below `spec.source.redis.queues`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from adapter.schema.redis_glob import glob_problem, parse_glob, parse_template
from adapter.schema.strict import Path, Strict, cel
from adapter.schema.text import SeriesLabels, Text

RedisKey = Annotated[str, Text("must be the name of a key")]


class RedisQueue(Strict):
    """One queue, or all that match a glob: exactly one of list, set, sortedSet, hash, stream and glob is set."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "[has(self.list), has(self.set), has(self.sortedSet), has(self.hash), has(self.stream), "
                    "has(self.glob)].filter(x, x).size() == 1"
                ),
                "must have exactly one of list, set, sortedSet, hash, stream and glob",
            ),
            ("has(self.glob) || !has(self.type)", "type is for glob"),
            (
                "(has(self.stream) || (has(self.type) && self.type == 'stream')) == has(self.group)",
                "group is required with streams, and only with them",
            ),
            ("has(self.group) || !(has(self.count) || has(self.onMissingGroup))", "count, onMissingGroup: for streams"),
            (
                "!has(self.group) || !has(self.labels) || !('state' in self.labels)",
                "labels must not have state for a stream: it tells waiting from inFlight",
            ),
        )
    )

    list: RedisKey | None = Field(
        default=None, description="The key of a list; its depth is LLEN. This is what most job queues use."
    )
    set: RedisKey | None = Field(default=None, description="The key of a set; its depth is SCARD.")
    sorted_set: RedisKey | None = Field(
        default=None, description="The key of a sorted set, such as delayed jobs; its depth is ZCARD."
    )
    hash: RedisKey | None = Field(default=None, description="The key of a hash; its depth is HLEN.")
    stream: RedisKey | None = Field(
        default=None, description="The key of a stream; its depth is what `group` has still to do."
    )
    glob: Annotated[str, Text("must be a glob of keys", max_chars=256, check=glob_problem)] | None = Field(
        default=None,
        description="Every key that matches, as SCAN has it: * any bytes, ? one, [a-z] one of these, and a backslash "
        "before what is meant literally. Looked for every 30 s; a key that was seen counts as 0 for 10 minutes after "
        "it has vanished. 1 to 256 characters. Default none.",
    )
    type: Literal["list", "set", "sortedSet", "hash", "stream"] | None = Field(
        default=None,
        description="Only with glob: which of the keys are queues. Default list, what most job queues use.",
    )
    group: Annotated[str, Text("must be the name of a consumer group")] | None = Field(
        default=None,
        description="The consumer group. Required with stream, and only with it: a stream keeps what is done, so "
        "that only a group knows what is left.",
    )
    count: (
        Annotated[
            tuple[Literal["waiting", "inFlight"], ...],
            Field(strict=False, min_length=1, max_length=2, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = Field(
        default=None,
        description="Only with stream: which entries count. waiting: not yet delivered to the group (its lag). "
        "inFlight: delivered and not yet acknowledged. Each is a series of its own with the label state. Default "
        "both: a worker busy with an entry is still needed.",
    )
    labels: SeriesLabels | None = Field(
        default=None,
        description="The labels of the queue's series, at most 32, which HPA selectors and aggregate.by see. A name "
        "is [a-zA-Z_][a-zA-Z0-9_]* or a Kubernetes label key, the only names a selector can hold. A selector holds "
        'values of at most 63 letters, digits, "-", "_" and ".": give a label where a key has ":" or "{}". '
        "Default queue=<key>, for a stream also group=<group>. With glob, $1 is what the first wildcard stands for, $2 "
        "the second, $0 the key, $$ a dollar.",
    )
    on_missing: Literal["zero", "unknown"] | None = Field(
        default=None,
        description="What it means that the key does not exist, or that no key matches the glob. Default: onMissing of "
        "the source.",
    )
    on_missing_group: Literal["all", "unknown"] | None = Field(
        default=None,
        description="Only with stream: what it means that the group does not exist. Default: onMissingGroup of the "
        "source.",
    )

    @property
    def kind(self) -> str:
        """What the key is, or the keys are: list, set, sortedSet, hash or stream."""
        if self.glob is not None:
            return self.type or "list"
        kinds = {"list": self.list, "set": self.set, "sortedSet": self.sorted_set, "hash": self.hash}
        return next((kind for kind, key in kinds.items() if key is not None), "stream")

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """One key or glob; what is for streams is with a stream, what is for globs with a glob."""
        keys = {
            "list": self.list,
            "set": self.set,
            "sortedSet": self.sorted_set,
            "hash": self.hash,
            "stream": self.stream,
            "glob": self.glob,
        }
        chosen = [name for name, key in keys.items() if key is not None or name in unread]
        if len(chosen) > 1:
            yield (), f"must name one of list, set, sortedSet, hash, stream and glob, got {' and '.join(chosen)}"
        if not chosen and unread <= type(self).names():
            yield (), "must name one of list, set, sortedSet, hash, stream and glob"
        if chosen and "glob" not in chosen and (self.type is not None or "type" in unread):
            yield ("type",), f"must not be set for a {chosen[0]}: it is for glob"
        if chosen and not ("glob" in chosen and "type" in unread):
            kind = (self.type or "list") if "glob" in chosen else chosen[0]
            yield from self._of_streams("stream" if "stream" in chosen else kind, unread)
        if self.glob is not None and "labels" not in unread:
            yield from self._templates(self.glob)

    def _of_streams(self, kind: str, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        if kind == "stream":
            if self.group is None and "group" not in unread:
                yield ("group",), "is required with stream"
            if self.count is not None and len({*self.count}) < len(self.count):
                yield ("count",), "must not name the same state twice"
            if self.labels is not None and "state" in self.labels:
                yield ("labels", "state"), "must not be set for a stream: it tells waiting from inFlight"
            return
        for name, value in (("group", self.group), ("count", self.count), ("onMissingGroup", self.on_missing_group)):
            if value is not None or name in unread:
                yield (name,), f"must not be set for a {kind}: it is for streams"

    def _templates(self, glob: str) -> Iterator[tuple[Path, str]]:
        for name, value in (self.labels or {}).items():
            try:
                parse_template(value, len(parse_glob(glob).wildcards))
            except ValueError as exc:
                yield ("labels", name), str(exc)
