"""Judges answers: an answer is right if what it says was true when it says so, and it is not too old."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any

from tests.soak.truth import Definition, Rate, Timeline

NOTICE_S = 25.0
"""How long the adapter may take to notice a change of its configuration: it looks every 2 s, and then reads it all."""

RECOVER_S = 45.0
"""How long after a fault a source may still be unknown: reads are tried again after 30 s at most."""

READ_S = 6.0
"""How long a read may take: what it brings was true at some moment of it."""

RATE_ERROR = 0.03
RATES_OFF = 0.02
"""What a page says is of some moment of a read, and counts as of its start; on a busy machine a read may take a second
of a window of 30. So each rate may be off by as much as a read may take, but only a part of all by more than 3%."""

_MESSAGE = re.compile(
    r"metric (\S+) is unknown: (?:\S*=\S*: )?"
    r"(NoData|TooFewSamples|Stale|SourceError|LowCoverage|MissingKey|MissingGroup|NullLag|NotFinite|WrongType)\b"
)
_TRANSPORT = frozenset({"SourceError", "Stale", "NoData", "LowCoverage"})
FITS: Mapping[str, frozenset[str]] = {
    "stopped": _TRANSPORT,
    "killed": _TRANSPORT | {"MissingGroup"},
    "refuse": _TRANSPORT,
    "hang": _TRANSPORT,
    "drip": _TRANSPORT,
    "cut": _TRANSPORT,
    "garbage": _TRANSPORT,
    "flap": _TRANSPORT,
    "absent": _TRANSPORT,
}
"""The reasons that fit each kind of fault."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader got, and when."""

    metric: str
    sent_s: float
    received_s: float
    status: int
    body: bytes


@dataclass
class Verdicts:
    """What has been found so far. Safe to use from several threads."""

    checked: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    wrong_count: int = 0
    worst_age_s: float = 0.0
    worst_healthy_age_s: float = 0.0
    rates: int = 0
    rates_off: int = 0
    rates_late: int = 0
    worst_rate_error: float = 0.0
    off: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def note(self, kind: str, age_s: float = 0.0, *, healthy: bool = False) -> None:
        """Count a right answer."""
        with self._lock:
            self.checked[kind] += 1
            self.worst_age_s = max(self.worst_age_s, age_s)
            if healthy:
                self.worst_healthy_age_s = max(self.worst_healthy_age_s, age_s)

    def note_rate(self, error: float, what: str) -> None:
        """Count a rate, and whether it is off by more than a late read now and then explains; keep a few of those."""
        with self._lock:
            self.rates += 1
            self.rates_off += error > RATE_ERROR
            self.worst_rate_error = max(self.worst_rate_error, error)
            if error > RATE_ERROR and len(self.off) < 20:
                self.off.append(what)

    def note_late(self) -> None:
        """Count a rate over a full window that the machine may have bent."""
        with self._lock:
            self.rates_late += 1

    def blame(self, what: str) -> None:
        """Keep a violation; the first hundred with their text."""
        with self._lock:
            self.wrong_count += 1
            if len(self.wrong) < 100:
                self.wrong.append(what)


class Oracle:
    """Knows the timelines of all metrics.

    `began_s`: when the adapter was ready. `starved` tells whether the machine kept us or the adapter waiting at any
    moment of a time: a read that comes seconds late bends a rate, as it does in Prometheus.
    """

    def __init__(self, starved: Callable[[float, float], bool] = lambda _from_s, _to_s: False) -> None:
        self.starved = starved
        self.began_s = 0.0
        self.timelines: dict[str, Timeline] = {}
        self.verdicts = Verdicts()

    def timeline(self, name: str) -> Timeline:
        """Return the timeline of a metric."""
        return self.timelines.setdefault(name, Timeline())

    def judge(self, answer: Answer) -> None:
        """Check one answer."""
        problem = self._problem(answer)
        if problem is not None:
            text = answer.body[:300].decode(errors="replace")
            self.verdicts.blame(f"{answer.metric} at {answer.received_s:.3f}: {problem}: {answer.status} {text}")

    def _problem(self, answer: Answer) -> str | None:
        timeline = self.timelines[answer.metric]
        versions = timeline.possible(answer.sent_s, answer.received_s, NOTICE_S)
        defined = [(since_s, version) for since_s, version in versions if version is not None]
        if answer.status == 404:
            if len(defined) == len(versions):
                return "404, and it is defined"
            self.verdicts.note("not found")
            return None
        if not defined:
            return "an answer, and it is not defined"
        if answer.status == 503:
            return self._unknown(answer, timeline, [version for _, version in defined])
        if answer.status != 200:
            return "neither a value nor unknown"
        why = [self._values(answer, version, since_s) for since_s, version in defined]
        return None if None in why else "; ".join(filter(None, why))

    def _unknown(self, answer: Answer, timeline: Timeline, versions: list[Definition]) -> str | None:
        message = json.loads(answer.body)["message"]
        found = _MESSAGE.match(message)
        if found is None or found[1] != f"shop/{answer.metric}":
            return "503 without a reason"
        reason = found[2]
        newest_s = max(version.interval_s for version in versions)
        since_s = answer.sent_s - NOTICE_S - 2 * newest_s - READ_S
        new = timeline.changed_since(since_s) or self.began_s >= since_s
        if new and reason in ("NoData", "TooFewSamples"):
            self.verdicts.note("unknown: new")
            return None
        for version in versions:
            if version.source is None:
                continue
            for fault in version.source.faults.during(answer.sent_s - RECOVER_S, answer.received_s):
                if reason in FITS[fault] or (version.window_s and reason == "TooFewSamples"):
                    self.verdicts.note(f"unknown: {fault}")
                    return None
        return "503, and nothing was broken that fits"

    def _values(self, answer: Answer, version: Definition, since_s: float) -> str | None:
        """Return what is wrong with a 200, if this version of the metric is in force."""
        items = json.loads(answer.body)["items"]
        found = {frozenset(item["metricLabels"].items()): item for item in items}
        if found.keys() != version.truths.keys() or len(items) != len(found):
            return f"has {len(items)} of {len(version.truths)} items"
        worst_s = 0.0
        for labels, truth in version.truths.items():
            item = found[labels]
            value, at_s = number(item["value"]), _seconds(item)
            if version.source is None:
                at_s = answer.sent_s - 1  # a static value has no other time than that of its last reading
            if not answer.sent_s - version.max_age_s - 1 < at_s <= answer.received_s:
                return f"{answer.sent_s - at_s:.1f} s old, and maxAge is {version.max_age_s:g} s"
            if isinstance(truth, Rate):
                full = _is_full(version, since_s, at_s)
                if full and self.starved(at_s - version.window_s - version.interval_s, answer.received_s):
                    full = False
                    self.verdicts.note_late()
                right = truth.may_be(value, full=full)
                if right and full:
                    source = version.source.name if version.source else ""
                    what = f"{answer.metric} from {source} at {at_s:.0f}: {value:g}, and its slope is {truth.slope:g}"
                    self.verdicts.note_rate(truth.error(value), what)
            else:
                right = truth.was(value, at_s, at_s + 1 + READ_S)
            if not right:
                return f"{value:g} was not true at {at_s:.0f}"
            worst_s = max(worst_s, answer.sent_s - at_s)
        broken = version.source is not None and version.source.faults.during(
            answer.sent_s - RECOVER_S - version.max_age_s, answer.received_s
        )
        self.verdicts.note("value", worst_s if version.source else 0.0, healthy=not broken)
        return None


def _is_full(version: Definition, since_s: float, at_s: float) -> bool:
    """Tell whether a window that ends at a time is full of samples: nothing was new or broken in it."""
    quiet_s = at_s - version.window_s - RECOVER_S
    return quiet_s > since_s and (version.source is None or not version.source.faults.during(quiet_s, at_s))


def number(text: str) -> float:
    """Return a quantity as a number."""
    for suffix, exponent in (("m", -3), ("k", 3), ("M", 6), ("G", 9)):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * 10.0**exponent
    return float(text)


def _seconds(item: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(item["timestamp"]).timestamp()
