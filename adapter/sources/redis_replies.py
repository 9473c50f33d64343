"""From the replies of one read to readings: a number, why there is none, or a doubt that needs another question.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import hiredis
import numpy as np

from adapter.sources import SourceFailureError
from adapter.sources.redis_address import Server
from adapter.sources.redis_lag import Doubt
from adapter.sources.redis_plan import ReadPlan
from adapter.sources.redis_slots import Redirects, redirect_of
from adapter.sources.redis_wanted import Depth, Key, quoted
from adapter.sources.resp import Reply, RespError
from scaler.model import F64, Reason, Unknown

# Errors of the server as a whole: what it answers to one command it answers to all.
_WHOLE = {
    "NOAUTH": "the server wants a password, and none is configured",
    "WRONGPASS": "the server refuses this user and password",
    "LOADING": "the server is still reading its data into memory",
    "BUSY": "the server is busy with a script",
    "MASTERDOWN": "this replica has lost its master and does not serve old data",
    "DENIED": "the server is in protected mode: it wants a password or to be told which address to listen on",
}
_OF_ONE_KEY = {
    "MOVED": "another node of a Redis Cluster holds it, and this source reads one server: use cluster, not url",
    "ASK": "another node of a Redis Cluster is taking it over, and this source reads one server: use cluster, not url",
    "CLUSTERDOWN": "the Redis Cluster does not serve it at present",
}
_REFUSING_CLIENTS = "max number of clients reached"


@dataclass(eq=False, slots=True)
class Readings:
    """What a read has brought so far.

    Args:
        counts: One number a count command, NaN where it was refused.
        count_problems: Index into `counts` → why it was.
        values: One number a slot, NaN where there is none.
        problems: Slot → why there is none.
        doubts: Groups whose lag needs another question; their waiting slot is still open.
        checks: How many of them only to be sure.
        asked: The node of a cluster that is asked; None: a server that is no part of one, as far as we are concerned.
        redirects: The keys that this node says are elsewhere. Their slots are still to be filled.
    """

    counts: F64
    values: F64
    count_problems: dict[int, Unknown] = field(default_factory=dict)
    problems: dict[int, Unknown] = field(default_factory=dict)
    doubts: list[Doubt] = field(default_factory=list)
    checks: int = 0
    asked: Server | None = None
    redirects: Redirects = field(default_factory=dict)

    @classmethod
    def empty(cls, plan: ReadPlan, asked: Server | None = None) -> Readings:
        """Return the readings before the first reply."""
        readings = cls(np.full(len(plan.counts), np.nan), np.full(len(plan.slots), np.nan), asked=asked)
        readings.values[plan.nothings] = 0
        return readings

    def refusal(self, error: hiredis.ReplyError, command: str, key: Key, expected_type: str) -> Unknown:
        """Return why one command brought nothing; notes where else the key is, if that was said.

        Raises:
            SourceFailureError: The server as a whole is not ready to answer.
            RespError: It names an address that cannot be one.
        """
        if self.asked is not None and (redirect := redirect_of(error, self.asked)) is not None:
            self.redirects[key] = redirect
            return moving(key)
        return refusal(error, command, key, expected_type)


def error_code(error: hiredis.ReplyError) -> str:
    """Return the first word of an error reply if it is a code, else ERR."""
    code = str(error).partition(" ")[0]
    return code if code.isascii() and code.isalpha() and code.isupper() else "ERR"


def whole_failure(error: hiredis.ReplyError) -> str | None:
    """Return what is wrong with the server as a whole, or None if the error is about one command."""
    code = error_code(error)
    if code in _WHOLE:
        return f"{code}: {_WHOLE[code]}"
    return _REFUSING_CLIENTS if _REFUSING_CLIENTS in str(error) else None


def moving(key: Key) -> Unknown:
    """Return what is said of a key that one node after another says is elsewhere."""
    return Unknown(Reason.SOURCE_ERROR, f"key {quoted(key)}: the nodes of the Redis Cluster do not agree which has it")


def refusal(error: hiredis.ReplyError, command: str, key: Key, expected_type: str) -> Unknown:
    """Return why one command brought nothing.

    Raises:
        SourceFailureError: The server as a whole is not ready to answer.
    """
    if (failure := whole_failure(error)) is not None:
        raise SourceFailureError(failure)
    code, what = error_code(error), f"key {quoted(key)}"
    if code == "WRONGTYPE":
        return Unknown(Reason.WRONG_TYPE, f"WRONGTYPE: {what} is not a {expected_type}")
    if code == "NOPERM":
        command = "ASKING" if "'asking'" in str(error) else command
        return Unknown(Reason.SOURCE_ERROR, f"NOPERM: the user may not run {command} on {what}")
    if code in _OF_ONE_KEY:
        return Unknown(Reason.SOURCE_ERROR, f"{code}: {what}: {_OF_ONE_KEY[code]}")
    said = "".join(c if c.isprintable() else "?" for c in str(error)[:100])
    return Unknown(Reason.SOURCE_ERROR, f"{command} on {what}: {said}")


def fold_counts(plan: ReadPlan, first: int, replies: Sequence[Reply], out: Readings) -> None:
    """Take in the replies to the count commands from `first` on.

    Raises:
        SourceFailureError: The server as a whole is not ready to answer.
        RespError: A reply of a kind that its command never has.
    """
    if set(map(type, replies)) == {int}:
        out.counts[first : first + len(replies)] = cast("Sequence[int]", replies)
        return
    for i, reply in enumerate(replies, first):
        count = plan.counts[i]
        if isinstance(reply, hiredis.ReplyError):
            out.count_problems[i] = out.refusal(reply, count.command, count.key, count.type)
        else:
            out.counts[i] = integer(reply, count.command)


def integer(reply: Reply, command: str) -> int:
    """Return a reply that must be an integer. Raises RespError if it is not."""
    if type(reply) is not int:  # a boolean of RESP3 would pass for 1
        raise RespError(f"{command} was not answered with an integer")
    return reply


def put(out: Readings, slot: int, reading: int | Unknown) -> None:
    """Fill a slot; -1 is nobody's."""
    if slot < 0:
        return
    if isinstance(reading, Unknown):
        out.problems[slot] = reading
    else:
        out.values[slot] = reading


def fill_depths(plan: ReadPlan, out: Readings) -> None:
    """Fill the depth slots, once all counts are in."""
    depths = len(plan.depths)
    out.values[:depths] = out.counts[plan.depth_counts]
    for slot, guard in zip(plan.guarded.tolist(), plan.guard_counts.tolist(), strict=True):
        if out.values[slot] == 0 and out.counts[guard] != 1:
            out.values[slot] = np.nan
            depth = plan.depths[slot]
            out.problems[slot] = out.count_problems.get(guard) or _missing_key(depth)
    if out.count_problems:
        for slot, count in enumerate(plan.depth_counts.tolist()):
            if count in out.count_problems:
                out.problems[slot] = out.count_problems[count]


def _missing_key(depth: Depth) -> Unknown:
    return Unknown(Reason.MISSING_KEY, f"key {quoted(depth.key)} does not exist")
