"""Names are looked up in threads of their own: a resolver that hangs keeps one for ten seconds.

What hangs must cost nobody else anything. So look-ups share no threads with files and certificates, a name that is
being looked up is not looked up a second time beside it, each tenant has its share, and an address is no name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from aiohttp.abc import AbstractResolver, ResolveResult

Found: TypeAlias = list[tuple[Any, ...]]
"""As of socket.getaddrinfo."""

THREADS = 256
"""Names that may hang at the same time before others must wait. A waiting thread costs some 20 KB."""

SHARE = 32
"""Of these, for one tenant or for all that is in files: who names what hangs must not take the threads of others."""

_LOOK_UPS = ThreadPoolExecutor(THREADS, thread_name_prefix="spillway-names")
_Question: TypeAlias = tuple[asyncio.AbstractEventLoop, str, int, int, int]
_under_way: dict[_Question, asyncio.Future[Found]] = {}
_turns: WeakValueDictionary[tuple[asyncio.AbstractEventLoop, Hashable], asyncio.Semaphore] = WeakValueDictionary()


def under_way() -> int:
    """Return how many names are being looked up."""
    return len(_under_way)


async def look_up(
    host: str, port: int, family: int = socket.AF_UNSPEC, flags: int = 0, *, tenant: Hashable = None
) -> Found:
    """Return the addresses of a host, for TCP. Arguments as of socket.getaddrinfo; `tenant`: whose share it takes.

    Raises:
        OSError: It has none (socket.gaierror), or it is no name that could be looked up.
    """
    if _is_address(host):  # at once: nothing is asked
        return list(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST))
    question = (asyncio.get_running_loop(), host, port, family, flags)
    answer = _under_way.get(question) or await _begun(question, tenant)
    # Who gives up leaves the look-up to the others, and to the next who asks.
    return await asyncio.shield(answer)


async def _begun(question: _Question, tenant: Hashable) -> asyncio.Future[Found]:
    """Begin a look-up when it is the tenant's turn; it may be under way by then."""
    loop, host, port, family, flags = question
    turns = _turns.setdefault((loop, tenant), asyncio.Semaphore(SHARE))
    await turns.acquire()
    answer = _under_way.get(question)
    if answer is not None:
        turns.release()
        return answer

    def ended(done: asyncio.Future[Found]) -> None:
        turns.release()
        _ended(question, done)

    answer = _under_way[question] = loop.run_in_executor(_LOOK_UPS, _asked, host, port, family, flags)
    answer.add_done_callback(ended)
    return answer


class Resolver(AbstractResolver):
    """`look_up` for HTTP sessions."""

    def __init__(self, tenant: Hashable = None) -> None:
        self._tenant = tenant

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host. Raises: as `look_up`."""
        return [
            ResolveResult(
                hostname=host,
                host=_literal(address),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, address in await look_up(
                host, port, family, socket.AI_ADDRCONFIG, tenant=self._tenant
            )
        ]

    async def close(self) -> None:
        """Close nothing: there is nothing open."""


def _asked(host: str, port: int, family: int, flags: int) -> Found:
    try:
        return list(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, flags))
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "no name that could be looked up") from None


def _ended(question: _Question, answer: asyncio.Future[Found]) -> None:
    del _under_way[question]
    if not answer.cancelled():
        answer.exception()  # retrieved, even if nobody waits any longer


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _literal(address: tuple[Any, ...]) -> str:
    """Return an address as text; a link-local one with the number of its interface."""
    host = str(address[0])
    return f"{host}%{address[3]}" if len(address) > 3 and address[3] and "%" not in host else host
