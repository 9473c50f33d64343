"""Where the arithmetic and what the HPA says of itself differ, and what that means. Sentences for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adapter.explain.words import clock, milli, several, span

Json = Mapping[str, Any]

_SYNC_S = 15
"""--horizontal-pod-autoscaler-sync-period, the controller's default."""


def findings(hpa: Json, metric: str, now_ms: int) -> Iterator[str]:
    """Yield a sentence for each thing that a reader of the arithmetic must know.

    Args:
        hpa: The arithmetic so far.
        metric: The metric that is explained.
        now_ms: The present moment.
    """
    if not hpa["usesMetric"]:
        names = sorted({each["name"] for each in hpa["metrics"]})
        reads = f"its External metrics are {several(names)}" if names else "it has no External metric"
        yield f"This HPA does not read {metric}: {reads}."
    if hpa["others"]:
        others = several(hpa["others"])
        yield f"It also reads {others}, which is not computed here: it may ask for more, and the most wins."
    replicas = hpa["replicas"]
    if replicas["asked"] is not None and replicas["asked"] != replicas["there"]:
        asked, there = replicas["asked"], replicas["there"]
        yield f"Asked for are {asked}, there {'is' if there == 1 else 'are'} {there}: pods are starting or ending."
    if hpa["conditions"]:
        states = {each["type"]: each for each in hpa["conditions"]}
        yield from _reading(hpa, states, now_ms)
        yield from _desired(hpa, states, now_ms)
    yield from _usages(hpa)


def _reading(hpa: Json, states: Mapping[str, Json], now_ms: int) -> Iterator[str]:
    """Compare what could be read."""
    able, active = states.get("AbleToScale"), states.get("ScalingActive")
    if able and able["status"] == "False":
        yield f"It cannot scale at all: {able['reason']}: {able['message']}"
    failing = [each["name"] for each in hpa["metrics"] if each["error"]]
    if active is None or active["status"] == "True":
        if failing:
            yield (
                f"Its last sync could read everything, and now {several(failing)} cannot be: within {_SYNC_S} s "
                "its condition ScalingActive will say so. It does not scale down meanwhile."
            )
        return
    since = "" if active["sinceMs"] is None else f" since {clock(active['sinceMs'], now_ms)}"
    if active["reason"] == "ScalingDisabled":
        yield f"It does nothing{since}: somebody set the workload to zero replicas, and only somebody can wake it."
    elif failing:
        yield f"It could not compute a count{since}, and here it is the same: {several(failing)} cannot be read."
    elif active["reason"] == "FailedGetExternalMetric":
        yield (
            f"It could not read a metric{since}, but here everything is known. If that outlasts its next sync "
            f"({_SYNC_S} s), its requests do not get here: see the APIService v1beta1.external.metrics.k8s.io, "
            "and ask every replica of the adapter."
        )
    else:
        yield f"It could not compute a count{since}: {active['reason']}: {active['message']}"


def _desired(hpa: Json, states: Mapping[str, Json], now_ms: int) -> Iterator[str]:
    """Compare what is wanted."""
    wants, desired = hpa["wants"], hpa["status"]["desiredReplicas"]
    if wants is None or desired is None:
        return
    if wants == desired:
        yield f"Its own desiredReplicas is {desired}, the same."
        return
    able = states.get("AbleToScale", {}).get("reason")
    window_s = (hpa["limits"] or {}).get("windowS")
    if wants < desired and able == "ScaleDownStabilized":
        window = "" if window_s is None else f" of {window_s} s"
        yield (
            f"Its desiredReplicas is {desired}, not {wants}: within the scale-down window{window} it wanted more, "
            "and the highest of that counts until the window has passed it (ScaleDownStabilized)."
        )
    elif wants > desired and able == "ScaleUpStabilized":
        yield (
            f"Its desiredReplicas is {desired}, not {wants}: within the scale-up window it wanted less, and the lowest "
            "of those counts (ScaleUpStabilized)."
        )
    elif wants > desired or not hpa["others"]:
        last = hpa["status"]["lastScaleMs"]
        changed = "" if last is None else f" It last changed the scale {span(now_ms - last)} ago."
        yield (
            f"Its desiredReplicas is {desired}, not {wants}: it syncs every {_SYNC_S} s, and the value may have moved "
            f"since.{changed} If they stay apart, a policy's period is used up, or the controller runs with other "
            "flags (tolerance, scale-down window)."
        )
    else:
        yield f"Its desiredReplicas is {desired}, more than {wants}: another of its metrics asks for that, or did."


def _usages(hpa: Json) -> Iterator[str]:
    """Compare what was read."""
    there = hpa["replicas"]["there"]
    for metric in hpa["metrics"]:
        name, own = metric["name"], metric["own"]
        if own is None:
            continue
        average = own["of"] == "averageValue"
        if metric["sumMilli"] is None:
            yield f"Its status still shows {milli(own['milli'])} for {name}, from when that could be read."
        elif there or not average:
            now = -(-metric["sumMilli"] // there) if average else metric["sumMilli"]
            if now != own["milli"]:
                each = " a replica" if average else ""
                yield f"At its last sync it read {milli(own['milli'])}{each} of {name}; now it is {milli(now)}."
