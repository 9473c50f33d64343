"""What stands in for an unknown item: whenUnknown.then.

An item is current until `valid_until_ms`. From then on, or from the moment something definite says that it is unknown,
it is unknown, and what a reader gets follows from its last good value and the time of the read alone:

    error   nothing
    hold    the last good value, as it was, until `valid_until_ms` + holdFor
    floor   the last good value or the floor, whichever is more; without a last good value the floor, once the item has
            been unknown for as long as a sample counts (maxAge)

Nothing here is scheduled: whoever reads at a moment is told what holds at that moment. The time of an item stays that
of its newest sample, however old. A floor without a sample has the time at which the unknown began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from scaler.model import (
    ExternalMetricValue,
    Identity,
    Labels,
    MetricResult,
    Reason,
    Then,
    Unknown,
    UnknownItem,
    WhenUnknown,
)

FOREVER_MS = 2**62
"""The end of what holds until something new is known."""


def identities(items: Iterable[ExternalMetricValue | UnknownItem]) -> Iterator[Identity]:
    """Yield what an item has in common with itself of an earlier evaluation. The items are sorted by labels.

    Of items with the same labels nobody can say which has come or gone: with one more or less, each is another one.
    """
    for labels, same in groupby(items, attrgetter("labels")):
        count = sum(1 for _ in same)
        for number in range(count):
            yield labels, number, count


def lost(result: MetricResult, now_ms: int) -> Iterator[UnknownItem]:
    """Yield the items that are unknown at `now_ms`; of an unknown set, those that there were last."""
    for item in result.items if result.unknown is None else result.last:
        if result.unknown is not None or isinstance(item, UnknownItem) or item.valid_until_ms <= now_ms:
            yield lost_item(item, result.unknown)


def lost_item(item: ExternalMetricValue | UnknownItem, of_set: Unknown | None) -> UnknownItem:
    """Return an item that is not known, or no longer, as what it is. `of_set`: why the set of items is unknown."""
    last = item.last if isinstance(item, UnknownItem) else item
    if isinstance(item, UnknownItem):
        return item if of_set is None else UnknownItem(item.labels, earlier(of_set, item.unknown), last)
    if of_set is not None:
        return UnknownItem(item.labels, of_set, last)
    return UnknownItem(item.labels, Unknown(Reason.STALE, since_ms=item.valid_until_ms), item)


def earlier(unknown: Unknown, before: Unknown | None) -> Unknown:
    """Return an unknown that began when the one it follows did: for as long as nothing is known it is one state."""
    if before is None or before.since_ms is None or (unknown.since_ms or before.since_ms) < before.since_ms:
        return unknown
    return replace(unknown, since_ms=before.since_ms)


def stand_in(policy: WhenUnknown, item: UnknownItem, now_ms: int) -> ExternalMetricValue | None:
    """Return what is served of an unknown item at `now_ms`, with the end of that as `valid_until_ms`; None: nothing."""
    last = item.last
    if policy.then is Then.ERROR:
        return None
    if policy.then is Then.HOLD:
        until_ms = 0 if last is None else last.valid_until_ms + policy.hold_for_ms
        return None if last is None or until_ms <= now_ms else _as(last, last.milli, until_ms)
    if last is not None:
        return _as(last, max(last.milli, policy.floor_milli), FOREVER_MS)
    return floor_alone(policy, item.labels, item.unknown, now_ms)


def stand_ins(result: MetricResult, now_ms: int) -> Iterator[tuple[UnknownItem, ExternalMetricValue | None]]:
    """Yield each item that is unknown at `now_ms`, and what stands in for it for a reader without a selector."""
    for item in lost(result, now_ms):
        yield item, stand_in(result.when_unknown, item, now_ms)
    if result.unknown is not None and not result.last:
        yield UnknownItem((), result.unknown), floor_alone(result.when_unknown, (), result.unknown, now_ms)


def floor_alone(policy: WhenUnknown, labels: Labels, unknown: Unknown, now_ms: int) -> ExternalMetricValue | None:
    """Return the floor, for what was never known; None: there is none, or it is too early for it."""
    since_ms = unknown.since_ms
    if policy.then is not Then.FLOOR or since_ms is None or now_ms <= since_ms + policy.floor_after_ms:
        return None
    return ExternalMetricValue(labels, since_ms, None, policy.floor_milli, FOREVER_MS)


def next_change_ms(
    policy: WhenUnknown, items: Sequence[ExternalMetricValue | UnknownItem], of_set: Unknown | None, now_ms: int
) -> int | None:
    """Return when, after `now_ms`, what is served changes although nothing is collected; None: never.

    Args:
        policy: What stands in for unknown items.
        items: The items; of an unknown set those that there were last.
        of_set: Why the set of items is unknown, if it is.
        now_ms: The present moment.
    """
    if of_set is None:
        moments = [item.valid_until_ms for item in items if not isinstance(item, UnknownItem)]
        unknown = [] if len(moments) == len(items) else [item for item in items if isinstance(item, UnknownItem)]
    else:
        moments = []
        unknown = [UnknownItem((), of_set), *(lost_item(item, of_set) for item in items)]
    for item in unknown:
        moments += _changes_ms(policy, item)
    return min((moment for moment in moments if moment > now_ms), default=None)


def _changes_ms(policy: WhenUnknown, item: UnknownItem) -> list[int]:
    """Return when a policy begins or ends to stand in for an unknown item."""
    if policy.then is Then.HOLD and item.last is not None:
        return [item.last.valid_until_ms + policy.hold_for_ms]
    if policy.then is Then.FLOOR and item.last is None and item.unknown.since_ms is not None:
        return [item.unknown.since_ms + policy.floor_after_ms + 1]
    return []


def _as(item: ExternalMetricValue, milli: int, until_ms: int) -> ExternalMetricValue:
    return ExternalMetricValue(item.labels, item.timestamp_ms, item.window_s, milli, until_ms)
