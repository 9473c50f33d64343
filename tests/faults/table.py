"""docs/faults.md, from what is declared and what was measured: `python -m tests.faults.table` writes it anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.faults.matrix import MATRIX, Cell, Fault, Void
from tests.faults.stage import MAX_AGE_S

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "faults.md"
RESULTS = Path(__file__).parent / "results.json"

_COLUMNS = (
    *("fault", "what is done", "what is served", "reason and detail"),
    *("oldest value", "503 after", "back after", "neighbours"),
)
_HEAD = """# What happens when something breaks

Each thing that the adapter depends on is broken in each way, on real servers, while readers ask ten times a second and
every answer is compared with what was true at that moment. This page is written by `make test-faults`, which fails if
anything is other than below; `make test` takes one fault of each kind.

Metrics are read every second with `maxAge: {max_age}s`, the least there can be; times are counted in intervals. A value
is always served with its own time, and is never another than the one that was true then. While a fault lasts the 503
says the same, word for word, since an HPA copies it into events.

**Neighbours** are another Redis, another page, and a fixed value, read by the same process. In every row none of their
answers was an error or a wrong value, none was older than 2 intervals, and no collection was missed or failed; the
column has the oldest of their values and the number of their reads. While our certificate is one that nobody accepts,
they cannot be read either, but are still collected. A broken clock is that of one replica, and the neighbours are read
from another one.
"""


def load(path: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Return what was measured: "thing: fault" → figures. Empty before the first run."""
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def key(thing: str, fault: Fault) -> str:
    """Return a cell's name in the results."""
    return f"{thing}: {fault}"


def document(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the whole page."""
    return "\n".join([_HEAD.format(max_age=MAX_AGE_S), *_sections(results)])


def _sections(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for thing, row in MATRIX.items():
        yield f"## {thing[0].upper()}{thing[1:]}\n"
        yield _row(*_COLUMNS)
        yield _row(*("---" for _ in _COLUMNS))
        for fault in Fault:
            cell = row[fault]
            if isinstance(cell, Cell):
                yield _line(fault, cell, results.get(key(thing, fault), {}))
            else:
                yield _empty(fault, cell)
        yield ""


def _line(fault: Fault, cell: Cell, measured: Mapping[str, Any]) -> str:
    said = ": ".join([*([cell.reason] if cell.reason else []), *([f"`{cell.detail}`"] if cell.detail else [])])
    times = [_time(measured.get(name)) for name in ("oldest", "unknown_after", "back_after")]
    oldest, count = measured.get("neighbour_oldest"), measured.get("neighbour_reads")
    near = "" if oldest is None else f"{_time(oldest)}, {count} reads"
    return _row(fault, cell.how, cell.served, said, *times, near)


def _empty(fault: Fault, cell: Void) -> str:
    return _row(fault, "", f"no meaning: {cell.why}", "", "", "", "", "")


def _time(intervals: float | None) -> str:
    return "" if intervals is None else f"{intervals:.1f}"


def _row(*texts: str) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in texts) + " |"


if __name__ == "__main__":
    DOCUMENT.write_text(document(load()))
