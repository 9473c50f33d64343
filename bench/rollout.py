"""A rollout under constant load, with real exposition servers that come and go: how true the served rate stays.

    python -m bench.rollout            # about four minutes, in real time: interval 5s, window 1m, a rollout of 30 s

Ten servers share a constant load. One after another each is replaced by a new process' page, within 30 seconds. The
adapter's own collector, store and evaluation read them as they would in a cluster; only the list of targets is given.
Every evaluation is compared with the true rate, for counterStart zero and first side by side.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from adapter.collect import Collector
from adapter.pipeline import Pipeline
from adapter.schema.metric import Metric
from adapter.schema.model import ScrapeSource
from adapter.schema.target import Target
from adapter.side import serving
from adapter.sources.plan import endpoints
from adapter.telemetry import Telemetry
from scaler.jit import compile_all
from scaler.model import EXTERNAL_METRICS_GROUP, ExternalMetricValue, MetricRef
from scaler.rules import Aggregate, CounterStart, Function, MetricRule, Signal

LOAD = 1000.0
PODS = 10


@dataclass
class Pod:
    """A process that counts an even share of the load from when it is ready until it stops."""

    started_s: float
    ready_s: float
    stopped_s: float | None = None

    def page(self) -> str:
        """Return what /metrics says now."""
        end_s = time.time() if self.stopped_s is None else self.stopped_s
        served = max(0.0, end_s - self.ready_s) * LOAD / PODS
        return (
            f"# TYPE requests_total counter\nrequests_total {served!r}\nprocess_start_time_seconds {self.started_s!r}\n"
        )


def now_ms() -> int:
    """Return wall-clock time."""
    return time.time_ns() // 1_000_000


def metric(start: CounterStart, interval_s: float, window_s: float, targets: Sequence[Target]) -> Metric:
    """Return the metric over these targets."""
    names = tuple(target.name for target in targets)
    source = ScrapeSource.model_validate({"targets": {"urls": [t.url for t in targets]}, "metric": "requests_total"})
    rule = MetricRule(
        MetricRef(EXTERNAL_METRICS_GROUP, "shop", start.value),
        start.value,
        "requests",
        int(interval_s * 1000),
        names,
        Signal(Function.RATE, int(window_s * 1000), start),
        Aggregate(),
        lingers=True,
    )
    return Metric(rule, source, int(interval_s * 1000), "bench", targets=tuple(targets))


async def run(interval_s: float, window_s: float, rollout_s: float) -> dict[str, list[float]]:
    """Return how far each evaluation was from the true rate, by counterStart."""
    compile_all()
    telemetry = Telemetry()
    found: dict[str, list[float]] = {"zero": [], "first": []}
    async with Pipeline(now_ms, telemetry) as pipeline, asyncio.TaskGroup() as tasks:
        background = tasks.create_task(pipeline.run())
        collector = Collector(tasks, pipeline.submit, now_ms, telemetry)
        pods: dict[str, Pod] = {}
        ready: dict[str, Target] = {}

        def use() -> None:
            metrics = [metric(start, interval_s, window_s, list(ready.values())) for start in CounterStart]
            pipeline.configure({each.rule.ref: each.rule for each in metrics})
            collector.apply(endpoints(metrics))

        async def page(request: web.Request) -> web.Response:
            return web.Response(text=pods[request.match_info["pod"]].page())

        app = web.Application()
        app.router.add_get("/{pod}/metrics", page)
        async with serving(app, "127.0.0.1", 0) as port:

            def begin(name: str, started_s: float) -> None:
                pods[name] = Pod(started_s, time.time())
                ready[name] = Target(name, f"http://127.0.0.1:{port}/{name}/metrics", (("pod", name),))

            for n in range(PODS):
                begin(f"old{n}", time.time() - 1)
            use()
            began = time.monotonic()
            warm_s = window_s + 2 * interval_s
            replaced = 0
            seen: dict[str, int] = {}
            while (at := time.monotonic() - began) < warm_s + rollout_s + window_s + 2 * interval_s:
                if replaced < PODS and at >= warm_s + replaced * rollout_s / PODS:
                    begin(f"new{replaced}", time.time() - 2 * interval_s / 5)
                    pods[f"old{replaced}"].stopped_s = time.time()
                    del ready[f"old{replaced}"]
                    replaced += 1
                    use()
                for ref, result in pipeline.snapshot.results.items():
                    if at < warm_s or result.evaluated_ms == seen.get(ref.name):
                        continue
                    seen[ref.name] = result.evaluated_ms
                    for item in result.items:
                        if isinstance(item, ExternalMetricValue):
                            found[ref.name].append(item.milli / 1000 / LOAD - 1)
                await asyncio.sleep(0.02)
            await collector.stop()
            background.cancel()
    return found


def main() -> int:
    """Run and print. Returns: 1 if counterStart zero was more than 5 % off."""
    parser = argparse.ArgumentParser(prog="python -m bench.rollout", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="0.2: interval 1s, window 12s, a rollout of 6 s")
    scale = parser.parse_args().scale
    found = asyncio.run(run(5 * scale, 60 * scale, 30 * scale))
    for start, deviations in found.items():
        print(
            f"counterStart {start:5}: {len(deviations)} evaluations, "
            f"from {min(deviations):+.1%} to {max(deviations):+.1%} of the true rate"
        )
    return int(max(map(abs, found["zero"])) > 0.05)


if __name__ == "__main__":
    raise SystemExit(main())
