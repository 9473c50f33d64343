"""The answer in one or two sentences: what the metric is now, from what, and what follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adapter.explain.words import clock, count, labels, milli, number, several, span, why

Json = Mapping[str, Any]
_NAMED = 3

_WORDS = {"sum": "sum", "avg": "mean", "min": "least", "max": "greatest", "count": "count"}


def sentence(document: Json) -> str:
    """Say what a metric is now.

    Args:
        document: What the explain port says of the metric.
    """
    name, state = f"{document['namespace']}/{document['metric']}", document["state"]
    if state["known"]:
        return " ".join(_known(name, document))
    if state["unknown"] is None:
        waiting = f": {document['waiting']}" if document.get("waiting") else ""
        return f"{name} is not known yet{waiting or ': nothing has been read so far'}. Readers get 503."
    return " ".join(_unknown(name, document))


def _known(name: str, document: Json) -> Iterator[str]:
    items, now_ms = document["items"], document["now"]
    if not document["itemsInAll"]:
        yield f"{name} has no items: readers get an empty list, which an HPA takes for an error."
        return
    if document["state"]["policy"]:
        yield from _stood_in(name, document)
        return
    failing = failures(document)
    earlier = [item for item in items if item["standsIn"]]
    yield f"{_value(name, document)}, {_source(document, failing=bool(failing or earlier))}."
    if earlier and not failing:
        instead = f" ({why(earlier[0]['instead'])})" if earlier[0]["instead"] else ""
        until = clock(now_ms + earlier[0]["validForMs"], now_ms)
        yield f"That is an earlier value, which counts until {until}: what was read since gives none{instead}."
    if not failing:
        return
    target, unknown = failing[0]
    others = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
    since = "" if unknown["sinceMs"] is None else f" since {clock(unknown['sinceMs'], now_ms)}"
    until_ms = now_ms + document["state"]["validForMs"]
    yield f"Reads of {target}{others} have failed{since} ({why(unknown)})."
    which = "this value" if len(items) == 1 else "the oldest item"
    yield (
        f"If that goes on, {which} counts until {clock(until_ms, now_ms)} (maxAge {document['rule']['maxAge']}); "
        "then the metric is unknown, readers get 503, and an HPA holds its replicas."
    )


def _stood_in(name: str, document: Json) -> Iterator[str]:
    """Say what a policy serves of what is unknown, since when and why, and until when."""
    state, now_ms = document["state"], document["now"]
    unknown, policy = state["unknown"], document["rule"]["whenUnknown"]
    since = "" if unknown["sinceMs"] is None else f" since {clock(unknown['sinceMs'], now_ms)}"
    held = [item for item in document["items"] if item["policy"]]
    which = "" if len(held) == document["itemsInAll"] else f"{len(held)} of them "
    last = [item for item in held if item["policy"]["lastMilli"] is not None]
    read = f"read {span(max(item['ageMs'] for item in last))} ago" if last else ""
    if state["policy"] == "hold":
        yield f"{_value(name, document)}, {which}held{since} because {why(unknown)}."
        until = clock(now_ms + min((item["validForMs"] for item in held), default=state["validForMs"]), now_ms)
        what = "That is the last good value" if len(held) == 1 else "Those are the last good values"
        hold = f"whenUnknown: hold for {policy['holdFor']}"
        yield f"{what}, {read}, held until {until} ({hold}); then readers get 503, and an HPA holds its replicas."
        return
    yield f"{_value(name, document)}, {which}floored{since} because {why(unknown)}."
    floor = f"the floor of {milli(policy['floorMilli'])}"
    until = "until something is known (whenUnknown: floor)"
    if last:
        one = f"the last good value, {milli(last[0]['policy']['lastMilli'])}"
        known = one if len(held) == 1 else "each last good value"
        yield f"Readers get {known}, {read}, or {floor} if that is more, {until}."
    else:
        yield f"It was never known to this process: readers get {floor} {until}."


def _value(name: str, document: Json) -> str:
    items = document["items"]
    if document["itemsInAll"] == 1 and items[0]["policy"] is None:
        guarded = (items[0]["made"] or {}).get("guarded")
        before = f" ({number(items[0]['made']['folded'])} before guard.{guarded})" if guarded else ""
        return f"{name} is {milli(items[0]['milli'])} now{_calmed(items[0]) or before}"
    if document["itemsInAll"] == 1:
        return f"{name} is {milli(items[0]['milli'])}"
    if document["itemsInAll"] > len(items):
        return f"{name} has {document['itemsInAll']} items now"
    total = milli(sum(item["milli"] for item in items))
    return f"{name} has {len(items)} items now, {total} in all"


def _calmed(item: Json) -> str:
    """Name the step of the guard that changed a value."""
    steps = item["guard"]
    if steps is None or steps["servedMilli"] != item["milli"] or steps["rawMilli"] == item["milli"]:
        return ""
    step = "maxStep" if steps["jumpAgeMs"] is not None else "fallHalfLife"
    return f" ({milli(steps['rawMilli'])} before guard.{step})"


def _source(document: Json, *, failing: bool) -> str:
    """Say what it was made of and when that was read."""
    rule, items = document["rule"], document["items"]
    function = rule["function"]
    made = items[0]["made"]
    read = f"read {span(max(item['ageMs'] for item in items))} ago"
    if failing:
        read = f"last {read}"
    window = f" over {rule['window']}" if rule["window"] else ""
    which = function if rule["quantile"] is None else f"{function}({number(rule['quantile'])})"
    if function == "histogram_quantile":
        which = f"{number(rule['quantile'])}-quantile"
    if len(items) > 1 or made is None:
        each = "" if function == "value" else f"each the {which}{window}, "
        return f"{each}{read}"
    if function == "histogram_quantile":
        return f"the {which}{window} of a histogram of {count(made['members'], 'bucket')} {read}"
    members = count(made["members"], *_noun(document))
    of = f"the {which}{window} of {members}" if function != "value" else f"from {members}"
    if rule["aggregate"] is not None and made["members"] > 1:
        fold = _WORDS[rule["aggregate"]["with"]]
        return (
            f"the {fold} of {members} {read}"
            if function == "value"
            else f"the {fold} of {of.removeprefix('the ')} {read}"
        )
    return f"{of} {read}"


def _noun(document: Json) -> tuple[str, str]:
    """Name what a series is: a queue if all of them say which one."""
    shown = [series["labels"] for target in document["targets"] for series in target["series"]]
    return ("queue", "queues") if shown and all("queue" in each for each in shown) else ("series", "series")


def _unknown(name: str, document: Json) -> Iterator[str]:
    state, now_ms = document["state"], document["now"]
    unknown = state["unknown"]
    since = "" if unknown["sinceMs"] is None else f" since {clock(unknown['sinceMs'], now_ms)}"
    if not document["itemsInAll"]:
        yield f"{name} is unknown{since}: {why(unknown)}."
        yield "Readers get 503, and an HPA holds its replicas: it may still go up for another metric, never down."
        if state["floor"]:
            begins = clock(now_ms + state["floor"]["inMs"], now_ms)
            yield f"From {begins} on they get the floor of {milli(state['floor']['milli'])} (whenUnknown: floor)."
        return
    bad = [labels(item["labels"]) for item in document["items"] if "unknown" in item]
    lost, total = document["itemsUnknown"], document["itemsInAll"]
    named = [each for each in bad if each][:_NAMED]
    more = f" and {lost - len(named)} more" if named and lost > len(named) else ""
    if total == 1 or not named:
        yield f"{name} is unknown{since}: {why(unknown)}."
        yield "Readers get 503, and an HPA holds its replicas: it may still go up for another metric, never down."
        return
    yield f"{name} is unknown in part{since}: of {total} items {lost} {'is' if lost == 1 else 'are'} unknown,"
    yield f"{several(named, ', ') if more else several(named)}{more} ({why(unknown)})."
    yield "A reader whose selector can match one of them gets 503, and an HPA holds its replicas; others get an answer."


def failures(document: Json) -> list[tuple[str, Json]]:
    """Return what cannot be read at present, as (name, unknown), of what is shown: targets, then series."""
    targets = [(target["target"], target["failure"]) for target in document["targets"] if target["failure"]]
    series = [
        (labels(series["labels"]) or target["target"], series["problem"])
        for target in document["targets"]
        for series in target["series"]
        if series["problem"]
    ]
    return targets + series
