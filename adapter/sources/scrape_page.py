"""From a page to the batches of the metrics that read it: which series are theirs, and since when they count."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

import numpy as np

from adapter.schema.matchers import matches, parse_matchers
from adapter.schema.target import Target
from adapter.schema.words import show
from adapter.sources import SourceFailureError
from scaler.histograms import BOUND, upper_bound
from scaler.model import EMPTY_LAYOUT, F64, I64, Batch, Labels, Layout, MetricRef, Reason, Unknown, labels_of
from scaler.textparse import Page, PageLayout, ParseError, TextParser, TooManySeriesError

_START_TIME = "process_start_time_seconds"
_CREATED = "_created"
COUNTING = ("_total", "_bucket", "_count", "_sum")
"""What the lines of counters, histograms and summaries end with, which may each have a line that ends with _created."""

_WITHIN_SERIES = frozenset({BOUND, "quantile"})
"""Labels that tell the lines of one histogram or summary apart; its _created has none of them."""

MAX_PAGE_SERIES = 100_000
"""Series of the wanted names, before matchers: bounds what a page can make us keep."""

MAX_LABEL_BYTES = 4_096
"""Bytes of one series as it is written, name and labels: more is data, not a label."""


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
        suffix = next((suffix for suffix in COUNTING if self.name.endswith(suffix)), None)
        return self.name.removesuffix(suffix) + _CREATED if suffix is not None and self.from_zero else None


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


class PageReader:
    """Reads one target's pages. Holds the layout of the last page but never its body. Not for two threads at a time.

    Args:
        target: What is read.
        wanted: What each metric takes.
    """

    def __init__(self, target: Target, wanted: Sequence[Wanted]) -> None:
        names = {name for each in wanted for name in (each.name, each.created) if name is not None}
        if any(each.from_zero for each in wanted):
            names.add(_START_TIME)
        most = max((each.max_series for each in wanted), default=0)
        self._target = target
        self._wanted = wanted
        self._matchers = [parse_matchers(each.match) for each in wanted]
        self._parser = TextParser(names, max(most, MAX_PAGE_SERIES))
        self._parsed: PageLayout | None = None  # the layout of the page parsed last
        self._selected: PageLayout | None = None  # what the following are of
        self._names: list[str] = []
        self._series: tuple[Labels, ...] = ()
        self._selections = [_NOTHING] * len(wanted)
        self._start_at: int | None = None

    def parse(self, text: bytes | bytearray, *, openmetrics: bool) -> Page:
        """Check a page and return it, for `batches`.

        Raises:
            SourceFailureError: The page is not valid, or has too many series.
        """
        before = self._parsed
        try:
            page = self._parser.parse(text, openmetrics=openmetrics)
        except ParseError as error:
            raise SourceFailureError(str(error)) from None
        except TooManySeriesError as error:
            raise SourceFailureError(str(error), Reason.TOO_MANY_SERIES) from None
        self._parsed = page.layout
        # A page that was parsed but never selected from leaves us with names of the one before it.
        return page if before is self._selected else replace(page, origins=None)

    def unknown(self, page: Page) -> int:
        """Return how many series of a page have labels yet to be decoded."""
        if page.layout is self._selected:
            return 0
        return len(page.layout) if page.origins is None else int(np.count_nonzero(page.origins < 0))

    def batches(self, page: Page, now_ms: int) -> list[Batch]:
        """Return what the page that was parsed last says, a Batch a metric."""
        if page.layout is not self._selected:
            self._select(page)
        start_ms = self._start_ms(page.values)
        return [
            self._batch(wanted, selection, page, start_ms, now_ms)
            for wanted, selection in zip(self._wanted, self._selections, strict=True)
        ]

    def failed(self, unknown: Unknown, now_ms: int) -> list[Batch]:
        """Return the Batches that say that the page could not be read."""
        return [self._failure(wanted.metric, unknown, now_ms) for wanted in self._wanted]

    def _batch(self, wanted: Wanted, selection: _Selection, page: Page, start_ms: int | None, now_ms: int) -> Batch:
        if selection.failure is not None:
            return self._failure(wanted.metric, selection.failure, now_ms)
        values = page.values[selection.index]
        created_ms = None if selection.created is None else _first_ms(page.values[selection.created])
        # No series began before its process, nor before the first of them: the later time says more.
        known_start = max((ms for ms in (start_ms, created_ms) if ms is not None), default=None)
        return Batch(
            wanted.metric,
            self._target.name,
            now_ms,
            selection.layout,
            values,
            selection.problems,
            start_ms=known_start if wanted.from_zero else None,
        )

    def _failure(self, metric: MetricRef, unknown: Unknown, now_ms: int) -> Batch:
        return Batch(metric, self._target.name, now_ms, EMPTY_LAYOUT, np.empty(0), failure=unknown)

    def _select(self, page: Page) -> None:
        """Choose each metric's series anew, keeping its layout where they are still the same."""
        by_name: defaultdict[str, list[int]] = defaultdict(list)
        names, series = [], []
        origins: Iterable[int] = repeat(-1, len(page.layout))
        if page.origins is not None:
            origins = page.origins.tolist()
        self._selected = None  # until this is done
        for index, origin in enumerate(origins):
            known = origin >= 0
            name, labels = (self._names[origin], self._series[origin]) if known else self._decoded(page.layout, index)
            names.append(name)
            series.append(labels)
            by_name[name].append(index)
        long = frozenset(np.flatnonzero(np.diff(page.layout.text_at) > MAX_LABEL_BYTES).tolist())
        selections = []
        for wanted, matchers, old in zip(self._wanted, self._matchers, self._selections, strict=True):
            chosen = [at for at in by_name[wanted.name] if not matchers or matches(matchers, series[at])]
            created = {series[at]: at for at in by_name[wanted.created]} if wanted.created is not None else {}
            selections.append(_selection(wanted, [series[at] for at in chosen], chosen, old, created, long))
        starts = by_name[_START_TIME]
        self._start_at = starts[0] if len(starts) == 1 else None  # several processes: none of them is the target
        self._selections = selections
        self._names = names
        # Where a metric takes all of the page, its layout holds the labels already.
        every = [s.layout.series for s in selections if len(s.layout) == len(series)]
        self._series = every[0] if every else tuple(series)
        self._selected = page.layout

    def _decoded(self, page: PageLayout, index: int) -> tuple[str, Labels]:
        name, labels = page.series_at(index)
        return name, with_labels(labels, self._target.labels)

    def _start_ms(self, values: F64) -> int | None:
        if self._start_at is None:
            return self._target.started_ms
        return _first_ms(values[self._start_at : self._start_at + 1])


def _first_ms(times_s: F64) -> int | None:
    """Return the first of these times; None if any is none."""
    return round(float(times_s.min()) * 1000) if np.isfinite(times_s).all() and (times_s > 0).all() else None


def _selection(
    wanted: Wanted,
    series: list[Labels],
    index: list[int],
    old: _Selection,
    created: Mapping[Labels, int],
    long: frozenset[int],
) -> _Selection:
    """Return what a metric takes: these series, at these places of the page, and where it says when they began.

    `long` are the places of series with too much in their labels.
    """
    if long and not long.isdisjoint(index):
        detail = f"a series of more than {MAX_LABEL_BYTES} bytes, name and labels"
        return _Selection(EMPTY_LAYOUT, slice(0), Unknown(Reason.TOO_MANY_SERIES, detail))
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
