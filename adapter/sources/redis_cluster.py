"""A Redis Cluster: each key is asked of the master that has it, all masters at once.

A master that cannot be asked makes its own keys unknown and no others. Keys that are being moved are asked where the
nodes say that they are; the map of the cluster is fetched anew at the next read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import hiredis
import numpy as np

from adapter.sources import SourceFailureError
from adapter.sources.redis_access import Access
from adapter.sources.redis_address import Address, Cluster, Server
from adapter.sources.redis_connect import explain
from adapter.sources.redis_globs import Catalog
from adapter.sources.redis_lag import Memory
from adapter.sources.redis_one import DirectWay
from adapter.sources.redis_plan import Order, ReadPlan, read_plan, slot_key
from adapter.sources.redis_read import Link, carried, read
from adapter.sources.redis_replies import Readings, error_code, whole_failure
from adapter.sources.redis_search import Search
from adapter.sources.redis_slots import Redirect, SlotMap, by_redirect, hash_slots, read_slot_map
from adapter.sources.redis_wanted import quoted
from adapter.sources.resp import Connection, RespError, encode, prepare
from adapter.sources.several import answers
from scaler.model import I64, Reason, Unknown

T = TypeVar("T")
K = TypeVar("K")

MAX_REDIRECTS = 4
"""How often a key is followed in one read."""

_ASKED_AT_ONCE = 4
"""Nodes asked for the map at once, of those that are left when the first does not know."""

_NONE = np.empty(0, np.int64)
_GAPS = Unknown(Reason.SOURCE_ERROR, "hash slots of the Redis Cluster have no master: nobody knows of keys in them")
_SLOTS = prepare([[encode("CLUSTER", "SLOTS")]])


@dataclass(slots=True)
class _Part:
    """What one master is asked. `index`: the order's slots that it fills, shape (len(plan.slots),)."""

    index: I64
    plan: ReadPlan
    memory: Memory = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class _Division:
    """An order, divided among the masters of a map. `unserved`: the order's slots whose hash slot has no master."""

    order: Order | None
    slot_map: SlotMap | None
    hash_slots: I64
    parts: Mapping[Server, _Part]
    unserved: I64


class ClusterServers:
    """Asks each master of a cluster for its own keys. See `Servers`."""

    def __init__(self, cluster: Cluster, access: Access, timeout_s: float, catalog: Catalog) -> None:
        self._cluster = cluster
        self._access = access
        self._timeout_s = timeout_s
        self._limits = catalog.limits
        self._map: SlotMap | None = None
        self._outdated = True
        self._failing: set[Server] = set()
        """Masters that did not answer in time, and are waited for less until they do."""
        self._links: dict[Server, Link] = {}
        self._searches: dict[Server, Search] = {}
        self._division = _Division(None, None, _NONE, {}, _NONE)

    async def search(self, catalog: Catalog, now_ms: int, deadline: float) -> None:
        """Look for keys on every master. See `Servers`."""
        if self._searches and not any(one.due(now_ms) for one in self._searches.values()):
            return
        self._outdated = True  # the masters of now are searched
        slot_map = await self._current_map(now_ms, deadline)
        self._searches = {s: self._searches.get(s) or Search(self._limits) for s in slot_map.masters}

        async def search(server: Server, one: Search) -> Unknown | None:
            act = partial(one.go_on, catalog=catalog, now_ms=now_ms, until=deadline)
            return await self._at(server, act, now_ms, deadline + 0.1 * self._timeout_s)

        due = {server: one for server, one in self._searches.items() if one.due(now_ms)}
        outcomes = await _each({server: search(server, one) for server, one in due.items()})
        failure = next((outcome for outcome in outcomes.values() if outcome is not None), None)
        catalog.searched(failure or (None if slot_map.complete else _GAPS), now_ms)
        if slot_map.complete and all(one.finished_once for one in self._searches.values()):
            catalog.finished()

    async def read(self, order: Order, now_ms: int, deadline: float) -> Readings:
        """Read once. See `Servers`."""
        slot_map = await self._current_map(now_ms, deadline)
        if order is not self._division.order or slot_map is not self._division.slot_map:
            self._division = await asyncio.to_thread(self._divided, order, slot_map)
        division = self._division
        out = Readings(np.empty(0), np.full(len(order.slots), np.nan))
        out.values[division.hash_slots < 0] = 0  # readings of no key: nothings
        for i in division.unserved.tolist():
            out.problems[i] = _unserved(order, i)
        outcomes = await self._ask({(s, False): part for s, part in division.parts.items()}, out, now_ms, deadline)
        failures = [outcome for outcome in outcomes if isinstance(outcome, Unknown)]
        if failures and len(failures) == len(division.parts):
            raise SourceFailureError(failures[0].detail, failures[0].reason)
        await self._follow(order, outcomes, out, now_ms, deadline)
        return out

    async def close(self) -> None:
        """Close all connections."""
        for link in self._links.values():
            await link.close()

    def _divided(self, order: Order, slot_map: SlotMap) -> _Division:
        """Divide an order among the masters. Plans of masters for which nothing changes stay."""
        before = self._division
        slots = before.hash_slots if order is before.order else hash_slots(order.slots)
        parts: dict[Server, _Part] = {}
        unserved = _NONE
        for server, index in slot_map.parts(slots):
            if server is None:
                unserved = index
                continue
            old = before.parts.get(server)
            if old is not None and order is before.order and np.array_equal(old.index, index):
                parts[server] = old
            else:
                plan = read_plan([order.slots[i] for i in index.tolist()])
                # What is known of groups, wherever their streams were asked for.
                carry = [carried(part.memory, part.plan, plan) for part in before.parts.values()]
                parts[server] = _Part(index, plan, {slot: seen for memory in carry for slot, seen in memory.items()})
        return _Division(order, slot_map, slots, parts, unserved)

    async def _ask(
        self, parts: Mapping[tuple[Server, bool], _Part], out: Readings, now_ms: int, deadline: float
    ) -> list[Readings | Unknown]:
        """Ask all of these at once and take in what they say; those that fail make their own readings unknown."""

        async def ask(server: Server, part: _Part) -> Readings | Unknown:
            act = partial(read, plan=part.plan, memory=part.memory, asked=server)
            return await self._at(server, act, now_ms, deadline)

        outcomes = await _each({(s, asking): ask(s, part) for (s, asking), part in parts.items()})
        for who, part in parts.items():
            outcome = outcomes[who]
            index = part.index.tolist()
            if isinstance(outcome, Unknown):
                self._outdated = True
                out.problems |= dict.fromkeys(index, outcome)
                continue
            out.values[part.index] = outcome.values
            for i in index:
                out.problems.pop(i, None)
            out.problems |= {index[i]: problem for i, problem in outcome.problems.items()}
        return [outcomes[who] for who in parts]

    async def _follow(
        self, order: Order, outcomes: Iterable[Readings | Unknown], out: Readings, now_ms: int, deadline: float
    ) -> None:
        """Ask for the keys that are elsewhere where they were said to be."""
        for _ in range(MAX_REDIRECTS):
            redirects = {k: r for o in outcomes if isinstance(o, Readings) for k, r in o.redirects.items()}
            if not redirects:
                return
            self._outdated = True
            groups = by_redirect(order.slots, redirects)
            outcomes = await self._ask(
                {(where.server, where.asking): _part(order, where, index) for where, index in groups.items()},
                out,
                now_ms,
                deadline,
            )

    async def _at(
        self, server: Server, act: Callable[[Connection], Awaitable[T]], now_ms: int, deadline: float
    ) -> T | Unknown:
        """Return what `act` does with the connection to a server, or why it could not."""
        loop = asyncio.get_running_loop()
        if server in self._failing:
            deadline = loop.time() + (deadline - loop.time()) / 4
        try:
            async with asyncio.timeout_at(deadline):
                result = await self._link(server).use(act, now_ms)
        except TimeoutError:
            self._failing.add(server)
            return Unknown(Reason.SOURCE_ERROR, f"{server}: timeout")
        except SourceFailureError as exc:
            return Unknown(exc.unknown.reason, f"{server}: {exc.unknown.detail}")
        except (OSError, RespError) as exc:
            return Unknown(Reason.SOURCE_ERROR, f"{server}: {explain(exc)}")
        self._failing.discard(server)
        return result

    def _link(self, server: Server) -> Link:
        if server not in self._links:
            address = Address(*server, 0, self._cluster.tls)
            self._links[server] = Link(DirectWay(address, self._access, self._timeout_s))
        return self._links[server]

    async def _current_map(self, now_ms: int, deadline: float) -> SlotMap:
        """Return the map of the cluster, a new one if the last is known to be outdated.

        Raises:
            SourceFailureError: No node tells.
        """
        if self._map is None or self._outdated:
            self._outdated = False
            self._map = await self._fetch_map(now_ms, deadline)
            for server in [s for s in self._links if s not in self._map.masters]:
                await self._links.pop(server).close()
                self._failing.discard(server)
        return self._map

    async def _fetch_map(self, now_ms: int, deadline: float) -> SlotMap:
        """Return the map as one node has it: a master that answers, else any that is known."""
        known = () if self._map is None else self._map.masters
        servers = list(dict.fromkeys([*(s for s in known if s not in self._failing), *self._cluster.servers, *known]))
        troubles: dict[Server, Unknown] = {}
        patience_s = (deadline - asyncio.get_running_loop().time()) / 4
        # The first alone: the others then keep connections that no question was given up on.
        for asked in (servers[:1], servers[1 : 1 + _ASKED_AT_ONCE]):
            questions = [self._ask_map(server, now_ms, deadline) for server in asked]
            for server, outcome in zip(asked, await answers(questions, _any_map, patience_s), strict=True):
                if isinstance(outcome, SlotMap):
                    return outcome
                troubles[server] = outcome or Unknown(Reason.SOURCE_ERROR, f"{server}: timeout")
        if self._map is not None:
            return self._map  # its masters will say for themselves what is wrong with them
        first = troubles[servers[0]]
        raise SourceFailureError(first.detail, first.reason)

    async def _ask_map(self, server: Server, now_ms: int, deadline: float) -> SlotMap | Unknown:
        return await self._at(server, partial(_slot_map, server=server), now_ms, deadline)


def _any_map(heard: Iterable[object]) -> bool:
    return any(isinstance(one, SlotMap) for one in heard)


async def _slot_map(connection: Connection, server: Server) -> SlotMap:
    """Return the map as a node has it."""
    (reply,) = await connection.roundtrip(_SLOTS)
    if isinstance(reply, hiredis.ReplyError):
        code = error_code(reply)
        if "cluster support disabled" in str(reply):
            raise SourceFailureError("is no node of a Redis Cluster: use url, not cluster")
        detail = "NOPERM: the user may not run CLUSTER SLOTS" if code == "NOPERM" else f"CLUSTER SLOTS: {code}"
        raise SourceFailureError(whole_failure(reply) or detail)
    slot_map = read_slot_map(reply, server)
    if not slot_map.masters:
        raise SourceFailureError("the Redis Cluster has no slots yet")
    return slot_map


async def _each(questions: Mapping[K, Coroutine[Any, Any, T]]) -> dict[K, T]:
    """Return what each brought, asked all at once."""
    async with asyncio.TaskGroup() as group:
        tasks = {who: group.create_task(question) for who, question in questions.items()}
    return {who: task.result() for who, task in tasks.items()}


def _part(order: Order, where: Redirect, index: list[int]) -> _Part:
    plan = read_plan([order.slots[i] for i in index], asking=where.asking)
    return _Part(np.array(index, np.int64), plan)


def _unserved(order: Order, i: int) -> Unknown:
    key = slot_key(order.slots[i])
    return Unknown(Reason.SOURCE_ERROR, f"key {quoted(key or '')}: no node of the Redis Cluster serves its hash slot")
