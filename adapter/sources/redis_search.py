"""Looks for the keys of globs on one server with SCAN, in steps so small that other clients do not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import hiredis

from adapter.schema.redis_glob import parse_glob
from adapter.sources.redis_globs import MAX_KEY_BYTES, RESCAN_MS, Catalog
from adapter.sources.redis_replies import error_code, whole_failure
from adapter.sources.redis_wanted import Pattern, quoted
from adapter.sources.resp import Connection, PreparedCommands, Reply, RespError, encode, prepare
from scaler.model import Reason, Unknown

COUNT = 500
"""Keys the server looks at in a step, which takes it some 0.3 ms."""

AT_ONCE = 8
"""Globs that share a step."""

_TYPES = {"sorted set": "zset"}


class Search:
    """The search on one server: one round after the other, each spread over as many reads as it needs."""

    def __init__(self, limits: Mapping[Pattern, int]) -> None:
        self._limits = limits
        self._cursors: dict[Pattern, bytes] = {}
        self._found: dict[Pattern, set[bytes]] = {}
        self._connection: Connection | None = None
        self._due_ms: int | None = None
        self.finished_once = False

    def due(self, now_ms: int) -> bool:
        """Return whether there is something to do."""
        return bool(self._cursors) or self._due_ms is None or not 0 < self._due_ms - now_ms <= RESCAN_MS

    async def go_on(self, connection: Connection, catalog: Catalog, now_ms: int, until: float) -> Unknown | None:
        """Search until the round ends or the loop's clock says `until`. At least one step is made.

        Returns: why it cannot be done, if so.

        Raises:
            ClosedError, RespError: As Connection.exchange.
        """
        if connection is not self._connection or not self._cursors:
            # Cursors mean nothing to another server, nor to this one if it was restarted.
            self._connection = connection
            self._cursors = dict.fromkeys(self._limits, b"0")
            self._found = {pattern: set() for pattern in self._limits}
            self._due_ms = now_ms + RESCAN_MS
        clock = asyncio.get_running_loop().time
        while self._cursors:
            asked = list(self._cursors)[:AT_ONCE]
            replies = await connection.roundtrip(self._step(asked))
            for pattern, reply in zip(asked, replies, strict=True):
                if isinstance(reply, hiredis.ReplyError):
                    self._cursors.clear()
                    self._due_ms = None
                    return _refusal(reply)
                self._take(pattern, reply, catalog, now_ms)
            if clock() >= until:
                break
        self.finished_once |= not self._cursors
        return None

    def _step(self, patterns: Sequence[Pattern]) -> PreparedCommands:
        """Return the next SCAN of each pattern, to be sent together."""
        options = ["COUNT", str(COUNT // len(patterns)), "TYPE"]
        commands = [
            encode("SCAN", self._cursors[p], "MATCH", p.glob, *options, _TYPES.get(p.type, p.type)) for p in patterns
        ]
        return prepare([commands])

    def _take(self, pattern: Pattern, reply: Reply, catalog: Catalog, now_ms: int) -> None:
        """Take in the reply to one SCAN."""
        match reply:
            case [bytes(cursor), list(keys)] if cursor.isdigit():
                glob, found = parse_glob(pattern.glob), self._found[pattern]
                # A proxy may not know MATCH; what does not match is not ours.
                matching = (key for key in keys if isinstance(key, bytes) and glob.match(key) is not None)
                found.update(key[: MAX_KEY_BYTES + 1] for key in matching)  # so much shows that one is too long
            case _:
                raise RespError("SCAN was not answered with a cursor and keys")
        too_many = len(found) > self._limits[pattern]
        if too_many or int(cursor) == 0:
            del self._cursors[pattern], self._found[pattern]
            catalog.found(pattern, found, now_ms, too_many=too_many)
        else:
            self._cursors[pattern] = cursor


def _refusal(error: hiredis.ReplyError) -> Unknown:
    if error_code(error) == "NOPERM":
        return Unknown(Reason.SOURCE_ERROR, "NOPERM: the user may not run SCAN")
    said = "".join(c if c.isprintable() else "?" for c in str(error)[:100])
    return Unknown(Reason.SOURCE_ERROR, whole_failure(error) or f"SCAN: {quoted(said)}")
