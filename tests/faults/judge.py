"""What is right and what is wrong in what a reader saw. Pure: answers and truths in, findings and figures out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.truth import Span
from tests.faults.watcher import Seen

INTERVAL_MS = 1_000
NEIGHBOUR_MS = 2 * INTERVAL_MS
"""How old a healthy neighbour's value may be."""

_SECOND_MS = 1_000  # timestamps of the API are whole seconds

Was = Callable[[Seen], Span | None]
"""When what was seen was true; None: never."""


@dataclass(frozen=True, slots=True)
class Read:
    """A value that was served: its age, never more than it was, and how long the adapter had no processor of late."""

    seen: Seen
    age_ms: float
    starved_ms: float


def reads(seen: Sequence[Seen], was: Was, timeout_ms: float = INTERVAL_MS) -> tuple[list[Read], list[str]]:
    """Return every value that was served, with its age, and what was wrong: a value or a time that never was."""
    found: list[Read] = []
    wrong: list[str] = []
    first = 0
    for each in seen:
        while seen[first].asked_ms < each.asked_ms - NEIGHBOUR_MS:
            first += 1
        if each.status != 200:
            continue
        span = was(each)
        if span is None or span.from_ms > each.asked_ms + timeout_ms:
            wrong.append(f"{each.value} was never true: {each}")
        elif not span.from_ms - timeout_ms - _SECOND_MS <= each.stamp_ms <= span.until_ms:
            wrong.append(f"was true from {span.from_ms:.0f} to {span.until_ms:.0f}, not at {each.stamp_ms:.0f}: {each}")
        else:
            age_ms = max(0.0, each.asked_ms - span.until_ms)
            found.append(Read(each, age_ms, each.starved_ms - seen[first].starved_ms))
    return found, wrong


def neighbour(name: str, seen: Sequence[Seen], was: Was) -> tuple[float, list[str]]:
    """Return the greatest age of a healthy neighbour, in ms, and what it has lost."""
    found, wrong = reads(seen, was)
    lost = [f"{name}: {each}" for each in wrong]
    lost += [f"{name} got {each}" for each in seen if each.status != 200]
    lost += [
        f"{name} was {each.age_ms:.0f} ms old, of which {each.starved_ms:.0f} ms without a processor: {each.seen}"
        for each in found
        if each.age_ms > NEIGHBOUR_MS + each.starved_ms
    ]
    if not found:
        lost.append(f"{name}: nobody asked")
    return max((each.age_ms for each in found), default=0.0), lost


def reason_of(message: str) -> tuple[str, str]:
    """Return reason and detail of a message: "metric shop/x is unknown: SourceError: timeout since 03:04:05Z"."""
    found = re.fullmatch(
        r"metric \S+ is unknown: (?:[a-z0-9=,.:-]+: )?([A-Z]\w+)(?:: (.*?))?(?: since [0-9:]+Z)?", message
    )
    return (found[1], found[2] or "") if found else ("", message)
