"""The keys that globs have found, as far as is known, and the series they make. Pure.

A key stays known while reads find something in it, or scans find it; one that has vanished is polled on, as zero, for
ten minutes. So a queue that is empty most of the time does not come and go. What a failed scan or a failed read does
not tell changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from adapter.sources.redis_plan import SeriesOfMetric
from adapter.sources.redis_wanted import (
    Depth,
    GlobQueue,
    InFlight,
    Key,
    Nothing,
    Pattern,
    Slot,
    Waiting,
    Wanted,
    key_of,
    quoted,
)
from scaler.model import F64, I64, Labels, Reason, Unknown

RESCAN_MS = 30_000
"""How often keys are looked for."""

FORGET_MS = 600_000
"""How long a key that has vanished is zero before its series goes, and how long scans may fail before the set of series
is unknown."""

MAX_KEY_BYTES = 1_024
"""Of a key that a glob finds: as much as a label that a configuration gives may have."""

_SEARCHING = "the keys that match are still being looked for"


class Catalog:
    """The known keys of each pattern."""

    def __init__(self, limits: Mapping[Pattern, int]) -> None:
        """`limits`: the most keys that any metric takes of each pattern."""
        self.limits = limits
        self.complete = False
        """Whether every server has been searched once."""
        self.version = 0
        """Grows when `state` may say something else."""
        self._known: dict[Pattern, set[bytes]] = {pattern: set() for pattern in limits}
        self._refused: dict[Pattern, str] = {}
        self._failing: tuple[Unknown, int] | None = None
        self._trusted = True
        self._absence = _Absence({})

    def found(self, pattern: Pattern, keys: set[bytes], now_ms: int, *, too_many: bool) -> None:
        """Take in a search of one server that has ended: what it found, or the first of too many."""
        known = self._known[pattern]
        gone = {key for key in self._absence.since(pattern.type, now_ms - FORGET_MS) & known if key not in keys}
        self._absence.seen(pattern.type, keys)
        refused = None
        if any(len(key) > MAX_KEY_BYTES for key in keys):
            refused = f"a key of more than {MAX_KEY_BYTES} bytes matches {quoted(pattern.glob)}"
        elif too_many or len((known | keys) - gone) > self.limits[pattern]:
            refused = f"more than {self.limits[pattern]} keys match {quoted(pattern.glob)} (spec.maxSeries)"
        if refused != self._refused.get(pattern):
            self._refused.pop(pattern, None)
            if refused is not None:
                self._refused[pattern] = refused
            self.version += 1
        if refused is None and (gone or not keys <= known):
            self._known[pattern] = (known | keys) - gone
            self.version += 1

    def finished(self) -> None:
        """Every server has been searched at least once."""
        if not self.complete:
            self.complete = True
            self.version += 1

    def searched(self, failure: Unknown | None, now_ms: int) -> None:
        """Note how the latest search went; `failure`: on a server it could not be done, or go on."""
        before = self._failing
        if failure is None:
            self._failing = None
        else:
            self._failing = failure, now_ms if before is None else before[1]
        trusted = self._failing is None or now_ms - self._failing[1] < FORGET_MS
        if trusted != self._trusted or (self._failing != before and not (self.complete and trusted)):
            self._trusted = trusted
            self.version += 1

    def state(self, pattern: Pattern) -> Sequence[bytes] | Unknown:
        """Return the known keys of a pattern, sorted, or why it cannot be said what matches it."""
        if pattern in self._refused:
            return Unknown(Reason.TOO_MANY_SERIES, self._refused[pattern])
        if not self.complete or not self._trusted:
            return self._failing[0] if self._failing is not None else Unknown(Reason.NO_DATA, _SEARCHING)
        return sorted(self._known[pattern])

    def watch(self, slots: Sequence[Slot]) -> None:
        """Look at these readings from now on."""
        self._absence = _Absence({key for keys in self._known.values() for key in keys}, slots, self._absence)

    def observe(self, values: F64, problems: Mapping[int, Unknown], now_ms: int) -> None:
        """Note which keys a read has found empty; `values` has one a slot, NaN where nothing is known."""
        self._absence.observe(values, problems, now_ms)


class _Absence:
    """Since when keys have been absent, as far as reads can tell: those with nothing in them."""

    def __init__(self, keys: Iterable[bytes], slots: Sequence[Slot] = (), before: _Absence | None = None) -> None:
        known = {key_of(raw): raw for raw in keys}
        names: dict[tuple[str, bytes], int] = {}
        watched, name_of = [], []
        for i, slot in enumerate(slots):
            type_, key = _typed_key(slot)
            if key in known:
                watched.append(i)
                name_of.append(names.setdefault((type_, known[key]), len(names)))
        self._names = names
        self._slots: I64 = np.array(watched, dtype=np.int64)
        self._name_of: I64 = np.array(name_of, dtype=np.int64)
        self._since: F64 = np.full(len(names), np.nan)
        for name, number in names.items():
            if before is not None and name in before._names:
                self._since[number] = before._since[before._names[name]]

    def observe(self, values: F64, problems: Mapping[int, Unknown], now_ms: int) -> None:
        most = np.full(len(self._names), np.nan)
        np.fmax.at(most, self._name_of, values[self._slots])
        self._since[most > 0] = np.nan
        self._since[(most == 0) & np.isnan(self._since)] = now_ms
        if problems:
            for slot, number in zip(self._slots.tolist(), self._name_of.tolist(), strict=True):
                if slot in problems and problems[slot].reason is Reason.WRONG_TYPE:
                    self._since[number] = -np.inf  # a key of another type: no longer this queue, from when it was seen

    def since(self, type_: str, before_ms: int) -> set[bytes]:
        """Return the keys of a type that have been absent since then, or longer."""
        with np.errstate(invalid="ignore"):
            old = self._since <= before_ms
        return {key for (kind, key), number in self._names.items() if kind == type_ and old[number]}

    def seen(self, type_: str, keys: Iterable[bytes]) -> None:
        """A search has found these: a stream without entries is there all the same."""
        for key in keys:
            number = self._names.get((type_, key))
            if number is not None:
                self._since[number] = np.nan


def _typed_key(slot: Slot) -> tuple[str, Key | None]:
    match slot:
        case Depth(type=type_, key=key):
            return type_, key
        case Waiting(group=group) | InFlight(group=group):
            return "stream", group.stream
        case _:
            return "", None


def limits_of(wanted: Iterable[Wanted]) -> dict[Pattern, int]:
    """Return the patterns of these metrics, and the most keys that any of them takes of each."""
    limits: dict[Pattern, int] = {}
    for metric in wanted:
        for glob in metric.globs:
            limits[glob.pattern] = max(limits.get(glob.pattern, 0), metric.max_series)
    return limits


def expanded(metric: Wanted, catalog: Catalog) -> SeriesOfMetric | Unknown:
    """Return the series of a metric, those of globs included, or why it cannot be said which there are."""
    series: dict[Labels, Slot] = dict(metric.series)
    for glob in metric.globs:
        keys = catalog.state(glob.pattern)
        if isinstance(keys, Unknown):
            return keys
        for labels, slot in _series(glob, keys):
            other = series.setdefault(labels, slot)
            if other is not slot and _typed_key(other) != _typed_key(slot):
                return _same_labels(labels, other, slot)
            if len(series) > metric.max_series:
                return Unknown(Reason.TOO_MANY_SERIES, f"more than {metric.max_series} series (spec.maxSeries)")
        if not keys and not glob.none_is_zero:
            return Unknown(Reason.MISSING_KEY, f"no {glob.pattern.type} matches {quoted(glob.pattern.glob)}")
    return tuple(series.items())


def _series(glob: GlobQueue, keys: Sequence[bytes]) -> Iterator[tuple[Labels, Slot]]:
    if not keys and glob.none_is_zero:
        yield from ((labels, Nothing()) for labels in glob.placeholders())
    for raw in keys:
        yield from glob.series(raw) or ()


def _same_labels(labels: Labels, one: Slot, other: Slot) -> Unknown:
    keys = " and ".join(sorted(quoted(key) for _, key in map(_typed_key, (one, other)) if key is not None))
    shown = ",".join(f"{name}={value}" for name, value in labels)
    return Unknown(Reason.INVALID_SPEC, f"{keys} give the same series ({shown}): give labels that tell them apart")
