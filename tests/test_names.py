"""Looking names up: nobody waits for a name that hangs but who needs it."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from adapter.sources.names import SHARE, Resolver, look_up, under_way
from tests.waiting import until


class Hanging:
    """The system's look-up, in which names of .hangs take until `answer` is set."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.asked: list[str] = []
        self._real = socket.getaddrinfo

    def __call__(self, host: str, *more: Any) -> Any:
        self.asked.append(host)
        if not host.endswith(".hangs"):
            return self._real(host, *more)
        self.answer.wait(20)
        return self._real("127.0.0.1", *more)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Hanging:
    found = Hanging()
    monkeypatch.setattr(socket, "getaddrinfo", found)
    return found


def addresses(found: list[tuple[Any, ...]]) -> set[str]:
    return {each[4][0] for each in found}


def test_names_and_addresses_are_found() -> None:
    """localhost, literals of both families, and in the form that HTTP sessions take them."""

    async def ask() -> None:
        assert "127.0.0.1" in addresses(await look_up("localhost", 80))
        assert addresses(await look_up("127.0.0.9", 80)) == {"127.0.0.9"}
        assert addresses(await look_up("::1", 80)) == {"::1"}
        found = await Resolver().resolve("localhost", 80)
        assert ("127.0.0.1", 80) in {(each["host"], each["port"]) for each in found}

    asyncio.run(ask())


@pytest.mark.parametrize("name", ["no-such-name.invalid", "a..b", "x" * 64 + ".test", "\udcff.test"])
def test_a_name_that_is_none_is_an_error(name: str) -> None:
    """Whatever cannot be looked up ends in the one error that callers know."""
    with pytest.raises(socket.gaierror):
        asyncio.run(look_up(name, 80))


def test_a_name_that_hangs_is_asked_for_once_and_keeps_nobody_else(hanging: Hanging) -> None:
    """Readers of a hanging name share one look-up, also after some gave up; other names and addresses go on."""

    async def ask() -> None:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await look_up("redis.hangs", 80)
        waiting = [asyncio.create_task(look_up("redis.hangs", 80)) for _ in range(20)]
        assert "127.0.0.1" in addresses(await look_up("localhost", 80))
        assert addresses(await look_up("127.0.0.9", 80)) == {"127.0.0.9"}
        assert await asyncio.to_thread(lambda: 1)  # the threads of files are others
        assert hanging.asked.count("redis.hangs") == 1
        hanging.answer.set()
        assert {frozenset(addresses(found)) for found in await asyncio.gather(*waiting)} == {frozenset({"127.0.0.1"})}
        await look_up("redis.hangs", 80)
        assert hanging.asked.count("redis.hangs") == 2

    asyncio.run(ask())


def test_a_tenant_whose_names_hang_takes_its_own_share_only(hanging: Hanging) -> None:
    """More names than its share are not even begun; another tenant's, and addresses of its own, are found meanwhile."""

    async def found(name: str, tenant: str, seconds: float = 20) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return "127.0.0.1" in addresses(await look_up(name, 80, tenant=tenant))
        except TimeoutError:
            return False

    async def ask() -> None:
        for n in range(SHARE + 5):
            assert not await found(f"{n}.hangs", "shop", 0.001)
        assert under_way() == SHARE
        assert not await found("localhost", "shop", 0.01)
        assert await found("127.0.0.1", "shop")
        assert await found("localhost", "web")
        hanging.answer.set()
        assert await found("localhost", "shop")
        await until(lambda: not under_way())

    asyncio.run(ask())
