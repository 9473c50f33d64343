"""The report: one HTML file that opens from disk, asks no network, and holds its plotting library."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

from adapter.simulate.errors import InputError
from adapter.simulate.figures import load_json, objective_json, outcome_json, table, trace_columns

if TYPE_CHECKING:
    from adapter.simulate.main import Report

_MOST_POINTS = 2_000
_MOST_SWEPT = 3_000


def page(report: Report) -> str:
    """Return the page.

    Raises:
        InputError: The extra that brings the plotting library is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise InputError("--html: to draw it install the extra: pip install 'spillway[simulate]'") from None
    template = resources.files("adapter.simulate").joinpath("report.html").read_text(encoding="utf-8")
    # "</" could end the script element it is in, wherever the text comes from; "<!--" likewise.
    data = json.dumps(_data(report), allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    before, rest = template.split("/*PLOTLY*/")
    middle, after = rest.split("/*DATA*/")
    return f"{before}{get_plotlyjs()}{middle}{data}{after}"


def _data(report: Report) -> dict[str, Any]:
    first = report.outcomes[0]
    return {
        "load": load_json(first),
        "closed": first.closed,
        "mode": str(first.mode),
        "podRate": first.scenario.workload.pods.rate,
        "objective": objective_json(report.inputs.objective),
        "notes": report.inputs.notes,
        "table": table(report.outcomes),
        "runs": [
            outcome_json(each) | {"trace": trace_columns(each.run.trace, _MOST_POINTS)} for each in report.outcomes
        ],
        "sweep": report.swept(_MOST_SWEPT),
    }
