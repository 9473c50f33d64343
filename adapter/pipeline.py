"""collect → append → evaluate → publish.

The pipeline owns the store. Whatever touches it runs in one worker thread, one piece at a time, so that neither a
kernel nor a large append holds the event loop; what leaves is a Snapshot, published by one assignment.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from scaler.evaluate import evaluate, table_spec
from scaler.explain import explain, values
from scaler.model import (
    EMPTY_SNAPSHOT,
    Batch,
    MetricRef,
    MetricResult,
    Reason,
    Snapshot,
    Unknown,
    UnknownItem,
)
from scaler.rules import MetricRule
from scaler.store import SeriesStore

log = logging.getLogger(__name__)

_PACE_S = 0.02
"""Time between two evaluations: batches that arrive within it are evaluated together. It bounds what many small
endpoints cost, and is small beside the shortest interval, 1 s."""

_TIMES_AN_INTERVAL = 50
"""A metric is computed at most so often an interval: its targets are read all over the interval, and each read would
otherwise mean to go through all of them again. It delays what a read brought by 2 % of the interval at most."""

MAX_WAITING = 200_000
"""Batches that wait for an evaluation. Each metric and target brings one an interval: this is far behind."""

_COUNT_EVERY_MS = 5_000

_HEARTBEAT_S = 5.0
"""The longest the pipeline rests, so that its heartbeat stays young."""


class PipelineTelemetry(Protocol):
    """What the pipeline tells about itself."""

    def evaluated(self, metrics: int, batches: int, seconds: float) -> None:
        """One evaluation has ended."""
        ...


@dataclass(slots=True)
class _Work:
    """What has come in since the last evaluation."""

    batches: list[Batch] = field(default_factory=list)
    due: set[MetricRef] = field(default_factory=set)
    rules: Mapping[MetricRef, MetricRule] | None = None

    def __bool__(self) -> bool:
        return bool(self.batches or self.due or self.rules is not None)


class _Deadlines:
    """When results must be computed again. At most a few entries a metric, however often it is computed."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, MetricRef]] = []
        self._soonest: dict[MetricRef, int] = {}

    def add(self, ref: MetricRef, at_ms: int) -> None:
        """Note a result's deadline. A later one than is noted waits until that has passed."""
        if at_ms < self._soonest.get(ref, at_ms + 1):
            self._soonest[ref] = at_ms
            heapq.heappush(self._heap, (at_ms, ref))

    def next_ms(self) -> int | None:
        """Return when to look next."""
        return self._heap[0][0] if self._heap else None

    def passed(self, snapshot: Snapshot, now_ms: int) -> Iterator[MetricRef]:
        """Yield the metrics whose present result's deadline has passed."""
        while self._heap and self._heap[0][0] <= now_ms:
            at_ms, ref = heapq.heappop(self._heap)
            if self._soonest.get(ref) == at_ms:
                del self._soonest[ref]
            result = snapshot.results.get(ref)
            if result is None or result.recompute_at_ms is None:
                continue
            if result.recompute_at_ms <= now_ms:
                yield ref
            else:
                self.add(ref, result.recompute_at_ms)


class Pipeline(AbstractAsyncContextManager["Pipeline"]):
    """Owner of the store and of the published snapshot."""

    def __init__(
        self, now_ms: Callable[[], int], telemetry: PipelineTelemetry, max_namespace_bytes: int | None = None
    ) -> None:
        self._now_ms = now_ms
        self._telemetry = telemetry
        self._store = SeriesStore(max_namespace_bytes)
        self._rules: Mapping[MetricRef, MetricRule] = {}
        self._snapshot = EMPTY_SNAPSHOT
        self._inbox = _Work()
        self._ticking: Mapping[MetricRef, MetricRule] = {}  # what the store is laid out for; only the worker looks
        self._broken: set[MetricRef] = set()  # what a bug of ours keeps from a value, and was logged; the worker's too
        self._deadlines = _Deadlines()
        self._not_before_s: dict[MetricRef, float] = {}  # by the monotonic clock: when a metric may be computed again
        self._wake = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="spillway-pipeline")
        self.heartbeat = time.monotonic()
        self.reads: Counter[tuple[MetricRef, str]] = Counter()
        """Reads of each metric by outcome: ok, or a reason."""
        self.store_bytes = 0
        self.store_series = 0
        self.rejected = 0
        """Batches that were not newer than what was there."""
        self.bytes_of: Mapping[str, int] = {}
        """About the memory of each namespace's series."""
        self.refused = 0
        """Batches that would have brought too many series."""
        self.dropped = 0
        """Batches that came in while too many waited."""
        self._counted_ms = 0

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._worker.shutdown(wait=True)

    async def __aenter__(self) -> Self:
        return self

    @property
    def snapshot(self) -> Snapshot:
        """What readers may know now."""
        return self._snapshot

    @property
    def rules(self) -> Mapping[MetricRef, MetricRule]:
        """The rules of the metrics that are defined."""
        return self._rules

    def submit(self, batches: Iterable[Batch]) -> None:
        """Take in what a read brought. With too many of them waiting it is as if this read had not been made."""
        for batch in batches:
            if len(self._inbox.batches) >= MAX_WAITING:
                self.dropped += 1
                continue
            self._inbox.batches.append(batch)
            self._inbox.due.add(batch.metric)
            self.reads[batch.metric, _outcome(batch)] += 1
        self._wake.set()

    def configure(self, rules: Mapping[MetricRef, MetricRule]) -> frozenset[MetricRef]:
        """Replace the rules. A metric whose meaning has changed is unknown until it was read again.

        Returns:
            The metrics of which nothing counts that was read, or is being read, for the rules before.
        """
        before = self._rules
        other = frozenset(r for r, rule in rules.items() if r not in before or before[r].source_id != rule.source_id)
        self._inbox.batches = [batch for batch in self._inbox.batches if batch.metric not in other]
        self._inbox.rules = rules
        self._rules = rules
        for key in [key for key in self.reads if key[0] not in rules]:
            del self.reads[key]
        self._not_before_s = {}
        self._wake.set()
        return other

    async def run(self) -> None:
        """Evaluate whatever comes in, until cancelled."""
        while True:
            await self._rest()
            self._wake.clear()
            now_ms = self._now_ms()
            work, self._inbox = self._inbox, _Work()
            work.due.update(self._deadlines.passed(self._snapshot, now_ms))
            self.heartbeat = time.monotonic()
            self._hold(work, self.heartbeat)
            if not work:
                continue
            before = self._snapshot
            self._snapshot = await asyncio.get_running_loop().run_in_executor(self._worker, self._tick, work, now_ms)
            for ref in work.due:
                self._follow(ref, before.results.get(ref), self._snapshot.results.get(ref))
            await asyncio.sleep(_PACE_S)

    async def explain(self, ref: MetricRef) -> dict[str, Any] | None:
        """Return everything that led to a metric's result, as JSON types; None: there is no such metric."""

        def compute() -> dict[str, Any] | None:
            rule = self._rules.get(ref)
            return None if rule is None else explain(self._store, rule, self._snapshot.results.get(ref), now_ms)

        now_ms = self._now_ms()
        return await asyncio.get_running_loop().run_in_executor(self._worker, compute)

    def values(self, ref: MetricRef) -> dict[str, Any] | None:
        """Return what a reader of a whole metric would get now, as JSON types; None: there is no such metric."""
        rule = self._rules.get(ref)
        return None if rule is None else values(rule, self._snapshot.results.get(ref), self._now_ms())

    def _hold(self, work: _Work, now_s: float) -> None:
        """Leave for later what is for metrics that were computed a moment ago."""
        held = {ref for ref in work.due if now_s < self._not_before_s.get(ref, now_s)}
        if held:
            self._inbox.due = held
            self._inbox.batches = [batch for batch in work.batches if batch.metric in held]
            work.batches = [batch for batch in work.batches if batch.metric not in held]
            work.due -= held
        for ref in work.due & self._rules.keys():
            self._not_before_s[ref] = now_s + self._rules[ref].interval_ms / 1000 / _TIMES_AN_INTERVAL

    async def _rest(self) -> None:
        rest_s = _HEARTBEAT_S
        if self._inbox.due:
            now_s = time.monotonic()
            soonest_s = min(self._not_before_s.get(ref, now_s) for ref in self._inbox.due)
            rest_s = min(rest_s, max(0.0, soonest_s - now_s))
        next_ms = self._deadlines.next_ms()
        if next_ms is not None:
            rest_s = min(rest_s, max(0.0, (next_ms - self._now_ms()) / 1000))
        try:
            async with asyncio.timeout(rest_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _tick(self, work: _Work, now_ms: int) -> Snapshot:
        """In the worker thread: take everything in and compute what is due."""
        started = time.perf_counter()
        previous, changed = self._snapshot, set[MetricRef]()
        if work.rules is not None:
            previous, changed = self._adopt(work, previous, now_ms)
        broken = self._append(work.batches, now_ms)
        # A batch of a target that has just left would make it a target again, that nobody reads.
        self._retain(changed, now_ms)
        due = work.due - broken
        snapshot, failed = self._evaluate(previous, due, now_ms)
        self._broken = (self._broken - due) | broken | failed
        if broken:
            snapshot = _with_errors(snapshot, broken, self._ticking, now_ms)
        self.store_bytes = self._store.arena.nbytes()
        self.rejected, self.refused = self._store.rejected, self._store.refused
        if abs(now_ms - self._counted_ms) > _COUNT_EVERY_MS:
            self._counted_ms = now_ms
            self.bytes_of = self._store.bytes_of.copy()
            self.store_series = sum(table.series() for table in self._store.tables.values())
        self._telemetry.evaluated(len(work.due), len(work.batches), time.perf_counter() - started)
        return snapshot

    def _append(self, batches: Iterable[Batch], now_ms: int) -> set[MetricRef]:
        """Take batches in; a metric whose batch cannot be, for want of memory say, loses its samples and no other's."""
        broken: set[MetricRef] = set()
        for batch in batches:
            try:
                self._store.append(batch)
            except Exception:
                if batch.metric not in self._broken and batch.metric not in broken:
                    log.exception("bug in the store", extra=_named(batch.metric))
                broken.add(batch.metric)
                self._store.drop(batch.metric)
                rule = self._ticking.get(batch.metric)
                if rule is not None:
                    self._store.configure(batch.metric, table_spec(rule), now_ms)
        return broken

    def _evaluate(self, previous: Snapshot, due: set[MetricRef], now_ms: int) -> tuple[Snapshot, set[MetricRef]]:
        """Compute what is due; one metric that cannot be computed is unknown, and ends nothing else.

        Returns:
            The snapshot, and the metrics that could not be computed.
        """
        try:
            return evaluate(self._store, self._ticking, previous, due, now_ms), set()
        except Exception:
            log.debug("an evaluation failed; each metric by itself", exc_info=True)
        snapshot, failed = previous, set[MetricRef]()
        for ref in due:
            try:
                snapshot = evaluate(self._store, self._ticking, snapshot, {ref}, now_ms)
            except Exception:
                if ref not in self._broken:
                    log.exception("bug in the evaluation of a metric", extra=_named(ref))
                failed.add(ref)
                snapshot = _with_errors(snapshot, {ref}, self._ticking, now_ms)
        return snapshot, failed

    def _adopt(self, work: _Work, previous: Snapshot, now_ms: int) -> tuple[Snapshot, set[MetricRef]]:
        """Lay the store out for new rules; forget results that no longer mean what they did.

        Returns:
            The snapshot without these, and the metrics whose rules are not what they were.
        """
        old, new = self._ticking, work.rules or {}
        self._counted_ms = 0
        for ref in old.keys() - new.keys():
            self._store.drop(ref)
        changed = {ref for ref, rule in new.items() if old.get(ref) != rule}
        for ref in changed:
            was, rule = old.get(ref), new[ref]
            if was is not None and was.source_id != rule.source_id:
                self._store.drop(ref)
            self._store.configure(ref, table_spec(rule), now_ms)
        work.due.update(changed | (old.keys() - new.keys()))
        self._ticking = new
        self._retain(changed, now_ms)
        same = {ref for ref in new if ref in old and old[ref].meaning == new[ref].meaning}
        return Snapshot({ref: result for ref, result in previous.results.items() if ref in same}, now_ms), changed

    def _retain(self, refs: Iterable[MetricRef], now_ms: int) -> None:
        """Let targets go that are none any more."""
        for ref in refs:
            rule = self._ticking[ref]
            if not rule.waiting:
                self._store.retain(ref, rule.targets, now_ms, lingers=rule.lingers)

    def _follow(self, ref: MetricRef, before: MetricResult | None, after: MetricResult | None) -> None:
        """Keep the deadline of a result, and log when a metric becomes known or unknown."""
        if after is not None and after.recompute_at_ms is not None:
            self._deadlines.add(ref, after.recompute_at_ms)
        was, now = _trouble(before), _trouble(after)
        if after is None or was == now or not after.all_read:
            return
        name = f"{ref.namespace}/{after.metric_name}"
        if now is None:
            if before is not None and before.all_read:
                log.info("metric known", extra={"metric": name})
        else:
            log.warning("metric unknown", extra={"metric": name, "reason": now.reason.value, "detail": now.detail})


def _named(ref: MetricRef) -> dict[str, str]:
    return {"metric": f"{ref.namespace}/{ref.name}"}


def _with_errors(
    snapshot: Snapshot, refs: Iterable[MetricRef], rules: Mapping[MetricRef, MetricRule], now_ms: int
) -> Snapshot:
    """Return a snapshot in which these metrics are unknown because of us."""
    unknown = Unknown(Reason.SOURCE_ERROR, "internal error: see the adapter's log", now_ms)
    results = {ref: MetricResult(rules[ref].metric_name, (), unknown, now_ms, None) for ref in refs if ref in rules}
    return Snapshot({**snapshot.results, **results}, now_ms)


def _trouble(result: MetricResult | None) -> Unknown | None:
    """Return the first unknown of a result."""
    if result is None:
        return None
    if result.unknown is not None:
        return result.unknown
    return next((item.unknown for item in result.items if isinstance(item, UnknownItem)), None)


def _outcome(batch: Batch) -> str:
    if batch.failure is not None:
        return batch.failure.reason.value
    if batch.problems:
        return next(iter(batch.problems.values())).reason.value
    return "ok"
