"""What an HPA makes of each policy, run through store, evaluation, answer and the HPA's own algorithm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from scaler.answer import UnknownAnswer, answer
from scaler.hpa import decide
from scaler.hpa_model import Condition, Controller, ExternalMetric, History, HpaSpec, MetricError, State
from scaler.model import MetricResult, Reason, Then, Unknown, WhenUnknown
from scaler.quantity import text
from scaler.rules import MetricRule
from scaler.selector import EVERYTHING
from tests.builders import REF, Bench, batch, failure

FLOOR = 20
POLICIES = {
    "error": WhenUnknown(),
    "hold": WhenUnknown(Then.HOLD, hold_for_ms=600_000),
    "floor": WhenUnknown(Then.FLOOR, floor_milli=1_000 * FLOOR, floor_after_ms=60_000),
}
MOMENTS_S = (30, 300, 1800)
TARGET_MILLI = 10_000
_RULE = MetricRule(REF, "backlog", "s", interval_ms=15_000, targets=("t",))
_TIMEOUT = Unknown(Reason.SOURCE_ERROR, "timeout")
_ASLEEP = Condition("ScaledToZero", status=True, reason="ScaledToZero", message="", since_s=0)


@dataclass(frozen=True)
class Case:
    """A state in which the source begins to fail.

    Args:
        words: The row's text.
        last: The metric at the last good read; None: the adapter has just started.
        replicas: Of the workload.
        least: minReplicas.
        other: Another metric of the HPA, which is known; None: there is none.
    """

    words: str
    last: float | None
    replicas: int = 5
    least: int = 1
    other: float | None = None


CASES: dict[str, Sequence[Case]] = {
    "A running workload": (
        Case("5 replicas, 50 at the last read", 50),
        Case("5 replicas, 120 at the last read: it had just grown", 120),
        Case("5 replicas, 10 at the last read: it had just fallen", 10),
        Case("5 replicas, and the adapter has just started", None),
    ),
    "At zero replicas": (
        Case("0 replicas, 0 at the last read", 0, replicas=0, least=0),
        Case("0 replicas, and the adapter has just started", None, replicas=0, least=0),
        Case("5 replicas, 0 at the last read: it was about to sleep", 0, least=0),
    ),
    "Several metrics in one HPA": (
        Case("5 replicas, 50 at the last read; another metric asks for 8", 50, other=80),
        Case("5 replicas, 50 at the last read; another metric asks for 2", 50, other=20),
        Case("5 replicas, 10 at the last read; another metric asks for 2", 10, other=20),
        Case("5 replicas, and the adapter has just started; another metric asks for 1", None, other=10),
    ),
}


def follow(case: Case, policy: WhenUnknown) -> Iterator[tuple[str, int]]:
    """Yield what the HPA reads and the replicas that follow, at each of MOMENTS_S after the source began to fail."""
    bench = Bench(replace(_RULE, when_unknown=policy))
    if case.last is not None:
        bench.at(0, batch(0, {(): case.last}))
    metrics = [ExternalMetric("backlog", average_value_milli=TARGET_MILLI)]
    if case.other is not None:
        metrics.append(ExternalMetric("other", average_value_milli=TARGET_MILLI))
    spec = HpaSpec(max_replicas=20, metrics=tuple(metrics), min_replicas=case.least)
    conditions = (_ASLEEP,) if case.replicas == 0 else ()
    state, history = State(case.replicas, case.replicas, case.replicas, case.replicas, conditions), History()
    controller = Controller(scale_to_zero=True)
    for now_s in range(15, MOMENTS_S[-1] + 1, 15):
        result = bench.at(now_s, failure(now_s, _TIMEOUT))
        read = _read(result, now_s * 1_000)
        readings: list[Sequence[int] | MetricError] = [read]
        if case.other is not None:
            readings.append([int(case.other * 1_000)])
        found = decide(spec, state, readings, history, now_s, controller)
        n, history = found.replicas, found.history
        state = State(n, n, n, n, found.conditions)  # pods are ready at once
        if now_s in MOMENTS_S:
            yield "503" if isinstance(read, MetricError) else text(sum(read)), n


def _read(result: MetricResult, now_ms: int) -> Sequence[int] | MetricError:
    found = answer(result, EVERYTHING, now_ms)
    return MetricError(found.detail) if isinstance(found, UnknownAnswer) else [item.milli for item in found]


def tables() -> str:
    """Return the decision tables, in Markdown."""
    parts = []
    for title, cases in CASES.items():
        head = "| when reads begin to fail | policy | 30 s later | 5 min | 30 min |"
        rows = [f"### {title}", "", head, "|---|---|---|---|---|"]
        for case in cases:
            for name, policy in POLICIES.items():
                cells = " | ".join(f"{read} → {n}" for read, n in follow(case, policy))
                rows.append(f"| {case.words if name == 'error' else ''} | `{name}` | {cells} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)
