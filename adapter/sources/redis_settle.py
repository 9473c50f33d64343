"""Asks what `redis_lag` wants to know of the groups whose lag is in doubt, a few at a time, and fills their slots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import hiredis

from adapter.sources.redis_lag import (
    MAX_BYTES,
    MAX_ENTRIES,
    Doubt,
    Memory,
    Tally,
    after_probe,
    ask_more,
    count_more,
    null_lag,
    probe,
)
from adapter.sources.redis_replies import Readings, put
from adapter.sources.resp import Connection, Reply, TooLargeError, prepare
from scaler.model import Unknown

MAX_PROBES = 32
"""Doubts asked about at once: each may bring two entries of any size."""

MAX_COUNTED_BYTES = 16 * MAX_BYTES
"""What all counts of one read may bring; the groups left then are unknown."""


async def settle(connection: Connection, readings: Readings, memory: Memory, *, asking: bool = False) -> None:
    """Fill the waiting slots of `readings.doubts`.

    Args:
        connection: The server that has the streams.
        readings: What the read has brought so far.
        memory: What is known of groups from earlier reads.
        asking: The server is only taking over the streams.

    Raises:
        SourceFailureError: The server as a whole is not ready to answer.
        ClosedError, RespError: As Connection.exchange, but for entries that are too large: those groups are unknown.
    """
    doubts = sorted(readings.doubts, key=lambda doubt: not doubt.derive)
    questions = _Questions(connection, readings, memory, doubts, asking=asking)
    try:
        await questions.count(await questions.probe())
    except TooLargeError:
        # Only these questions bring entries, whose size is the users': the other readings stand.
        connection.abort()
    for doubt in questions.unsettled.values():
        put(readings, doubt.slot, null_lag(doubt.group) if doubt.derive or doubt.lag is None else doubt.lag)


class _Questions:
    """The questions of one read. `unsettled`: slot → doubt."""

    def __init__(
        self, connection: Connection, readings: Readings, memory: Memory, doubts: Iterable[Doubt], *, asking: bool
    ) -> None:
        self._connection = connection
        self._asking = asking
        self._readings = readings
        self._memory = memory
        self.unsettled = {doubt.slot: doubt for doubt in doubts}

    async def probe(self) -> list[Tally]:
        """Ask each doubt its first question; return the counts to go on with."""
        doubts, tallies = list(self.unsettled.values()), []
        for start in range(0, len(doubts), MAX_PROBES):
            asked = doubts[start : start + MAX_PROBES]
            units = [probe(doubt) for doubt in asked]
            replies = iter(await self._connection.roundtrip(prepare(units, asking=self._asking)))
            for doubt, unit in zip(asked, units, strict=True):
                outcome = after_probe(doubt, [next(replies) for _ in unit], self._memory)
                if isinstance(outcome, Tally):
                    tallies.append(outcome)
                else:
                    self._close(doubt, outcome)
        return tallies

    async def count(self, tallies: Sequence[Tally]) -> None:
        """Count on until each count has ended or the budget has."""
        left_bytes = MAX_COUNTED_BYTES
        while tallies and left_bytes > 0:
            unfinished: list[Tally] = []
            for asked in _portions(tallies):
                commands = prepare(([ask_more(tally)] for tally in asked), asking=self._asking)
                replies: list[Reply] = await self._connection.roundtrip(commands)
                for tally, reply in zip(asked, replies, strict=True):
                    outcome = count_more(tally, reply, self._memory)
                    if isinstance(outcome, Tally):
                        left_bytes -= outcome.size_bytes - tally.size_bytes
                        unfinished.append(outcome)
                    else:
                        self._close(tally.doubt, outcome)
            tallies = unfinished

    def _close(self, doubt: Doubt, outcome: int | Unknown | hiredis.ReplyError) -> None:
        if isinstance(outcome, hiredis.ReplyError):
            outcome = self._readings.refusal(outcome, "XRANGE", doubt.group.stream, "stream")
        put(self._readings, doubt.slot, outcome)
        del self.unsettled[doubt.slot]


def _portions(tallies: Sequence[Tally]) -> list[list[Tally]]:
    """Return the counts in portions that bring about MAX_ENTRIES entries and MAX_BYTES each."""
    portions: list[list[Tally]] = []
    entries = size_bytes = 0
    for tally in tallies:
        expected_bytes = tally.step * tally.largest_bytes
        if not portions or entries + tally.step > MAX_ENTRIES or size_bytes + expected_bytes > MAX_BYTES:
            portions.append([])
            entries = size_bytes = 0
        portions[-1].append(tally)
        entries += tally.step
        size_bytes += expected_bytes
    return portions
