"""Finds the master that sentinels watch over, and notices when it is another server.

All sentinels are asked at once. The answer of the highest configuration epoch counts: it is the newest, whichever
sentinel gives it, so that one that lags, or is on the wrong side of a partition, is outvoted by a single one that is
not. And no sentinel is believed: the server itself must say that it is a master, at each read.
https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import hiredis

from adapter.sources import SourceFailureError
from adapter.sources.redis_access import Access
from adapter.sources.redis_address import Address, Sentinels, Server
from adapter.sources.redis_connect import explain, open_connection
from adapter.sources.redis_replies import error_code, whole_failure
from adapter.sources.redis_slots import server_of
from adapter.sources.redis_wanted import quoted
from adapter.sources.resp import Connection, Reply, RespError, encode, prepare
from adapter.sources.several import answers

ASK_AGAIN_MS = 5_000
"""How often the sentinels are asked while the master answers. A master that is cut off from all but us still says that
it is one; only the sentinels know better."""

_ROLE = prepare([[encode("ROLE")]])
_LONGEST_WAIT_S = 1.0
"""For the sentinels. They are asked while the master could be read."""

_NAMED = 3


class Word(NamedTuple):
    """What a sentinel says of a master: how new the configuration is, and where it has the master."""

    epoch: int
    server: Server


class SentinelWay:
    """The way to the master, through the sentinels."""

    def __init__(self, sentinels: Sentinels, to_sentinels: Access, to_master: Access, timeout_s: float) -> None:
        self._sentinels = sentinels
        self._to_sentinels = to_sentinels
        self._to_master = to_master
        self._timeout_s = timeout_s
        self._patience_s = min(timeout_s / 4, _LONGEST_WAIT_S)
        self._current: Word | None = None
        self._found: Connection | None = None
        self._asked_ms = 0

    async def open(self, now_ms: int) -> Connection:
        """Return a connection to the master. See `Way`."""
        self._asked_ms = now_ms
        if self._found is not None:
            connection, self._found = self._found, None
            return connection
        failure: SourceFailureError | None = None
        for word in await self._ask():
            try:
                connection = await self._open(word)
            except SourceFailureError as exc:
                failure = failure or exc
            else:
                return connection
        raise failure or SourceFailureError("no sentinel knows the master")

    async def confirm(self, connection: Connection, now_ms: int) -> bool:
        """Return whether the server still is the master, to itself and to the sentinels. See `Way`."""
        if await _role(connection) != "master":
            return False
        if not 0 <= now_ms - self._asked_ms < ASK_AGAIN_MS:
            self._asked_ms = now_ms
            self._found = await self._successor()
        return self._found is None

    async def _successor(self) -> Connection | None:
        """Return a connection to the master that the sentinels have now; None if it is the one we are connected to.

        A sentinel that cannot be asked, or names a server that is no master, is no reason to leave one that is.
        """
        try:
            newest = (await self._ask())[0]
            current = self._current
            if current is None or newest.server == current.server or newest.epoch < current.epoch:
                return None
            return await self._open(newest)
        except SourceFailureError:
            return None

    async def _open(self, word: Word) -> Connection:
        """Connect to a server that is said to be the master, and let it say so itself."""
        address = Address(*word.server, self._sentinels.db, self._sentinels.tls)
        try:
            async with asyncio.timeout(self._timeout_s / 2):
                connection = await open_connection(address, self._to_master, self._timeout_s / 2)
                try:
                    role = await _role(connection)
                except BaseException:
                    connection.abort()
                    raise
        except SourceFailureError as exc:
            raise SourceFailureError(f"master {word.server}: {exc.unknown.detail}", exc.unknown.reason) from exc
        except (OSError, RespError) as exc:
            raise SourceFailureError(f"master {word.server}: {explain(exc)}") from exc
        if role != "master":
            connection.abort()
            raise SourceFailureError(f"the sentinels say that {word.server} is the master, and it says that it is not")
        self._current = word
        return connection

    async def _ask(self) -> list[Word]:
        """Return what the sentinels say, the newest first, without repetition.

        Raises:
            SourceFailureError: None of them knows the master.
        """
        servers = self._sentinels.servers
        majority = len(servers) // 2 + 1

        def enough(heard: Sequence[Word | str]) -> bool:
            return sum(isinstance(one, Word) for one in heard) >= majority

        heard = await answers([self._ask_one(server) for server in servers], enough, self._patience_s)
        words = sorted({word for word in heard if isinstance(word, Word)}, reverse=True)
        if not words:
            troubles = [f"{s} {'timeout' if t is None else t}" for s, t in zip(servers, heard, strict=True)]
            more = f" and {len(troubles) - _NAMED} more" if len(troubles) > _NAMED else ""
            raise SourceFailureError(f"no sentinel knows the master: {', '.join(troubles[:_NAMED])}{more}")
        return words

    async def _ask_one(self, server: Server) -> Word | str:
        """Return what one sentinel says, or why it says nothing."""
        address = Address(*server, 0, self._sentinels.sentinel_tls)
        try:
            connection = await open_connection(address, self._to_sentinels, self._patience_s)
            try:
                (reply,) = await connection.roundtrip(prepare([[encode("SENTINEL", "MASTER", self._sentinels.master)]]))
            finally:
                connection.abort()
            return read_word(reply, server, self._sentinels.master)
        except SourceFailureError as exc:
            return exc.unknown.detail
        except (OSError, RespError) as exc:
            return explain(exc)


def read_word(reply: Reply, sentinel: Server, master: str) -> Word:
    """Return what a sentinel says to SENTINEL MASTER.

    Raises:
        SourceFailureError: It does not know the master, or does not tell us.
        RespError: It is no answer to that.
    """
    if isinstance(reply, hiredis.ReplyError):
        if "No such master" in str(reply):
            raise SourceFailureError(f"knows no master {quoted(master)}")
        if error_code(reply) == "NOPERM":
            raise SourceFailureError("NOPERM: the user may not run SENTINEL MASTER")
        raise SourceFailureError(whole_failure(reply) or f"is no sentinel ({error_code(reply)})")
    if not isinstance(reply, list):
        raise RespError("SENTINEL MASTER was not answered with a list")
    fields = dict(zip(reply[::2], reply[1::2], strict=False)) if all(isinstance(r, bytes) for r in reply) else {}
    host, port, epoch = (fields.get(name) for name in (b"ip", b"port", b"config-epoch"))
    match host, port, epoch:
        case bytes(), bytes(), bytes() if port.isdigit() and epoch.isdigit() and len(port) <= 5:
            return Word(int(epoch), server_of(host.decode("ascii", "replace"), int(port), sentinel))
    raise RespError("SENTINEL MASTER was not answered with a master")


async def _role(connection: Connection) -> str:
    """Return what a server says that it is: master, slave or sentinel.

    Raises:
        SourceFailureError: The user may not ask.
        ClosedError, RespError: As Connection.exchange.
    """
    (reply,) = await connection.roundtrip(_ROLE)
    if isinstance(reply, hiredis.ReplyError):
        detail = "NOPERM: the user may not run ROLE" if error_code(reply) == "NOPERM" else f"ROLE: {error_code(reply)}"
        raise SourceFailureError(whole_failure(reply) or detail)
    match reply:
        case [bytes(role), *_]:
            return role.decode("ascii", "replace")
    raise RespError("ROLE was not answered with a role")
