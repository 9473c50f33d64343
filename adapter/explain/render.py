"""An explanation as text: JSON in, lines out, and nothing else. What asks for it is somebody else's business.

First the answer, then how it came about. Long lists are cut, with how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from adapter.explain import parts
from adapter.explain.render_hpa import clause, hpa_lines
from adapter.explain.sentence import failures, sentence
from adapter.explain.words import clock, count, labels, milli, number, span, why

Json = Mapping[str, Any]

_ITEMS, _MEMBERS, _TARGETS, _BUCKETS, _DETAILED = 10, 5, 5, 12, 3
"""How many lines of each list; of how many series every part is shown."""

TITLE, DIM, BAD = "bold", "dim", "red"


def render(document: Json) -> RenderableType:
    """Return an explanation for a terminal.

    Args:
        document: The explain port's JSON of a metric; under "hpa", if it is there, what `arithmetic` makes of an HPA.
    """
    hpa = document.get("hpa")
    said = sentence(document) + (f" {clause(hpa)}" if hpa else "")
    blocks: list[Text] = [Text(said, style="bold" if document["state"]["known"] else "bold red")]
    for title, found in (
        ("Value", _items(document)),
        ("How", _how(document)),
        (f"Reads, every {document['rule']['interval']}", _targets(document)),
        ("Endpoints in trouble", _endpoints(document)),
        ("Served to", _readers(document)),
        (hpa and f"HPA {hpa['namespace']}/{hpa['name']} of {hpa['target']}", hpa_lines(hpa) if hpa else iter(())),
    ):
        lines = list(found)
        if lines:
            blocks += [Text(""), Text(str(title), style=TITLE), *map(_line, lines)]
    return Group(*blocks)


def text_of(document: Json, width: int = 100) -> str:
    """Return an explanation as plain text; only the sentence is broken into lines, at `width`."""
    console = Console(width=width, color_system=None, force_terminal=False, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(render(document), crop=False)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _line(line: str | tuple[str, str]) -> Text:
    text, style = (line, "") if isinstance(line, str) else line
    return Text(f"  {text}" if text else "", style=style, no_wrap=True, overflow="ignore")


Lines = Iterator[str | tuple[str, str]]


def _items(document: Json) -> Lines:
    """Yield the items: what an HPA may get, with what the guard did to it."""
    items, now_ms = document["items"], document["now"]
    for item in items[:_ITEMS]:
        yield from _item(document, item, now_ms)
    if document["itemsInAll"] > _ITEMS:
        yield (f"… and {document['itemsInAll'] - _ITEMS} more", DIM)


def _item(document: Json, item: Json, now_ms: int) -> Lines:
    named = labels(item["labels"])
    if "unknown" in item:
        since = item["unknown"]["sinceMs"]
        began = "" if since is None else f", since {clock(since, now_ms)}"
        yield (f"{'unknown':<12}{named}{'  ' if named else ''}{why(item['unknown'])}{began}", BAD)
        if item["last"] is not None:
            last = f"its last good value, {milli(item['last']['milli'])}, was read {span(item['last']['ageMs'])} ago"
            yield (f"{'':12}{last}", DIM)
        return
    if item["policy"] is not None:
        yield from _stood_in(document, item, named, now_ms)
        return
    until, read = clock(now_ms + item["validForMs"], now_ms), f"read {span(item['ageMs'])} ago"
    counts = f"{read}, counts until {until}"
    if document["itemsInAll"] == 1:
        counts = f"{read}; without a newer read it counts until {until} (maxAge {document['rule']['maxAge']})"
    yield f"{milli(item['milli']):<12}{named}{'  ' if named else ''}{counts}"
    made = item["made"]
    if item["standsIn"]:
        instead = f" ({why(item['instead'])})" if item["instead"] else ""
        yield (f"{'':12}an earlier value that stands in: now there is none{instead}", BAD)
    elif made and made["guarded"]:
        bound = document["rule"]["guard"][made["guarded"]]
        yield f"{'':12}{number(made['folded'])} before the guard, whose {made['guarded']} is {number(bound)}"
    elif made and isinstance(made["folded"], float) and not item["guard"] and _rounded(made["folded"], item["milli"]):
        yield f"{'':12}{made['folded']!r}, rounded up to a thousandth"
    if item["guard"] and not item["standsIn"]:
        yield from _steps(document, item, now_ms)


def _rounded(value: float, value_milli: int) -> bool:
    return abs(value * 1000 - value_milli) > 1e-6


def _stood_in(document: Json, item: Json, named: str, now_ms: int) -> Lines:
    """Yield an item that a policy serves because it is unknown."""
    policy, then = item["policy"], document["rule"]["whenUnknown"]["then"]
    unknown = policy["unknown"]
    began = "" if unknown["sinceMs"] is None else f", since {clock(unknown['sinceMs'], now_ms)}"
    until = "something is known" if item["validForMs"] is None else clock(now_ms + item["validForMs"], now_ms)
    word = "held" if then == "hold" else "floored"
    read = "never known" if policy["lastMilli"] is None else f"last read {span(item['ageMs'])} ago"
    yield f"{milli(item['milli']):<12}{named}{'  ' if named else ''}{word} until {until}; {read}"
    if policy["lastMilli"] not in (None, item["milli"]):
        yield f"{'':12}{milli(policy['lastMilli'])} before whenUnknown.floor"
    yield (f"{'':12}unknown: {why(unknown)}{began}", BAD)


def _steps(document: Json, item: Json, now_ms: int) -> Lines:
    """Yield what the steps of the guard made of a value."""
    steps, guard = item["guard"], document["rule"]["guard"]
    if steps["jumpAgeMs"] is not None:
        seen = clock(now_ms - steps["jumpAgeMs"], now_ms)
        yield (
            f"{'':12}{milli(steps['rawMilli'])} before maxStep: a jump by more than {number(guard['maxStep'])}, first "
            f"seen at {seen}, is held until a second collection says so too"
        )
    elif steps["servedMilli"] != steps["rawMilli"]:
        yield (
            f"{'':12}{milli(steps['rawMilli'])} before fallHalfLife: it falls by half of the way in "
            f"{guard['fallHalfLife']}"
        )


def _how(document: Json) -> Lines:
    """Yield function, members and aggregation of what is shown of the items, then the parts of the first series."""
    rule = document["rule"]
    yield _rule_line(rule)
    if rule["aggregate"] is not None:
        for item in document["items"][:_ITEMS]:
            if item["made"] is not None:
                yield from _members(rule["aggregate"]["with"], item)
    elif rule["function"] == "histogram_quantile":
        for item in document["items"][:_DETAILED]:
            if item["made"] is not None:
                yield from _histogram(item)
    if rule["function"] != "value":
        yield from _parts(document)


def _rule_line(rule: Json) -> str:
    function, window, aggregate = rule["function"], rule["window"], rule["aggregate"]
    if function == "value":
        said = "the newest sample of each series"
    elif function == "histogram_quantile":
        said = f"rate over {window} of each bucket"
    else:
        quantile = f" ({number(rule['quantile'])})" if rule["quantile"] is not None else ""
        ahead = f" ({rule['ahead']} ahead)" if rule["ahead"] else ""
        said = f"{function}{quantile}{ahead} over {window} of each series"
    by = f" by {', '.join(aggregate['by'])}" if aggregate and aggregate["by"] else ""
    if function == "histogram_quantile":
        quantile = f"the {number(rule['quantile'])}-quantile"
        if aggregate and aggregate["with"] != "sum":
            return f"{said}, then {quantile} of each histogram, then {aggregate['with']}{by}"
        return f"{said}, {'summed' + by + ' a bound, ' if aggregate else ''}then {quantile}"
    return f"{said}, then {aggregate['with']}{by}" if aggregate else said


def _members(fold: str, item: Json) -> Lines:
    made, named = item["made"], labels(item["labels"])
    if "histogram" in made:
        yield from _histogram(item)
        return
    of = f"{named + ': ' if named else ''}{fold} of {made['members']} series"
    if made["unknownMembers"]:
        yield (f"{of} is unknown, because {count(made['unknownMembers'], 'of them is', 'of them are')}", BAD)
    else:
        yield f"{of} = {number(made['folded'])}" if made["folded"] is not None else f"{of} is unknown"
    for member in made["shown"][:_MEMBERS]:
        where = "  ".join(filter(None, (labels(member["labels"]), str(member.get("target", "")))))
        if "unknown" in member:
            yield (f"  {'unknown':<10}{where}  {why(member['unknown'])}", BAD)
        else:
            yield f"  {number(member['value']):<10}{where}"
    if made["members"] > _MEMBERS:
        yield (f"  … and {made['members'] - _MEMBERS} more", DIM)


def _histogram(item: Json) -> Lines:
    made, named = item["made"], labels(item["labels"])
    folded = "unknown" if made["folded"] is None else number(made["folded"])
    yield f"{named + ': ' if named else ''}{folded}"
    for line in parts.histogram_lines(made["histogram"], _BUCKETS):
        yield f"  {line}"
    for member in made["shown"][:_MEMBERS]:
        yield (f"  unknown   {labels(member['labels'])}  {member['target']}  {why(member['unknown'])}", BAD)


def _parts(document: Json) -> Lines:
    """Yield the arithmetic of the first series, those that fail before others."""
    series = [(target["target"], each) for target in document["targets"] for each in target["series"]]
    series.sort(key=lambda pair: pair[1]["problem"] is None)
    for target, each in series[:_DETAILED]:
        if each["parts"] is None:
            continue
        yield "  ".join(filter(None, (labels(each["labels"]), target)))
        for line in parts.lines(document["rule"], each["parts"], (each["result"] or {}).get("value")):
            yield f"  {line}"
        if each["problem"]:
            yield (f"  its newest read failed: {why(each['problem'])}", BAD)
    if document["seriesInAll"] > _DETAILED:
        yield (f"… and {document['seriesInAll'] - _DETAILED} more series", DIM)


def _targets(document: Json) -> Lines:
    """Yield each target with the age and outcome of its newest read, and the series that fail."""
    targets: Sequence[Json] = sorted(document["targets"], key=lambda each: not (each["failure"] or _failing(each)))
    if document["waiting"]:
        yield (f"the targets are not known: {document['waiting']}", BAD)
    for target in targets[:_TARGETS]:
        yield from _target(document, target)
    if document["targetsInAll"] > _TARGETS:
        failing = f", {document['targetsFailing']} of all failing" if document["targetsFailing"] else ""
        yield (f"… and {document['targetsInAll'] - _TARGETS} more{failing}", DIM)
    if document["targetsDeparted"]:
        yield (f"and {count(document['targetsDeparted'], 'target')} gone, whose past is still in the window", DIM)
    if failures(document):
        max_age = document["rule"]["maxAge"]
        yield (f"a value counts for {max_age} (maxAge) after the read it is from, whatever has failed since", DIM)


def _failing(target: Json) -> list[Json]:
    return [series for series in target["series"] if series["problem"]]


def _target(document: Json, target: Json) -> Lines:
    now_ms = document["now"]
    if target["lastGoodAgeMs"] is None:
        read = "never read" if target["failure"] is None else "never read well"
    else:
        read = f"read {span(target['lastGoodAgeMs'])} ago, {count(target['seriesInAll'], 'series', 'series')}"
    if target["failure"] is None:
        yield f"{target['target']}  {read}"
    else:
        since = target["failure"]["sinceMs"]
        began = "" if since is None else f" since {clock(since, now_ms)}"
        yield (f"{target['target']}  FAILING{began}: {why(target['failure'])}", BAD)
        if target["lastGoodAgeMs"] is not None:
            until_ms = now_ms - target["lastGoodAgeMs"] + document["rule"]["maxAgeMs"]
            read = f"last {read}; that {'counts' if until_ms > now_ms else 'counted'} until {clock(until_ms, now_ms)}"
        yield (f"  {read}", DIM)
    for series in _failing(target)[:_MEMBERS]:
        since = series["problem"]["sinceMs"]
        began = "" if since is None else f" since {clock(since, now_ms)}"
        held = series["held"]
        stands = f"; {number(held['value'])} of {span(held['ageMs'])} ago stands" if held else ""
        yield (f"  {labels(series['labels'])}  FAILING{began}: {why(series['problem'])}{stands}", BAD)
    if len(_failing(target)) > _MEMBERS:
        yield (f"  … and {target['seriesFailing'] - _MEMBERS} more that fail", DIM)


def _endpoints(document: Json) -> Lines:
    """Yield the breakers of the endpoints that fail: how often they failed, and when they are read next."""
    troubled = [each for each in document.get("endpoints") or () if each["failure"]]
    for each in troubled[:_TARGETS]:
        yield from _endpoint(each, document["now"])
    if document.get("endpointsInAll", 0) > len(document.get("endpoints") or ()) or len(troubled) > _TARGETS:
        states = ", ".join(f"{n} {state}" for state, n in sorted(document["endpointsByState"].items()))
        yield (f"of all {document['endpointsInAll']}: {states}", DIM)


def _endpoint(endpoint: Json, now_ms: int) -> Lines:
    failed = count(endpoint["consecutiveFailures"], "failed read", "failed reads")
    since = clock(endpoint["failure"]["sinceMs"], now_ms)
    yield (f"{endpoint['endpoint']}  {endpoint['state']}: {failed} since {since}, {why(endpoint['failure'])}", BAD)
    asked = endpoint["askedUntilMs"]
    wish = "" if asked is None else f"; it asked to be left alone until {clock(asked, now_ms)}"
    if endpoint["reading"]:
        yield (f"  being read now{wish}", DIM)
    else:
        yield (f"  read next at {clock(endpoint['nextReadMs'], now_ms)}{wish}", DIM)


def _readers(document: Json) -> Lines:
    """Yield who read the metric last and what they got."""
    readers = document.get("readers") or []
    if not readers:
        yield ("nobody since the adapter started: no HPA reads it, or it asks another replica", DIM)
    for reader in readers[:_TARGETS]:
        if reader["milli"] is not None:
            got = f"{milli(reader['milli'])} ({count(reader['items'], 'item')})" if reader["items"] else "no items"
        else:
            got = f"{reader['code']}, unknown"
        selector = f"  selector {reader['selector']}" if reader["selector"] else ""
        elsewhere = f"  in {reader['namespace']}" if reader["namespace"] != document["namespace"] else ""
        yield f"{got:<20}{span(reader['ageMs'])} ago  {_agent(reader['userAgent'])}{selector}{elsewhere}"


def _agent(user_agent: str) -> str:
    """Name a reader: the HPA controller by what it is, others as they call themselves."""
    if user_agent.endswith("horizontal-pod-autoscaler"):
        return f"the HPA controller ({user_agent.split(' ')[0]})"
    return user_agent or "no user agent"
