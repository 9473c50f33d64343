"""`spillway record`: what is served, moment by moment, into a file for `spillway simulate`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from adapter.explain.client import NoSuchMetricError
from adapter.explain.errors import ExplainError
from adapter.explain.feed import Values, asking, now_ms, reading
from adapter.explain.recording import Recording, Row, format_of
from adapter.explain.words import labels, span, why
from adapter.explain_options import Name, RecordOptions
from scaler.model import Reason

_HOLE = 1.5
"""Intervals without a row from which on nothing was recorded in between."""

_BEGINNING = frozenset({Reason.NO_DATA, Reason.TOO_FEW_SAMPLES})
"""Why a source that was not read before is unknown at first: that is of the recorder, not of the metric."""


def record(options: RecordOptions, err: TextIO = sys.stderr) -> int:
    """Record until the time is over, or SIGINT or SIGTERM. Returns the exit code: 1 if it could not."""
    try:
        with Recording(options.out, format_of(options.out), options.max_bytes, options.max_age_ms) as recording:
            asyncio.run(_run(options, recording, err))
    except ExplainError as error:
        for line in error.args:
            err.write(f"spillway record: {line}\n")
        return 1
    return 0


async def _run(options: RecordOptions, recording: Recording, err: TextIO) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    feed = reading(options.config, options.names) if options.config else asking(options.port, options.names)
    async with feed as values:
        names = ", ".join(map(str, options.names))
        goes_on = f", after {recording.rows} rows that are there" if recording.rows else ""
        end = "Ctrl-C ends it" if options.duration_ms is None else f"for {span(options.duration_ms)}"
        err.write(f"recording {names} every {span(options.interval_ms)} to {options.out}{goes_on}; {end}\n")
        try:
            await _record(options, recording, values, stop)
        finally:
            recording.flush(now_ms())
    size = options.out.stat().st_size
    forgotten = f"; {recording.dropped} of the oldest were forgotten" if recording.dropped else ""
    err.write(f"{options.out}: {recording.rows} rows, {size} bytes{forgotten}\n")


async def _record(options: RecordOptions, recording: Recording, values: Values, stop: asyncio.Event) -> None:
    """Write a row an item at each multiple of the interval."""
    until_ms = None if options.duration_ms is None else now_ms() + options.duration_ms
    beginning = set(options.names) if options.config else set()
    while True:
        moment_ms = now_ms() // options.interval_ms * options.interval_ms + options.interval_ms
        ends = until_ms is not None and moment_ms > until_ms
        wait_ms = (until_ms if ends and until_ms is not None else moment_ms) - now_ms()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(wait_ms, 0) / 1000):
                await stop.wait()
        if stop.is_set() or ends:
            return
        if recording.last_ms is not None and moment_ms <= recording.last_ms:
            continue  # the clock went back: rows are in order of time
        rows = list(hole(recording.last_ms, moment_ms, options))
        for name, document in zip(
            options.names, await asyncio.gather(*(_ask(values, n) for n in options.names)), strict=True
        ):
            found = rows_at(moment_ms, name, document)
            if name in beginning and isinstance(document, Mapping) and _begins(document):
                continue
            beginning.discard(name)
            rows += found
        recording.add(rows)
        if recording.due(moment_ms):
            await asyncio.to_thread(recording.flush, moment_ms)


async def _ask(values: Values, name: Name) -> Mapping[str, Any] | str:
    """Return the values, or why there are none: an adapter that restarts does not end a recording."""
    try:
        return await values(name)
    except NoSuchMetricError:
        return "there is no such metric"
    except ExplainError as error:
        return str(error.args[0])


def _begins(document: Mapping[str, Any]) -> bool:
    unknown = document["state"]["unknown"]
    return not document["state"]["known"] and (unknown is None or unknown["reason"] in _BEGINNING)


def rows_at(moment_ms: int, name: Name, document: Mapping[str, Any] | str) -> Sequence[Row]:
    """Return the rows of one metric at one moment, at least one.

    An unknown item is a row without a value, and so is a metric whose items are not known at all.

    Args:
        moment_ms: When.
        name: The metric.
        document: The explain port's values, or why there are none.
    """
    if isinstance(document, str):
        return [Row(moment_ms, name.namespace, name.name, "", None, document)]
    rows = []
    for item in document["items"]:
        lost = _lost(item)
        value = None if lost else item["milli"] / 1000
        rows.append(Row(moment_ms, name.namespace, name.name, labels(item["labels"]), value, lost))
    state = document["state"]
    if not rows:
        reason = "no items" if state["known"] else state["message"] or "not read yet"
        rows.append(Row(moment_ms, name.namespace, name.name, "", None, reason))
    return rows


def _lost(item: Mapping[str, Any]) -> str:
    """Say why an item is unknown; "": it is known. What a policy serves instead was no load."""
    if "unknown" in item:
        return why(item["unknown"])
    if item.get("policy"):
        return why(item["policy"]["unknown"])
    return "Stale" if item["validForMs"] is not None and item["validForMs"] <= 0 else ""


def hole(last_ms: int | None, moment_ms: int, options: RecordOptions) -> Iterator[Row]:
    """Yield what stands for a time in which nothing was recorded, or a reader would take the last value for its."""
    if last_ms is None or moment_ms - last_ms <= options.interval_ms * _HOLE:
        return
    for name in options.names:
        yield Row(last_ms + options.interval_ms, name.namespace, name.name, "", None, "not recorded")
