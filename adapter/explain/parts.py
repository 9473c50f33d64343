"""The parts of a function's result, in words: from the JSON of one series, or of one histogram, to lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from adapter.explain.words import count, number, seconds, span

Json = Mapping[str, Any]


def lines(rule: Json, parts: Json, value: float | str | None) -> Iterator[str]:
    """Yield how a series' number came about, a line a step.

    Args:
        rule: The rule's JSON.
        parts: Of scaler.explain_parts.
        value: The number, where there is one.
    """
    if parts["samples"] < parts["needs"]:
        there = count(parts["samples"], "sample")
        yield f"{there} in the window of {rule['window']}; {rule['function']} needs {parts['needs']}"
        return
    if "first" not in parts:
        yield f"a NaN or Inf among the {parts['samples']} samples in the window of {rule['window']}"
        return
    first, last = parts["first"], parts["last"]
    if parts["samples"] == 1:
        yield f"1 sample in the window of {rule['window']}: {number(last['value'])} ({span(last['ageMs'])} ago)"
        return
    yield (
        f"{count(parts['samples'], 'sample')} in the window of {rule['window']}: "
        f"{number(first['value'])} ({span(first['ageMs'])} ago) … {number(last['value'])} ({span(last['ageMs'])} ago)"
    )
    yield from _KINDS[parts["kind"]](rule, parts)
    if "result" not in parts and value is not None:
        yield f"{rule['function']} = {number(value)}"


def _extrapolated(rule: Json, parts: Json) -> Iterator[str]:
    if parts["countedFromZero"]:
        yield "counted from 0: it was not there in the read before (counterStart: zero)"
    first, last = number(parts["first"]["value"]), number(parts["last"]["value"])
    if parts["resetsInAll"]:
        falls = [f"{number(r['from'])} → {number(r['to'])}, {span(r['ageMs'])} ago" for r in parts["resets"][:3]]
        more = f" and {parts['resetsInAll'] - 3} more" if parts["resetsInAll"] > 3 else ""
        yield (
            f"{count(parts['resetsInAll'], 'reset')} ({'; '.join(falls)}{more}): "
            f"what was counted before is added, {number(parts['added'])}"
        )
        yield f"grew by {last} - {first} + {number(parts['added'])} = {number(parts['change'])}"
    else:
        grew = "changed" if rule["function"] == "delta" else "grew"
        yield f"{grew} by {last} - {first} = {number(parts['change'])} in {seconds(parts['spanS'])}"
    yield f"start: {_edge(parts['start'], parts, 'first sample', 'start')}"
    yield f"end: {_edge(parts['end'], parts, 'last sample', 'end')}"
    terms = " + ".join(number(x) for x in (parts["spanS"], parts["start"]["extendedS"], parts["end"]["extendedS"]))
    factor = f"factor ({terms}) / {number(parts['spanS'])} = {number(parts['factor'])}"
    divided = f" / {seconds(parts['dividedByS'])}" if parts["dividedByS"] else ""
    unit = " a second" if parts["dividedByS"] else ""
    yield f"{factor}: {number(parts['change'])} × {number(parts['factor'])}{divided} = {number(parts['result'])}{unit}"


def _edge(edge: Json, parts: Json, sample: str, which: str) -> str:
    distance, extended = seconds(edge["distanceS"]), seconds(edge["extendedS"])
    if edge["why"] == "zero" and not edge["extendedS"]:
        return f"the {sample} is 0: there was nothing to count before it"
    if edge["why"] == "zero":
        return f"at this pace the counter was 0 {extended} before the first sample: extended no further"
    if edge["why"] == "far":
        spacing = seconds(parts["spacingS"])
        far = f"the {sample} is {distance} from it, over 1.1 × the spacing of {spacing}"
        return f"{far}: extended by half a spacing, {extended}"
    if not edge["distanceS"]:
        return f"the {sample} is at the window's {which}: nothing to extend"
    return f"extended over the {distance} between the {sample} and the window's {which}"


def _last_two(rule: Json, parts: Json) -> Iterator[str]:
    before, last = number(parts["before"]["value"]), number(parts["last"]["value"])
    if parts.get("reset"):
        yield f"fell from {before} to {last}: a reset, so that {last} were counted since"
    else:
        yield f"the last two: {last} - {before} = {number(parts['change'])}"
    if "dividedByS" in parts:
        divided = f"{number(parts['change'])} / {seconds(parts['dividedByS'])}"
        yield f"{divided} = {number(parts['result'])} a second"


def _line(rule: Json, parts: Json) -> Iterator[str]:
    yield f"a line through them by least squares rises by {number(parts['slope'])} a second"
    if "aheadS" in parts:
        rise = f"{number(parts['atEnd'])} + {number(parts['slope'])} × {seconds(parts['aheadS'])}"
        yield f"it is at {number(parts['atEnd'])} at the newest read; {rise} = {number(parts['result'])}"


def _fold(rule: Json, parts: Json) -> Iterator[str]:
    if "rank" in parts:
        rank = f"{number(parts['quantile'])} × ({parts['samples']} - 1) = {number(parts['rank'])}"
        between = f"{number(parts['below'])} and {number(parts['above'])}"
        yield f"rank {rank} from the least, between {between}: {number(parts['result'])}"
    else:
        yield f"the least is {number(parts['least'])}, the greatest {number(parts['greatest'])}"


_KINDS: Mapping[str, Callable[[Json, Json], Iterator[str]]] = {
    "extrapolated": _extrapolated,
    "lastTwo": _last_two,
    "line": _line,
    "fold": _fold,
}


def histogram_lines(histogram: Json, at_most: int) -> Iterator[str]:
    """Yield how a quantile was taken from buckets, and the buckets."""
    if histogram["rank"] is not None:
        lowest = "0" if histogram["from"] is None else histogram["from"]
        total = number(histogram["buckets"][-1]["rate"]) if histogram["buckets"] else "?"
        yield (
            f"rank {number(histogram['quantile'])} × {total} = {number(histogram['rank'])} a second: "
            f"in the bucket from {lowest} to {histogram['to']}, where observations are taken to lie evenly"
        )
    buckets = histogram["buckets"]
    for bucket in buckets[:at_most]:
        yield f"le {bucket['le']:<8} {number(bucket['rate'])} a second"
    if histogram["bucketsInAll"] > at_most:
        yield f"… and {histogram['bucketsInAll'] - min(at_most, len(buckets))} more"
