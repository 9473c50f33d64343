"""Scrape Prometheus text pages: one GET an interval and page, however many metrics read it."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import aiohttp
import numpy as np
from yarl import URL

from adapter.schema.matchers import matches, parse_matchers
from adapter.schema.metric import Metric
from adapter.schema.model import ScrapeSource
from adapter.sources import SourceFailureError
from adapter.sources.fetch import fetch, new_session
from scaler.model import EMPTY_LAYOUT, F64, I64, Batch, Labels, Layout, MetricRef, Reason, Unknown, labels_of
from scaler.rules import CounterStart
from scaler.textparse import Page, PageLayout, ParseError, TextParser, TooManySeriesError

_START_TIME = "process_start_time_seconds"
_INLINE_BYTES = 256 * 1024  # larger pages are parsed in a thread: half a millisecond is what the loop may be held
_PAGE_SERIES = 100_000  # of the wanted names, before matchers: bounds what a page can make us keep


@dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """What one metric takes from a page.

    Args:
        metric: The metric.
        name: The metric name on the page.
        match: Matchers that its series must pass, as text.
        max_series: More series than this and the metric is unknown.
        from_zero: The time the process started is wanted too: counters count from zero then.
    """

    metric: MetricRef
    name: str
    match: str
    max_series: int
    from_zero: bool


@dataclass(frozen=True)
class ScrapeSpec:
    """One page, read at one interval for the metrics of one namespace."""

    type: ClassVar[str] = "scrape"

    namespace: str
    url: str
    interval_ms: int
    timeout_ms: int
    max_bytes: int
    wanted: tuple[Wanted, ...]

    @cached_property
    def name(self) -> str:
        """The URL without user info."""
        try:
            return str(URL(self.url).with_user(None))
        except ValueError:
            return "(URL that is not valid)"

    @cached_property
    def metrics(self) -> frozenset[MetricRef]:
        """The metrics that read the page."""
        return frozenset(wanted.metric for wanted in self.wanted)

    def open(self) -> ScrapeEndpoint:
        """Return the endpoint. Connects later, inside collect."""
        return ScrapeEndpoint(self)


def plan(metrics: Sequence[Metric]) -> list[ScrapeSpec]:
    """Return what must be read for the scraped metrics among these: each page once a namespace, interval and bound."""
    pages: defaultdict[tuple[str, str, int, int, int], set[Wanted]] = defaultdict(set)
    for metric in metrics:
        source, rule = metric.source, metric.rule
        if not isinstance(source, ScrapeSource):
            continue
        from_zero = rule.signal.counter_start is CounterStart.ZERO
        wanted = Wanted(rule.ref, source.metric, source.match or "", rule.max_series, from_zero)
        for url in source.targets.urls:
            pages[rule.ref.namespace, url, rule.interval_ms, metric.timeout_ms, source.max_bytes].add(wanted)
    return [ScrapeSpec(*page, tuple(sorted(wanted))) for page, wanted in pages.items()]


@dataclass(frozen=True, slots=True)
class _Selection:
    """The series of a page that one metric takes: its layout, and where they are in the page's."""

    layout: Layout
    index: I64
    failure: Unknown | None = None


class ScrapeEndpoint:
    """Reads one page. Holds a connection, and the layout of the last page but never its body."""

    def __init__(self, spec: ScrapeSpec) -> None:
        names = {wanted.name for wanted in spec.wanted}
        if any(wanted.from_zero for wanted in spec.wanted):
            names.add(_START_TIME)
        most = max((wanted.max_series for wanted in spec.wanted), default=0)
        self._spec = spec
        self._matchers = [parse_matchers(wanted.match) for wanted in spec.wanted]
        self._parser = TextParser(names, max(most, _PAGE_SERIES))
        self._instance = instance_of(spec.url)
        self._session: aiohttp.ClientSession | None = None
        # A read that is cancelled leaves its thread parsing; the next one must not use the parser beside it.
        self._parsing = threading.Lock()
        self._page_layout: PageLayout | None = None
        self._selections = [_Selection(EMPTY_LAYOUT, np.empty(0, np.int64))] * len(spec.wanted)
        self._start_at: int | None = None

    async def collect(self, now_ms: int) -> list[Batch]:
        """Read the page and return a Batch a metric.

        Raises:
            SourceFailureError: The page could not be read or is not valid; nothing of it is used.
        """
        spec = self._spec
        if self._session is None:
            self._session = new_session(spec.interval_ms)
        page = await fetch(self._session, spec.url, spec.timeout_ms, spec.max_bytes)
        if len(page) > _INLINE_BYTES or self._parsing.locked():
            return await asyncio.to_thread(self._batches, page, now_ms)
        return self._batches(page, now_ms)

    def failed(self, unknown: Unknown, now_ms: int) -> list[Batch]:
        """Return the Batches that say that the page could not be read."""
        return [self._failure(wanted.metric, unknown, now_ms) for wanted in self._spec.wanted]

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()

    def _batches(self, body: bytearray, now_ms: int) -> list[Batch]:
        with self._parsing:
            try:
                page = self._parser.parse(body)
            except ParseError as error:
                raise SourceFailureError(str(error)) from None
            except TooManySeriesError as error:
                raise SourceFailureError(str(error), Reason.TOO_MANY_SERIES) from None
            if page.layout is not self._page_layout:
                self._select(page.layout)
            start_ms = self._start_ms(page.values)
            return [
                self._batch(wanted, selection, page, start_ms, now_ms)
                for wanted, selection in zip(self._spec.wanted, self._selections, strict=True)
            ]

    def _batch(self, wanted: Wanted, selection: _Selection, page: Page, start_ms: int | None, now_ms: int) -> Batch:
        if selection.failure is not None:
            return self._failure(wanted.metric, selection.failure, now_ms)
        values = page.values[selection.index]
        known_start = start_ms if wanted.from_zero else None
        return Batch(wanted.metric, self._spec.url, now_ms, selection.layout, values, start_ms=known_start)

    def _failure(self, metric: MetricRef, unknown: Unknown, now_ms: int) -> Batch:
        return Batch(metric, self._spec.url, now_ms, EMPTY_LAYOUT, np.empty(0), failure=unknown)

    def _select(self, page: PageLayout) -> None:
        """Choose each metric's series anew, keeping its layout where they are still the same."""
        by_name: defaultdict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(page.names):
            by_name[name].append(index)
        series = [with_instance(labels, self._instance) for labels in page.series]
        selections = []
        for wanted, matchers, old in zip(self._spec.wanted, self._matchers, self._selections, strict=True):
            chosen = [at for at in by_name[wanted.name] if not matchers or matches(matchers, series[at])]
            selections.append(_selection(wanted, [series[at] for at in chosen], chosen, old))
        starts = by_name[_START_TIME]
        self._start_at = starts[0] if len(starts) == 1 else None  # several processes: none of them is the target
        self._selections = selections
        self._page_layout = page

    def _start_ms(self, values: F64) -> int | None:
        if self._start_at is None:
            return None
        start_s = float(values[self._start_at])
        return round(start_s * 1000) if math.isfinite(start_s) and start_s > 0 else None


def _selection(wanted: Wanted, series: list[Labels], index: list[int], old: _Selection) -> _Selection:
    if len(series) > wanted.max_series:
        detail = f"more than {wanted.max_series} series match: match fewer, or raise spec.maxSeries"
        return _Selection(EMPTY_LAYOUT, np.empty(0, np.int64), Unknown(Reason.TOO_MANY_SERIES, detail))
    if not series:
        layout = EMPTY_LAYOUT
    elif old.layout.series == tuple(series):
        layout = old.layout
    else:
        layout = Layout(tuple(series))
    return _Selection(layout, np.array(index, np.int64))


def instance_of(url: str) -> str:
    """Return the label `instance` of a target: host and port, the scheme's where the URL has none."""
    parsed = URL(url)
    host = parsed.raw_host or ""
    return f"[{host}]:{parsed.port}" if ":" in host else f"{host}:{parsed.port}"


def with_instance(labels: Labels, instance: str) -> Labels:
    """Return labels with the target's `instance`; one that the page gave becomes `exported_instance`.

    Source: Prometheus, scrape configuration, `honor_labels: false`.
    """
    given: Mapping[str, str] = dict(labels)
    if "instance" not in given:
        return labels_of({**given, "instance": instance})
    exported = "exported_instance"
    while exported in given:
        exported = f"exported_{exported}"
    renamed = {exported if name == "instance" else name: value for name, value in given.items()}
    return labels_of({**renamed, "instance": instance})
