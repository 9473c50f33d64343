"""Numbers, ages and moments as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_DAY_MS = 86_400_000


def number(value: float | str) -> str:
    """Write a number: whole ones in full, others with four digits: 42, 0.4383, 1234.6. Texts stay."""
    if isinstance(value, str):
        return value
    if value == round(value) and abs(value) < 1e15:
        return str(round(value))
    return f"{value:.1f}" if 1_000 <= abs(value) < 1e15 else f"{value:.4g}"


def milli(value_milli: int) -> str:
    """Write milli-units as the number they are: 1500 → 1.5, exactly."""
    whole, rest = divmod(abs(value_milli), 1000)
    sign = "-" if value_milli < 0 else ""
    return f"{sign}{whole}.{rest:03}".rstrip("0") if rest else f"{sign}{whole}"


def span(milliseconds: float) -> str:
    """Write a time: 1.2 s, 57 s, 12 min, 3 h, 2 d."""
    if milliseconds < 9_950:
        return f"{max(milliseconds, 0) / 1000:.1f} s"
    for unit, size, until in (("s", 1_000, 120), ("min", 60_000, 120), ("h", 3_600_000, 48)):
        if milliseconds < size * until:
            return f"{milliseconds / size:.0f} {unit}"
    return f"{milliseconds / _DAY_MS:.0f} d"


def seconds(value_s: float) -> str:
    """Write seconds of arithmetic, where a rounded time would not add up: 4.091 s."""
    return f"{number(value_s)} s"


def clock(time_ms: int, now_ms: int) -> str:
    """Write a moment: 03:04:05Z; with its date where that is not clear."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    near = abs(now_ms - time_ms) < _DAY_MS / 2 or moment.date() == datetime.fromtimestamp(now_ms / 1000, UTC).date()
    return moment.strftime("%H:%M:%SZ" if near else "%Y-%m-%d %H:%M:%SZ")


def labels(pairs: Mapping[str, str]) -> str:
    """Write labels as a selector does: a=b,c=d."""
    return ",".join(f"{name}={value}" for name, value in pairs.items())


def why(unknown: Mapping[str, Any]) -> str:
    """Write an unknown: its reason and detail."""
    return f"{unknown['reason']}: {unknown['detail']}" if unknown["detail"] else str(unknown["reason"])


def count(n: int, one: str, many: str | None = None) -> str:
    """Write how many: 1 item, 2 items."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def several(texts: Sequence[str], joint: str = " and ") -> str:
    """Write a list as a person does: a, b and c."""
    return joint.join(filter(None, (", ".join(texts[:-1]), texts[-1]))) if texts else ""
