"""What came of it, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from adapter.simulate.axes import setting_text
from adapter.simulate.figures import table
from adapter.simulate.findings import Outcome, duration
from adapter.simulate.sweep import Sweep
from scaler.model import F64
from scaler.simulate_objective import Objective

_BLOCKS = " ▁▂▃▄▅▆▇█"
_STYLES = {"good": ("✓", "green"), "note": ("·", "dim"), "bad": ("✗", "red")}
_COLOURS = ("cyan", "magenta", "yellow", "blue", "green", "red")
_MOST_ROWS = 12
_MOST_COLUMNS = 6


def show(
    console: Console,
    outcomes: Sequence[Outcome],
    objective: Objective,
    notes: Sequence[str],
    sweep: Sweep | None = None,
    chosen: int | None = None,
) -> None:
    """Print outcomes side by side, and above them what was swept. `chosen`: index of the recommended combination."""
    console.print(_head(outcomes[0]))
    if sweep is not None:
        console.print(_swept(sweep, chosen, objective))
    console.print(_verdicts(outcomes))
    console.print(Padding(_figures(outcomes[:_MOST_COLUMNS]), (1, 0)))
    console.print(_pictures(outcomes[:_MOST_COLUMNS], min(console.width, 110)))
    if len(outcomes) > _MOST_COLUMNS:
        console.print(
            f"the first {_MOST_COLUMNS} of {len(outcomes)} are shown; --html and --json have all", style="dim"
        )
    for each in outcomes[:_MOST_COLUMNS]:
        if each.findings:
            console.print(_said(each, alone=len(outcomes) == 1))
    for note in notes:
        console.print(Text(f"  {note}", style="dim"))


def _head(outcome: Outcome) -> Text:
    load = outcome.scenario.load
    parts = [duration(load.end_s)]
    if outcome.closed:
        mode = "event by event" if outcome.mode == "events" else "as a fluid"
        parts += [f"{load.jobs:,.0f} jobs, at most {load.rates.max():,.3g}/s", mode]
    return Text.assemble(("spillway simulate", "bold"), f"  {' · '.join(parts)}\n")


def _verdicts(outcomes: Sequence[Outcome]) -> Group:
    """A line an outcome that says whether it is good."""
    lines = []
    for index, each in enumerate(outcomes):
        bad = sum(one.level == "bad" for one in each.findings)
        if each.met is None:
            word, style = ("NO OBJECTIVE", "yellow") if not bad else ("LOOK", "yellow")
        else:
            word, style = ("GOOD", "green") if each.met else ("NOT GOOD ENOUGH", "red")
            if each.met and bad:
                word, style = "GOOD, BUT", "yellow"
        said = next((one.text for one in each.findings if one.level == "bad"), "")
        if not said and each.findings:
            said = each.findings[0].text
        if each.met is None and not bad:
            example = "p95_wait<30s" if each.closed else "flaps<=5"
            said = f"say what is good enough, such as --objective '{example}'"
        name = (f"{each.name}  ", f"bold {_COLOURS[index % len(_COLOURS)]}")
        lines.append(Text.assemble(name, (f" {word} ", f"bold reverse {style}"), f"  {said}"))
        if each.setting:
            lines.append(Text(f"  {each.setting}", style="dim"))
    return Group(*lines)


def _figures(outcomes: Sequence[Outcome]) -> Table:
    found = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    found.add_column("")
    for index, each in enumerate(outcomes):
        found.add_column(each.name, justify="right", header_style=f"bold {_COLOURS[index % len(_COLOURS)]}")
    for label, cells in table(outcomes):
        found.add_row(Text(label, style="dim"), *cells)
    return found


def _pictures(outcomes: Sequence[Outcome], width: int) -> Group:
    """The load above, and replicas, backlog and wait of each outcome below it, on one axis of time."""
    lines: list[RenderableType] = []
    columns = max(width - 44, 20)
    first = outcomes[0]
    if first.closed:
        lines.append(_picture("load", first.run.trace["rate"], "jobs/s", "white", columns))
    for index, each in enumerate(outcomes):
        colour, trace = _COLOURS[index % len(_COLOURS)], each.run.trace
        if len(outcomes) > 1:
            lines.append(Text(each.name, style=f"bold {colour}"))
        lines.append(_picture("replicas", trace["replicas"].astype(np.float64), "", colour, columns))
        if each.closed:
            lines.append(_picture("backlog", trace["backlog"], "jobs", colour, columns))
            lines.append(_picture("wait", trace["age_s"], "s", colour, columns))
    return Group(*lines)


def _picture(name: str, values: F64, unit: str, colour: str, columns: int) -> Text:
    top = float(values.max()) if len(values) else 0.0
    return Text.assemble((name.ljust(10), "dim"), (blocks(values, columns), colour), f"  to {top:,.4g} {unit}".rstrip())


def blocks(values: F64, columns: int) -> str:
    """Return a line of blocks, each the greatest value of its part; a blank is 0."""
    if not len(values):
        return " " * columns
    top = float(values.max()) or 1.0
    parts = np.array_split(values, min(columns, len(values)))
    levels = [int(np.ceil(float(part.max()) / top * (len(_BLOCKS) - 1))) for part in parts]
    return "".join(_BLOCKS[level] for level in levels)


def _said(outcome: Outcome, *, alone: bool) -> Group:
    lines = [Text()] if alone else [Text(f"\n{outcome.name}", style="bold")]
    for each in outcome.findings:
        sign, style = _STYLES[each.level]
        lines.append(Text.assemble(("  " + sign + " ", style), each.text))
    return Group(*lines)


def _swept(sweep: Sweep, chosen: int | None, objective: Objective) -> Group:
    """The trade-off between waiting and cost: combinations that no other one beats in both."""
    count = len(sweep.settings)
    head = f"{count:,} combinations"
    if objective.clauses:
        head += f", {int(sweep.met.sum()):,} meet {objective.text}"
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for axis in sweep.axes:
        found.add_column(axis.name.replace(".", "\n.").replace("stabilizationW", "stabilization\nW"), justify="right")
    for name in ("wait\np50", "wait\np95", "wait\nmax", "pod-\nhours", "\nflaps"):
        found.add_column(name, justify="right", no_wrap=True)
    found.add_column("", no_wrap=True)
    for index in _few(sweep, chosen):
        result = sweep.results[index]
        waits = [duration(float(result[name])) for name in ("wait_p50", "wait_p95", "wait_max")]
        cells = [axis.label(value) for axis, (_, value) in zip(sweep.axes, sweep.settings[index], strict=True)]
        mark = Text("◀", style="bold green") if index == chosen else Text("")
        style = "" if sweep.met[index] or not objective.clauses else "dim"
        found.add_row(*cells, *waits, f"{result.pod_s / 3600:,.1f}", f"{result.flaps:,}", mark, style=style)
    lines: list[RenderableType] = [Text(head, style="bold"), Padding(found, (1, 0))]
    if not objective.clauses:
        lines.append(
            Text("  for a recommendation say what is good enough: --objective 'p95_wait<30s'\n", style="yellow")
        )
    elif chosen is None:
        lines.append(Text("  none of them meets the objective\n", style="red"))
    else:
        setting = setting_text(sweep.axes, sweep.settings[chosen])
        lines.append(Text.assemble("  recommended: ", (setting, "bold green"), "\n"))
    return Group(*lines)


def _few(sweep: Sweep, chosen: int | None) -> Iterator[int]:
    """Yield some of the front, evenly, and the recommended one, the cheapest first."""
    found = {int(index) for index in sweep.front}
    if len(found) > _MOST_ROWS:
        places = np.linspace(0, len(sweep.front) - 1, _MOST_ROWS).round().astype(int)
        found = {int(sweep.front[place]) for place in places}
    if chosen is not None:
        found.add(chosen)
    yield from sorted(found, key=lambda index: float(sweep.results[index].pod_s))
