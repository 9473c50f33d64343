"""The arithmetic of an HPA as lines of text: JSON in, lines out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from adapter.explain.words import count, milli, number

Json = Mapping[str, Any]
Lines = Iterator[str | tuple[str, str]]

_BAD = "red"
_WIDTH = 96


def clause(hpa: Json) -> str:
    """Return what the HPA wants, as a sentence."""
    name = f"HPA {hpa['name']}"
    if not hpa["usesMetric"]:
        return f"{name} does not read it."
    mine = next(each for each in hpa["metrics"] if each["mine"])
    target = f"{milli(mine['targetMilli'])}{' a replica' if mine['type'] == 'AverageValue' else ''}"
    asked = hpa["replicas"]["asked"]
    if hpa["wants"] is None:
        if (hpa["combined"] or {}).get("skipped") == "zero":
            return f"{name} (target {target}) does nothing: its workload was set to zero replicas."
        held = "" if asked is None else f" {asked}"
        return f"{name} (target {target}) cannot compute a count from it and holds its replicas{held and f' at{held}'}."
    has = "" if asked is None else (" and has them" if asked == hpa["wants"] else f"; it has {asked}")
    if asked is not None and hpa["wants"] < asked and _reason(hpa, "AbleToScale") == "ScaleDownStabilized":
        has += " and waits before it goes down"
    return f"{name} (target {target}) wants {count(hpa['wants'], 'replica')}{has}."


def _reason(hpa: Json, condition: str) -> str:
    return next((str(each["reason"]) for each in hpa["conditions"] if each["type"] == condition), "")


def hpa_lines(hpa: Json) -> Lines:
    """Yield the steps, then what the HPA says of itself, then what a difference means."""
    yield from _steps(hpa)
    if hpa["conditions"] or hpa["status"]["desiredReplicas"] is not None:
        yield ""
        yield "What it says of itself:"
        yield from _status(hpa)
    if hpa["findings"]:
        yield ""
        for finding in hpa["findings"]:
            yield from textwrap.wrap(
                finding, _WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
            )


def _steps(hpa: Json) -> Lines:
    replicas = hpa["replicas"]
    if replicas["asked"] is None:
        yield _row("replicas", f"not known: {replicas['source']}")
    else:
        ready = "" if replicas["ready"] is None else f", {replicas['ready']} ready"
        yield _row(
            "replicas", f"{replicas['asked']} asked for, {replicas['there']} there{ready} ({replicas['source']})"
        )
    for metric in hpa["metrics"]:
        yield from _metric(hpa, metric)
    combined, wants = hpa["combined"], hpa["wants"]
    skipped = combined["skipped"] if combined else None
    if skipped == "zero":
        yield _row("result", "none: at zero replicas the HPA reads nothing and does nothing")
    elif skipped == "bounds":
        yield _row(
            "result", f"{wants}: the replicas are outside {_bounds(hpa)}, so the bound is set and nothing is read"
        )
    elif skipped == "failed":
        yield (_row("result", "none: without what cannot be read the count is not lowered; the replicas stay"), _BAD)
    elif combined and combined["replicas"] is not None:
        yield from _limits(hpa, combined["replicas"])


def _metric(hpa: Json, metric: Json) -> Lines:
    selector = f" with {metric['selector']}" if metric["selector"] else ""
    name = metric["name"] + selector
    target = milli(metric["targetMilli"])
    a_replica = " a replica" if metric["type"] == "AverageValue" else " in all"
    if metric["sumMilli"] is None or not metric["items"]:
        yield (_row("reads", f"{name}: {metric['error']}"), _BAD)
        return
    shown = " + ".join(milli(each) for each in metric["itemsMilli"])
    more = (
        f" + {metric['items'] - len(metric['itemsMilli'])} more" if metric["items"] > len(metric["itemsMilli"]) else ""
    )
    total = milli(metric["sumMilli"])
    yield _row("reads", f"{name}: {shown}{more} = {total}" if metric["items"] > 1 else f"{name}: {total}")
    yield _row("target", f"{target}{a_replica} ({metric['type']})")
    there, ready = hpa["replicas"]["there"], hpa["replicas"]["ready"]
    average = metric["type"] == "AverageValue"
    if metric["ratio"] is not None:
        low, high = 1 - metric["tolerance"]["down"], 1 + metric["tolerance"]["up"]
        of = f"({target} × {there})" if average else target
        where = "within" if metric["within"] else "outside"
        yield _row("ratio", f"{total} / {of} = {number(metric['ratio'])}, {where} {number(low)} to {number(high)}")
    if metric["error"]:
        yield (_row("asks for", metric["error"]), _BAD)
    elif metric["within"]:
        yield _row("asks for", f"{metric['proposal']}: near enough to the target to stay")
    elif average:
        yield _row("asks for", f"{total} / {target}, rounded up = {metric['proposal']}")
    else:
        yield _row("asks for", f"{number(metric['ratio'] or 0)} × {ready} ready, rounded up = {metric['proposal']}")


def _limits(hpa: Json, desired: int) -> Lines:
    limits, wants = hpa["limits"], hpa["wants"]
    if len(hpa["metrics"]) > 1:
        yield _row("the most", f"{desired}")
    if limits and limits["windowS"]:
        waits = f"what it asked for in the last {limits['windowS']} s counts too, which only the controller knows"
        yield _row(f"scale {limits['direction']}", waits)
    if limits and limits["limited"]:
        yield _row(
            "limits", f"{desired} → {wants}: {_REASONS.get(limits['reason'], limits['reason'])} ({_bounds(hpa)})"
        )
    elif desired != wants:
        yield _row("limits", f"{desired} → {wants}: {_bounds(hpa)}")
    else:
        yield _row("limits", f"{desired} is within {_bounds(hpa)}")
    yield _row("result", count(wants, "replica"))


_REASONS = {
    "ScaleUpLimit": "faster than it may grow",
    "ScaleDownLimit": "faster than it may shrink",
    "TooManyReplicas": "more than maxReplicas",
    "TooFewReplicas": "fewer than minReplicas",
}


def _bounds(hpa: Json) -> str:
    return f"{hpa['minReplicas']} to {hpa['maxReplicas']} replicas"


def _status(hpa: Json) -> Lines:
    status = hpa["status"]
    if status["desiredReplicas"] is not None:
        yield f"{'replicas':<16}{status['currentReplicas']} current, {status['desiredReplicas']} desired"
    for each in hpa["conditions"]:
        good = (each["status"] == "True") != (each["type"] == "ScalingLimited")
        line = f"{each['type']:<16}{each['status']:<7}{each['reason']}: {each['message']}"
        yield line if good else (line, "yellow")


def _row(name: str, text: str) -> str:
    return f"{name:<12}{text}"
