"""What is asked of one Redis database, and where each answer goes. Pure.

A plan has slots: one a distinct reading (the length of a list; the waiting entries of a group). Commands fill slots,
and each series of each metric takes its value from one, so that what two metrics share is asked once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from adapter.schema.model import RedisQueue, RedisSource
from adapter.sources.resp import PreparedCommands, encode, prepare
from scaler.model import I64, Labels, Layout, MetricRef, labels_of

COMMANDS: Mapping[str, str] = {"list": "LLEN", "set": "SCARD", "sorted set": "ZCARD", "hash": "HLEN"}
"""The type of a key → the command that counts it."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How many elements a list, set, sorted set or hash has. `type` is a key of COMMANDS."""

    type: str
    key: str
    missing_is_zero: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group of a stream, and what its absence means."""

    stream: str
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


Slot: TypeAlias = Depth | Waiting | InFlight


@dataclass(frozen=True, slots=True)
class Wanted:
    """The series of one metric."""

    ref: MetricRef
    series: tuple[tuple[Labels, Slot], ...]


def quoted(name: str) -> str:
    """Return a key or group for a message: in quotes, escaped, not endless."""
    return json.dumps(name if len(name) <= 100 else name[:100] + "…", ensure_ascii=False)


def series_of(queue: RedisQueue) -> list[Labels]:
    """Return the labels of the series a queue gives: one, or for a stream one for each of waiting and inFlight."""
    return [labels for labels, _ in _series(queue, None, "unknown")]


def wanted(ref: MetricRef, source: RedisSource) -> Wanted:
    """Return what a metric reads."""
    series = [pair for queue in source.queues for pair in _series(queue, source.on_missing, source.on_missing_group)]
    return Wanted(ref, tuple(series))


def _series(queue: RedisQueue, on_missing: str | None, on_missing_group: str) -> list[tuple[Labels, Slot]]:
    on_missing = queue.on_missing or on_missing
    if queue.stream is None:
        kind, key = _typed_key(queue)
        labels = {"queue": key} if queue.labels is None else queue.labels
        return [(labels_of(labels), Depth(kind, key, missing_is_zero=on_missing != "unknown"))]
    if queue.group is None:
        raise ValueError("a stream needs a group")
    group = Group(
        queue.stream,
        queue.group,
        # A stream does not vanish when it is empty, so that a missing one is a mistake until the user says otherwise.
        missing_stream_is_empty=on_missing == "zero",
        missing_group_waits_for_all=(queue.on_missing_group or on_missing_group) == "all",
    )
    labels = {"queue": queue.stream, "group": queue.group} if queue.labels is None else queue.labels
    slots: dict[str, Callable[[Group], Slot]] = {"waiting": Waiting, "inFlight": InFlight}
    states = queue.count or ("waiting", "inFlight")
    return [(labels_of({**labels, "state": state}), slots[state](group)) for state in dict.fromkeys(states)]


def _typed_key(queue: RedisQueue) -> tuple[str, str]:
    keys = {"list": queue.list, "set": queue.set, "sorted set": queue.sorted_set, "hash": queue.hash}
    for kind, key in keys.items():
        if key is not None:
            return kind, key
    raise ValueError("a queue needs one of list, set, sortedSet, hash and stream")


class Count(NamedTuple):
    """A command answered by an integer."""

    command: str
    key: str
    type: str


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """Where the readings of a group go; -1: not wanted. `name` is the group's, as the server writes it."""

    group: Group
    name: bytes
    waiting_slot: int
    in_flight_slot: int


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """A stream and the groups wanted of it. Asked by XINFO GROUPS and XLEN, in this order."""

    stream: str
    groups: tuple[GroupPlan, ...]


@dataclass(frozen=True, eq=False, slots=True)
class MetricPlan:
    """The series of a metric, and the slot of each, shape (len(layout),)."""

    ref: MetricRef
    layout: Layout
    slots: I64


@dataclass(frozen=True, eq=False, slots=True)
class ReadPlan:
    """Everything one read asks, in order: `counts`, one command each, then `streams`, two commands each.

    Args:
        chunks: The commands.
        counts: What each of the first commands counts.
        depths: The depth slots; they come first among the slots.
        depth_counts: Index into `counts` of the command that fills each depth slot, shape (len(depths),).
        guarded: Indices of the depth slots for which a missing key is unknown.
        guard_counts: Index into `counts` of the EXISTS of each of `guarded`.
        streams: The streams.
        slot_count: Number of slots.
        metrics: The metrics.
    """

    chunks: PreparedCommands
    counts: tuple[Count, ...]
    depths: tuple[Depth, ...]
    depth_counts: I64
    guarded: I64
    guard_counts: I64
    streams: tuple[StreamPlan, ...]
    slot_count: int
    metrics: tuple[MetricPlan, ...]


def read_plan(metrics: Sequence[Wanted]) -> ReadPlan:
    """Return the plan that reads all of these in one go."""
    slots = dict.fromkeys(slot for metric in metrics for _, slot in metric.series)
    depths = tuple(slot for slot in slots if isinstance(slot, Depth))
    groups = dict.fromkeys(slot.group for slot in slots if not isinstance(slot, Depth))
    index = {slot: i for i, slot in enumerate([*depths, *(slot for slot in slots if not isinstance(slot, Depth))])}

    counts: dict[Count, int] = {}
    guarded = [i for i, depth in enumerate(depths) if not depth.missing_is_zero]
    # EXISTS before the count: a key created in between is then never taken for a missing one.
    guards = [counts.setdefault(Count("EXISTS", depths[i].key, ""), len(counts)) for i in guarded]
    sizes = [counts.setdefault(Count(COMMANDS[d.type], d.key, d.type), len(counts)) for d in depths]

    by_stream: dict[str, list[GroupPlan]] = {}
    for group in groups:
        name = group.name.encode("utf-8", "surrogatepass")
        plan = GroupPlan(group, name, index.get(Waiting(group), -1), index.get(InFlight(group), -1))
        by_stream.setdefault(group.stream, []).append(plan)
    streams = tuple(StreamPlan(stream, tuple(plans)) for stream, plans in by_stream.items())

    return ReadPlan(
        chunks=prepare(_units(counts, streams)),
        counts=tuple(counts),
        depths=depths,
        depth_counts=np.array(sizes, dtype=np.int64),
        guarded=np.array(guarded, dtype=np.int64),
        guard_counts=np.array(guards, dtype=np.int64),
        streams=streams,
        slot_count=len(index),
        metrics=tuple(_metric_plan(metric, index) for metric in metrics),
    )


def _units(counts: Iterable[Count], streams: Iterable[StreamPlan]) -> Iterable[list[bytes]]:
    for count in counts:
        yield [encode(count.command, count.key)]
    for plan in streams:
        # XLEN last: an entry added in between must not make the lag look larger than the stream.
        yield [encode("XINFO", "GROUPS", plan.stream), encode("XLEN", plan.stream)]


def _metric_plan(metric: Wanted, index: Mapping[Slot, int]) -> MetricPlan:
    layout = Layout(tuple(labels for labels, _ in metric.series))
    return MetricPlan(metric.ref, layout, np.array([index[slot] for _, slot in metric.series], dtype=np.int64))
