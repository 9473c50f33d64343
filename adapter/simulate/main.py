"""`spillway simulate`: from the command line to reports."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from adapter.simulate.axes import parse_axes, setting_text, varied
from adapter.simulate.errors import InputError
from adapter.simulate.figures import SCHEMA, figures, load_json, objective_json, outcome_json, trace_columns
from adapter.simulate.findings import Finding, Outcome, judged
from adapter.simulate.inputs import Inputs, Variant, read_inputs
from adapter.simulate.sweep import Recommended, Sweep, recommend, sweep_of
from adapter.simulate.terminal import show
from adapter.simulate_options import SimulateOptions
from scaler.simulate import MAX_EVENTS, Mode, run
from scaler.simulate_vary import Setting

AUTO_EVENTS = 3_000_000
"""So many jobs are followed one by one in a few seconds; above that `auto` takes the fluid."""


@dataclass(frozen=True, slots=True)
class Report:
    """All there is to show."""

    outcomes: tuple[Outcome, ...]
    inputs: Inputs
    sweep: Sweep | None = None
    recommended: Recommended | None = None

    def machine(self) -> dict[str, Any]:
        """Return it for machines."""
        objective = self.inputs.objective
        return {
            "schema": SCHEMA,
            "load": load_json(self.outcomes[0]),
            "objective": objective_json(objective),
            "notes": list(self.inputs.notes),
            "runs": [outcome_json(each) | {"trace": trace_columns(each.run.trace)} for each in self.outcomes],
            "sweep": self.swept(),
        }

    def swept(self, most: int | None = None) -> dict[str, Any] | None:
        """Return the sweep for machines. With `most`, about so many of its points, the front among them."""
        if self.sweep is None:
            return None
        sweep, shown = self.sweep, self._shown(most)
        points = [
            {
                "setting": {axis.name: axis.label(value) for axis, (_, value) in zip(sweep.axes, setting, strict=True)},
                "figures": figures(sweep.results[index]),
                "met": bool(sweep.met[index]) if self.inputs.objective.clauses else None,
            }
            for index, setting in shown.items()
        ]
        places = {index: place for place, index in enumerate(shown)}
        return {
            "axes": [
                {"name": axis.name, "values": [axis.label(value) for value in axis.values]} for axis in sweep.axes
            ],
            "points": points,
            "front": [places[index] for index in sweep.front.tolist()],
            "recommended": places[self.recommended.index] if self.recommended else None,
        }

    def _shown(self, most: int | None) -> dict[int, Setting]:
        if self.sweep is None:
            return {}
        settings = self.sweep.settings
        every = 1 if most is None else max(1, -(-len(settings) // most))
        kept = {*range(0, len(settings), every), *self.sweep.front.tolist()}
        if self.recommended:
            kept.add(self.recommended.index)
        return {index: settings[index] for index in sorted(kept)}


def simulate(options: SimulateOptions, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Run the command. Returns the exit code: 0; 1 if an objective was given and nothing meets it; 2 for bad input."""
    try:
        report = simulated(options, err)
        _write(options, report, out)
    except InputError as error:
        for reason in error.args:
            print(f"spillway simulate: {reason}", file=err)
        return 2
    console = Console(file=err if options.json == Path("-") else out, highlight=False)
    chosen = report.recommended.index if report.recommended else None
    show(console, report.outcomes, report.inputs.objective, report.inputs.notes, report.sweep, chosen)
    for path in (options.html, options.svg, options.json):
        if path is not None and path != Path("-"):
            console.print(f"written: {path}")
    return 1 if report.inputs.objective.clauses and not any(each.met for each in report.outcomes) else 0


def simulated(options: SimulateOptions, err: TextIO = sys.stderr) -> Report:
    """Read the input and run everything.

    Raises:
        InputError: Something is missing, wrong, or cannot be simulated.
    """
    inputs = read_inputs(options)
    compare, sweep = parse_axes("--compare", options.compare), parse_axes("--sweep", options.sweep)
    if compare and sweep:
        raise InputError("--compare and --sweep: give one of them")
    if (compare or sweep) and len(inputs.variants) > 1:
        raise InputError("--compare and --sweep turn the knobs of one HPA: give one")
    if sweep and not inputs.closed:
        raise InputError("--sweep: a recorded series has no waiting times to weigh: give a load and a workload")
    inputs = replace(inputs, variants=_compared(inputs.variants, options)) if compare else inputs
    modes = [_mode(options, each, closed=inputs.closed) for each in inputs.variants]
    if sweep:
        return _swept(options, inputs, modes[0], err)
    outcomes = [
        judged(
            each.name,
            each.scenario,
            mode,
            run(each.scenario, mode, options.seed),
            inputs.objective,
            closed=inputs.closed,
        )
        for each, mode in zip(inputs.variants, modes, strict=True)
    ]
    return Report(tuple(outcomes), inputs)


def _compared(variants: Sequence[Variant], options: SimulateOptions) -> tuple[Variant, ...]:
    axes = parse_axes("--compare", options.compare)
    settings, scenarios = varied("--compare", variants[0].scenario, axes)
    if len(scenarios) > 12:
        raise InputError(f"--compare: gives {len(scenarios)} combinations; more than 12 are for --sweep")
    return tuple(
        Variant(setting_text(axes, setting), scenario) for setting, scenario in zip(settings, scenarios, strict=True)
    )


def _mode(options: SimulateOptions, variant: Variant, *, closed: bool) -> Mode:
    jobs = variant.scenario.load.jobs + variant.scenario.workload.backlog
    if options.mode == "events" and jobs > MAX_EVENTS:
        raise InputError(
            f"--mode events: {jobs:,.0f} jobs are too many to follow one by one, at most {MAX_EVENTS:,}: "
            "use --mode fluid"
        )
    if options.mode != "auto":
        return Mode(options.mode)
    return Mode.EVENTS if closed and jobs <= AUTO_EVENTS else Mode.FLUID


def _swept(options: SimulateOptions, inputs: Inputs, mode: Mode, err: TextIO) -> Report:
    variant, objective = inputs.variants[0], inputs.objective
    axes = parse_axes("--sweep", options.sweep)
    settings, scenarios = varied("--sweep", variant.scenario, axes)
    with _progress(len(scenarios), err) as done:
        sweep = sweep_of(axes, settings, scenarios, objective, done)
    found = recommend(sweep, objective, mode, options.seed) if objective.clauses else None
    here = run(variant.scenario, mode, options.seed)
    outcomes = [judged("as it is", variant.scenario, mode, here, objective, closed=True)]
    if found is not None:
        name, scenario = setting_text(axes, settings[found.index]), scenarios[found.index]
        outcome = judged("recommended", scenario, found.mode, found.run, objective, closed=True)
        outcome = replace(outcome, setting=name)
        if not found.holds:
            doubt = Finding("bad", "as a fluid it meets the objective; job by job, where chance is, it does not")
            outcome = replace(outcome, findings=(doubt, *outcome.findings))
        outcomes.append(outcome)
    return Report(tuple(outcomes), inputs, sweep, found)


@contextmanager
def _progress(count: int, err: TextIO) -> Iterator[Callable[[int], object]]:
    columns = (TextColumn("sweep"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(file=err)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("sweep", total=count)
        yield lambda more: progress.advance(task, more)


def _write(options: SimulateOptions, report: Report, out: TextIO) -> None:
    try:
        if options.json is not None:
            text = json.dumps(report.machine(), allow_nan=False, ensure_ascii=False)
            if options.json == Path("-"):
                print(text, file=out)
            else:
                options.json.write_text(text + "\n", encoding="utf-8")
        if options.svg is not None:
            from adapter.simulate.svg import picture, trade_off

            drawn = trade_off(report) if report.sweep is not None else picture(report.outcomes)
            options.svg.write_text(drawn, encoding="utf-8")
        if options.html is not None:
            from adapter.simulate.html import page

            options.html.write_text(page(report), encoding="utf-8")
    except OSError as exc:
        raise InputError(f"{exc.filename}: cannot be written: {exc.strerror}") from None
