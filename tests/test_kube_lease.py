"""One holder of the Lease, never two, and a next one when it goes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter.kube.access import Access
from adapter.kube.client import Kube
from adapter.kube.lease import Acquire, Create, Election, Observed, Renew, Terms, Wait, decide, observe, written
from tests.kube_api import KubeApi
from tests.waiting import until

LEASES = "leases.coordination.k8s.io"
WALL = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUICK = Terms(retry_s=0.01)


class Clock:
    """Monotonic time that a test moves."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    with KubeApi(tmp_path) as api:
        yield api


@asynccontextmanager
async def candidate(api: KubeApi, identity: str, clock: Clock, **options: Any) -> AsyncIterator[Election]:
    """Yield a candidate with a connection of its own. It runs only if it is told to."""
    async with Kube(Access(service_account=api.service_account, environ=api.environ)) as kube:
        yield Election(kube, "spillway", "spillway", identity, terms=QUICK, clock=clock, **options)


@asynccontextmanager
async def standing(api: KubeApi, identity: str, clock: Clock, **options: Any) -> AsyncIterator[Election]:
    """Yield a candidate that stands for election until the end of the block."""
    async with candidate(api, identity, clock, **options) as election, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(election.run())
        try:
            yield election
        finally:
            task.cancel()


def lease_of(holder: str, version: str = "1", duration_s: int = 15, transitions: int = 3) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": duration_s, "leaseTransitions": transitions}
    spec |= {"acquireTime": "2020-01-01T00:00:00.000000Z", "renewTime": "2099-01-01T00:00:00.000000Z"}
    return {"metadata": {"name": "spillway", "resourceVersion": version}, "spec": spec}


def held(api: KubeApi) -> str | None:
    found = api.get(LEASES, "spillway", "spillway")
    return None if found is None else found["spec"]["holderIdentity"]


@pytest.mark.parametrize(
    ("lease", "age_s", "decision"),
    [
        (None, 0.0, Create()),
        (lease_of("me"), 99.0, Renew()),
        (lease_of(""), 0.0, Acquire()),
        (lease_of("other"), 0.0, Wait("other")),
        (lease_of("other"), 14.9, Wait("other")),
        (lease_of("other"), 15.0, Acquire()),
        (lease_of("other", duration_s=60), 15.0, Wait("other")),
        ({"metadata": {}}, 0.0, Acquire()),
        ({"metadata": {}, "spec": {"holderIdentity": "other", "leaseDurationSeconds": None}}, 1.0, Acquire()),
    ],
)
def test_a_decision_needs_nobody_elses_clock(lease: dict[str, Any] | None, age_s: float, decision: object) -> None:
    """Only how long a Lease has been seen unchanged counts; the times in it may be anything."""
    assert decide(Observed(lease, 1000.0), 1000.0 + age_s, "me") == decision


def test_a_change_starts_the_time_anew() -> None:
    """And a read that shows the same does not."""
    first = observe(None, lease_of("other"), 5.0)
    assert observe(first, lease_of("other"), 9.0) is first
    assert observe(first, lease_of("other", version="2"), 9.0).since_s == 9.0
    assert observe(first, None, 9.0) == Observed(None, 9.0)


def test_what_is_written() -> None:
    """A renewal keeps when it was acquired; taking it from another counts as a transition."""
    seen = Observed(lease_of("other"), 0.0)
    taken = written(seen, Acquire(), "me", Terms(), WALL)
    now = "2026-01-02T03:04:05.000000Z"
    assert taken == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": 4,
    }
    renewed = written(Observed({"spec": {**taken, "acquireTime": "before"}}, 0.0), Renew(), "me", Terms(), WALL)
    assert renewed == {**taken, "acquireTime": "before"}
    assert written(Observed(None, 0.0), Create(), "me", Terms(), WALL)["leaseTransitions"] == 0


@pytest.mark.parametrize("terms", [(15, 15.0, 2.0), (15, 2.0, 2.0), (15, 10.0, 0.0)])
def test_times_that_allow_two_holders_are_refused(terms: tuple[int, float, float]) -> None:
    """A holder must have stopped before another may begin."""
    with pytest.raises(ValueError, match="deadline"):
        Terms(*terms)


def test_three_candidates_race_and_one_holds(api: KubeApi) -> None:
    """When a holder stops in good order another takes over at once, until nobody is left."""
    told: list[tuple[str, bool]] = []

    def tell(name: str) -> Callable[[bool], None]:
        return lambda holder: told.append((name, holder))

    async def run() -> None:
        clock = Clock()
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            standing: dict[str, tuple[Election, asyncio.Task[None]]] = {}
            for name in "abc":
                election = await stack.enter_async_context(candidate(api, name, clock, on_change=tell(name)))
                standing[name] = election, tasks.create_task(election.run())
            while standing:
                await until(lambda: all(one.leader == held(api) != "" for one, _ in standing.values()))
                assert [name for name, (one, _) in standing.items() if one.holder] == [held(api)]
                election, task = standing.pop(str(held(api)))
                task.cancel()
                await asyncio.wait([task])
                assert not election.holder
            assert held(api) == ""

    asyncio.run(run())
    assert sorted(name for name, holder in told if holder) == ["a", "b", "c"]
    assert [holder for _, holder in told] == [True, False] * 3


def test_a_frozen_holder_stops_being_one_before_another_begins(api: KubeApi) -> None:
    """Its own clock tells it as soon as it wakes up, without a word from the API."""

    async def run() -> None:
        a_clock, b_clock = Clock(1e6), Clock(5.0)
        async with candidate(api, "a", a_clock) as a, candidate(api, "b", b_clock) as b:
            await a.step()
            for pause_s, holders in ((0.0, "a"), (9.9, "a"), (0.2, ""), (5.0, "b")):
                for clock in (a_clock, b_clock):
                    clock.now_s += pause_s
                await b.step()
                assert "".join(name for name, one in (("a", a), ("b", b)) if one.holder) == holders
            await a.step()
            assert (a.holder, a.leader) == (False, "b")

    asyncio.run(run())


def test_an_api_that_is_down_costs_the_lease_after_the_deadline(api: KubeApi) -> None:
    """Until then the holder is one; when the API is back it is one again, in the same term."""

    async def run() -> None:
        clock = Clock()
        async with standing(api, "a", clock) as a:
            await until(lambda: a.holder)
            api.down()
            for pause_s, holder in ((9.0, True), (2.0, False)):
                clock.now_s += pause_s
                assert a.holder is holder
            api.up()
            await until(lambda: a.holder)
            found = api.get(LEASES, "spillway", "spillway")
            assert found is not None
            assert found["spec"]["leaseTransitions"] == 0

    asyncio.run(run())


def test_an_api_that_is_down_at_the_start_or_at_the_end(api: KubeApi) -> None:
    """Nobody holds anything, nothing hangs, and nothing is raised."""

    async def run() -> None:
        api.down()
        async with candidate(api, "a", Clock()) as a:
            await a.step()
            before = a.holder
            api.up()
            await a.step()
            assert (before, a.holder) == (False, True)
        async with standing(api, "b", Clock()) as b:
            api.patch(LEASES, "spillway", "spillway", {"spec": {"holderIdentity": ""}})
            await until(lambda: b.holder)
            api.down()
        assert not b.holder

    asyncio.run(run())


def test_a_lease_that_was_deleted_or_given_away_is_seen(api: KubeApi) -> None:
    """A conflict makes the holder read: it makes the Lease anew, or steps back."""

    async def run() -> None:
        async with candidate(api, "a", Clock()) as a:
            await a.step()
            api.delete(LEASES, "spillway", "spillway")
            await a.step()
            assert (a.holder, held(api)) == (True, "a")
            api.patch(LEASES, "spillway", "spillway", {"metadata": {"labels": {"touched": "yes"}}})
            await a.step()
            assert (a.holder, held(api)) == (True, "a")
            api.patch(LEASES, "spillway", "spillway", {"spec": {"holderIdentity": "b"}})
            await a.step()
            assert (a.holder, held(api)) == (False, "b")

    asyncio.run(run())


def test_a_renewal_is_one_request(api: KubeApi) -> None:
    """Get, create and update are all that is asked for; a holder only updates."""

    async def run() -> None:
        async with candidate(api, "a", Clock()) as a:
            for _ in range(3):
                await a.step()

    asyncio.run(run())
    assert [asked.verb for asked in api.requests] == ["get", "create", "update", "update"]


steps = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.floats(0.0, 6.0),
        st.sampled_from(["ok", "ok", "ok", "refused", "lost answer", "expired read"]),
    ),
    min_size=5,
    max_size=25,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_there_are_never_two_holders(plan: list[tuple[str, float, str]]) -> None:
    """Whoever acts when, with clocks of their own, failing requests and writes whose answer is lost."""

    async def run(api: KubeApi) -> None:
        clocks = {name: Clock(start_s) for name, start_s in zip("abc", (0.0, 1e5, -3.0), strict=True)}
        async with AsyncExitStack() as stack:
            all_of_them = {
                name: await stack.enter_async_context(candidate(api, name, clock)) for name, clock in clocks.items()
            }
            for name, pause_s, fault in plan:
                for clock in clocks.values():
                    clock.now_s += pause_s
                if fault == "refused":
                    api.fail(500)
                elif fault == "lost answer":
                    api.cut(verb="update")
                elif fault == "expired read":
                    api.cut(verb="get")
                await all_of_them[name].step()
                api.heal()
                assert sum(one.holder for one in all_of_them.values()) <= 1

    with tempfile.TemporaryDirectory() as folder, KubeApi(Path(folder)) as api:
        asyncio.run(run(api))
