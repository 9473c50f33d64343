"""What the demo says without a live view: a line now and then, and the summary at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from adapter.demo.autoscaler import Reading, Tally, total
from adapter.demo.orders import Account
from adapter.demo.scene import Scene, hints
from adapter.demo.spillway import BACKLOG, RATE
from scaler.hpa_model import MetricError

_SHOWN_ERRORS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Args:
        seconds: How long it was.
        interrupted: It was stopped by a signal, and nothing was compared.
        tally: What the autoscaling loop did.
        account: Where the orders went.
        left: How many were in the queue when nothing moved any more. None: Redis did not answer.
        last: What Spillway answered then about the queue, from a sample taken then. None: nothing in time.
    """

    seconds: float
    interrupted: bool
    tally: Tally
    account: Account
    left: int | None
    last: Reading | None


def introduction(scene: Scene) -> Iterator[str]:
    """Yield what to try in another terminal, a line each."""
    yield "ready; try in another terminal:"
    for hint in hints(scene.addresses, scene.redis_pid, scene.web_url):
        yield f"  {('' if hint.glued else ' ').join(hint.parts)}"


def progress(scene: Scene, now_s: float) -> str:
    """Return one line about the present."""
    load = scene.trace.load[-1] if scene.trace.load else 0
    changes = scene.autoscaler.tally.changes
    parts = [
        f"{now_s - scene.began_s:4.0f} s",
        f"load {load or 0:.0f}/s",
        f"{BACKLOG} {_shown(scene.reading(BACKLOG))}",
        f"{RATE} {_shown(scene.reading(RATE))}",
        f"workers {scene.workers.ready} of {scene.workers.count} ready",
    ]
    if changes:
        parts.append(f"last change {changes[-1].before} to {changes[-1].after}: {changes[-1].reason}")
    return ", ".join(parts)


def _shown(reading: Reading | None) -> str:
    if reading is None:
        return "not read yet"
    if isinstance(reading, MetricError):
        return f"unknown ({reading.message})"
    value = total(reading)
    return "unknown (no items)" if value is None else f"{value:g}"


def summary(outcome: Outcome) -> Iterator[str]:
    """Yield the summary, a line each."""
    tally, account = outcome.tally, outcome.account
    yield f"summary of {outcome.seconds:.0f} s" + (", interrupted" if outcome.interrupted else "")
    yield f"  reads    {tally.served} served, {tally.errors.total()} errors"
    for message, count in tally.errors.most_common(_SHOWN_ERRORS):
        yield f"           {count} x {message}"
    if tally.backlog:
        yield f"  backlog  {min(tally.backlog):g} to {max(tally.backlog):g} orders"
    if tally.replicas:
        yield f"  workers  {min(tally.replicas)} to {max(tally.replicas)}, {len(tally.changes)} scale events"
    left = "unknown" if outcome.left is None else outcome.left
    uncertain = f", {account.uncertain} uncertain" if account.uncertain else ""
    yield f"  orders   {account.taken} taken, {account.processed} processed, {left} left{uncertain}"
    yield f"           {account.failed} customers were not served"
    if not outcome.interrupted:
        yield f"  check    {BACKLOG} {_shown(outcome.last)}, LLEN {left}"


def problem(outcome: Outcome) -> str | None:
    """Return the first thing that must not be so, in one line. None: all is well."""
    if outcome.interrupted:
        return None
    if outcome.left is None:
        return "Redis did not answer at the end, so that nothing could be compared"
    if outcome.last is None:
        return f"Spillway's {BACKLOG} was not read from Redis again at the end"
    if isinstance(outcome.last, MetricError):
        when = "at the end" if outcome.tally.served else "at all"
        return f"Spillway did not answer {when}: {outcome.last.message}"
    if total(outcome.last) != outcome.left:
        return f"Spillway served {BACKLOG} {_shown(outcome.last)}, but the list in Redis holds {outcome.left}"
    if missing := outcome.account.missing(outcome.left):
        return f"{missing} orders are neither processed nor in the queue, or are there twice"
    return None
