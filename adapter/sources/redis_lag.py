"""How many entries of a stream a consumer group has yet to be given, where XINFO GROUPS does not say it reliably. Pure.

Redis keeps no such number. It subtracts how many entries the group has read from how many were ever added, and:

- says nil where that cannot be known: after XDEL of an entry ahead of the group, or for a group created at an
  arbitrary id; Redis before 7 never says it;
- counts entries that were trimmed before the group read them, so that the lag can exceed the length of the stream;
- before 7.2.7 and 7.4.2, also counts entries as unread for good that were trimmed or deleted ahead of the group and
  that the group has passed since (https://github.com/redis/redis/pull/13338, /pull/13473). Such a lag can look
  plausible. Of a group that has stopped moving with a lag above zero it is therefore asked once whether any entry
  follows at all.

None of these makes it too small, so that a lag of zero is always right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import hiredis

from adapter.sources.redis_wanted import Group, quoted
from adapter.sources.resp import Reply, RespError, encode
from scaler.model import Reason, Unknown

MAX_ENTRIES = 1_000
MAX_BYTES = 1024 * 1024
"""How far a group's waiting entries are counted. Their fields come along: XRANGE cannot leave them out."""

MAX_STEP = 100
"""Entries asked of a stream at a time: the server serves nobody else meanwhile."""

MAX_CHECKS = 128
"""Plausible lags checked in one read; the others are checked in later ones."""


class Trust(Enum):
    """What is known of a group's lag."""

    PLAUSIBLE = 1  # the group has moved since it was last seen, or was never seen
    CHECKED = 2  # an entry does follow the last delivered one
    WRONG = 3  # none did, although lag was above zero; derive it until a count agrees with it


Memory: TypeAlias = dict[int, tuple[bytes, Trust]]
"""Waiting slot of a group → its last delivered id when it was last seen, and what is known of its lag."""


_UNSEEN = (b"", Trust.PLAUSIBLE)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A group whose waiting entries must be asked for.

    `lag` is what XINFO GROUPS said; `derive`: it is not to be used, else only whether it can be zero is in doubt.
    """

    group: Group
    slot: int
    lag: int | None
    last_id: bytes
    derive: bool


@dataclass(frozen=True, slots=True)
class Tally:
    """A count under way. `cursor` is the last entry counted; `largest` the size of the largest so far, in bytes."""

    doubt: Doubt
    cursor: bytes
    entries: int
    size_bytes: int
    largest_bytes: int

    @property
    def step(self) -> int:
        """How many entries to ask for next: within the bounds if they are as large as the largest so far."""
        room = (MAX_BYTES - self.size_bytes) // self.largest_bytes
        return max(1, min(MAX_STEP, MAX_ENTRIES + 1 - self.entries, room))


def judge(group: Group, slot: int, lag: int | None, last_id: bytes, length: int, memory: Memory) -> Doubt | None:
    """Return None if the lag can be used as it is, else what must be asked. Notes in `memory` where the group is.

    Args:
        group: The group.
        slot: Its waiting slot.
        lag: As XINFO GROUPS has it; None: nil or absent.
        last_id: The group's last delivered id.
        length: The number of entries in the stream.
        memory: What earlier reads have seen.
    """
    seen_id, trust = memory.get(slot, _UNSEEN)
    if moved := seen_id != last_id:
        if trust is Trust.CHECKED:
            trust = Trust.PLAUSIBLE
        memory[slot] = last_id, trust
    if lag is None or not 0 <= lag <= length:
        return Doubt(group, slot, lag, last_id, derive=True)
    if lag == 0 or trust is Trust.CHECKED or (moved and trust is Trust.PLAUSIBLE):
        return None
    return Doubt(group, slot, lag, last_id, derive=trust is Trust.WRONG)


def probe(doubt: Doubt) -> list[bytes]:
    """Return the commands that ask for the next entry and, to derive, for the first one and the length."""
    stream = doubt.group.stream
    follows = encode("XRANGE", stream, b"(" + doubt.last_id, "+", "COUNT", 1)
    if not doubt.derive:
        return [follows]
    return [follows, encode("XRANGE", stream, "-", "+", "COUNT", 1), encode("XLEN", stream)]


def after_probe(doubt: Doubt, replies: Sequence[Reply], memory: Memory) -> int | Tally | hiredis.ReplyError:
    """Return the number of waiting entries, a count to go on with, or an error reply."""
    refused = next((reply for reply in replies if isinstance(reply, hiredis.ReplyError)), None)
    if refused is not None:
        # A check that the user may not make is no reason to disbelieve.
        return refused if doubt.derive or doubt.lag is None else doubt.lag
    following = _entries(replies[0])
    if not doubt.derive and doubt.lag is not None:
        memory[doubt.slot] = doubt.last_id, Trust.CHECKED if following else Trust.WRONG
        return doubt.lag if following else 0
    if not following:
        return _agree(doubt, 0, memory)
    first = _entries(replies[1])
    length = replies[2]
    if type(length) is not int:
        raise RespError("XLEN was not answered with an integer")
    next_id, size_bytes = following[0]
    if not first or _ordinal(next_id) <= _ordinal(first[0][0]):
        return _agree(doubt, length, memory)  # the group is before the first entry: all of them wait
    return Tally(doubt, next_id, 1, size_bytes, size_bytes)


def ask_more(tally: Tally) -> bytes:
    """Return the command that asks for the next entries of a count."""
    return encode("XRANGE", tally.doubt.group.stream, b"(" + tally.cursor, "+", "COUNT", tally.step)


def count_more(tally: Tally, reply: Reply, memory: Memory) -> int | Tally | Unknown | hiredis.ReplyError:
    """Return the number of waiting entries, a count to go on with, NullLag past the bounds, or an error reply."""
    if isinstance(reply, hiredis.ReplyError):
        return reply
    entries = _entries(reply)
    counted = tally.entries + len(entries)
    if len(entries) < tally.step:
        return _agree(tally.doubt, counted, memory) if counted <= MAX_ENTRIES else null_lag(tally.doubt.group)
    sizes = [size_bytes for _, size_bytes in entries]
    size_bytes = tally.size_bytes + sum(sizes)
    if counted > MAX_ENTRIES or size_bytes >= MAX_BYTES:
        return null_lag(tally.doubt.group)
    return Tally(tally.doubt, entries[-1][0], counted, size_bytes, max(tally.largest_bytes, *sizes))


def null_lag(group: Group) -> Unknown:
    """Return what is said of a group with more waiting entries than are counted."""
    return Unknown(
        Reason.NULL_LAG,
        f"the server does not know the lag of group {quoted(group.name)} of stream {quoted(group.stream)}, and too "
        f"many entries wait to be counted (more than {MAX_ENTRIES}, or {MAX_BYTES >> 20} MiB)",
    )


def _agree(doubt: Doubt, waiting: int, memory: Memory) -> int:
    if waiting == doubt.lag:
        memory[doubt.slot] = doubt.last_id, Trust.PLAUSIBLE
    return waiting


def _entries(reply: Reply) -> list[tuple[bytes, int]]:
    """Return (id, size in bytes) of each entry of an XRANGE reply."""
    if not isinstance(reply, list):
        raise RespError("XRANGE was not answered with a list")
    entries = []
    for entry in reply:
        match entry:
            case [bytes(entry_id), list(fields)]:
                size_bytes = len(entry_id) + sum(len(field) for field in fields if isinstance(field, bytes))
                entries.append((entry_id, size_bytes))
            case _:
                raise RespError("XRANGE was not answered with entries")
    return entries


def _ordinal(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition(b"-")
    try:
        return int(milliseconds), int(sequence)
    except ValueError:
        raise RespError("an entry of XRANGE has no id") from None
