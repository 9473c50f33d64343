"""What the status of an ExternalMetric says: conditions and the last known value. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from adapter.schema.finding import Acceptance, Finding
from scaler import quantity
from scaler.answer import UnknownAnswer, answer, standing_in
from scaler.model import ExternalMetricValue, MetricResult, Reason, Then
from scaler.rules import default_max_age_ms
from scaler.selector import EVERYTHING

ACCEPTED, AVAILABLE, DEGRADED = "Accepted", "Available", "Degraded"

_STARTING = frozenset({Reason.NO_DATA, Reason.TOO_FEW_SAMPLES})
"""What every metric is for a while after the adapter, or the object, has come: not yet a fault."""

_DELAYED_INTERVALS = 3

_POLICIES = {Then.HOLD: "Held", Then.FLOOR: "Floored"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition. `status` is True, False or Unknown; `message` stays the same while it is so."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a status should become.

    Args:
        patch: A merge patch of the object's status.
        urgent: A condition or the generation that was looked at differs, or a value is there for the first time. If
            not, only values, times or messages do.
        transitions: The conditions whose status or reason differs.
    """

    patch: Mapping[str, Any]
    urgent: bool
    transitions: tuple[Condition, ...]


def wanted(status: Mapping[str, Any], finding: Finding, result: MetricResult | None, now_ms: int) -> Wanted | None:
    """Return what to write; None if the status is as it should be.

    Args:
        status: The object's status at present.
        finding: What became of the object.
        result: The metric's newest result; None if nothing is served, or nothing is known yet.
        now_ms: Wall-clock time.
    """
    present = {str(condition.get("type")): condition for condition in status.get("conditions") or ()}
    conditions = judge(finding, result, now_ms)
    if conditions is None:
        # Just begun to look: what was true before is more likely so than not.
        accepted = _accepted(finding)
        pending = Condition(AVAILABLE, "Unknown", "Pending", "waiting for the first samples")
        fine = Condition(DEGRADED, "False", "AsExpected", "nothing is known to be wrong")
        conditions = [accepted, _kept(present, pending), _kept(present, fine)]
    transitions = tuple(c for c in conditions if not _same(present.get(c.type, {}), c, "status", "reason"))
    value = _value(result, now_ms)
    first_value = value != {} and "lastValue" not in status
    patch: dict[str, Any] = {name: part for name, part in value.items() if status.get(name) != part}
    texts = [_written(c, present.get(c.type, {}), finding.generation, now_ms) for c in conditions]
    if any(present.get(text["type"]) != text for text in texts):
        ours = {text["type"] for text in texts}
        patch["conditions"] = [*texts, *(c for kind, c in present.items() if kind not in ours)]
    behind = status.get("observedGeneration") != finding.generation
    if behind:
        patch["observedGeneration"] = finding.generation
    return Wanted(patch, behind or first_value or bool(transitions), transitions) if patch else None


def judge(finding: Finding, result: MetricResult | None, now_ms: int) -> list[Condition] | None:
    """Return Accepted, Available and Degraded; None while it is too early to say."""
    accepted = _accepted(finding)
    if finding.ref is None:
        nothing = "nothing is served: see Accepted"
        return [accepted, Condition(AVAILABLE, "False", finding.reason, nothing), _not_degraded("nothing is served")]
    if result is None:
        return None
    known = answer(result, EVERYTHING, now_ms)
    if isinstance(known, UnknownAnswer):
        if _starting(result, known, finding.interval_ms, now_ms):
            return None
        available = Condition(AVAILABLE, "False", known.reason, known.detail)
    elif (instead := standing_in(result, now_ms)) is not None:
        reason = _POLICIES[result.when_unknown.then]
        available = Condition(AVAILABLE, "True", reason, instead)
        return [accepted, available, Condition(DEGRADED, "True", reason, instead)]
    else:
        available = Condition(AVAILABLE, "True", "Current", "every item is known and current")
    return [accepted, available, _degraded(finding, result, known, now_ms)]


def _accepted(finding: Finding) -> Condition:
    status = "True" if finding.reason is Acceptance.ACCEPTED else "False"
    return Condition(ACCEPTED, status, finding.reason, finding.message)


def _starting(result: MetricResult, known: UnknownAnswer, interval_ms: int, now_ms: int) -> bool:
    if known.reason not in _STARTING:
        return False
    since_ms = result.unknown.since_ms if result.unknown is not None else None
    return not result.all_read or (since_ms is not None and now_ms - since_ms < default_max_age_ms(interval_ms))


def _degraded(
    finding: Finding, result: MetricResult, known: Sequence[ExternalMetricValue] | UnknownAnswer, now_ms: int
) -> Condition:
    """Return what is wrong although something is served. The gravest comes first."""
    if isinstance(known, UnknownAnswer):
        if not any(isinstance(item, ExternalMetricValue) and item.valid_until_ms > now_ms for item in result.items):
            return _not_degraded("nothing is known: see Available")
        message = "some items are unknown, and selectors that match only others are answered: see Available"
        return Condition(DEGRADED, "True", known.reason, message)
    if finding.served_generation != finding.generation:
        message = f"generation {finding.served_generation} is served, a newer one is not valid: see Accepted"
        return Condition(DEGRADED, "True", "OlderSpec", message)
    oldest_ms = min((item.timestamp_ms for item in known), default=now_ms)
    if now_ms - oldest_ms > _DELAYED_INTERVALS * finding.interval_ms:
        message = f"an item has had no good sample for {_DELAYED_INTERVALS} × interval: its source cannot be read"
        return Condition(DEGRADED, "True", "Delayed", message)
    return _not_degraded("nothing is known to be wrong")


def _not_degraded(message: str) -> Condition:
    return Condition(DEGRADED, "False", "AsExpected", message)


def _kept(present: Mapping[str, Mapping[str, Any]], otherwise: Condition) -> Condition:
    """Return a condition as it is; `otherwise` if there is none, or one of an object that was not served."""
    found = present.get(otherwise.type)
    if found is None or found.get("reason") in set(Acceptance):
        return otherwise
    return Condition(otherwise.type, *(str(found.get(name, "")) for name in ("status", "reason", "message")))


def _same(present: Mapping[str, Any], condition: Condition, *names: str) -> bool:
    return all(present.get(name) == getattr(condition, name) for name in names)


def _written(condition: Condition, present: Mapping[str, Any], generation: int, now_ms: int) -> dict[str, Any]:
    """Return a condition as the API has it. Its time is that of its status, not of reason or message."""
    stays = present.get("status") == condition.status and "lastTransitionTime" in present
    return {
        "type": condition.type,
        "status": condition.status,
        "observedGeneration": generation,
        "lastTransitionTime": present["lastTransitionTime"] if stays else time_text(now_ms),
        "reason": str(condition.reason),
        "message": condition.message,
    }


def _value(result: MetricResult | None, now_ms: int) -> dict[str, Any]:
    """Return the value that an HPA without a selector would get; nothing if it is not known: the last one stays."""
    items = () if result is None else answer(result, EVERYTHING, now_ms)
    if isinstance(items, UnknownAnswer) or not items:
        return {}
    return {
        "lastValue": quantity.text(sum(item.milli for item in items)),
        "lastValueTime": time_text(max(item.timestamp_ms for item in items)),
        "items": len(items),
    }


def time_text(time_ms: int) -> str:
    """Return a time as Kubernetes writes it: RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
