"""From the command line and its files to scenarios: everything is read and judged before anything runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np

from adapter.config.document import plain
from adapter.schema.durations import parse_duration
from adapter.simulate.documents import read_model, read_yaml, validated
from adapter.simulate.errors import InputError
from adapter.simulate.load_model import MAX_LOAD_S, LoadModel
from adapter.simulate.manifest import Hpa, Manifest, document_kind
from adapter.simulate.recording import Kind, as_load, prometheus_table, read_recording
from adapter.simulate.signals import external_metrics, signals_of
from adapter.simulate.workload_model import PodsModel, WorkloadModel
from adapter.simulate_options import SimulateOptions
from scaler.simulate_model import Load, Measure, Scenario, Signal
from scaler.simulate_objective import Objective, parse_objective
from scaler.simulate_shapes import DAY_S, Description, Recorded, build

FETCH_TIMEOUT_S = 30.0
KNOWN_WITHOUT_LOAD = frozenset({"scale_ups", "scale_downs", "flaps", "max_replicas"})
"""Figures of a run in which nothing is worked off."""
_MAX_ANSWER_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Variant:
    """A scenario and what tells it from the others."""

    name: str
    scenario: Scenario


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that was asked for.

    Args:
        variants: One an HPA.
        objective: What is good enough, if that was said.
        closed: There is a workload: without one the HPA follows a recorded series, and nothing waits.
        notes: What the reader of a result must know.
    """

    variants: tuple[Variant, ...]
    objective: Objective
    closed: bool
    notes: tuple[str, ...]


def read_inputs(options: SimulateOptions) -> Inputs:
    """Read every file and return the scenarios.

    Raises:
        InputError: Something is missing, wrong, or cannot be simulated.
    """
    objective = _objective(options.objective)
    hpas = [hpa for path in options.hpa for hpa in read_hpas(path)]
    model = _workload_model(options)
    metrics = external_metrics(options.metric)
    signals = [signals_of(hpa, model, metrics, options) for hpa in hpas]
    closed = any(signal.measure is not Measure.SERIES for each in signals for signal in each)
    if closed and model.pods is None:
        raise InputError("--workload or --service-time is required: how long a pod works on a job")
    unknown = [clause.figure for clause in objective.clauses if clause.figure not in KNOWN_WITHOUT_LOAD]
    if not closed and unknown:
        raise InputError(f"--objective: {unknown[0]} is not known where the HPA only follows a recorded series")
    load = _load(options) if closed else _nothing(signals)
    run_by = (model.controller.sync_period, model.controller.controller(), objective.wait_s)
    variants = [
        Variant(name, Scenario(hpa.spec, each, model.workload(max(hpa.spec.min_replicas, 1)), load, *run_by))
        for name, hpa, each in zip(_names(hpas), hpas, signals, strict=True)
    ]
    for variant, hpa in zip(variants, hpas, strict=True):
        _check(variant.scenario, hpa)
    return Inputs(tuple(variants), objective, closed, tuple(_notes(variants[0].scenario, closed=closed)))


def read_hpas(path: Path) -> list[Hpa]:
    """Return the HPAs of a file, at least one; documents of other kinds are passed over.

    Raises:
        InputError: There is none, or one is not valid.
    """
    documents = read_yaml(path)
    found = [each for each in documents if document_kind(plain(each)) == "HorizontalPodAutoscaler"]
    if not found:
        kinds = ", ".join(document_kind(plain(each)) or "none" for each in documents)
        raise InputError(f"{path}: must hold a HorizontalPodAutoscaler, got kind {kinds}")
    return [validated(path, each, Manifest).hpa() for each in found]


def _names(hpas: Sequence[Hpa]) -> Iterator[str]:
    """Yield a name for each HPA that no other one has."""
    seen: dict[str, int] = {}
    for hpa in hpas:
        name = hpa.name or "hpa"
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"


def _objective(text: str | None) -> Objective:
    try:
        return parse_objective(text) if text else Objective(())
    except ValueError as exc:
        raise InputError(f"--objective: {exc}") from None


def _workload_model(options: SimulateOptions) -> WorkloadModel:
    model = read_model(options.workload, WorkloadModel) if options.workload else WorkloadModel()
    pods = model.pods
    if options.service_time is not None:
        service_ms = _duration("--service-time", options.service_time)
        if service_ms == 0:
            raise InputError("--service-time: must be above 0")
        pods = pods.model_copy(update={"service_time": service_ms}) if pods else PodsModel(service_time=service_ms)
    if options.startup is not None:
        if pods is None:
            raise InputError("--startup: needs --service-time or --workload")
        pods = pods.model_copy(update={"startup": _duration("--startup", options.startup)})
    return model.model_copy(update={"pods": pods})


def _duration(flag: str, text: str) -> int:
    duration_ms = parse_duration(text)
    if duration_ms is None or duration_ms > 86_400_000:
        raise InputError(f'{flag}: must be a duration of at most 24h such as 400ms or 1m30s, got "{text}"')
    return duration_ms


def _load(options: SimulateOptions) -> Load:
    if options.load is None:
        raise InputError("--load is required: what comes in; a file in words, or a recording")
    if options.load.startswith(("http://", "https://")):
        table = prometheus_table(options.load.partition("?")[0], asyncio.run(_fetch(options.load)))
        return _built(_described(as_load(table, "rate")), options)
    path = Path(options.load)
    if path.suffix not in {".yaml", ".yml"}:
        kind: Kind | None = "rate" if path.suffix == ".json" else None
        return _built(_described(as_load(read_recording(path), kind)), options)
    model = read_model(path, LoadModel)
    recordings = {
        each: as_load(read_recording(path.parent / each.file, each.metric), each.is_) for each in model.recordings
    }
    return _built(model.description(recordings), options)


def _described(recorded: Recorded) -> Description:
    return Description(recorded.end_s, [recorded])


def _built(description: Description, options: SimulateOptions) -> Load:
    if description.end_s > MAX_LOAD_S:
        days = MAX_LOAD_S / DAY_S
        raise InputError(f"--load: lasts {description.end_s / DAY_S:.1f} days, at most {days:g} can be simulated")
    return build(description, options.seed)


def _nothing(signals: Sequence[tuple[Signal, ...]]) -> Load:
    """Return a load of nothing, as long as the longest series."""
    ends = [float(one.series.time_s[-1]) for each in signals for one in each if one.series is not None]
    return Load(np.array([0.0, max(ends)]), np.zeros(1))


async def _fetch(url: str) -> object:
    """Ask Prometheus.

    Raises:
        InputError: It does not answer, or not with JSON. The message does not hold the query: it may hold a secret.
    """
    shown = url.partition("?")[0]
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(FETCH_TIMEOUT_S)) as session,
            session.get(url) as response,
        ):
            body = await response.content.read(_MAX_ANSWER_BYTES)
            return json.loads(body)
    except (aiohttp.ClientError, OSError, TimeoutError) as exc:
        raise InputError(f"{shown}: {type(exc).__name__}: no answer") from None
    except ValueError:
        raise InputError(f"{shown}: HTTP {response.status}, and the answer is not JSON") from None


def _check(scenario: Scenario, hpa: Hpa) -> None:
    """Refuse what the API server would refuse, and what has no meaning here."""
    if hpa.spec.min_replicas == 0 and not scenario.controller.scale_to_zero:
        raise InputError(
            f"HPA {hpa.name}: spec.minReplicas: 0 needs the feature gate HPAScaleToZero: where it is on, set "
            "controller.scaleToZero: true in the workload"
        )
    if scenario.syncs < 1:
        raise InputError(f"--load: lasts {scenario.load.end_s:g} s, less than one sync of the HPA")
    nodes = scenario.workload.nodes
    if nodes and scenario.workload.replicas > nodes.max_nodes * nodes.pods_per_node:
        raise InputError(
            f"nodes.max: {nodes.max_nodes} nodes have no room for the {scenario.workload.replicas} first pods"
        )


def _notes(scenario: Scenario, *, closed: bool) -> Iterator[str]:
    """Yield what the model takes for granted."""
    if not closed:
        yield "The HPA follows a recorded series: what it does has no effect on it, so nothing is said about waiting."
        return
    pods = scenario.workload.pods
    if pods.startup_s + pods.readiness_s == 0:
        yield "Pods start in no time: set pods.startup (or --startup) to what yours take, image pull included."
    if scenario.workload.nodes is None:
        yield "There is always room for a pod: describe nodes where a cluster autoscaler adds them."
    delays = {signal.delay_ms for signal in scenario.signals}
    if delays != {0}:
        yield "Reads and syncs tick together, so each sync sees the reading before: the worst that real clocks can do."
