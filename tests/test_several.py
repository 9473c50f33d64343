"""Asking several at once, and waiting for no more of them than are needed."""

from __future__ import annotations

import asyncio

import pytest

from adapter.sources.several import answers


async def soon(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def never() -> int:
    await asyncio.Event().wait()
    return -1


def test_enough_is_enough() -> None:
    """As soon as there are enough results the others are given up."""

    async def main() -> list[int | None]:
        return await answers([never(), soon(1), soon(2)], lambda heard: len(heard) >= 2, 60.0)

    assert asyncio.run(main()) == [None, 1, 2]


def test_patience_ends() -> None:
    """Those that do not answer in time count as silent."""

    async def main() -> list[int | None]:
        return await answers([never(), soon(1)], lambda heard: len(heard) >= 2, 0.05)

    assert asyncio.run(main()) == [None, 1]


def test_all_that_there_are() -> None:
    """If there are never enough, all that answered are returned; nobody to ask is no answer."""

    async def main() -> list[int | None]:
        assert await answers([], bool, 60.0) == []
        return await answers([soon(1), soon(2)], lambda _: False, 60.0)

    assert asyncio.run(main()) == [1, 2]


def test_a_bug_escapes() -> None:
    """What a question raises is raised, and the others are given up."""

    async def bug() -> int:
        raise LookupError

    async def main() -> None:
        await answers([never(), bug()], bool, 60.0)

    with pytest.raises(ExceptionGroup, match="unhandled"):
        asyncio.run(main())
