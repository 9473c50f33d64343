"""From what XINFO GROUPS and XLEN say of streams to how many entries wait and how many are in flight. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import hiredis

from adapter.sources.redis_lag import MAX_CHECKS, Memory, judge
from adapter.sources.redis_plan import GroupPlan, StreamPlan
from adapter.sources.redis_replies import Readings, integer, put
from adapter.sources.redis_wanted import quoted
from adapter.sources.resp import Reply, RespError
from scaler.model import Reason, Unknown

_MODERN = [b"name", b"consumers", b"pending", b"last-delivered-id", b"entries-read", b"lag"]
"""The fields of XINFO GROUPS since Redis 7.0. They are looked up where others come, or in another order."""


def fold_streams(plans: Sequence[StreamPlan], replies: Sequence[Reply], memory: Memory, out: Readings) -> None:
    """Take in the replies to XINFO GROUPS and XLEN of some streams: two a stream, in order.

    Raises:
        SourceFailureError: The server as a whole is not ready to answer.
        RespError: A reply of a kind that its command never has.
    """
    good = _Good([], [])  # written together at the end: one number at a time takes longer than all the rest
    for plan, groups, length in zip(plans, replies[::2], replies[1::2], strict=True):
        if isinstance(groups, hiredis.ReplyError):
            _without_groups(plan, groups, out)
            continue
        size = length if type(length) is int else _size(plan, length, out)
        if len(plan.groups) == 1 and isinstance(groups, list) and len(groups) == 1:  # as most have: no table is needed
            group, (fields,) = plan.groups[0], groups
            if (
                isinstance(fields, list)
                and len(fields) == 2 * len(_MODERN)
                and fields[0] == b"name"
                and fields[1] == group.name
            ):
                _fold_group(group, fields, size, memory, out, good)
                continue
        found = _by_name(groups)
        for group in plan.groups:
            fields = found.get(group.name)
            if fields is None:
                _without_group(group, size, out)
            else:
                _fold_group(group, fields, size, memory, out, good)
    out.values[good.slots] = good.numbers


class _Good(NamedTuple):
    """Slots, and what they are filled with."""

    slots: list[int]
    numbers: list[int]


def _size(plan: StreamPlan, length: Reply, out: Readings) -> int | Unknown:
    if isinstance(length, hiredis.ReplyError):
        return out.refusal(length, "XLEN", plan.stream, "stream")
    return integer(length, "XLEN")


def _by_name(groups: Reply) -> dict[bytes, list[Any]]:
    """Return the fields of each group: name, value, name, value …, of which the group's name is the first."""
    if not isinstance(groups, list):
        raise RespError("XINFO GROUPS was not answered with a list")
    found = {}
    for fields in groups:
        if not isinstance(fields, list) or len(fields) < 2 or fields[0] != b"name" or not isinstance(fields[1], bytes):
            raise RespError("XINFO GROUPS was not answered with groups")
        found[fields[1]] = fields
    return found


def _fold_group(
    plan: GroupPlan, fields: list[Any], size: int | Unknown, memory: Memory, out: Readings, good: _Good
) -> None:
    if len(fields) == 2 * len(_MODERN) and fields[::2] == _MODERN:
        pending, last_id, lag = fields[5], fields[7], fields[11]
    else:
        # Redis before 7 has no lag.
        info = dict(zip(fields[::2], fields[1::2], strict=False))
        pending, last_id, lag = info.get(b"pending"), info.get(b"last-delivered-id"), info.get(b"lag")
    if plan.in_flight_slot >= 0:
        good.slots.append(plan.in_flight_slot)
        good.numbers.append(integer(pending, "pending of XINFO GROUPS"))
    slot = plan.waiting_slot
    if slot < 0:
        return
    if isinstance(size, Unknown):
        put(out, slot, size)
        return
    # It may be nil, too.
    if type(last_id) is not bytes or (lag is not None and type(lag) is not int):
        raise RespError("XINFO GROUPS was not answered with groups")
    doubt = judge(plan.group, slot, lag, last_id, size, memory)
    if doubt is not None and (doubt.derive or lag is None or out.checks < MAX_CHECKS):
        out.checks += not doubt.derive
        out.doubts.append(doubt)
    elif lag is not None:
        good.slots.append(slot)
        good.numbers.append(lag)


def _without_groups(plan: StreamPlan, error: hiredis.ReplyError, out: Readings) -> None:
    """Fill the slots of a stream that is not there, or not to be read."""
    missing = "no such key" in str(error)
    trouble = (
        Unknown(Reason.MISSING_GROUP, f"stream {quoted(plan.stream)} does not exist")
        if missing
        else out.refusal(error, "XINFO GROUPS", plan.stream, "stream")
    )
    for group in plan.groups:
        reading = 0 if missing and group.group.missing_stream_is_empty else trouble
        put(out, group.waiting_slot, reading)
        put(out, group.in_flight_slot, reading)


def _without_group(plan: GroupPlan, size: int | Unknown, out: Readings) -> None:
    """Fill the slots of a group that its stream does not have."""
    if plan.group.missing_group_waits_for_all:
        put(out, plan.waiting_slot, size)
        put(out, plan.in_flight_slot, 0)
        return
    text = f"stream {quoted(plan.group.stream)} has no group {quoted(plan.group.name)}"
    put(out, plan.waiting_slot, Unknown(Reason.MISSING_GROUP, text))
    put(out, plan.in_flight_slot, Unknown(Reason.MISSING_GROUP, text))
