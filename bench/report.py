"""What a script found: rows of figures, curves, and what it checked; as text, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from bench.measure import number, ratios, spread

Role: TypeAlias = Literal["ours", "peer", "floor"]
OURS = "Spillway"

HEADER = ("what", "unit", "", "median", "min", "max", "× better than it", "× the floor")
_RIGHT = frozenset(HEADER[3:])


@dataclass(frozen=True, slots=True)
class Figures:
    """One figure a round of one thing. `role`: ours; a peer, used instead of ours; the floor, the least it can cost."""

    who: str
    role: Role
    rounds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One question. The first figures are ours, the others were taken in the same rounds."""

    what: str
    unit: str
    figures: tuple[Figures, ...]
    more_is_better: bool = False

    def ratio(self, figures: Figures) -> list[float]:
        """Return round by round how many times better than a peer ours is, or how many floors ours costs."""
        ours = self.figures[0].rounds
        ours_over = (figures.role == "peer") == self.more_is_better
        return ratios(ours, figures.rounds) if ours_over else ratios(figures.rounds, ours)


def row(
    what: str,
    unit: str,
    ours: Sequence[float],
    *,
    peers: Mapping[str, Sequence[float]] | None = None,
    floors: Mapping[str, Sequence[float]] | None = None,
    more_is_better: bool = False,
) -> Row:
    """Return a row from figures by name."""
    figures = [Figures(OURS, "ours", tuple(ours))]
    figures += [Figures(who, "peer", tuple(rounds)) for who, rounds in (peers or {}).items()]
    figures += [Figures(who, "floor", tuple(rounds)) for who, rounds in (floors or {}).items()]
    return Row(what, unit, tuple(figures), more_is_better)


@dataclass(frozen=True, slots=True)
class Curve:
    """Cost against size: name → points (x, y). Both axes are drawn logarithmic."""

    name: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Result:
    """What a script found.

    Args:
        title: What was measured.
        about: How, in a sentence or two.
        rows: The figures.
        curves: What is plotted.
        checked: What was found equal or true in the run, before anything was timed.
        missing: Peers that were not there, and what to install.
        packages: Peers among the Python packages, whose versions are to be named.
        programs: Those among the programs.
    """

    title: str
    about: str
    rows: tuple[Row, ...]
    curves: tuple[Curve, ...] = ()
    checked: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    packages: tuple[str, ...] = field(default=(), repr=False)
    programs: tuple[str, ...] = field(default=(), repr=False)


def rounds_of(rows: Sequence[Row]) -> tuple[int, int]:
    """Return how many rounds the figures have, at least and at most: what takes long has one, whatever is asked for."""
    counts = [len(figures.rounds) for each in rows for figures in each.figures] or [0]
    return min(counts), max(counts)


def rounds_text(rows: Sequence[Row]) -> str:
    """Return the number of rounds in words."""
    least, most = rounds_of(rows)
    if least != most:
        return f"{least} to {most} rounds"
    return f"{most} round" if most == 1 else f"{most} rounds"


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return a line of cells for each figures of each row, as HEADER names them."""
    lines = []
    for each in rows:
        for figures in each.figures:
            middle = spread(figures.rounds)
            found = "" if figures.role == "ours" else _ratio_text(each.ratio(figures))
            beside = ("", found) if figures.role == "floor" else (found, "")
            head = (each.what, each.unit) if figures.role == "ours" else ("", "")
            who = f"floor: {figures.who}" if figures.role == "floor" else figures.who
            lines.append((*head, who, *map(number, middle), *beside))
    return lines


def _ratio_text(found: Sequence[float]) -> str:
    middle = spread(found)
    return f"{number(middle.median)} ({number(middle.low)} to {number(middle.high)})"


def text_table(rows: Sequence[Row]) -> str:
    """Return the rows as a table for a terminal."""
    lines = [HEADER, *cells(rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    texts = []
    for line in lines:
        padded = (
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for cell, width, name in zip(line, widths, HEADER, strict=True)
        )
        texts.append("  ".join(padded).rstrip())
    return "\n".join([texts[0], "-" * (sum(widths) + 2 * len(widths) - 2), *texts[1:]])


def markdown_table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [HEADER, tuple("---:" if name in _RIGHT else "---" for name in HEADER), *cells(rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_json(result: Result, **beside: object) -> dict[str, Any]:
    """Return the result as JSON types: every round's figure, and with them median, min, max and ratios."""
    found = asdict(result) | beside
    for each, source in zip(found["rows"], result.rows, strict=True):
        for figures, known in zip(each["figures"], source.figures, strict=True):
            figures |= spread(known.rounds)._asdict()
            if known.role != "ours":
                figures["ratio"] = spread(source.ratio(known))._asdict()
    return found


def from_json(found: Mapping[str, Any]) -> Result:
    """Return what `as_json` was made from."""
    rows = [
        Row(
            each["what"],
            each["unit"],
            tuple(Figures(f["who"], f["role"], tuple(f["rounds"])) for f in each["figures"]),
            each["more_is_better"],
        )
        for each in found["rows"]
    ]
    curves = [
        Curve(c["name"], c["x"], c["y"], {k: [(x, y) for x, y in v] for k, v in c["lines"].items()})
        for c in found["curves"]
    ]
    texts = {name: tuple(found[name]) for name in ("checked", "missing", "packages", "programs")}
    return Result(found["title"], found["about"], tuple(rows), tuple(curves), **texts)
