"""What is asked of one Redis server, and where each answer goes. Pure.

A reading that two metrics share is asked once: an order lists the distinct readings of all metrics, its slots, and a
plan is made of the commands that fill some or all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from adapter.sources.redis_wanted import Depth, Group, InFlight, Key, Nothing, Slot, Waiting
from adapter.sources.resp import PreparedCommands, encode, prepare
from scaler.model import I64, Labels, Layout, MetricRef, Unknown

COMMANDS: Mapping[str, str] = {"list": "LLEN", "set": "SCARD", "sorted set": "ZCARD", "hash": "HLEN"}
"""The type of a key → the command that counts it."""

SeriesOfMetric = tuple[tuple[Labels, Slot], ...]


@dataclass(frozen=True, eq=False, slots=True)
class MetricPlan:
    """The series of a metric, and the slot of each, shape (len(layout),)."""

    ref: MetricRef
    layout: Layout
    slots: I64


@dataclass(frozen=True, eq=False, slots=True)
class Order:
    """Everything one read is to bring.

    Args:
        slots: The distinct readings; depths first, then those of groups, then nothings.
        metrics: The metrics whose series are known.
        unknown: The metrics whose series are not, and why.
    """

    slots: tuple[Slot, ...]
    metrics: tuple[MetricPlan, ...]
    unknown: tuple[tuple[MetricRef, Unknown], ...] = ()


def order_of(metrics: Mapping[MetricRef, SeriesOfMetric | Unknown], before: Order | None = None) -> Order:
    """Return the order that brings all of these. A metric that has the series it had `before` keeps its Layout."""
    slots = dict.fromkeys(slot for series in metrics.values() if not isinstance(series, Unknown) for _, slot in series)
    ordered = sorted(slots, key=_rank)
    index = {slot: i for i, slot in enumerate(ordered)}
    layouts = {} if before is None else {metric.ref: metric.layout for metric in before.metrics}
    plans, unknown = [], []
    for ref, series in metrics.items():
        if isinstance(series, Unknown):
            unknown.append((ref, series))
        else:
            plans.append(_metric_plan(ref, series, index, layouts.get(ref)))
    return Order(tuple(ordered), tuple(plans), tuple(unknown))


def _rank(slot: Slot) -> int:
    return 0 if isinstance(slot, Depth) else 2 if isinstance(slot, Nothing) else 1


def _metric_plan(ref: MetricRef, series: SeriesOfMetric, index: Mapping[Slot, int], kept: Layout | None) -> MetricPlan:
    labels = tuple(labels for labels, _ in series)
    layout = kept if kept is not None and kept.series == labels else Layout(labels)
    return MetricPlan(ref, layout, np.array([index[slot] for _, slot in series], dtype=np.int64))


class Count(NamedTuple):
    """A command answered by an integer."""

    command: str
    key: Key
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

    stream: Key
    groups: tuple[GroupPlan, ...]


@dataclass(frozen=True, eq=False, slots=True)
class ReadPlan:
    """Everything one read asks of a server, in order: `counts`, one command each, then `streams`, two commands each.

    Args:
        slots: The readings; depths first.
        chunks: The commands.
        asking: They are for keys that the server is only taking over.
        counts: What each of the first commands counts.
        depths: The depths among the slots.
        depth_counts: Index into `counts` of the command that fills each depth slot, shape (len(depths),).
        guarded: Indices of the depth slots for which a missing key is unknown.
        guard_counts: Index into `counts` of the EXISTS of each of `guarded`.
        streams: The streams.
        nothings: The slots that are zero without a question.
    """

    slots: tuple[Slot, ...]
    chunks: PreparedCommands
    asking: bool
    counts: tuple[Count, ...]
    depths: tuple[Depth, ...]
    depth_counts: I64
    guarded: I64
    guard_counts: I64
    streams: tuple[StreamPlan, ...]
    nothings: I64


def read_plan(slots: Sequence[Slot], *, asking: bool = False) -> ReadPlan:
    """Return the plan that fills these slots in one go. Depths come first among them."""
    depths = tuple(slot for slot in slots if isinstance(slot, Depth))
    groups = dict.fromkeys(slot.group for slot in slots if isinstance(slot, Waiting | InFlight))
    index = {slot: i for i, slot in enumerate(slots)}

    counts: dict[Count, int] = {}
    guarded = [i for i, depth in enumerate(depths) if not depth.missing_is_zero]
    # EXISTS before the count: a key created in between is then never taken for a missing one.
    guards = [counts.setdefault(Count("EXISTS", depths[i].key, ""), len(counts)) for i in guarded]
    sizes = [counts.setdefault(Count(COMMANDS[d.type], d.key, d.type), len(counts)) for d in depths]

    by_stream: dict[Key, list[GroupPlan]] = {}
    for group in groups:
        name = group.name.encode("utf-8", "surrogatepass")
        plan = GroupPlan(group, name, index.get(Waiting(group), -1), index.get(InFlight(group), -1))
        by_stream.setdefault(group.stream, []).append(plan)
    streams = tuple(StreamPlan(stream, tuple(plans)) for stream, plans in by_stream.items())

    return ReadPlan(
        slots=tuple(slots),
        chunks=prepare(_units(counts, streams), asking=asking),
        asking=asking,
        counts=tuple(counts),
        depths=depths,
        depth_counts=np.array(sizes, dtype=np.int64),
        guarded=np.array(guarded, dtype=np.int64),
        guard_counts=np.array(guards, dtype=np.int64),
        streams=streams,
        nothings=np.array([i for i, slot in enumerate(slots) if isinstance(slot, Nothing)], dtype=np.int64),
    )


def _units(counts: Iterable[Count], streams: Iterable[StreamPlan]) -> Iterable[list[bytes]]:
    for count in counts:
        yield [encode(count.command, count.key)]
    for plan in streams:
        # XLEN last: an entry added in between must not make the lag look larger than the stream.
        yield [encode("XINFO", "GROUPS", plan.stream), encode("XLEN", plan.stream)]


def slot_key(slot: Slot) -> Key | None:
    """Return the key that a reading is of; None if of none."""
    match slot:
        case Depth(key=key):
            return key
        case Waiting(group=group) | InFlight(group=group):
            return group.stream
        case Nothing():
            return None
