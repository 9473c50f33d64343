"""Scrape pages of Prometheus text and OpenMetrics: one GET an interval and page, however many metrics read it."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeVar

import aiohttp
from yarl import URL

from adapter.schema.metric import Metric
from adapter.schema.model import ScrapeSource
from adapter.schema.policy import AddressPolicy
from adapter.schema.target import Target
from adapter.sources.fetch import Body, NotAdmittedError, fetch, new_session
from adapter.sources.scrape_access import NO_ACCESS, Access, access_to
from adapter.sources.scrape_page import COUNTING, PageReader, Wanted
from scaler.histograms import SUFFIX
from scaler.model import Batch, MetricRef, Unknown
from scaler.rules import CounterStart, Function
from scaler.textparse import Page

T = TypeVar("T")

_PARSERS = ThreadPoolExecutor(2, thread_name_prefix="spillway-parse")  # its own: name look-ups hang, and fill the other
_INLINE_BYTES = 256 * 1024  # larger pages are parsed in a thread: half a millisecond is what the loop may be held
_INLINE_SERIES = 200  # names and labels become Python's once, which takes some microseconds each


@dataclass(frozen=True)
class ScrapeSpec:
    """One page, read at one interval for the metrics of one namespace."""

    type: ClassVar[str] = "scrape"
    asks: ClassVar[bool] = True

    namespace: str
    target: Target
    interval_ms: int
    timeout_ms: int
    max_bytes: int
    policy: AddressPolicy
    wanted: tuple[Wanted, ...]
    access: Access = NO_ACCESS

    def __hash__(self) -> int:
        # A part that tells nearly all apart: a read asks for it several times.
        return hash((self.namespace, self.target.url, self.interval_ms))

    @property
    def url(self) -> str:
        """Where the page is."""
        return self.target.url

    @cached_property
    def name(self) -> str:
        """The URL without user info."""
        try:
            return str(URL(self.url).with_user(None))
        except ValueError:
            return "(URL that is not valid)"

    @cached_property
    def host(self) -> str:
        """Host and port of the URL."""
        try:
            return instance_of(self.url)
        except ValueError:
            return self.name

    @cached_property
    def metrics(self) -> frozenset[MetricRef]:
        """The metrics that read the page."""
        return frozenset(wanted.metric for wanted in self.wanted)

    @property
    def openmetrics_first(self) -> bool:
        """Whether to ask for OpenMetrics first: for when series were created, if no counter may change its name."""
        told = any(wanted.created is not None for wanted in self.wanted)
        return told and all(wanted.name.endswith(COUNTING) for wanted in self.wanted)

    def open(self) -> ScrapeEndpoint:
        """Return the endpoint. Connects later, inside collect."""
        return ScrapeEndpoint(self)


def plan(metrics: Sequence[Metric]) -> list[ScrapeSpec]:
    """Return what must be read for the scraped metrics among these: each page once a namespace, interval and bound."""
    pages: defaultdict[tuple[str, Target, int, int, int, AddressPolicy, Access], set[Wanted]] = defaultdict(set)
    for metric in metrics:
        source, rule = metric.source, metric.rule
        if not isinstance(source, ScrapeSource):
            continue
        from_zero = rule.signal.counter_start is CounterStart.ZERO
        buckets = rule.signal.function is Function.HISTOGRAM_QUANTILE
        name = source.metric + SUFFIX if buckets else source.metric
        wanted = Wanted(rule.ref, name, source.match or "", rule.max_series, from_zero, buckets)
        targets = metric.targets if metric.targets is not None else map(target_at, source.targets.urls)
        access = access_to(source, metric.secrets)
        for target in targets:
            bounds = (rule.interval_ms, metric.timeout_ms, source.max_bytes)
            pages[rule.ref.namespace, target, *bounds, metric.policy, access].add(wanted)
    return [ScrapeSpec(*page[:-1], tuple(sorted(wanted)), page[-1]) for page, wanted in pages.items()]


class ScrapeEndpoint:
    """Reads one page. Holds a connection, and what its PageReader remembers."""

    def __init__(self, spec: ScrapeSpec) -> None:
        self._spec = spec
        self._reader = PageReader(spec.target, spec.wanted)
        self._keys = spec.access.open()
        self._session: aiohttp.ClientSession | None = None
        # A read that is cancelled leaves its thread parsing; the next one must not use the reader beside it.
        self._parsing = threading.Lock()

    async def collect(self, now_ms: int) -> list[Batch]:
        """Read the page and return a Batch a metric.

        Raises:
            SourceFailureError: The page could not be read or is not valid; nothing of it is used.
        """
        spec = self._spec
        if self._session is None:
            first = spec.openmetrics_first
            self._session = new_session(spec.interval_ms, spec.policy, openmetrics_first=first)
        ready = await self._keys.ready()
        try:
            body = await fetch(self._session, spec.url, spec.timeout_ms, spec.max_bytes, ready)
        except NotAdmittedError:
            self._keys.forget()
            raise
        if len(body.text) > _INLINE_BYTES or self._parsing.locked():
            return await _in_thread(self._batches, body, now_ms)
        page = self._reader.parse(body.text, openmetrics=body.openmetrics)
        if self._reader.unknown(page) > _INLINE_SERIES:
            return await _in_thread(self._selected, page, now_ms)
        return self._reader.batches(page, now_ms)

    def failed(self, unknown: Unknown, now_ms: int) -> list[Batch]:
        """Return the Batches that say that the page could not be read."""
        return self._reader.failed(unknown, now_ms)

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()

    def _batches(self, body: Body, now_ms: int) -> list[Batch]:
        with self._parsing:
            return self._reader.batches(self._reader.parse(body.text, openmetrics=body.openmetrics), now_ms)

    def _selected(self, page: Page, now_ms: int) -> list[Batch]:
        with self._parsing:
            return self._reader.batches(page, now_ms)


def _in_thread(work: Callable[[T, int], list[Batch]], what: T, now_ms: int) -> asyncio.Future[list[Batch]]:
    return asyncio.get_running_loop().run_in_executor(_PARSERS, work, what, now_ms)


def instance_of(url: str) -> str:
    """Return the label `instance` of a target: host and port, the scheme's where the URL has none."""
    parsed = URL(url)
    host = parsed.raw_host or ""
    return f"[{host}]:{parsed.port}" if ":" in host else f"{host}:{parsed.port}"


def target_at(url: str) -> Target:
    """Return the target that a configuration names by its URL."""
    return Target(url, url, (("instance", instance_of(url)),))
