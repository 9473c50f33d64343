"""What to turn and how far: `target=5..50`, `scaleDown.stabilizationWindowSeconds=0,60,300`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from adapter.schema.durations import parse_duration
from adapter.simulate.errors import InputError
from adapter.simulate.quantity import parse_milli, parse_number
from scaler import quantity
from scaler.hpa_model import SelectPolicy
from scaler.simulate_model import Scenario
from scaler.simulate_vary import KNOBS, Knob, Setting, grid, vary

MAX_POINTS = 100_000


@dataclass(frozen=True, slots=True)
class Axis:
    """A knob and its values, in the units of the core, in the order given."""

    name: str
    values: tuple[object, ...]

    def label(self, value: object) -> str:
        """Return a value as users write it."""
        if KNOBS[self.name].kind == "quantity":
            return quantity.text(int(str(value)))
        return f"{value:g}" if isinstance(value, float) else str(value)


def parse_axes(flag: str, given: Sequence[tuple[str, str]]) -> tuple[Axis, ...]:
    """Return the axes.

    Raises:
        InputError: A knob is unknown or named twice, or a value is not one of it.
    """
    axes: list[Axis] = []
    for name, text in given:
        where = f"{flag} {name}"
        if name not in KNOBS:
            close = difflib.get_close_matches(name, KNOBS, n=1, cutoff=0.5)
            hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(KNOBS)}"
            raise InputError(f"{where}: cannot be turned; {hint}")
        if name in {axis.name for axis in axes}:
            raise InputError(f"{where}: is named twice")
        values = tuple(dict.fromkeys(value for part in text.split(",") for value in _values(where, KNOBS[name], part)))
        axes.append(Axis(name, values))
    return tuple(axes)


def _values(where: str, knob: Knob, text: str) -> Iterator[object]:
    first, dots, rest = text.partition("..")
    if not dots:
        yield _value(where, knob, text)
        return
    last, _, step_text = rest.partition(":")
    if knob.kind == "word":
        raise InputError(f"{where}: has no range: write its values with commas")
    low, high = (_exact(where, knob, part) for part in (first, last))
    step = _exact(where, knob, step_text) if step_text else _exact(where, knob, "1")
    if step <= 0 or high < low:
        raise InputError(f"{where}: must be A..B or A..B:STEP with A at most B and STEP above 0, got {text}")
    if (high - low) / step > MAX_POINTS:
        raise InputError(f"{where}: has more than {MAX_POINTS} values")
    while low <= high:
        yield _bounded(where, knob, low)
        low += step


def _exact(where: str, knob: Knob, text: str) -> Fraction:
    value = _value(where, knob, text, bounded=False)
    return Fraction(str(value))


def _value(where: str, knob: Knob, text: str, *, bounded: bool = True) -> object:
    text = text.strip()
    found: float | None
    if knob.kind == "word":
        words = [str(word) for word in SelectPolicy]
        if text not in words:
            raise InputError(f"{where}: must be one of {', '.join(words)}, got {text}")
        return text
    if knob.kind == "quantity":
        found, demand = parse_milli(text), "a quantity such as 30 or 500m"
    elif knob.kind == "number":
        found, demand = parse_number(text), "a number"
    else:
        found, demand = _whole(text), "a whole number"
    if found is None:
        raise InputError(f'{where}: must be {demand}, got "{text}"')
    return _bounded(where, knob, Fraction(str(found))) if bounded else found


def _whole(text: str) -> int | None:
    """Read a whole number, or a duration of whole seconds."""
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return int(text)
    duration_ms = parse_duration(text)
    return duration_ms // 1_000 if duration_ms is not None and duration_ms % 1_000 == 0 else None


def _bounded(where: str, knob: Knob, value: Fraction) -> object:
    if not knob.low <= value <= knob.high:
        bounds = (knob.low, knob.high) if knob.kind != "quantity" else (knob.low / 1_000, knob.high / 1_000)
        raise InputError(f"{where}: must be from {bounds[0]:g} to {bounds[1]:g}")
    return float(value) if knob.kind == "number" else int(value)


def varied(flag: str, scenario: Scenario, axes: Sequence[Axis]) -> tuple[list[Setting], list[Scenario]]:
    """Return every combination of the axes, and the scenario with it.

    Raises:
        InputError: There are too many, or one contradicts itself.
    """
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MAX_POINTS:
        raise InputError(f"{flag}: gives {count:,} combinations, at most {MAX_POINTS:,} can be run")
    settings = grid([(axis.name, axis.values) for axis in axes])
    scenarios = [vary(scenario, setting) for setting in settings]
    for each in scenarios:
        if each.hpa.min_replicas > each.hpa.max_replicas:
            bounds = f"minReplicas {each.hpa.min_replicas} and maxReplicas {each.hpa.max_replicas}"
            raise InputError(f"{flag}: gives {bounds}: the API server would refuse them")
        if each.hpa.min_replicas == 0 and not each.controller.scale_to_zero:
            raise InputError(f"{flag}: minReplicas 0 needs controller.scaleToZero: true in the workload")
        for metric, signal in zip(each.hpa.metrics, each.signals, strict=True):
            if signal.window_ms and signal.window_ms < 3 * signal.interval_ms:
                raise InputError(f"{flag}: metric {metric.name}: the window must be at least 3 × interval")
    return settings, scenarios


def setting_text(axes: Sequence[Axis], setting: Setting) -> str:
    """Return a combination as users write it: "target=30, scaleDown.stabilizationWindowSeconds=60"."""
    return ", ".join(f"{axis.name}={axis.label(value)}" for axis, (_, value) in zip(axes, setting, strict=True))
