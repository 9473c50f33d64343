"""A rollout under constant load: the rate that is served stays the rate that is true."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scaler.model import ExternalMetricValue
from scaler.rules import Aggregate, CounterStart, Function, MetricRule, Signal
from tests.builders import REF, Bench, batch, queue

INTERVAL_S, WINDOW_S, LOAD = 5, 60, 1000.0
PODS = 10


@dataclass
class Pod:
    """A pod that takes an even share of the load from when it is ready until it stops."""

    name: str
    started_s: float
    phase_s: float
    served: float = 0.0
    stopped_s: float | None = None


def deviations(counter_start: CounterStart) -> list[float]:
    """Replace all pods within 30 s; return how far each evaluation after warm-up was from the true rate."""
    signal = Signal(Function.RATE, WINDOW_S * 1000, counter_start)
    rule = MetricRule(REF, "m", "s", INTERVAL_S * 1000, (), signal, Aggregate(), max_age_ms=60_000)
    bench = Bench(rule)
    pods = [Pod(f"old{n}", 1.0, n * INTERVAL_S / PODS) for n in range(PODS)]
    ready = {pod.name for pod in pods}
    found: list[float] = []
    for tick in range(10, 4000):  # a tenth of a second each
        now = tick / 10
        live = [pod for pod in pods if pod.name in ready and pod.stopped_s is None]
        for pod in live:
            pod.served += LOAD / len(live) / 10
        if 1500 <= tick < 1800 and tick % 30 == 0:  # every three seconds one pod takes the place of another
            n = (tick - 1500) // 30
            pods.append(Pod(f"new{n}", now, (n * 0.37) % INTERVAL_S))
        for pod in pods:
            if pod.name not in ready and now >= pod.started_s + 2:
                ready.add(pod.name)
                if pod.name.startswith("new"):
                    pods[int(pod.name[3:])].stopped_s = now
        targets = tuple(pod.name for pod in pods if pod.name in ready and pod.stopped_s is None)
        if targets != bench.rule.targets:
            bench.rule = replace(bench.rule, targets=targets)
            bench.store.retain(REF, targets, int(now * 1000))
        read = [pod for pod in pods if pod.name in targets and round((now - pod.phase_s) * 10) % (INTERVAL_S * 10) == 0]
        if not read:
            continue
        batches = [batch(now, {queue("a"): pod.served}, target=pod.name, start_s=pod.started_s) for pod in read]
        result = bench.at(now, *batches)
        item = result.items[0] if result.items else None
        if now > 100:
            assert isinstance(item, ExternalMetricValue), result
            found.append(item.milli / 1000 / LOAD - 1)
    return found


def test_through_a_rollout_the_rate_stays_within_five_percent() -> None:
    """With counterStart: zero no evaluation is more than 5 % off; counting from the first sample loses more."""
    zero, first = deviations(CounterStart.ZERO), deviations(CounterStart.FIRST)
    said = f"zero {min(zero):+.1%} to {max(zero):+.1%}, first {min(first):+.1%} to {max(first):+.1%}"
    assert max(map(abs, zero)) <= 0.05, said
    assert max(map(abs, first)) > max(map(abs, zero)), said
