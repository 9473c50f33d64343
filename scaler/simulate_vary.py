"""Variations of an HPA by name: what a sweep turns, and where each knob is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from scaler.hpa_model import Behavior, Policy, PolicyType, ScalingRules, SelectPolicy
from scaler.simulate_model import Scenario

Setting = tuple[tuple[str, object], ...]
"""Knobs and their values, in the order they were named."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One thing to turn.

    Args:
        kind: What its values are: "quantity" (milli-units), "whole" (an int), "number" (a float), or "word".
        low: Least value.
        high: Greatest value.
        turn: Returns the scenario with that value.
    """

    kind: str
    low: float
    high: float
    turn: Callable[[Scenario, object], Scenario]


def _target(scenario: Scenario, value: object, index: int = 0) -> Scenario:
    metrics = list(scenario.hpa.metrics)
    old, milli = metrics[index], int(str(value))
    if old.average_value_milli is not None:
        metrics[index] = replace(old, average_value_milli=milli)
    else:
        metrics[index] = replace(old, value_milli=milli)
    return replace(scenario, hpa=replace(scenario.hpa, metrics=tuple(metrics)))


def _rules(side: str, change: Callable[[ScalingRules, object], ScalingRules]) -> Callable[[Scenario, object], Scenario]:
    def turn(scenario: Scenario, value: object) -> Scenario:
        behavior = scenario.hpa.behavior or Behavior()
        rules: ScalingRules = getattr(behavior, side)
        behavior = (
            replace(behavior, scale_up=change(rules, value))
            if side == "scale_up"
            else replace(behavior, scale_down=change(rules, value))
        )
        return replace(scenario, hpa=replace(scenario.hpa, behavior=behavior))

    return turn


def _window(rules: ScalingRules, value: object) -> ScalingRules:
    return replace(rules, stabilization_window_s=int(str(value)))


def _tolerance(rules: ScalingRules, value: object) -> ScalingRules:
    return replace(rules, tolerance=float(str(value)))


def _select(rules: ScalingRules, value: object) -> ScalingRules:
    return replace(rules, select_policy=SelectPolicy(str(value)))


def _policy(kind: PolicyType) -> Callable[[ScalingRules, object], ScalingRules]:
    """Set the value of the policies of a kind; without one, there is then one over 60 seconds."""

    def change(rules: ScalingRules, value: object) -> ScalingRules:
        amount = int(str(value))
        policies = tuple(replace(each, value=amount) if each.type is kind else each for each in rules.policies)
        if not any(each.type is kind for each in policies):
            policies = (*policies, Policy(kind, amount, 60))
        return replace(rules, policies=policies)

    return change


def _period(rules: ScalingRules, value: object) -> ScalingRules:
    return replace(rules, policies=tuple(replace(each, period_s=int(str(value))) for each in rules.policies))


def _bound(name: str) -> Callable[[Scenario, object], Scenario]:
    def turn(scenario: Scenario, value: object) -> Scenario:
        count = int(str(value))
        hpa = scenario.hpa
        hpa = replace(hpa, min_replicas=count) if name == "min" else replace(hpa, max_replicas=count)
        return replace(scenario, hpa=hpa)

    return turn


def _signal(name: str) -> Callable[[Scenario, object], Scenario]:
    def turn(scenario: Scenario, value: object) -> Scenario:
        milliseconds = round(float(str(value)) * 1_000)
        signals = tuple(
            replace(each, interval_ms=milliseconds) if name == "interval" else replace(each, window_ms=milliseconds)
            for each in scenario.signals
        )
        return replace(scenario, signals=signals)

    return turn


def _both(name: str) -> Iterator[tuple[str, Knob]]:
    side = "scale_up" if name == "scaleUp" else "scale_down"
    yield f"{name}.stabilizationWindowSeconds", Knob("whole", 0, 3_600, _rules(side, _window))
    yield f"{name}.tolerance", Knob("number", 0, 10, _rules(side, _tolerance))
    yield f"{name}.selectPolicy", Knob("word", 0, 0, _rules(side, _select))
    yield f"{name}.pods", Knob("whole", 1, 2**31 - 1, _rules(side, _policy(PolicyType.PODS)))
    yield f"{name}.percent", Knob("whole", 1, 2**31 - 1, _rules(side, _policy(PolicyType.PERCENT)))
    yield f"{name}.periodSeconds", Knob("whole", 1, 1_800, _rules(side, _period))


KNOBS: Mapping[str, Knob] = {
    "target": Knob("quantity", 1, 9.2e18, _target),
    "minReplicas": Knob("whole", 0, 2**31 - 1, _bound("min")),
    "maxReplicas": Knob("whole", 1, 2**31 - 1, _bound("max")),
    **dict(_both("scaleUp")),
    **dict(_both("scaleDown")),
    "interval": Knob("whole", 1, 3_600, _signal("interval")),
    "window": Knob("whole", 3, 86_400, _signal("window")),
}
"""Names as in an HPA's manifest; `target` is that of its first metric, and `interval` and `window` are the metric's."""


def vary(scenario: Scenario, setting: Setting) -> Scenario:
    """Return the scenario with each of the knobs turned."""
    for name, value in setting:
        scenario = KNOBS[name].turn(scenario, value)
    return scenario


def grid(axes: Sequence[tuple[str, Sequence[object]]]) -> list[Setting]:
    """Return every combination of the axes' values, the last axis turning fastest."""
    names = [name for name, _ in axes]
    return [tuple(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in axes))]
