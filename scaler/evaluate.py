"""From samples and rules to a Snapshot: which targets count, what each series is, items, and what stands in for them.

Windows end with the newest good reads, not at now: between reads and during a failure nothing new is known, and
extrapolating over the silence would make a number up. So a result stays what it is until something new was read,
or until its oldest member is older than maxAge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from scaler import guard
from scaler.coverage import current_targets, names
from scaler.histograms import BOUND
from scaler.items import Item, adds_histograms, items_of
from scaler.members import members_of
from scaler.model import (
    ExternalMetricValue,
    Identity,
    MetricRef,
    MetricResult,
    Past,
    Reason,
    Snapshot,
    Unknown,
    UnknownItem,
)
from scaler.policy import earlier, identities, lost_item, next_change_ms
from scaler.rules import COUNTER, CounterStart, Function, MetricRule
from scaler.store import SeriesStore, since
from scaler.tables import TableSpec


def table_spec(rule: MetricRule) -> TableSpec:
    """Return what the store must remember for a rule.

    The groups of a histogram's buckets are cells: sum adds histograms bucket by bucket before the quantile is taken, as
    in histogram_quantile(q, sum by (le, …) (rate(…))); the other aggregations are of the quantiles.
    """
    by = None if rule.aggregate is None else rule.aggregate.by
    buckets = rule.signal.function is Function.HISTOGRAM_QUANTILE
    if buckets and by is not None:
        by = (*by, BOUND) if adds_histograms(rule) else None
    return TableSpec(
        window_ms=rule.signal.window_ms or 0,
        interval_ms=rule.interval_ms,
        counter=rule.signal.function in COUNTER,
        from_zero=rule.signal.counter_start is CounterStart.ZERO,
        by=by,
        buckets=buckets,
        max_series=rule.max_series,
    )


def evaluate(
    store: SeriesStore,
    rules: Mapping[MetricRef, MetricRule],
    previous: Snapshot,
    due: Collection[MetricRef],
    now_ms: int,
) -> Snapshot:
    """Compute the metrics that are due; the others carry over by reference. A due metric without a rule goes."""
    results = dict(previous.results)
    for ref in due:
        rule = rules.get(ref)
        if rule is None:
            results.pop(ref, None)
        else:
            result = _result(store, rule, results.get(ref), now_ms)
            results[ref] = result if _all_read(store, rule) else replace(result, all_read=False)
    return Snapshot(results, now_ms)


def _all_read(store: SeriesStore, rule: MetricRule) -> bool:
    table = store.tables.get(rule.ref)
    return table is not None and rule.listed and all(target in table.blocks for target in rule.targets)


def _result(store: SeriesStore, rule: MetricRule, before: MetricResult | None, now_ms: int) -> MetricResult:
    """Compute one metric."""
    table = store.tables.get(rule.ref)
    targets = current_targets(table, rule, now_ms)
    if isinstance(targets, Unknown) or table is None:
        unknown = targets if isinstance(targets, Unknown) else Unknown(Reason.NO_DATA, "not read yet")
        current = _still_current(before, now_ms)
        past = None if before is None else before.past
        return _built(rule, current, past, now_ms) if current else _all_unknown(rule, unknown, before, now_ms)
    members = members_of(store, table, rule, targets, now_ms)
    items: Sequence[Item] = items_of(table, rule, members)
    if not items:
        nothing = Unknown(Reason.NO_DATA, f"{names([t for t, _ in targets.targets])}: read, but it has no such series")
        return _all_unknown(rule, nothing, before, now_ms)
    past = None
    if rule.guard.remembers:
        items, past = guard.passed(rule, items, None if before is None else before.past, now_ms)
    return _built(rule, _settled(items, before, now_ms), past, now_ms)


def _still_current(before: MetricResult | None, now_ms: int) -> Sequence[Item]:
    """Return the earlier items if every one of them is still current, else none of them: never a part."""
    items = () if before is None else before.items
    return items if all(_is_current(i, now_ms) for i in items) else ()


def _is_current(item: Item, now_ms: int) -> bool:
    """Tell whether an item computed earlier still counts. One from the future is from before a clock was set back."""
    return not isinstance(item, UnknownItem) and not _is_future(item, now_ms) and now_ms < item.valid_until_ms


def _is_future(item: ExternalMetricValue, now_ms: int) -> bool:
    return item.timestamp_ms > now_ms + guard.SKEW_MS


def _all_unknown(rule: MetricRule, unknown: Unknown, before: MetricResult | None, now_ms: int) -> MetricResult:
    """Return the result whose set of items is unknown, with the items that there were last."""
    seen = None if before is None else before.unknown
    unknown = earlier(since(unknown, seen, now_ms), seen)
    there = () if before is None else before.items if before.unknown is None else before.last
    last = tuple(item for item in (_of_the_past(item, now_ms) for item in there) if item is not None)
    ends_ms = next_change_ms(rule.when_unknown, last, unknown, now_ms)
    past = None if before is None else before.past
    policy = rule.when_unknown
    return MetricResult(rule.metric_name, (), unknown, now_ms, ends_ms, when_unknown=policy, last=last, past=past)


def _of_the_past(item: Item, now_ms: int) -> Item | None:
    """Return an item without what is from before a clock was set back; None: nothing is left."""
    if not isinstance(item, UnknownItem):
        return None if _is_future(item, now_ms) else item
    if item.last is not None and _is_future(item.last, now_ms):
        return replace(item, last=None)
    return item


def _settled(items: Sequence[Item], before: MetricResult | None, now_ms: int) -> Sequence[Item]:
    """Let an earlier item that is still current stand in for an unknown one.

    What stays unknown keeps the time it began, and its last good value.
    """
    if UnknownItem not in set(map(type, items)):  # 1,000 of them in 15 µs
        return items
    of_set = None if before is None else before.unknown
    there = () if before is None else before.items if of_set is None else before.last
    earlier_items = dict(zip(identities(there), there, strict=True))
    found: list[Item] = []
    for identity, item in zip(identities(items), items, strict=True):
        was = earlier_items.get(identity)
        if not isinstance(item, UnknownItem):
            found.append(item)
        elif was is not None and of_set is None and _is_current(was, now_ms):
            found.append(was)
        else:
            seen = lost_item(was, of_set).unknown if isinstance(was, UnknownItem) else of_set
            last = was.last if isinstance(was, UnknownItem) else was
            if last is not None and _is_future(last, now_ms):
                last = None
            found.append(UnknownItem(item.labels, earlier(since(item.unknown, seen, now_ms), seen), last))
    return found


def _built(rule: MetricRule, items: Iterable[Item], past: Mapping[Identity, Past] | None, now_ms: int) -> MetricResult:
    """Return the result of some items, which are sorted."""
    ordered = tuple(items)
    ends_ms = next_change_ms(rule.when_unknown, ordered, None, now_ms)
    return MetricResult(rule.metric_name, ordered, None, now_ms, ends_ms, when_unknown=rule.when_unknown, past=past)
