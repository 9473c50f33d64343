"""The whole-answer rule: what a reader with a selector may be told of a metric.

An HPA sums whatever it gets and never looks at its age. So an answer is all of the items that the selector matches,
each of them known and current, or stood in for by the metric's policy; or it is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from scaler.model import ExternalMetricValue, Labels, MetricResult, Reason, Then, Unknown, UnknownItem
from scaler.policy import floor_alone, lost_item, stand_in, stand_ins
from scaler.quantity import MAX_MILLI
from scaler.selector import Selector

_NAMED_ITEMS = 3
_LABELS_LENGTH = 200
_TOO_MUCH = f"the items add up to more than {MAX_MILLI / 1000:g}, the most that an HPA can hold"
_milli = attrgetter("milli")


@dataclass(frozen=True, slots=True)
class UnknownAnswer:
    """There is no answer. `detail` says why, in words that stay the same while the state lasts."""

    metric_name: str
    reason: Reason
    detail: str

    def message(self, namespace: str) -> str:
        """Return the sentence for a reader: "metric shop/orders is unknown: SourceError: … since 03:04:05Z"."""
        return f"metric {namespace}/{self.metric_name} is unknown: {self.detail}"


def answer(result: MetricResult, selector: Selector, now_ms: int) -> tuple[ExternalMetricValue, ...] | UnknownAnswer:
    """Return the items that the selector matches, or why they cannot be told.

    No matching item is an answer, the empty one. An item that is unknown, or from its `valid_until_ms` on stale, makes
    the whole answer unknown, unless a policy stands in for it; so does, for every selector, a result whose set of items
    is unknown, and a sum that no HPA can hold. Each item that is returned is what it is until its `valid_until_ms`.
    """
    if result.unknown is not None:
        return _of_unknown_set(result, result.unknown, selector, now_ms)
    known: list[ExternalMetricValue] = []
    unknown: list[tuple[Labels, Unknown]] = []
    for item in result.items:
        if not selector.matches(item.labels):
            continue
        if not isinstance(item, UnknownItem) and item.valid_until_ms > now_ms:
            known.append(item)
            continue
        lost = lost_item(item, None)
        served = stand_in(result.when_unknown, lost, now_ms)
        if served is None:
            unknown.append((lost.labels, lost.unknown))
        else:
            known.append(served)
    return _unknown(result.metric_name, unknown) if unknown else _summable(result.metric_name, known)


def _of_unknown_set(
    result: MetricResult, unknown: Unknown, selector: Selector, now_ms: int
) -> tuple[ExternalMetricValue, ...] | UnknownAnswer:
    """Let the policy stand in for each item that there was last; if there was none, for one that the selector names."""
    policy = result.when_unknown
    items = [lost_item(item, unknown) for item in result.last if selector.matches(item.labels)]
    served = [stand_in(policy, item, now_ms) for item in items]
    if not served:
        served = [floor_alone(policy, selector.equality_labels(), unknown, now_ms)]
    known = [item for item in served if item is not None]
    if len(known) < len(served):
        return UnknownAnswer(result.metric_name, unknown.reason, describe(unknown))
    return _summable(result.metric_name, known)


def _summable(metric_name: str, items: list[ExternalMetricValue]) -> tuple[ExternalMetricValue, ...] | UnknownAnswer:
    """Return the items, unless their sum does not fit: an HPA's wraps, and what is far too much becomes less than 0."""
    if sum(map(_milli, items)) > MAX_MILLI:
        return UnknownAnswer(metric_name, Reason.NOT_FINITE, f"{Reason.NOT_FINITE}: {_TOO_MUCH}")
    return tuple(items)


def standing_in(result: MetricResult, now_ms: int) -> str | None:
    """Say what a policy serves of what is unknown, until when, and why, in words that stay the same while it does.

    Returns: None if no policy serves anything.
    """
    found = [(item, served) for item, served in stand_ins(result, now_ms) if served is not None]
    if not found:
        return None
    policy = result.when_unknown
    if policy.then is Then.HOLD:
        until_ms = min(served.valid_until_ms for _, served in found)
        what = f"the last good value is held until {time_of_day(until_ms)}"
    else:
        what = f"at least {policy.floor_milli / 1000:g} is served until something is known"
    return f"{what} (whenUnknown.then: {policy.then}); {_named([(item.labels, item.unknown) for item, _ in found])}"


def _unknown(metric_name: str, items: list[tuple[Labels, Unknown]]) -> UnknownAnswer:
    return UnknownAnswer(metric_name, items[0][1].reason, _named(items))


def _named(items: Sequence[tuple[Labels, Unknown]]) -> str:
    named = [_item_text(labels, unknown) for labels, unknown in items[:_NAMED_ITEMS]]
    more = f" and {len(items) - _NAMED_ITEMS} more" if len(items) > _NAMED_ITEMS else ""
    return "; ".join(named) + more


def _item_text(labels: Labels, unknown: Unknown) -> str:
    text = ",".join(f"{name}={value}" for name, value in labels)
    if len(text) > _LABELS_LENGTH:
        text = f"{text[:_LABELS_LENGTH]}…"
    return f"{text}: {describe(unknown)}" if text else describe(unknown)


def describe(unknown: Unknown) -> str:
    """Return reason, detail and the time of day (UTC) since when: "Stale since 03:04:05Z". Never an age."""
    text = f"{unknown.reason}: {unknown.detail}" if unknown.detail else str(unknown.reason)
    if unknown.since_ms is None:
        return text
    return f"{text} since {time_of_day(unknown.since_ms)}"


def time_of_day(time_ms: int) -> str:
    """Return a moment's time of day in UTC: "03:04:05Z"."""
    minutes, seconds = divmod(time_ms // 1000 % 86_400, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}Z"
