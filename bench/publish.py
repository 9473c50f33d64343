"""From the results of all scripts to RESULTS.md and its plots. Nothing in it is typed in by hand."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.report import Curve, from_json, markdown_table, rounds_text

_INTRO = """# Results

Written by `python -m bench`; do not edit. README.md beside it says what the columns mean.
"""
_FLOORS = ("memcpy", "read the window", "the kernels alone", "nginx return 200")


def publish(names: Sequence[str], results: Path, plots: bool) -> Path:
    """Write RESULTS.md beside the folder of results. Returns: its path.

    Args:
        names: The scripts, in order.
        results: Where each has written its JSON.
        plots: Draw the curves as SVG, too.
    """
    parts = [_INTRO]
    for name in names:
        path = results / f"{name}.json"
        if path.exists():
            parts.append("\n".join(_section(name, json.loads(path.read_text()), results, plots)))
        else:
            parts.append(f"## {name}\n\nThere is no result: the script ended with an error.\n")
    page = results.parent / "RESULTS.md"
    page.write_text("\n".join(parts))
    return page


def has_matplotlib() -> bool:
    """Tell whether plots can be drawn."""
    try:
        importlib.import_module("matplotlib")
    except ImportError:
        return False
    return True


def _section(name: str, found: dict[str, Any], results: Path, plots: bool) -> Iterator[str]:
    result = from_json(found)
    yield f"## {result.title}\n\n`python -m bench.{name}`. {result.about}\n"
    yield markdown_table(result.rows) + "\n"
    for line in result.checked:
        yield f"- Checked in the run: {line}."
    for line in result.missing:
        yield f"- Not there: {line}."
    machine = ", ".join(f"{what} {which}" for what, which in found["machine"].items())
    quick = "Quick: these figures mean nothing. " if found["quick"] else ""
    yield f"- {quick}{found['date']}, {rounds_text(result.rows)} in {found['seconds']:.0f} s; {machine}."
    yield f"- The machine meanwhile: {found['neighbours']}.\n"
    for number, curve in enumerate(result.curves if plots else (), 1):
        picture = results / f"{name}-{number}.svg"
        _draw(curve, picture)
        yield f"![{curve.name}]({results.name}/{picture.name})\n"


def _draw(curve: Curve, path: Path) -> None:
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    # The same curve gives the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 10})
    ticker: Any = importlib.import_module("matplotlib.ticker")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name, points in curve.lines.items():
        style = "--" if name in _FLOORS else "-"
        axes.plot([x for x, _ in points], [y for _, y in points], style, marker="o", label=name)
    axes.set(title=curve.name, xlabel=curve.x, ylabel=curve.y, xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ticker.LogFormatter())
        axis.set_minor_formatter(ticker.LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
