"""Pictures for documents: SVG, written by hand, small, and the same each time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from adapter.simulate.axes import setting_text
from adapter.simulate.figures import thinned
from adapter.simulate.findings import Outcome, duration
from scaler.model import F64

if TYPE_CHECKING:
    from adapter.simulate.main import Report

COLOURS = ("#0b72b5", "#d1495b", "#2a9d54", "#8659b5", "#c77700", "#4d5a66")
_INK, _FAINT, _GRID, _GREY, _BAD = "#24292f", "#57606a", "#d8dee4", "#8c959f", "#d1242f"
_WIDTH, _LEFT, _RIGHT, _HEIGHT, _GAP, _TOP = 860, 64, 16, 116, 40, 40
_MOST_POINTS = 900
_TIME_STEPS = (
    *((seconds, 60, "m") for seconds in (60, 300, 900)),
    *((seconds, 3_600, "h") for seconds in (3_600, 10_800)),
    *((seconds, 86_400, "d") for seconds in (86_400, 604_800)),
)
"""How far apart moments are named on an axis, the unit, and its sign."""
_FONT = "font-family='system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif'"


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a panel. `steps`: its value holds until the next one."""

    name: str
    colour: str
    x: F64
    y: F64
    steps: bool = False
    faint: bool = False


@dataclass(frozen=True, slots=True)
class _Panel:
    """One diagram. `limit`: a line not to be above, and its name."""

    title: str
    lines: Sequence[_Line]
    limit: tuple[float, str] | None = None


def picture(outcomes: Sequence[Outcome]) -> str:
    """Return runs over time: what came in, replicas, backlog, and how long the next job had waited."""
    panels = list(_panels(outcomes))
    end_s = outcomes[0].scenario.load.end_s
    height = _TOP + len(panels) * (_HEIGHT + _GAP) + 12
    parts = [_open(height), _legend(outcomes)]
    for index, panel in enumerate(panels):
        parts.extend(_drawn(panel, _TOP + 18 + index * (_HEIGHT + _GAP), end_s))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panels(outcomes: Sequence[Outcome]) -> Iterator[_Panel]:
    traces = [each.run.trace[thinned(each.run.trace, _MOST_POINTS)] for each in outcomes]
    hours = [trace["time_s"] for trace in traces]

    def lines(field: str, *, steps: bool = False) -> list[_Line]:
        return [
            _Line(each.name, COLOURS[i % len(COLOURS)], hours[i], np.asarray(traces[i][field], np.float64), steps)
            for i, each in enumerate(outcomes)
        ]

    if outcomes[0].closed:
        rate = outcomes[0].scenario.workload.pods.rate
        can = [
            _Line(each.name, COLOURS[i % len(COLOURS)], hours[i], traces[i]["working"] * rate, steps=True)
            for i, each in enumerate(outcomes)
        ]
        load = _Line("load", _INK, hours[0], np.asarray(traces[0]["rate"], np.float64), steps=True, faint=True)
        yield _Panel("jobs a second: what comes (dark), and what the pods can do", [*can, load])
    yield _Panel("replicas", lines("replicas", steps=True))
    if outcomes[0].closed:
        yield _Panel("jobs waiting", lines("backlog"))
        objective_s = outcomes[0].scenario.objective_s
        limit = None if math.isinf(objective_s) else (objective_s, duration(objective_s))
        yield _Panel("wait of the next job, seconds", lines("age_s"), limit)


def _open(height: int) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' width='{_WIDTH}' height='{height}' "
        f"{_FONT} font-size='12' fill='{_INK}'>\n<rect width='{_WIDTH}' height='{height}' fill='#ffffff'/>"
    )


def _legend(outcomes: Sequence[Outcome]) -> str:
    parts, x = [], float(_LEFT)
    for index, each in enumerate(outcomes):
        waits = f": p95 {duration(float(each.run.result.wait_p95))}" if each.closed else ""
        text = f"{each.name}{waits}, {each.run.result.pod_s / 3600:,.0f} pod-hours"
        parts.append(f"<rect x='{x:.0f}' y='14' width='12' height='12' rx='2' fill='{COLOURS[index % len(COLOURS)]}'/>")
        parts.append(f"<text x='{x + 18:.0f}' y='24'>{escape(text)}</text>")
        x += 18 + 6.4 * len(text) + 24
    return "\n".join(parts)


def _drawn(panel: _Panel, top: int, end_s: float) -> Iterator[str]:
    tops = [float(line.y.max()) for line in panel.lines if len(line.y)]
    if panel.limit:
        tops.append(panel.limit[0] * 1.15)
    ticks = nice_ticks(max([*tops, 1e-9]), 3)
    high = max(ticks[-1], *tops)
    across = _scale(0.0, end_s, _LEFT, _WIDTH - _RIGHT)
    up = _scale(0.0, high, top + _HEIGHT, top)
    yield f"<text x='{_LEFT}' y='{top - 7}' fill='{_FAINT}'>{escape(panel.title)}</text>"
    for tick in ticks:
        y = up(tick)
        yield f"<path d='M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}' stroke='{_GRID}'/>"
        yield f"<text x='{_LEFT - 6}' y='{y + 4:.1f}' text-anchor='end' fill='{_FAINT}'>{tick:,.4g}</text>"
    for moment, text in time_ticks(end_s):
        x = across(moment)
        yield f"<text x='{x:.1f}' y='{top + _HEIGHT + 15}' text-anchor='middle' fill='{_FAINT}'>{text}</text>"
    for line in panel.lines:
        width = "1" if line.faint else "1.6"
        path = _path(across(line.x), up(line.y), steps=line.steps)
        yield f"<path d='{path}' fill='none' stroke='{line.colour}' stroke-width='{width}' stroke-linejoin='round'/>"
    if panel.limit:
        y = up(panel.limit[0])
        yield f"<path d='M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}' stroke='{_BAD}' stroke-dasharray='5 4'/>"
        yield f"<text x='{_WIDTH - _RIGHT}' y='{y - 4:.1f}' text-anchor='end' fill='{_BAD}'>{panel.limit[1]}</text>"


def _scale(low: float, high: float, first: float, last: float) -> Callable[..., F64]:
    span = (high - low) or 1.0

    def place(value: float | F64) -> F64:
        return np.asarray(first + (np.asarray(value, np.float64) - low) / span * (last - first))

    return place


def _path(x: F64, y: F64, *, steps: bool) -> str:
    """Return the points as a path; points that change nothing are left out."""
    parts: list[str] = []
    for index in range(len(x)):
        if index == 0:
            parts.append(f"M{x[0]:.1f} {y[0]:.1f}")
        elif steps:
            if y[index] != y[index - 1] or index == len(x) - 1:
                parts.append(f"H{x[index]:.1f}V{y[index]:.1f}")
        elif index == len(x) - 1 or not (y[index - 1] == y[index] == y[index + 1]):
            parts.append(f"L{x[index]:.1f} {y[index]:.1f}")
    return "".join(parts)


def nice_ticks(high: float, count: int) -> list[float]:
    """Return round numbers from 0 to about `high`."""
    raw = high / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * each for each in (1, 2, 2.5, 5, 10) if size * each >= raw * 0.999)
    return [step * index for index in range(math.floor(high / step + 1e-9) + 1)]


def time_ticks(end_s: float) -> Iterator[tuple[float, str]]:
    """Yield moments to name on an axis of time, and their names."""
    for step_s, unit_s, unit in _TIME_STEPS:
        if end_s / step_s <= 9 or step_s == _TIME_STEPS[-1][0]:
            for index in range(int(end_s // step_s) + 1):
                yield index * step_s, f"{index * step_s // unit_s}{unit}"
            return


def trade_off(report: Report) -> str:
    """Return a sweep: each combination by what it costs and how long jobs wait, and the recommended one."""
    sweep = report.sweep
    if sweep is None:
        raise ValueError("there was no sweep")
    cost, wait = sweep.results["pod_s"] / 3_600, sweep.results["wait_p95"]
    shown = np.isfinite(wait)
    objective_s = report.inputs.objective.wait_s
    low, high = float(cost[shown].min()), float(cost[shown].max())
    pad = (high - low or high or 1.0) * 0.05
    most = float(wait[shown].max()) * 1.05 or 1.0
    if not math.isinf(objective_s):
        # What is far worse than the objective would press all the rest onto the axis.
        most = min(most, max(objective_s * 4, float(wait[shown].min()) * 2))
    top, bottom = 50, 330
    across, up = _scale(low - pad, high + pad, _LEFT, _WIDTH - _RIGHT), _scale(0.0, most, bottom, top)
    parts = [_open(bottom + 50), f"<text x='{_LEFT}' y='24' font-size='13'>p95 wait, seconds, and what it costs</text>"]
    for tick in nice_ticks(most, 5):
        parts += _rung(float(up(tick)), f"{tick:,.4g}")
    for tick in [each for each in nice_ticks(high + pad, 8) if each >= low - pad]:
        parts.append(_text(float(across(tick)), bottom + 18, f"{tick:,.6g}", _FAINT, "middle"))
    parts.append(_text(_WIDTH - _RIGHT, bottom + 36, "pod-hours", _FAINT, "end"))
    if not math.isinf(objective_s):
        y = float(up(objective_s))
        parts.append(f"<path d='M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}' stroke='{_BAD}' stroke-dasharray='5 4'/>")
        parts.append(_text(_WIDTH - _RIGHT, y - 5, "objective", _BAD, "end"))
    x, y_of = across(cost), up(wait)
    parts += [
        f"<circle cx='{x[index]:.1f}' cy='{y_of[index]:.1f}' r='3' "
        f"fill='{COLOURS[2] if sweep.met[index] else _GREY}' fill-opacity='.6'/>"
        for index in np.nonzero(shown & (wait <= most))[0]
    ]
    front = sweep.front[wait[sweep.front] <= most]
    parts.append(f"<path d='{_path(x[front], y_of[front], steps=False)}' fill='none' stroke='{_INK}'/>")
    if report.recommended is not None:
        at = report.recommended.index
        mark_x, mark_y = float(x[at]), float(y_of[at])
        parts.append(
            f"<circle cx='{mark_x:.1f}' cy='{mark_y:.1f}' r='7' fill='none' stroke='{_INK}' stroke-width='2'/>"
        )
        side, away = ("end", -12) if mark_x > _WIDTH / 2 else ("start", 12)
        parts.append(_text(mark_x + away, mark_y - 10, setting_text(sweep.axes, sweep.settings[at]), _INK, side))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _rung(y: float, text: str) -> tuple[str, str]:
    line = f"<path d='M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}' stroke='{_GRID}'/>"
    return line, _text(_LEFT - 6, y + 4, text, _FAINT, "end")


def _text(x: float, y: float, text: str, colour: str, anchor: str) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='{colour}'>{escape(text)}</text>"
