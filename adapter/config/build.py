"""A valid ExternalMetric → the Metric the pipeline runs on, and what its author should know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from adapter.schema.metric import Metric
from adapter.schema.model import ExternalMetric, RedisQueue, RedisSource, ScrapeSource, StaticSource
from adapter.schema.strict import Path
from adapter.schema.text import selectable_name, selectable_value
from adapter.schema.words import show
from adapter.sources.plan import source_id, targets_of
from adapter.sources.redis_wanted import sample_of, series_of
from adapter.sources.scrape import instance_of
from scaler.model import Labels, labels_of

_SOURCE: Path = ("spec", "source")


def metric_of(external: ExternalMetric, origin: str) -> Metric:
    """Return the metric. `origin` is where it was read, for a person."""
    spec, source = external.spec, external.spec.source.one
    rule = spec.rule(external.ref, external.metric_name, source_id(source), targets_of(source))
    return Metric(rule, source, spec.timeout_ms, origin, share_with=spec.share_with)


def clashes(external: ExternalMetric) -> Iterator[tuple[Path, str]]:
    """Yield the place and a message for each series that two queues of the metric would give."""
    first: dict[Labels, Path] = {}
    for place, labels in _series(external):
        other = first.setdefault(labels, place)
        if other != place:
            shown = ", ".join(f"{name}={show(value)}" for name, value in labels)
            yield place, f"has the same series as {_short(other)} ({shown}): give it labels of its own"
    yield from _same_instances(external)


def _same_instances(external: ExternalMetric) -> Iterator[tuple[Path, str]]:
    """Yield the place and a message for each page whose items could not be told from another's."""
    source = external.spec.source.one
    if not isinstance(source, ScrapeSource) or external.spec.aggregate is not None:
        return
    first: dict[str, int] = {}
    for index, url in enumerate(source.targets.urls):
        other = first.setdefault(instance_of(url), index)
        if other != index:
            place: Path = (*_SOURCE, "scrape", "targets", "urls", index)
            message = f"has the same host and port, and so the label instance, as urls[{other}]: set spec.aggregate"
            yield place, message


def hints(external: ExternalMetric) -> Iterator[tuple[Path, str]]:
    """Yield the place and a message for each thing that is valid and will likely disappoint."""
    aggregate = external.spec.aggregate
    by = None if aggregate is None else aggregate.by
    for index, name in enumerate(by or ()):
        if not selectable_name(name):
            yield ("spec", "aggregate", "by", index), f"no HPA selector can name the label {show(name)}"
    series = list(_series(external, sample_of))
    if by and series:
        names = {name for _, labels in series for name, _ in labels}
        for index, name in enumerate(by):
            if name not in names:
                yield ("spec", "aggregate", "by", index), f"no series has the label {show(name)}"
    told: set[tuple[Path, str]] = set()
    for place, labels in series:
        for name, value in labels:
            if (by is None or name in by) and (place, name) not in told:
                told.add((place, name))
                yield from _label_hints(place, name, value, listed=by is not None)
    yield from _source_hints(external)


def _source_hints(external: ExternalMetric) -> Iterator[tuple[Path, str]]:
    sources = (("redis", external.spec.source.redis), ("scrape", external.spec.source.scrape))
    for kind, source in sources:
        for path, message in source.hints() if source is not None else ():
            yield (*_SOURCE, kind, *path), message


def _label_hints(place: Path, name: str, value: str, *, listed: bool) -> Iterator[tuple[Path, str]]:
    if not selectable_name(name) and not listed:
        yield place, f"no HPA selector can name the label {show(name)}"
    if not selectable_value(value):
        remedy = "to select this series, give it labels with values of at most 63 letters, digits, -, _ and ."
        yield place, f"no HPA selector can hold {name}={show(value)}: {remedy}"


def _series(
    external: ExternalMetric, of_queue: Callable[[RedisQueue], list[Labels]] = series_of
) -> Iterator[tuple[Path, Labels]]:
    """Yield the place and the labels of each series that is known from the configuration alone."""
    match external.spec.source.one:
        case RedisSource(queues=queues):
            for index, queue in enumerate(queues):
                for labels in of_queue(queue):
                    yield (*_SOURCE, "redis", "queues", index), labels
        case StaticSource(series=series):
            for index, one in enumerate(series):
                yield (*_SOURCE, "static", "series", index), labels_of(one.labels)
        case ScrapeSource():
            return


def _short(place: Path) -> str:
    return f"{place[-2]}[{place[-1]}]"
