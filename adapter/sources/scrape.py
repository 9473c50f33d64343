"""Scrape pages of Prometheus text and OpenMetrics: one GET an interval and page, however many metrics read it."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import ClassVar

import aiohttp
import numpy as np
from yarl import URL

from adapter.schema.matchers import matches, parse_matchers
from adapter.schema.metric import Metric
from adapter.schema.model import ScrapeSource
from adapter.schema.policy import AddressPolicy
from adapter.schema.target import Target
from adapter.schema.words import show
from adapter.sources import SourceFailureError
from adapter.sources.fetch import Body, NotAdmittedError, fetch, new_session
from adapter.sources.scrape_access import NO_ACCESS, Access, access_to
from scaler.histograms import BOUND, SUFFIX, upper_bound
from scaler.model import EMPTY_LAYOUT, F64, I64, Batch, Labels, Layout, MetricRef, Reason, Unknown, labels_of
from scaler.rules import CounterStart, Function
from scaler.textparse import Page, PageLayout, ParseError, TextParser, TooManySeriesError

_START_TIME = "process_start_time_seconds"
_CREATED = "_created"
_COUNTING = ("_total", "_bucket", "_count", "_sum")
"""What the lines of counters, histograms and summaries end with, which may each have a line that ends with _created."""

_WITHIN_SERIES = frozenset({BOUND, "quantile"})
"""Labels that tell the lines of one histogram or summary apart; its _created has none of them."""

_PARSERS = ThreadPoolExecutor(2, thread_name_prefix="spillway-parse")  # its own: name look-ups hang, and fill the other
_INLINE_BYTES = 256 * 1024  # larger pages are parsed in a thread: half a millisecond is what the loop may be held
_INLINE_FIRST_BYTES = 32 * 1024  # names and labels become Python's once, which takes longer than the page
_PAGE_SERIES = 100_000  # of the wanted names, before matchers: bounds what a page can make us keep


@dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """What one metric takes from a page.

    Args:
        metric: The metric.
        name: The metric name on the page.
        match: Matchers that its series must pass, as text.
        max_series: More series than this and the metric is unknown.
        from_zero: The times the process started and the series were created are wanted too: counters count from zero
            then.
        buckets: They are the buckets of a histogram, each with its upper bound in the label le.
    """

    metric: MetricRef
    name: str
    match: str
    max_series: int
    from_zero: bool
    buckets: bool = False

    @property
    def created(self) -> str | None:
        """The name of the lines that say when the series were created, where such lines are wanted and possible."""
        suffix = next((suffix for suffix in _COUNTING if self.name.endswith(suffix)), None)
        return self.name.removesuffix(suffix) + _CREATED if suffix is not None and self.from_zero else None


@dataclass(frozen=True)
class ScrapeSpec:
    """One page, read at one interval for the metrics of one namespace."""

    type: ClassVar[str] = "scrape"

    namespace: str
    target: Target
    interval_ms: int
    timeout_ms: int
    max_bytes: int
    policy: AddressPolicy
    wanted: tuple[Wanted, ...]
    access: Access = NO_ACCESS

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
        return told and all(wanted.name.endswith(_COUNTING) for wanted in self.wanted)

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


@dataclass(frozen=True, slots=True)
class _Selection:
    """The series of a page that one metric takes: its layout, and where they are in the page's."""

    layout: Layout
    index: I64 | slice
    failure: Unknown | None = None
    problems: Mapping[int, Unknown] = field(default_factory=dict)
    created: I64 | None = None
    """Where the page says when they were created, if it says so of each."""


_NOTHING = _Selection(EMPTY_LAYOUT, slice(0))


class ScrapeEndpoint:
    """Reads one page. Holds a connection, and the layout of the last page but never its body."""

    def __init__(self, spec: ScrapeSpec) -> None:
        names = {name for wanted in spec.wanted for name in (wanted.name, wanted.created) if name is not None}
        if any(wanted.from_zero for wanted in spec.wanted):
            names.add(_START_TIME)
        most = max((wanted.max_series for wanted in spec.wanted), default=0)
        self._spec = spec
        self._matchers = [parse_matchers(wanted.match) for wanted in spec.wanted]
        self._parser = TextParser(names, max(most, _PAGE_SERIES))
        self._keys = spec.access.open()
        self._session: aiohttp.ClientSession | None = None
        # A read that is cancelled leaves its thread parsing; the next one must not use the parser beside it.
        self._parsing = threading.Lock()
        self._page_layout: PageLayout | None = None
        self._names: list[str] = []
        self._series: Sequence[Labels] = ()
        self._selections = [_NOTHING] * len(spec.wanted)
        self._start_at: int | None = None

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
            page = await fetch(self._session, spec.url, spec.timeout_ms, spec.max_bytes, ready)
        except NotAdmittedError:
            self._keys.forget()
            raise
        inline = _INLINE_BYTES if self._series else _INLINE_FIRST_BYTES
        if len(page.text) > inline or self._parsing.locked():
            return await asyncio.get_running_loop().run_in_executor(_PARSERS, self._batches, page, now_ms)
        return self._batches(page, now_ms)

    def failed(self, unknown: Unknown, now_ms: int) -> list[Batch]:
        """Return the Batches that say that the page could not be read."""
        return [self._failure(wanted.metric, unknown, now_ms) for wanted in self._spec.wanted]

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()

    def _batches(self, body: Body, now_ms: int) -> list[Batch]:
        with self._parsing:
            try:
                page = self._parser.parse(body.text, openmetrics=body.openmetrics)
            except ParseError as error:
                raise SourceFailureError(str(error)) from None
            except TooManySeriesError as error:
                raise SourceFailureError(str(error), Reason.TOO_MANY_SERIES) from None
            if page.layout is not self._page_layout:
                self._select(page)
            start_ms = self._start_ms(page.values)
            return [
                self._batch(wanted, selection, page, start_ms, now_ms)
                for wanted, selection in zip(self._spec.wanted, self._selections, strict=True)
            ]

    def _batch(self, wanted: Wanted, selection: _Selection, page: Page, start_ms: int | None, now_ms: int) -> Batch:
        if selection.failure is not None:
            return self._failure(wanted.metric, selection.failure, now_ms)
        values = page.values[selection.index]
        created_ms = None if selection.created is None else _first_ms(page.values[selection.created])
        # No series began before its process, nor before the first of them: the later time says more.
        known_start = max((ms for ms in (start_ms, created_ms) if ms is not None), default=None)
        return Batch(
            wanted.metric,
            self._spec.target.name,
            now_ms,
            selection.layout,
            values,
            selection.problems,
            start_ms=known_start if wanted.from_zero else None,
        )

    def _failure(self, metric: MetricRef, unknown: Unknown, now_ms: int) -> Batch:
        return Batch(metric, self._spec.target.name, now_ms, EMPTY_LAYOUT, np.empty(0), failure=unknown)

    def _select(self, page: Page) -> None:
        """Choose each metric's series anew, keeping its layout where they are still the same."""
        by_name: defaultdict[str, list[int]] = defaultdict(list)
        names, series = [], []
        origins: Iterable[int] = repeat(-1, len(page.layout))
        if page.origins is not None and self._page_layout is not None:
            origins = page.origins.tolist()
        self._page_layout = None  # until this is done
        for index, origin in enumerate(origins):
            known = origin >= 0
            name, labels = (self._names[origin], self._series[origin]) if known else self._decoded(page.layout, index)
            names.append(name)
            series.append(labels)
            by_name[name].append(index)
        selections = []
        for wanted, matchers, old in zip(self._spec.wanted, self._matchers, self._selections, strict=True):
            chosen = [at for at in by_name[wanted.name] if not matchers or matches(matchers, series[at])]
            created = {series[at]: at for at in by_name[wanted.created]} if wanted.created is not None else {}
            selections.append(_selection(wanted, [series[at] for at in chosen], chosen, old, created))
        starts = by_name[_START_TIME]
        self._start_at = starts[0] if len(starts) == 1 else None  # several processes: none of them is the target
        self._selections = selections
        self._page_layout, self._names = page.layout, names
        # Where a metric takes all of the page, its layout holds the labels already.
        self._series = next((s.layout.series for s in selections if s.layout.series == tuple(series)), series)

    def _decoded(self, page: PageLayout, index: int) -> tuple[str, Labels]:
        name, labels = page.series_at(index)
        return name, with_labels(labels, self._spec.target.labels)

    def _start_ms(self, values: F64) -> int | None:
        if self._start_at is None:
            return self._spec.target.started_ms
        return _first_ms(values[self._start_at : self._start_at + 1])


def _first_ms(times_s: F64) -> int | None:
    """Return the first of these times; None if any is none."""
    return round(float(times_s.min()) * 1000) if np.isfinite(times_s).all() and (times_s > 0).all() else None


def _selection(
    wanted: Wanted, series: list[Labels], index: list[int], old: _Selection, created: Mapping[Labels, int]
) -> _Selection:
    """Return what a metric takes: these series, at these places of the page, and where it says when they began."""
    if len(series) > wanted.max_series:
        detail = f"more than {wanted.max_series} series match: match fewer, or raise spec.maxSeries"
        return _Selection(EMPTY_LAYOUT, slice(0), Unknown(Reason.TOO_MANY_SERIES, detail))
    if not series:
        layout = EMPTY_LAYOUT
    elif old.layout.series == tuple(series):
        layout = old.layout
    else:
        layout = Layout(tuple(series))
    problems = _bucket_problems(series) if wanted.buckets else {}
    return _Selection(layout, _places(index), problems=problems, created=_creation(series, created))


def _places(index: Sequence[int]) -> I64 | slice:
    """Return what takes these of a page's values: mostly they stand together, and nothing is copied then."""
    start = index[0] if index else 0
    together = all(map(int.__eq__, index, range(start, start + len(index))))
    return slice(start, start + len(index)) if together else np.array(index, np.int64)


def _creation(series: Sequence[Labels], created: Mapping[Labels, int]) -> I64 | None:
    """Return where it is said when each of the series was created; None if that is not said of all."""
    if not created or not series:
        return None
    places = {created.get(tuple(pair for pair in labels if pair[0] not in _WITHIN_SERIES)) for labels in series}
    return None if None in places else np.array(sorted(place for place in places if place is not None), np.int64)


def _bucket_problems(series: Sequence[Labels]) -> dict[int, Unknown]:
    """Say which series are no bucket. They are not left out: a histogram without one of its buckets is another one."""
    problems = {}
    for index, labels in enumerate(series):
        if math.isnan(upper_bound(labels)):
            text = dict(labels).get(BOUND)
            why = "has no label le" if text is None else f"le={show(text)} is not a number"
            problems[index] = Unknown(Reason.WRONG_TYPE, f"not a bucket of a histogram: {why}")
    return problems


def instance_of(url: str) -> str:
    """Return the label `instance` of a target: host and port, the scheme's where the URL has none."""
    parsed = URL(url)
    host = parsed.raw_host or ""
    return f"[{host}]:{parsed.port}" if ":" in host else f"{host}:{parsed.port}"


def target_at(url: str) -> Target:
    """Return the target that a configuration names by its URL."""
    return Target(url, url, (("instance", instance_of(url)),))


def with_labels(labels: Labels, given: Labels) -> Labels:
    """Return a series' labels with its target's; one of the same name that the page gave becomes `exported_…`.

    Source: Prometheus, scrape configuration, `honor_labels: false`.
    """
    ours = dict(given)
    if not any(name in ours for name, _ in labels):
        return tuple(sorted(labels + given))  # the pairs stay the objects they are: they are shared
    kept: dict[str, str] = {}
    theirs = dict(labels)
    for name, value in labels:
        exported = name
        while exported in ours or (exported != name and exported in theirs):
            exported = f"exported_{exported}"
        kept[exported] = value
    return labels_of({**kept, **ours})
