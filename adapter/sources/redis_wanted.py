"""What metrics want of a Redis: series, the reading behind each, and globs whose series are yet to be found. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from adapter.schema.model import RedisQueue, RedisSource
from adapter.schema.redis_glob import Template, fill, parse_glob, parse_template
from scaler.model import Labels, MetricRef, labels_of

Key: TypeAlias = str | bytes
"""A key, or bytes where it is no UTF-8."""

_TYPES = {"sortedSet": "sorted set"}


@dataclass(frozen=True, slots=True)
class Depth:
    """How many elements a list, set, sorted set or hash has."""

    type: str
    key: Key
    missing_is_zero: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group of a stream, and what its absence means."""

    stream: Key
    name: str
    missing_stream_is_empty: bool
    missing_group_waits_for_all: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many entries a group has yet to be given: its lag."""

    group: Group


@dataclass(frozen=True, slots=True)
class InFlight:
    """How many entries a group was given and has not acknowledged: its pending entries list."""

    group: Group


@dataclass(frozen=True, slots=True)
class Nothing:
    """The zero of a glob that matches no key. It is not asked for."""


Slot: TypeAlias = Depth | Waiting | InFlight | Nothing
"""A distinct reading."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue but for its key. `type` as in Depth, or stream; the rest as in Group; `states` are those counted."""

    type: str
    missing_is_zero: bool
    group: str = ""
    missing_group_waits_for_all: bool = False
    states: tuple[str, ...] = ()

    def slots(self, key: Key) -> Iterator[tuple[str, Slot]]:
        """Yield the state ("" but for streams) and the reading of each series."""
        if self.type != "stream":
            yield "", Depth(self.type, key, self.missing_is_zero)
            return
        group = Group(key, self.group, self.missing_is_zero, self.missing_group_waits_for_all)
        for state in self.states:
            yield state, Waiting(group) if state == "waiting" else InFlight(group)

    def labelled(self, labels: Mapping[str, str], state: str) -> Labels:
        """Return the labels of one series."""
        return labels_of({**labels, "state": state} if state else labels)


class Pattern(NamedTuple):
    """What is looked for: keys of one type that match a glob."""

    glob: str
    type: str


@dataclass(frozen=True, slots=True)
class GlobQueue:
    """Every key that matches is a queue. `labels` has a template for each; None: those of a queue that has none.

    `none_is_zero`: that no key matches means that nothing waits.
    """

    pattern: Pattern
    queue: Queue
    labels: tuple[tuple[str, Template], ...] | None
    none_is_zero: bool

    def series(self, raw: bytes) -> Iterator[tuple[Labels, Slot]] | None:
        """Return labels and reading of each series of a key; None if the key does not match."""
        parts = parse_glob(self.pattern.glob).match(raw)
        if parts is None:
            return None
        labels = self._labels(shown(raw), [shown(part) for part in parts])
        return ((self.queue.labelled(labels, state), slot) for state, slot in self.queue.slots(key_of(raw)))

    def placeholders(self) -> Iterator[Labels]:
        """Return the labels of what stands in where no key matches: as if the glob were the key."""
        return self._labelled(self.pattern.glob, parse_glob(self.pattern.glob).wildcards)

    def sample(self) -> Iterator[Labels]:
        """Return the labels of a key in which each wildcard stands for "0"."""
        glob = parse_glob(self.pattern.glob)
        key = self.pattern.glob
        for wildcard in glob.wildcards:
            key = key.replace(wildcard, "0", 1)
        return self._labelled(key, ["0"] * len(glob.wildcards))

    def _labelled(self, key: str, parts: Sequence[str]) -> Iterator[Labels]:
        labels = self._labels(key, parts)
        return (self.queue.labelled(labels, state) for state in self.queue.states or ("",))

    def _labels(self, key: str, parts: Sequence[str]) -> dict[str, str]:
        if self.labels is None:
            return _own_labels(key, self.queue)
        return {name: fill(template, key, parts) for name, template in self.labels}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The series of one metric: those known from the start, and those that globs will find, at most so many."""

    ref: MetricRef
    series: tuple[tuple[Labels, Slot], ...]
    globs: tuple[GlobQueue, ...] = ()
    max_series: int = 10_000


def key_of(raw: bytes) -> Key:
    """Return a key as a configuration would name it, if it can."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def shown(raw: bytes) -> str:
    """Return a key, or a part of one, for a label."""
    return raw.decode("utf-8", "backslashreplace")


def quoted(name: Key) -> str:
    """Return a key or group for a message: in quotes, escaped, not endless."""
    text = shown(name) if isinstance(name, bytes) else name
    return json.dumps(text if len(text) <= 100 else text[:100] + "…", ensure_ascii=False)


def series_of(queue: RedisQueue) -> list[Labels]:
    """Return the labels of the series a queue gives: one, or for a stream one for each of waiting and inFlight.

    Of a glob: those of the series that stand in where no key matches.
    """
    if queue.glob is not None:
        return list(_glob(queue, None, "unknown").placeholders())
    return [labels for labels, _ in _series(queue, None, "unknown")]


def sample_of(queue: RedisQueue) -> list[Labels]:
    """Return the labels of the series a queue gives, and for a glob those of some key that matches it."""
    return series_of(queue) if queue.glob is None else list(_glob(queue, None, "unknown").sample())


def wanted(ref: MetricRef, source: RedisSource, max_series: int = 10_000) -> Wanted:
    """Return what a metric reads."""
    missing = source.on_missing, source.on_missing_group
    series = [pair for queue in source.queues if queue.glob is None for pair in _series(queue, *missing)]
    globs = [_glob(queue, *missing) for queue in source.queues if queue.glob is not None]
    return Wanted(ref, tuple(series), tuple(globs), max_series)


def _series(queue: RedisQueue, on_missing: str | None, on_missing_group: str) -> list[tuple[Labels, Slot]]:
    key = queue.list or queue.set or queue.sorted_set or queue.hash or queue.stream
    if key is None:
        raise ValueError("a queue needs one of list, set, sortedSet, hash, stream and glob")
    model = _queue(queue, on_missing_group, missing_is_zero=_missing_is_zero(queue, on_missing))
    labels = _own_labels(key, model) if queue.labels is None else queue.labels
    return [(model.labelled(labels, state), slot) for state, slot in model.slots(key)]


def _glob(queue: RedisQueue, on_missing: str | None, on_missing_group: str) -> GlobQueue:
    glob = parse_glob(queue.glob or "")
    labels = None
    if queue.labels is not None:
        labels = tuple((name, parse_template(text, len(glob.wildcards))) for name, text in queue.labels.items())
    # A key that was there is a queue that has become empty, of whatever type: it was no mistake.
    model = _queue(queue, on_missing_group, missing_is_zero=True)
    return GlobQueue(Pattern(glob.pattern, model.type), model, labels, _missing_is_zero(queue, on_missing))


def _missing_is_zero(queue: RedisQueue, on_missing: str | None) -> bool:
    # A stream does not vanish when it is empty, so that a missing one is a mistake until the user says otherwise.
    default = "unknown" if queue.kind == "stream" else "zero"
    return (queue.on_missing or on_missing or default) == "zero"


def _queue(queue: RedisQueue, on_missing_group: str, *, missing_is_zero: bool) -> Queue:
    if queue.kind != "stream":
        return Queue(_TYPES.get(queue.kind, queue.kind), missing_is_zero)
    if queue.group is None:
        raise ValueError("a stream needs a group")
    waits_for_all = (queue.on_missing_group or on_missing_group) == "all"
    states = tuple(dict.fromkeys(queue.count or ("waiting", "inFlight")))
    return Queue("stream", missing_is_zero, queue.group, waits_for_all, states)


def _own_labels(key: str, queue: Queue) -> dict[str, str]:
    return {"queue": key, "group": queue.group} if queue.type == "stream" else {"queue": key}
