"""What users write: HPA manifests, loads, workloads and recordings; and how it is refused."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from adapter.simulate.axes import parse_axes, setting_text, varied
from adapter.simulate.documents import read_model
from adapter.simulate.errors import InputError
from adapter.simulate.inputs import read_hpas, read_inputs
from adapter.simulate.load_model import LoadModel
from adapter.simulate.quantity import parse_milli, parse_number
from adapter.simulate.recording import as_load, as_series, prometheus_table, read_recording
from adapter.simulate.workload_model import WorkloadModel
from adapter.simulate_options import SimulateOptions
from scaler import quantity
from scaler.hpa_model import Behavior, Policy, PolicyType, SelectPolicy
from scaler.rules import Function
from scaler.simulate_model import Measure, Sizes, Takes
from scaler.simulate_shapes import build

VECTORS = Path(__file__).parent / "testdata" / "simulate" / "quantity-parse.jsonl"
EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"

HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: workers, namespace: shop, labels: {a: b}, uid: 1-2-3, managedFields: [{manager: kubectl}]}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: workers}
  minReplicas: 2
  maxReplicas: 40
  metrics:
  - type: External
    external:
      metric:
        name: Orders
        selector: {matchLabels: {queue: a}, matchExpressions: [{key: zone, operator: In, values: [x, z]}]}
      target: {type: AverageValue, averageValue: 1500m}
"""
LOAD = "duration: 10m\nrate:\n- constant: 3\n"
WORKLOAD = "pods: {serviceTime: 800ms}\nmetrics: {Orders: {measures: waiting}}\n"


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> Path:
    (tmp_path / "hpa.yaml").write_text(HPA)
    (tmp_path / "load.yaml").write_text(LOAD)
    (tmp_path / "workload.yaml").write_text(WORKLOAD)
    return tmp_path


def _options(files: Path, **more: object) -> SimulateOptions:
    given: dict[str, object] = {
        "hpa": (files / "hpa.yaml",),
        "load": str(files / "load.yaml"),
        "workload": files / "workload.yaml",
        **more,
    }
    return SimulateOptions(**given)  # type: ignore[arg-type]  # fields by name


def _refused(call: object, *args: object, **more: object) -> str:
    assert callable(call)
    with pytest.raises(InputError) as caught:
        call(*args, **more)
    return "\n".join(caught.value.args)


# Quantities


def test_quantities_are_those_of_go() -> None:
    """Every quantity that Go parsed has the same milli-units here; one whose milli-units wrapped there is refused."""
    wrong = []
    for line in VECTORS.read_text().splitlines():
        vector = json.loads(line)
        if vector["in"].startswith("-"):
            continue  # no target and no tolerance is negative, and how Go rounds those depends on their size
        got = parse_milli(vector["in"])
        exact = parse_number(vector["in"])
        if got is None:
            assert exact is not None
            assert abs(exact) > 9.2e15
        elif got != vector["milli"]:
            wrong.append((vector, got))
    assert wrong == []


@pytest.mark.parametrize("text", ["", "1.5.0", "10x", "1e", "abc", "1 k", "0x10", "1ki", "NaN", "1" * 65])
def test_no_quantities(text: str) -> None:
    """What is no quantity is None."""
    assert parse_milli(text) is None


# HPAs


def test_an_hpa_with_the_api_servers_defaults(files: Path) -> None:
    """Left out, minReplicas is 1, and there is no behavior; metadata and status have no say."""
    (hpa,) = read_hpas(files / "hpa.yaml")
    assert (hpa.name, hpa.spec.min_replicas, hpa.spec.max_replicas, hpa.spec.behavior) == ("workers", 2, 40, None)
    assert hpa.spec.metrics[0].average_value_milli == 1_500
    assert hpa.spec.metrics[0].selector == "queue=a,zone in (x,z)"
    (files / "hpa.yaml").write_text(HPA.replace("  minReplicas: 2\n", "") + "status: {currentReplicas: 3}\n")
    assert read_hpas(files / "hpa.yaml")[0].spec.min_replicas == 1


def test_behavior_is_filled_in(files: Path) -> None:
    """As soon as there is a behavior, what it does not say has the API server's defaults."""
    (files / "hpa.yaml").write_text(HPA + "  behavior: {scaleDown: {stabilizationWindowSeconds: 60}}\n")
    behavior = read_hpas(files / "hpa.yaml")[0].spec.behavior
    assert behavior is not None
    assert behavior.scale_up == Behavior().scale_up
    assert behavior.scale_down.stabilization_window_s == 60
    assert behavior.scale_down.policies == (Policy(PolicyType.PERCENT, 100, 15),)
    (files / "hpa.yaml").write_text(
        HPA + "  behavior: {scaleUp: {selectPolicy: Min, tolerance: 50m, policies: [{type: Pods, value: 1, "
        "periodSeconds: 60}]}}\n"
    )
    behavior = read_hpas(files / "hpa.yaml")[0].spec.behavior
    assert behavior is not None
    up = behavior.scale_up
    assert (up.select_policy, up.tolerance, up.policies) == (SelectPolicy.MIN, 0.05, (Policy(PolicyType.PODS, 1, 60),))
    assert up.stabilization_window_s == 0
    assert behavior.scale_down == Behavior().scale_down


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("autoscaling/v2", "autoscaling/v1", 'hpa.yaml:1: apiVersion: must be autoscaling/v2, got "autoscaling/v1"'),
        ("HorizontalPodAutoscaler", "Deployment", "must hold a HorizontalPodAutoscaler, got kind Deployment"),
        ("maxReplicas: 40", "maxReplicas: 1", "hpa.yaml:7: spec.maxReplicas: must be at least minReplicas (2), got 1"),
        ("maxReplicas: 40", "maxReplica: 40", 'spec.maxReplica: unknown field; did you mean "maxReplicas"?'),
        ("averageValue: 1500m", "averageValue: lots", "averageValue: must be a quantity such as 10, 500m or 1.5k"),
        ("averageValue: 1500m", 'averageValue: "0"', "averageValue: must be above 0"),
        ("averageValue: 1500m", "averageValue: 1, value: 2", "target.value: must not be set beside averageValue"),
        (", averageValue: 1500m", "", "target.averageValue: is required"),
        ("type: AverageValue", "type: Utilization", "Utilization is for CPU and memory"),
        (
            "type: External\n    external",
            "type: Pods\n    external",
            "Pods cannot be simulated: only External metrics can",
        ),
        ("name: Orders", "name: a/b", "metric.name: must be 1 to 253 characters"),
        ("minReplicas: 2", "minReplicas: -1", "spec.minReplicas: must be at least 0, got -1"),
    ],
)
def test_bad_hpas(files: Path, old: str, new: str, message: str) -> None:
    """What the API server would refuse, or what cannot be simulated, is refused by name, with its line."""
    assert old in HPA
    (files / "hpa.yaml").write_text(HPA.replace(old, new))
    assert message in _refused(read_hpas, files / "hpa.yaml")


@pytest.mark.parametrize(
    ("behavior", "message"),
    [
        ("{scaleUp: {policies: []}}", "scaleUp.policies: must have at least 1, got 0"),
        ("{scaleUp: {stabilizationWindowSeconds: 3601}}", "must be at most 3600, got 3601"),
        ("{scaleUp: {policies: [{type: Pods, value: 0, periodSeconds: 15}]}}", "value: must be at least 1, got 0"),
        ("{scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 1801}]}}", "must be at most 1800, got 1801"),
        ("{scaleDown: {selectPolicy: Never}}", "must be one of Max, Min, Disabled"),
        ("{scaleDown: {tolerance: -0.1}}", "tolerance: must be at least 0"),
    ],
)
def test_bad_behaviors(files: Path, behavior: str, message: str) -> None:
    """The API server's bounds hold."""
    (files / "hpa.yaml").write_text(f"{HPA}  behavior: {behavior}\n")
    assert message in _refused(read_hpas, files / "hpa.yaml")


def test_every_error_at_once(files: Path) -> None:
    """All that is wrong with a manifest is said in one go."""
    (files / "hpa.yaml").write_text(HPA.replace("maxReplicas: 40", "maxReplicas: no").replace("kind: Deployment, ", ""))
    lines = _refused(read_hpas, files / "hpa.yaml").splitlines()
    assert len(lines) == 2
    assert "scaleTargetRef.kind: is required" in lines[0]


# Signals


def test_nothing_is_guessed(files: Path) -> None:
    """What a metric measures must be said, or shown by its ExternalMetric."""
    (files / "workload.yaml").write_text("pods: {serviceTime: 800ms}\n")
    message = _refused(read_inputs, _options(files))
    assert "metric Orders: it is not known what it measures: say --measures Orders=WHAT" in message
    found = read_inputs(_options(files, measures=(("Orders", "open"),)))
    assert found.variants[0].scenario.signals[0].measure is Measure.OPEN


EXTERNAL = """\
apiVersion: spillway.dev/v1alpha1
kind: ExternalMetric
metadata: {name: orders, namespace: shop}
spec:
  interval: 5s
  source: {redis: {url: "redis://r:6379/0", queues: [{list: a}, {list: b}]}}
  signal: {function: max_over_time, window: 1m}
  guard: {max: 500}
"""


def test_an_external_metric_is_honoured(files: Path) -> None:
    """Interval, function, window and guard are the ExternalMetric's, and lists of Redis are jobs that wait."""
    (files / "workload.yaml").write_text("pods: {serviceTime: 800ms}\n")
    (files / "em.yaml").write_text(EXTERNAL)
    (signal,) = read_inputs(_options(files, metric=(files / "em.yaml",))).variants[0].scenario.signals
    assert (signal.measure, signal.interval_ms, signal.function) == (Measure.WAITING, 5_000, Function.MAX_OVER_TIME)
    assert (signal.window_ms, signal.samples, signal.guard_max, signal.max_age_ms) == (60_000, 12, 500, 60_000)


@pytest.mark.parametrize(
    ("external", "workload", "message"),
    [
        ("signal: {function: deriv, window: 1m}", "waiting", "function deriv cannot be simulated"),
        ("signal: {function: rate, window: 1m}", "waiting", "waiting is a gauge: function rate is for counters"),
        ("signal: {function: value}", "arrivals", "arrivals is a counter: function value is for gauges"),
        ("aggregate: {with: max}", "waiting", "aggregate with max cannot be simulated"),
        ("source: {static: {series: [{value: 1}]}}", None, "it is not known what it measures"),
    ],
)
def test_what_cannot_be_modelled_is_refused(files: Path, external: str, workload: str | None, message: str) -> None:
    """A function or an aggregate that has no meaning for one queue is refused by name."""
    text = EXTERNAL.replace("  signal: {function: max_over_time, window: 1m}\n", "")
    if external.startswith("source"):
        text = "\n".join(line for line in text.splitlines() if "redis" not in line)
    (files / "em.yaml").write_text(f"{text.rstrip()}\n  {external}\n")
    measured = f"metrics: {{Orders: {{measures: {workload}}}}}\n" if workload else ""
    (files / "workload.yaml").write_text("pods: {serviceTime: 1s}\n" + measured)
    assert message in _refused(read_inputs, _options(files, metric=(files / "em.yaml",)))


def test_min_replicas_zero_needs_its_gate(files: Path) -> None:
    """minReplicas 0 is what the API server refuses without the feature gate."""
    (files / "hpa.yaml").write_text(HPA.replace("minReplicas: 2", "minReplicas: 0"))
    assert "minReplicas: 0 needs the feature gate HPAScaleToZero" in _refused(read_inputs, _options(files))
    (files / "workload.yaml").write_text(WORKLOAD + "controller: {scaleToZero: true}\n")
    assert read_inputs(_options(files)).variants[0].scenario.controller.scale_to_zero


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"load": None}, "--load is required"),
        ({"workload": None}, "it is not known what it measures"),
        ({"workload": None, "measures": (("Orders", "waiting"),)}, "--workload or --service-time is required"),
        ({"measures": (("Other", "waiting"),)}, "--measures Other: the HPA workers has no such metric; it has Orders"),
        ({"measures": (("Orders", "depth"),)}, "--measures Orders: must be one of waiting, inFlight"),
        (
            {"service_time": "fast"},
            '--service-time: must be a duration of at most 24h such as 400ms or 1m30s, got "fast"',
        ),
        ({"service_time": "0s"}, "--service-time: must be above 0"),
        ({"objective": "p95<1"}, '--objective: "p95" is no figure'),
        ({"hpa": (Path("/nowhere.yaml"),)}, "/nowhere.yaml: cannot be read: No such file or directory"),
        ({"load": "load.txt"}, "load.txt: must be .csv, .parquet or .json (of Prometheus), got .txt"),
    ],
)
def test_bad_command_lines(files: Path, more: dict[str, object], message: str) -> None:
    """What is missing or wrong is named, with what to do."""
    assert message in _refused(read_inputs, _options(files, **more))


def test_two_hpas_of_one_name(files: Path) -> None:
    """Two HPAs are told apart even if they have one name."""
    names = [each.name for each in read_inputs(_options(files, hpa=(files / "hpa.yaml",) * 2)).variants]
    assert names == ["workers", "workers (2)"]


# Loads


def test_a_load_in_words(tmp_path: Path) -> None:
    """Every shape can be written, and the examples of the docs are valid."""
    path = tmp_path / "load.yaml"
    path.write_text(
        "duration: 24h\nstart: sat\nscale: 2\nstep: 30s\nweekdays: {sat: 0.5}\nnoise: {deviation: 0.1, memory: 0s}\n"
        "rate:\n- constant: 1\n- steps: [{at: 0s, rate: 1}, {at: 1h, rate: 2}]\n"
        "- ramp: {begin: 1h, end: 2h, from: 0, to: 3}\n- daily: {high: 4, peak: 12h}\n"
        "- wave: {low: 1, high: 2, peak: 0s, period: 30m}\n- spike: {at: 3h, for: 5m, rate: 50, rise: 1m, every: 2h}\n"
    )
    load = build(read_model(path, LoadModel).description({}), seed=1)
    assert load.end_s == 86_400
    assert load.rates.max() > 40
    for example in EXAMPLES.glob("*-load.yaml"):
        assert build(read_model(example, LoadModel).description({})).jobs > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate: [{constant: 1}]", "load.yaml:1: duration: is required, a duration such as 24h"),
        ("duration: 1h\nrate: []", "load.yaml:2: rate: must have at least 1, got 0"),
        ("duration: 1h\nrate: [{constant: 1, ramp: {begin: 0s, end: 1h, from: 0, to: 1}}]", "must have exactly one of"),
        ("duration: 1h\nrate: [{}]", "must have exactly one of constant"),
        ("duration: 1h\nrate: [{constant: -1}]", "rate[0].constant: must be at least 0, got -1"),
        ("duration: 1h\nrate: [{steps: [{at: 5m, rate: 1}, {at: 1m, rate: 2}]}]", "steps[1].at: must be after"),
        ("duration: 1h\nrate: [{ramp: {begin: 5m, end: 5m, from: 0, to: 1}}]", "ramp.end: must be after begin"),
        ("duration: 1h\nrate: [{daily: {high: 1, peak: 0s, period: 1h}}]", "daily.period: must not be set"),
        ("duration: 1h\nrate: [{wave: {low: 3, high: 1, peak: 0s}}]", "wave.low: must be at most high (1), got 3"),
        ("duration: 1h\nrate: [{spike: {at: 0s, for: 9m, rate: 1, every: 5m}}]", "spikes do not overlap"),
        ("duration: 1h\nrates: [{constant: 1}]", 'rates: unknown field; did you mean "rate"?'),
        ("duration: 1h\nweekdays: {monday: 1}\nrate: [{constant: 1}]", "must be one of mon, tue"),
        ("duration: 2000h\nrate: [{constant: 1}]", "duration: must be at most"),
        ("duration: 1h\nrate: [{constant: 1}]\n---\nduration: 1h", "must hold one document, got 2"),
        ("duration: 1h\nduration: 2h\nrate: [{constant: 1}]", '"duration" is there twice'),
        ("", "load.yaml: holds nothing"),
    ],
)  # fmt: skip
def test_bad_loads(tmp_path: Path, text: str, message: str) -> None:
    """A load is read strictly: what, where, and what it must be."""
    (tmp_path / "load.yaml").write_text(text)
    assert message in _refused(read_model, tmp_path / "load.yaml", LoadModel)


# Workloads


def test_a_workload(tmp_path: Path) -> None:
    """Every field of a workload has its counterpart in the model."""
    path = tmp_path / "workload.yaml"
    path.write_text(
        "pods: {serviceTime: 2s, concurrency: 3, startup: 20s, readinessDelay: 5s, takesJobs: started, "
        "terminationGrace: 1m, distribution: lognormal, variation: 2}\n"
        "nodes: {podsPerNode: 4, min: 1, max: 9, provision: 2m, cooldown: 5m}\n"
        "timeout: 1m\narrivals: even\nstart: {replicas: 4, backlog: 7}\n"
        "metrics: {a: {measures: arrivals, function: rate, window: 1m, interval: 10s, delay: 0s}}\n"
        "controller: {syncPeriod: 30s, tolerance: 0.2, downscaleStabilization: 1m}\n"
    )
    model = read_model(path, WorkloadModel)
    workload = model.workload(2)
    pods, nodes = workload.pods, workload.nodes
    assert (pods.service_s, pods.concurrency, pods.startup_s, pods.readiness_s, pods.grace_s) == (2, 3, 20, 5, 60)
    assert (pods.takes, pods.sizes, pods.variation, pods.rate) == (Takes.STARTED, Sizes.LOGNORMAL, 2, 1.5)
    assert nodes is not None
    assert (nodes.pods_per_node, nodes.min_nodes, nodes.max_nodes, nodes.provision_s, nodes.cooldown_s) == (
        4,
        1,
        9,
        120,
        300,
    )
    assert (workload.timeout_s, workload.replicas, workload.backlog) == (60, 4, 7)
    assert model.controller.controller().downscale_stabilization_s == 60


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pods: {}", "pods.serviceTime: is required"),
        ("pods: {serviceTime: 0s}", "pods.serviceTime: must be at least 1ms"),
        ("pods: {serviceTime: 1s, variation: 2}", "pods.variation: is for distribution lognormal"),
        ("pods: {serviceTime: 1s, distribution: normal}", "must be one of fixed, exponential, lognormal"),
        ("nodes: {podsPerNode: 2, min: 5, max: 4}", "nodes.max: must be at least min (5), got 4"),
        ("metrics: {a: {measures: depth}}", "metrics.a.measures: must be one of waiting"),
        ("metrics: {a: {measures: series}}", "metrics.a.series: is required"),
        ("metrics: {a: {measures: waiting, series: x.csv}}", "must not be set beside measures: waiting"),
        ("metrics: {a: {measures: waiting, function: deriv}}", "function: deriv cannot be simulated"),
    ],
)
def test_bad_workloads(tmp_path: Path, text: str, message: str) -> None:
    """A workload is read strictly."""
    (tmp_path / "workload.yaml").write_text(text)
    assert message in _refused(read_model, tmp_path / "workload.yaml", WorkloadModel)


# Recordings


def _csv(folder: Path, text: str) -> Path:
    path = folder / "r.csv"
    path.write_text(text)
    return path


def test_recorded_rates(tmp_path: Path) -> None:
    """A rate holds until the next row, the last one as long as the one before it."""
    load = as_load(read_recording(_csv(tmp_path, "time,rate\n100,2\n110,5\n130,1\n")))
    assert (load.moments_s.tolist(), load.rates.tolist(), load.end_s) == ([0, 10, 30], [2, 5, 1], 50)


def test_recorded_counts_and_totals(tmp_path: Path) -> None:
    """Counts are of the time before their row; a counter's drop is a reset, from which it counts anew."""
    load = as_load(read_recording(_csv(tmp_path, "time,count\n0,9\n10,20\n30,10\n")))
    assert (load.moments_s.tolist(), load.rates.tolist(), load.end_s) == ([0, 10], [2, 0.5], 30)
    load = as_load(read_recording(_csv(tmp_path, "time,total\n0,100\n10,120\n20,5\n")))
    assert load.rates.tolist() == [2, 0.5]


def test_times_may_be_dates(tmp_path: Path) -> None:
    """Times are seconds, or RFC 3339 with or without a zone, and need no order."""
    text = "time,rate\n2026-01-05T10:01:00Z,3\n2026-01-05T11:00:00+01:00,2\n"
    assert as_load(read_recording(_csv(tmp_path, text))).rates.tolist() == [2, 3]


def test_metrics_of_one_file(tmp_path: Path) -> None:
    """A file of several metrics is asked for one by name; its items of one moment are summed, unknown if one is."""
    path = _csv(tmp_path, "time,metric,value\n0,a,1\n0,a,2\n0,b,9\n10,a,\n10,a,5\n20,a,4\n10,b,1\n")
    series = as_series(read_recording(path, "a"))
    assert series.values[[0, 2]].tolist() == [3, 4]
    assert math.isnan(series.values[1])
    assert "holds 2 metrics (a, b): name one with metric" in _refused(read_recording, path)
    assert "has no metric c; it has a, b" in _refused(read_recording, path, "c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,rate,count\n0,1,1\n", "must have a column time and exactly one of rate, count, total, value"),
        ("when,rate\n0,1\n", "must have a column time and exactly one of"),
        ("time,rate\n0,1\n", "must hold at least two moments, got 1"),
        ("time,rate\n0,1\n10\n", "r.csv:3: must have 2 columns, got 1"),
        ("time,rate\n0,1\nnoon,2\n", 'r.csv:3: time: must be seconds or RFC 3339, got "noon"'),
        ("time,rate\n0,1\n10,many\n", 'r.csv:3: must be a number or empty, got "many"'),
        ("time,rate\n0,1\n10,-2\n", "must hold finite values of at least 0, got -2"),
        ("time,rate\n0,1\n10,inf\n", "must hold finite values of at least 0, got inf"),
        ("time,rate\n0,1\n10,\n20,1\n", "has no value at 10: a load has no unknown parts"),
        ("time,value\n0,1\n10,2\n", "say what it is in a load file"),
    ],
)
def test_bad_recordings(tmp_path: Path, text: str, message: str) -> None:
    """What is no recording is refused, and a load with a hole is too: unknown is not zero."""
    path = _csv(tmp_path, text)
    assert message in _refused(lambda: as_load(read_recording(path)))


def test_parquet_is_the_same_as_csv(tmp_path: Path) -> None:
    """A Parquet file holds what a CSV file does; its times are milliseconds or timestamps, null is unknown."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    millis = arrow.array([1_000, 11_000, 21_000], arrow.int64())
    for times in (millis, millis.cast(arrow.timestamp("ms", "UTC"))):
        columns = {"time": times, "value": arrow.array([1.0, None, 3.0]), "metric": arrow.array(["a", "a", "a"])}
        parquet.write_table(arrow.table(columns), tmp_path / "r.parquet")
        series = as_series(read_recording(tmp_path / "r.parquet"))
        assert series.time_s.tolist() == [0, 10, 20]
        assert np.isnan(series.values).tolist() == [False, True, False]
    (tmp_path / "bad.parquet").write_text("no")
    assert "cannot be read as Parquet" in _refused(read_recording, tmp_path / "bad.parquet")


def _answer(*values: tuple[float, str], series: int = 1) -> object:
    one = {"metric": {}, "values": [list(pair) for pair in values]}
    return {"status": "success", "data": {"resultType": "matrix", "result": [one] * series}}


def test_what_prometheus_answers() -> None:
    """A range query's answer is a series; where a step is missing the value is unknown."""
    table = prometheus_table("p", _answer((60, "1"), (120, "2.5"), (240, "3")))
    assert table.time_s.tolist() == [60, 120, 180, 240]
    assert math.isnan(table.values[2])
    assert "must hold one series, got 2" in _refused(prometheus_table, "p", _answer((1, "1"), series=2))
    assert "must be the answer of Prometheus'" in _refused(prometheus_table, "p", {"status": "error"})
    assert "pairs of time and text" in _refused(prometheus_table, "p", _answer((1, "x")))


def test_a_load_from_prometheus(files: Path) -> None:
    """A URL is asked, its answer taken as jobs a second; a failure does not show the query, which may hold a secret."""

    async def serve() -> tuple[float, str]:
        async def answer(request: web.Request) -> web.Response:
            values = [(0.0, "1"), (15.0, "2"), (30.0, "3")]
            return (
                web.json_response(_answer(*values)) if request.query.get("query") == "q" else web.Response(status=500)
            )

        app = web.Application()
        app.router.add_get("/api/v1/query_range", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            url = f"http://{host}:{port}/api/v1/query_range?query="
            found = await asyncio.to_thread(read_inputs, _options(files, load=f"{url}q"))
            refused = await asyncio.to_thread(_refused, read_inputs, _options(files, load=f"{url}s3cret"))
        finally:
            await runner.cleanup()
        return found.variants[0].scenario.load.jobs, refused

    jobs, refused = asyncio.run(serve())
    assert jobs == 15 * (1 + 2 + 3)
    assert "HTTP 500, and the answer is not JSON" in refused
    assert "s3cret" not in refused


def test_a_recording_inside_a_load(files: Path) -> None:
    """A load file may scale a recording and put a spike on top; the file is looked for beside it."""
    _csv(files, "time,value\n0,2\n60,4\n")
    (files / "load.yaml").write_text(
        "scale: 10\nrate:\n- recorded: {file: r.csv, is: rate}\n- spike: {at: 30s, for: 10s, rate: 1}\n"
    )
    load = read_inputs(_options(files)).variants[0].scenario.load
    assert (load.end_s, load.jobs) == (120, 10 * (2 * 60 + 4 * 60 + 10))


def test_a_plain_series(files: Path) -> None:
    """An HPA can follow a recorded series alone; then nothing is said about waiting."""
    path = _csv(files, "time,value\n0,3\n60,90\n600,\n")
    inputs = read_inputs(_options(files, load=None, workload=None, series=(("Orders", str(path)),)))
    assert not inputs.closed
    assert inputs.variants[0].scenario.load.end_s == 600
    assert "no effect on it" in inputs.notes[0]
    follow = {"load": None, "workload": None, "series": (("Orders", str(path)),)}
    refused = _refused(read_inputs, _options(files, **follow, objective="p95_wait<1s"))
    assert refused == "--objective: p95_wait is not known where the HPA only follows a recorded series"
    assert read_inputs(_options(files, **follow, objective="flaps<1")).objective.clauses


# Axes


def test_axes(files: Path) -> None:
    """Ranges hold both ends, quantities are milli-units, and values are named as users write them."""
    given = (
        ("target", "500m..2:500m"),
        ("scaleDown.stabilizationWindowSeconds", "0,1m"),
        ("scaleUp.selectPolicy", "Min"),
    )
    axes = parse_axes("--sweep", given)
    assert [axis.values for axis in axes] == [(500, 1_000, 1_500, 2_000), (0, 60), ("Min",)]
    settings, scenarios = varied("--sweep", read_inputs(_options(files)).variants[0].scenario, axes)
    assert len(settings) == len(scenarios) == 8
    assert setting_text(axes, settings[1]) == (
        "target=500m, scaleDown.stabilizationWindowSeconds=60, scaleUp.selectPolicy=Min"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((("targets", "1"),), '--sweep targets: cannot be turned; did you mean "target"?'),
        ((("target", "1"), ("target", "2")), "--sweep target: is named twice"),
        ((("target", "0"),), "must be from 0.001"),
        ((("target", "9..3"),), "must be A..B or A..B:STEP"),
        ((("target", "x"),), "must be a quantity"),
        ((("maxReplicas", "1.5"),), "must be a whole number"),
        ((("scaleUp.selectPolicy", "Most"),), "must be one of Max, Min, Disabled"),
        ((("maxReplicas", "1..999999"),), "has more than 100000 values"),
        ((("maxReplicas", "1"),), "minReplicas 2 and maxReplicas 1: the API server would refuse them"),
        ((("maxReplicas", "5..1000"), ("target", "1..1000")), "gives 996,000 combinations, at most 100,000"),
    ],
)
def test_bad_axes(files: Path, given: tuple[tuple[str, str], ...], message: str) -> None:
    """A sweep that cannot be run is refused before it runs."""
    scenario = read_inputs(_options(files)).variants[0].scenario
    assert message in _refused(lambda: varied("--sweep", scenario, parse_axes("--sweep", given)))


def test_targets_are_shown_as_quantities() -> None:
    """1500 milli-units are shown as 1500m."""
    assert quantity.text(1_500) == "1500m"
