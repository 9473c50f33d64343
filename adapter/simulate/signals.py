"""What an HPA's metrics measure: as the workload says, the command line, or the ExternalMetric. Nothing is guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adapter.config.load import load as load_metrics
from adapter.schema.metric import Metric
from adapter.simulate.errors import InputError
from adapter.simulate.manifest import Hpa
from adapter.simulate.recording import as_series, read_recording
from adapter.simulate.workload_model import SignalModel, WorkloadModel, signal_problem
from adapter.simulate_options import SimulateOptions
from scaler.hpa_model import ExternalMetric
from scaler.rules import AggregateOp, Function
from scaler.simulate_model import Measure, Signal

MEASURED = ", ".join(measure for measure in Measure if measure is not Measure.SERIES)


def external_metrics(paths: Sequence[Path]) -> dict[str, Metric]:
    """Return the ExternalMetrics of files by name, lower-cased.

    Raises:
        InputError: They are not valid.
    """
    if not paths:
        return {}
    loaded = load_metrics(paths)
    if loaded.errors:
        raise InputError(loaded.errors)
    return {metric.rule.ref.name: metric for metric in loaded.metrics}


def signals_of(
    hpa: Hpa, model: WorkloadModel, metrics: dict[str, Metric], options: SimulateOptions
) -> tuple[Signal, ...]:
    """Return a signal for each metric of an HPA.

    Raises:
        InputError: It is not known what one measures, or it cannot be modelled.
    """
    measures, series = dict(options.measures), dict(options.series)
    named = {metric.name for metric in hpa.spec.metrics}
    for flag, given in (("--measures", measures), ("--series", series)):
        for name in given:
            if name not in named:
                raise InputError(
                    f"{flag} {name}: the HPA {hpa.name} has no such metric; it has {', '.join(sorted(named))}"
                )
    signals = []
    for metric in hpa.spec.metrics:
        own = model.metrics.get(metric.name, SignalModel())
        if metric.name in series:
            own = own.model_copy(update={"measures": Measure.SERIES, "series": series[metric.name]})
        if metric.name in measures:
            try:
                own = own.model_copy(update={"measures": Measure(measures[metric.name]), "series": None})
            except ValueError:
                raise InputError(f"--measures {metric.name}: must be one of {MEASURED}") from None
        signals.append(_signal(metric, own, metrics.get(metric.name.lower())))
    return tuple(signals)


def _signal(metric: ExternalMetric, own: SignalModel, external: Metric | None) -> Signal:
    where = f"metric {metric.name}"
    measure = own.measures or (Measure.SERIES if own.series else _measured(external))
    if measure is None:
        raise InputError(
            f"{where}: it is not known what it measures: say --measures {metric.name}=WHAT, one of {MEASURED}; "
            f"or --series {metric.name}=FILE with recorded values"
        )
    rule = external.rule if external else None
    interval_ms = own.interval or (rule.interval_ms if rule else 15_000)
    function, window_ms = own.function, own.window
    if function is None and rule and measure is not Measure.SERIES:
        function, window_ms = rule.signal.function, window_ms or rule.signal.window_ms
    function = function or Function.VALUE
    problem = signal_problem(measure, function, window_ms or 0, interval_ms)
    if rule and rule.aggregate and rule.aggregate.op is not AggregateOp.SUM:
        problem = f"aggregate with {rule.aggregate.op} cannot be simulated: the load is one queue, and only a sum is it"
    if problem:
        raise InputError(f"{where}: {problem}")
    signal = Signal(measure, interval_ms, own.delay, function, window_ms or 0)
    if rule:
        low, high = rule.guard.min, rule.guard.max
        signal = replace(signal, max_age_ms=rule.max_age_ms, guard_min=low or 0.0)
        signal = signal if high is None else replace(signal, guard_max=high)
    if measure is Measure.SERIES:
        table = read_recording(Path(own.series or ""), own.metric)
        if table.kind in ("count", "total"):
            raise InputError(
                f"{table.name}: {table.kind} is not what an HPA reads: record what is served (value or rate)"
            )
        signal = replace(signal, series=as_series(table))
    return signal


def _measured(external: Metric | None) -> Measure | None:
    """Return what an ExternalMetric's source shows it to measure, or None: nothing is guessed."""
    queues = getattr(external.source, "queues", None) if external else None
    if not queues:
        return None
    counts: set[str] = set()
    for queue in queues:
        if getattr(queue, "stream", None) is not None:
            counts.update(str(state) for state in queue.count or ("waiting", "inFlight"))
        elif getattr(queue, "list", None) is not None or getattr(queue, "sorted_set", None) is not None:
            counts.add("waiting")
        else:
            return None
    if counts == {"waiting"}:
        return Measure.WAITING
    return Measure.OPEN if counts == {"waiting", "inFlight"} else Measure.IN_FLIGHT
