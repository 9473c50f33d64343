"""The steps of a guard that need a past: maxStep, then fallHalfLife. Bounds are applied before, where items are made.

Both count samples, never evaluations: the same samples evaluated twice give the same twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scaler.model import ExternalMetricValue, Identity, Past, UnknownItem
from scaler.policy import identities
from scaler.rules import MetricRule

SKEW_MS = 5_000
"""What is further in the future than this is from before a clock was set back, and counts no more."""


def passed(
    rule: MetricRule,
    items: Sequence[ExternalMetricValue | UnknownItem],
    before: Mapping[Identity, Past] | None,
    now_ms: int,
) -> tuple[list[ExternalMetricValue | UnknownItem], dict[Identity, Past]]:
    """Return the items, which are sorted, as the steps leave them, and what they must remember.

    An unknown item stays unknown and keeps its past; one that is gone loses it.
    """
    earlier, past = before or {}, dict[Identity, Past]()
    out: list[ExternalMetricValue | UnknownItem] = []
    for identity, item in zip(identities(items), items, strict=True):
        was = earlier.get(identity)
        if was is not None and was.raw.timestamp_ms > now_ms + SKEW_MS:
            was = None
        if not isinstance(item, UnknownItem):
            was = step(rule, item, was, now_ms)
            item = was.served
        if was is not None:
            past[identity] = was
        out.append(item)
    return out, past


def step(rule: MetricRule, raw: ExternalMetricValue, was: Past | None, now_ms: int) -> Past:
    """Take one item a sample further."""
    if was is None:
        return Past(raw, raw, raw, float(raw.milli), None)
    jump_ms = _held_since(rule, raw, was, now_ms)
    if jump_ms is not None:
        return was._replace(raw=raw, jump_ms=jump_ms)
    half_life_ms = rule.guard.fall_half_life_ms
    if half_life_ms is None or was.level_milli <= raw.milli:
        return Past(raw, raw, raw, float(raw.milli), None)
    elapsed_ms = max(0, raw.timestamp_ms - was.believed.timestamp_ms)
    above_milli = (was.level_milli - raw.milli) * 0.5 ** (elapsed_ms / half_life_ms)
    # Less than a thousandth above counts no more: or what has fallen to zero would never be zero.
    milli = max(raw.milli, min(raw.milli + math.floor(above_milli), was.served.milli))
    served = ExternalMetricValue(raw.labels, raw.timestamp_ms, raw.window_s, milli, raw.valid_until_ms)
    return Past(raw, raw, served, raw.milli + above_milli, None)


def _held_since(rule: MetricRule, raw: ExternalMetricValue, was: Past, now_ms: int) -> int | None:
    """Return the sample at which a jump was first seen, while it is held; None: the value is believed.

    A second collection says so too once every member has been read again; a member that cannot be read does not put
    that off for longer than two intervals. There is nothing to hold once the value before is no longer current.
    """
    limit, believed = rule.guard.max_step, was.believed
    if limit is None or believed.valid_until_ms <= now_ms or abs(raw.milli - believed.milli) <= limit * 1000:
        return None
    if was.jump_ms is None:
        return raw.timestamp_ms
    oldest_ms = raw.valid_until_ms - rule.max_age_ms - 1
    again = oldest_ms > was.jump_ms or raw.timestamp_ms >= was.jump_ms + 2 * rule.interval_ms
    return None if again else was.jump_ms
