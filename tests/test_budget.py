"""Turns of reads: how many at once, who waits for whom, and for how long."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from adapter.budget import SHARES, Budget, NoTurnError
from tests.waiting import until


def soon() -> float:
    return asyncio.get_running_loop().time() + 0.02


def later() -> float:
    return asyncio.get_running_loop().time() + 20


async def take(budget: Budget, held: AsyncExitStack, namespace: str, host: str, *, failing: bool = False) -> bool:
    """Take a turn and keep it; False if there is none."""
    try:
        await held.enter_async_context(budget.turn(namespace, host, failing=failing, deadline=soon()))
    except NoTurnError:
        return False
    return True


@pytest.mark.parametrize(
    ("bound", "turn"),
    [
        ("host", lambda n: ("shop", "one", False)),
        ("failing", lambda n: ("shop", f"host-{n}", True)),
        ("namespace", lambda n: ("shop", f"host-{n}", False)),
        ("process", lambda n: (f"team-{n}", "one", False)),
    ],
)
def test_each_bound_holds_and_leaves_turns_for_others(bound: str, turn: object) -> None:
    """So many reads at once and no more; what is not of that kind still gets its turn; a refusal says the bound."""

    async def scenario() -> None:
        budget = Budget(64)
        async with AsyncExitStack() as held:
            for n in range(64 // SHARES[bound]):
                namespace, host, failing = turn(n)  # type: ignore[operator]
                assert await take(budget, held, namespace, host, failing=failing)
            namespace, host, failing = turn(999)  # type: ignore[operator]
            with pytest.raises(NoTurnError, match=f"no turn in time: {64 // SHARES[bound]} reads .* the most at once"):
                async with budget.turn(namespace, host, failing=failing, deadline=soon()):
                    pass
            assert budget.refused == {bound: 1}
            assert await take(budget, held, "shop", "another") == (bound in ("host", "failing"))
            assert await take(budget, held, "other", "one") == (bound != "process")
        assert (budget.reading, budget.waiting) == (0, 0)

    asyncio.run(scenario())


def test_who_waits_is_served_in_order_when_a_turn_is_free() -> None:
    """The first to wait is the first to read, and nothing is kept of a host that nobody reads any more."""

    async def scenario() -> None:
        budget, order = Budget(1), list[int]()
        leave = asyncio.Event()

        async def read(n: int) -> None:
            async with budget.turn("shop", "one", failing=False, deadline=later()):
                order.append(n)
                await leave.wait()

        async with asyncio.TaskGroup() as tasks:
            for n in range(3):
                tasks.create_task(read(n))
                await until(lambda n=n: budget.reading + budget.waiting == n + 1)  # type: ignore[misc]
            leave.set()
        assert order == [0, 1, 2]
        assert not budget._turns

    asyncio.run(scenario())


def test_a_read_that_is_cancelled_while_it_waits_takes_no_turn() -> None:
    """An endpoint that is dropped while it waits leaves no trace."""

    async def scenario() -> None:
        budget = Budget(1)
        async with AsyncExitStack() as held:
            assert await take(budget, held, "shop", "one")
            waiting = asyncio.create_task(budget.turn("shop", "one", failing=True, deadline=later()).__aenter__())
            await until(lambda: budget.waiting == 1)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert await take(budget, held, "shop", "one")
        await held.aclose()
        assert (budget.reading, budget.waiting, budget._turns) == (0, 0, {})

    asyncio.run(scenario())
