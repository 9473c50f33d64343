"""What an HPA makes of what is served, step by step, beside what it says of itself. Pure, JSON types out.

The steps are those of scaler.hpa. Two things only the controller knows: its recommendations of the last minutes, and
its changes of the scale; where they decide, its conditions say so, and a finding says what that means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from adapter.explain.findings import findings
from adapter.explain.hpa_object import Hpa, conditions, moment_ms, selector_of
from scaler.answer import UnknownAnswer
from scaler.hpa import combine, propose, reads_metrics, tolerance_of
from scaler.hpa_behavior import normalize
from scaler.hpa_model import ExternalMetric, History, HpaSpec, MetricError, Proposal, State
from scaler.hpa_replicas import Tolerance, divide
from scaler.model import Reason, labels_of
from scaler.selector import Selector

Json = Mapping[str, Any]
_SHOWN = 5
"""How many items of a sum are named."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """The workload's replicas as far as they are known.

    Args:
        asked: `spec.replicas` of its scale.
        there: `status.replicas` of it.
        pods, ready: Pods its selector matches, and those of them that are Running and Ready.
        source: Where that is from, for a person.
    """

    asked: int | None
    there: int | None
    pods: int | None
    ready: int | None
    source: str


def arithmetic(
    hpa: Hpa, replicas: Replicas, served: Mapping[str, Json | str], metric: str, now_ms: int
) -> dict[str, Any]:
    """Return what an HPA asks for and why.

    Args:
        hpa: The HPA.
        replicas: Of the workload.
        served: For each of its External metrics, by lower-cased name: the explain port's values, or why there are none.
        metric: The metric that is explained.
        now_ms: The present moment.
    """
    steps: dict[str, Any] = {"metrics": [], "combined": None, "limits": None, "wants": None}
    if hpa.spec is not None:
        steps = _steps(hpa, hpa.spec, replicas, served, metric)
    found: dict[str, Any] = {
        "name": hpa.name,
        "namespace": hpa.namespace,
        "target": hpa.target,
        "minReplicas": hpa.spec.min_replicas if hpa.spec else None,
        "maxReplicas": hpa.spec.max_replicas if hpa.spec else None,
        "usesMetric": any(each["mine"] for each in steps["metrics"]),
        "others": list(hpa.others),
        "replicas": asdict(replicas),
        **steps,
        "conditions": list(conditions(hpa.status)),
        "status": {
            "currentReplicas": hpa.status.get("currentReplicas"),
            "desiredReplicas": hpa.status.get("desiredReplicas"),
            "lastScaleMs": moment_ms(hpa.status.get("lastScaleTime")),
        },
    }
    return found | {"findings": list(findings(found, metric, now_ms))}


def _steps(hpa: Hpa, spec: HpaSpec, replicas: Replicas, served: Mapping[str, Json | str], mine: str) -> dict[str, Any]:
    tolerance = tolerance_of(spec)
    readings = [reading(served[each.name.lower()], selector_of(each.selector)) for each in spec.metrics]
    state = None
    if replicas.asked is not None and replicas.there is not None:
        # Pods that could not be counted only matter to a Value target, which says so below.
        pods, ready = replicas.pods or 0, replicas.ready or 0
        state = State(replicas.asked, replicas.there, pods, ready)
    metrics = [
        _metric(each, spec, found, state, tolerance, counted=replicas.ready is not None)
        | {
            "mine": each.name.lower() == mine.lower(),
            "own": None if own is None else {"of": own[0], "milli": own[1]},
        }
        for each, found, own in zip(spec.metrics, readings, hpa.read, strict=True)
    ]
    return {"metrics": metrics, **_decision(spec, state, readings, metrics, tolerance)}


def reading(served: Json | str, selector: Selector) -> Sequence[int] | MetricError:
    """Return what an HPA with this selector gets: milli-units of each item, or the message of an error.

    The rule is that of scaler.answer, on JSON.
    """
    if isinstance(served, str):
        return MetricError(served)
    name, namespace = served["metric"], served["namespace"]
    state = served["state"]
    failed = MetricError(UnknownAnswer(name, Reason.STALE, state["message"] or "not collected yet").message(namespace))
    values = []
    for item in served["items"]:
        if not selector.matches(labels_of(item["labels"])):
            continue
        if "unknown" in item or (item["validForMs"] is not None and item["validForMs"] <= 0):
            return failed
        values.append(int(item["milli"]))
    if values or (not state.get("setUnknown") and (served["itemsInAll"] or state["known"])):
        return values
    floor = state.get("floor")
    return [floor["milli"]] if floor is not None and not floor["inMs"] else failed


def _metric(
    metric: ExternalMetric,
    spec: HpaSpec,
    found: Sequence[int] | MetricError,
    state: State | None,
    tolerance: Tolerance,
    *,
    counted: bool,
) -> dict[str, Any]:
    """Return one metric's step: reading, target, ratio, tolerance, proposal."""
    per_replica = metric.average_value_milli is not None
    target_milli = metric.average_value_milli or metric.value_milli or 0
    step: dict[str, Any] = {
        "name": metric.name,
        "selector": "" if metric.selector == "nil" else metric.selector,
        "type": "AverageValue" if per_replica else "Value",
        "targetMilli": target_milli,
        "tolerance": {"down": tolerance.down, "up": tolerance.up},
        "items": None,
        "itemsMilli": [],
        "sumMilli": None,
        "ratio": None,
        "within": None,
        "proposal": None,
        "error": None,
    }
    if isinstance(found, MetricError):
        return step | {"error": found.message}
    step |= {"items": len(found), "itemsMilli": list(found[:_SHOWN]), "sumMilli": sum(found)}
    if not found:
        return step | {"error": "no items match its selector, which an HPA takes for an error"}
    if state is None:
        return step | ({"proposal": -(-sum(found) // target_milli)} if per_replica else {"error": _NO_REPLICAS})
    ratio = divide(float(sum(found)), float(target_milli) * (state.status_replicas if per_replica else 1))
    if ratio - ratio == 0:
        step |= {"ratio": ratio, "within": tolerance.within(ratio)}
    proposal = propose(metric, spec.namespace, found, state, tolerance)
    if isinstance(proposal, MetricError) or not (per_replica or counted or step["within"]):
        message = proposal.message if isinstance(proposal, MetricError) and counted else _NO_PODS
        return step | {"error": message}
    return step | {"proposal": proposal.replicas}


_NO_REPLICAS = "a Value target is multiplied by the pods that are ready, and they are not known: say --replicas"
_NO_PODS = "a Value target is multiplied by the pods that are ready, and they could not be counted"


def _decision(
    spec: HpaSpec,
    state: State | None,
    readings: Sequence[Sequence[int] | MetricError],
    metrics: Sequence[Json],
    tolerance: Tolerance,
) -> dict[str, Any]:
    """Return what all metrics together ask for and what the limits leave of it."""
    nothing: dict[str, Any] = {"combined": None, "limits": None, "wants": None}
    if state is None:
        proposals = [each["proposal"] for each in metrics if each["proposal"] is not None]
        if not proposals:
            return nothing
        wants = max(proposals)
        bounded = min(max(wants, spec.min_replicas), spec.max_replicas)
        return {"combined": {"replicas": wants, "skipped": None}, "limits": None, "wants": bounded}
    if not reads_metrics(spec, state):
        if state.spec_replicas == 0:
            return nothing | {"combined": {"replicas": None, "skipped": "zero"}}
        bound = spec.max_replicas if state.spec_replicas > spec.max_replicas else spec.min_replicas
        return nothing | {"combined": {"replicas": None, "skipped": "bounds"}, "wants": bound}
    if any(
        each["error"] and not isinstance(found, MetricError) and found
        for each, found in zip(metrics, readings, strict=True)
    ):
        return nothing  # a step of its own says why
    combined = combine(spec, state, readings, tolerance)
    if combined.replicas is None:
        return nothing | {"combined": {"replicas": None, "skipped": "failed", "message": combined.message}}
    desired = max(combined.replicas, 0)
    normalized = normalize(spec, state.spec_replicas, desired, History(), 0.0)
    limited = normalized.conditions[1]
    return {
        "combined": {"replicas": desired, "skipped": None, "proposals": _count(combined.proposals)},
        "limits": {"limited": limited.status, "reason": limited.reason, **_window(spec, desired, state.spec_replicas)},
        "wants": normalized.replicas,
    }


def _count(proposals: Sequence[Proposal | MetricError]) -> int:
    return sum(isinstance(each, Proposal) for each in proposals)


def _window(spec: HpaSpec, desired: int, current: int) -> dict[str, Any]:
    """Return the stabilization window of the direction that is taken, in seconds."""
    if desired == current:
        return {"direction": None, "windowS": None}
    if desired > current:
        window_s = spec.behavior.scale_up.stabilization_window_s if spec.behavior else 0
        return {"direction": "up", "windowS": window_s or 0}
    window_s = spec.behavior.scale_down.stabilization_window_s if spec.behavior else None
    return {"direction": "down", "windowS": 300 if window_s is None else window_s}
