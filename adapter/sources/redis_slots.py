"""Which node of a Redis Cluster has a key. Pure.

A key belongs to one of 16,384 slots: CRC16 (XMODEM) of the key, or of what is in its first {} where that is not empty.
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import hiredis
import numpy as np
import numpy.typing as npt

from adapter.sources.redis_address import Server
from adapter.sources.redis_plan import slot_key
from adapter.sources.redis_wanted import Key, Slot
from adapter.sources.resp import Reply, RespError
from scaler.model import I64

HASH_SLOTS = 16_384
MAX_NODES = 1_000
_NOBODY = -1

Owners: TypeAlias = npt.NDArray[np.int16]


def hash_slot(key: Key) -> int:
    """Return the hash slot of a key."""
    raw = key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
    start = raw.find(b"{") + 1
    if start:
        end = raw.find(b"}", start)
        if end > start:
            raw = raw[start:end]
    return crc_hqx(raw, 0) % HASH_SLOTS


def hash_slots(slots: Sequence[Slot]) -> I64:
    """Return the hash slot of each reading's key, shape (len(slots),); -1 for a reading of no key."""
    keys = (slot_key(slot) for slot in slots)
    return np.fromiter((-1 if key is None else hash_slot(key) for key in keys), np.int64, len(slots))


@dataclass(frozen=True, eq=False, slots=True)
class SlotMap:
    """Who serves which hash slots. `owners` has an index into `masters` for each hash slot; -1: nobody."""

    masters: tuple[Server, ...]
    owners: Owners

    @property
    def complete(self) -> bool:
        """Whether every hash slot has a master."""
        return bool((self.owners != _NOBODY).all())

    def parts(self, slots: I64) -> Iterator[tuple[Server | None, I64]]:
        """Yield each master and which of some hash slots are its own, as indices; None for those nobody serves."""
        owners = np.where(slots < 0, HASH_SLOTS, self.owners[slots].astype(np.int64))
        for owner in np.unique(owners).tolist():
            if owner != HASH_SLOTS:
                yield None if owner == _NOBODY else self.masters[owner], np.flatnonzero(owners == owner)


def read_slot_map(reply: Reply, asked: Server) -> SlotMap:
    """Return what a node says to CLUSTER SLOTS.

    Args:
        reply: What it said.
        asked: The node, for entries without an address: those are its own.

    Raises:
        RespError: It is not what CLUSTER SLOTS is answered with.
    """
    masters: dict[Server, int] = {}
    owners = np.full(HASH_SLOTS, _NOBODY, np.int16)
    for entry in reply if isinstance(reply, list) else [None]:
        match entry:
            case [int(first), int(last), [bytes() | None as host, int(port), *_], *_] if (
                0 <= first <= last < HASH_SLOTS
            ):
                server = server_of("" if host is None else host.decode("ascii", "replace"), port, asked)
                owners[first : last + 1] = masters.setdefault(server, len(masters))
            case _:
                raise RespError("CLUSTER SLOTS was not answered with slots")
    if len(masters) > MAX_NODES:
        raise RespError(f"CLUSTER SLOTS names more than {MAX_NODES} masters")
    return SlotMap(tuple(masters), owners)


def server_of(host: str, port: int, asked: Server) -> Server:
    """Return a server that a server has named.

    Raises:
        RespError: Nobody could be at such a host or port.
    """
    host = asked.host if host in ("", "?") else host
    if not (0 < port < 65_536 and len(host) <= 253 and host.isascii() and host.isprintable() and " " not in host):
        raise RespError("an address that cannot be one")
    return Server(host, port)


class Redirect(NamedTuple):
    """Where else a key is. `asking`: only for this key and now; otherwise its hash slot has moved for good."""

    asking: bool
    server: Server


def redirect_of(error: hiredis.ReplyError, asked: Server) -> Redirect | None:
    """Return where an error reply leads, if it does: "MOVED 3999 10.0.0.7:6381", "ASK 3999 10.0.0.7:6381"."""
    words = str(error).split(" ")
    if words[0] not in ("MOVED", "ASK") or len(words) < 3:
        return None
    host, _, port = words[2].rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= 5):
        return None
    return Redirect(words[0] == "ASK", server_of(host, int(port), asked))


Redirects: TypeAlias = dict[Key, Redirect]
"""Key → where it was said to be."""


def by_redirect(slots: Sequence[Slot], redirects: Mapping[Key, Redirect]) -> dict[Redirect, list[int]]:
    """Return, for each place that was named, the indices of the readings that must be asked there."""
    groups: dict[Redirect, list[int]] = {}
    for i, slot in enumerate(slots):
        key = slot_key(slot)
        if key is not None and key in redirects:
            groups.setdefault(redirects[key], []).append(i)
    return groups
