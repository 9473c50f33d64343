"""Remembering for a while, asking once for all, and asking a few at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.auth.cache import SingleFlight, TtlCache
from adapter.auth.delegated import DelegatedAuth
from adapter.auth.reviews import ACCESS, Failure, Lane, Reviews
from adapter.auth.trust import Trust
from adapter.kube.access import Access
from adapter.kube.client import Kube
from tests.kube_api import KubeApi
from tests.waiting import until

_REVIEW = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
_SPEC = {"spec": {"user": "a", "nonResourceAttributes": {"path": "/", "verb": "get"}}}


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 4))))
def test_remembering(steps: list[tuple[int, bool, int]]) -> None:
    """It is a list of at most three, the latest used last, from which what is ten seconds old is taken when met."""
    cache: TtlCache[int, float] = TtlCache(3, 10.0)
    naive: list[tuple[int, float]] = []
    now_s = 0.0
    for key, writes, passes_s in steps:
        now_s += passes_s
        if writes:
            cache.put(key, now_s, now_s)
            naive = [*(pair for pair in naive if pair[0] != key), (key, now_s)][-3:]
            continue
        entry = cache.get(key, now_s)
        known = [pair for pair in naive if pair[0] == key and now_s - pair[1] < 10]
        naive = [*(pair for pair in naive if pair[0] != key), *known]
        assert ([] if entry is None else [(key, entry.value)]) == known
        assert [each for each, _ in cache.items()] == [each for each, _ in naive]


def test_the_longest_unused_goes_first() -> None:
    """What is used stays; a value written anew counts from then."""
    cache: TtlCache[str, int] = TtlCache(2, 10.0)
    cache.put("a", 1, 0.0)
    cache.put("b", 2, 1.0)
    assert cache.get("a", 2.0) is not None
    cache.put("c", 3, 3.0)
    assert [key for key, _ in cache.items()] == ["a", "c"]
    cache.put("a", 4, 4.0)
    assert cache.get("a", 13.9) is not None
    assert cache.get("a", 14.0) is None
    cache.discard("a")
    cache.discard("c")
    assert len(cache) == 0


def test_no_time_remembers_nothing() -> None:
    """A time of zero keeps nothing."""
    cache: TtlCache[str, int] = TtlCache(2, 0.0)
    cache.put("a", 1, 0.0)
    assert len(cache) == 0


def test_who_asks_first_may_leave() -> None:
    """If whoever made the call is cancelled or fails, one of those who wait makes it, and the others get its result."""

    async def run() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        calls, go = [0], asyncio.Event()

        async def call() -> int:
            calls[0] += 1
            mine = calls[0]
            await go.wait()
            if mine == 2:
                raise ValueError("a bug")
            return mine

        first = asyncio.create_task(flights.share("k", call))
        await until(lambda: calls[0] == 1)
        others = [asyncio.create_task(flights.share("k", call)) for _ in range(3)]
        await until(lambda: flights.waiting == 3)
        first.cancel()
        await until(lambda: calls[0] == 2)
        go.set()
        found = await asyncio.gather(*others, return_exceptions=True)
        assert sorted(type(each).__name__ for each in found) == ["ValueError", "int", "int"]
        assert (len(flights), flights.waiting) == (0, 0)
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(run())


def test_keys_do_not_wait_for_each_other() -> None:
    """A call that hangs holds nobody who asks something else; one who waits may give up alone."""

    async def run() -> None:
        flights: SingleFlight[str, str] = SingleFlight()
        go = asyncio.Event()

        async def slow() -> str:
            await go.wait()
            return "slow"

        async def fast() -> str:
            return "fast"

        first = asyncio.create_task(flights.share("a", slow))
        await until(lambda: len(flights) == 1)
        assert await flights.share("b", fast) == "fast"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flights.share("a", slow), 0.01)
        go.set()
        assert await first == "slow"

    asyncio.run(run())


def test_a_lane() -> None:
    """As many as it is wide run at once; a bounded number wait, and whoever comes then is turned away at once."""

    async def run() -> None:
        lane, go, running, most = Lane(2), asyncio.Event(), [0], [0]

        async def use() -> bool:
            async with lane.turn() as ours:
                running[0] += ours
                most[0] = max(most[0], running[0])
                await go.wait()
                running[0] -= ours
            return ours

        tasks = [asyncio.create_task(use()) for _ in range(520)]
        await until(lambda: running[0] == 2)
        tasks[2].cancel()
        go.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert (found.count(True), found.count(False), most[0]) == (513, 6, 2)
        assert await use()

    asyncio.run(run())


def test_an_api_that_hangs(tmp_path: Path) -> None:
    """A review has a time in which all of it happens, waiting for a turn too."""

    async def run(api: KubeApi) -> None:
        async with Kube(Access(service_account=api.service_account, environ=api.environ)) as kube:
            reviews, lane = Reviews(kube, timeout_s=0.3), Lane(1)
            api.hang()
            answers = await asyncio.gather(*(reviews.create(ACCESS, _REVIEW | _SPEC, lane) for _ in range(3)))
            assert [type(answer) for answer in answers] == [Failure] * 3
            assert Failure("no answer within 0.3s") in answers
            api.hang(on=False)
            assert await Reviews(kube).create(ACCESS, _REVIEW | _SPEC, lane) == {"allowed": False}

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))


def test_an_error_leaves_as_it_was(tmp_path: Path) -> None:
    """The block's own error is not wrapped, and nothing runs on."""

    async def run(api: KubeApi) -> None:
        async with Kube(Access(service_account=api.service_account, environ=api.environ)) as kube:
            with pytest.raises(ValueError, match="mine"):
                async with DelegatedAuth(kube, Trust(), lambda: None):
                    raise ValueError("mine")
            assert len(asyncio.all_tasks()) == 1

    with KubeApi(tmp_path) as api:
        asyncio.run(run(api))
