"""A row of numbers as a picture made of text."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
UNKNOWN = "×"


def sparkline(values: Sequence[float | None], width: int, rows: int, least_top: float) -> list[str]:
    """Draw the newest values, one a column, the newest at the right.

    Args:
        values: Oldest first, each at least 0. None: unknown, drawn as a cross on the ground.
        width: Columns. With fewer values the left stays empty.
        rows: Lines; a line has eight steps.
        least_top: The top is the largest value drawn, and at least this.

    Returns: `rows` texts of `width` characters, the top one first. A value above 0 is never drawn as nothing.
    """
    drawn = list(values)[max(0, len(values) - width) :] if width > 0 else []
    top = max([least_top, *(value for value in drawn if value is not None)])
    heights = [None if value is None else _height(value / top, 8 * rows) for value in drawn]
    lines = []
    for row in reversed(range(rows)):
        cells = (_cell(height, row) for height in heights)
        lines.append("".join(cells).rjust(max(width, 0)))
    return lines


def _height(share: float, steps: int) -> int:
    return max(round(share * steps), 1 if share > 0 else 0)


def _cell(height: int | None, row: int) -> str:
    if height is None:
        return UNKNOWN if row == 0 else " "
    return BLOCKS[min(max(height - 8 * row, 0), 8)]
