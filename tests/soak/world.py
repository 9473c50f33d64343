"""The metrics that are defined, in files that change all the time."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.soak.oracle import READ_S, Oracle
from tests.soak.page_side import SHARDS, Page
from tests.soak.redis_side import Queues
from tests.soak.truth import Constant, Definition, Labels, Rate, Truth

A_FILE = 100
"""Metrics a file."""

_MAX_AGE_S = 20.0
_WINDOW_S = 30.0

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """A metric as it stands in a file, and what should come of it."""

    document: Spec
    definition: Definition


class Sources:
    """Everything that may be read. `width` is how many gauges a page has."""

    def __init__(self, redis: list[Queues], pages: list[Page], width: int) -> None:
        self.redis = redis
        self.pages = pages
        self.width = width


class World:
    """The files, and the oracle that is told of each change.

    Args:
        folder: Where the files are.
        count: How many metrics there are, about.
    """

    def __init__(self, folder: Path, count: int, sources: Sources, oracle: Oracle) -> None:
        self._folder = folder
        self._sources = sources
        self._oracle = oracle
        self._random = random.Random(count)
        self._made = 0
        self._broken: int | None = None
        self._names_of: dict[int, set[str]] = {}
        folder.mkdir()
        metrics = [(name, self._metric(name, at % 10)) for at, name in enumerate(self._name() for _ in range(count))]
        self._first = [dict(metrics[start : start + A_FILE]) for start in range(0, count, A_FILE)]
        self._files = [dict(metrics) for metrics in self._first]
        for number in range(len(self._files)):
            self._write(number)

    @property
    def names(self) -> list[str]:
        """Every metric that was ever defined."""
        return list(self._oracle.timelines)

    @property
    def defined(self) -> list[str]:
        """Those that are now."""
        return [name for metrics in self._files for name in metrics]

    def change(self) -> str:
        """Change a file; return what was done."""
        if self._broken is not None:
            number, self._broken = self._broken, None
            self._write(number)
            return f"mended file {number}"
        number = self._random.randrange(len(self._files))
        metrics = self._files[number]
        kind = self._random.choice(["add", "remove", "change", "change", "break"])
        if kind == "break":
            self._broken = number
            text = self._path(number).read_text()
            wrong = self._random.choice(
                ["\n---\nkind: [", "\n---\napiVersion: spillway.dev/v1alpha1\nkind: Nothing\n", "\n\0"]
            )
            self._replace(number, text + wrong)
            return f"broke file {number}"
        if kind == "add":
            for _ in range(3):
                name = self._name()
                metrics[name] = self._metric(name, self._random.randrange(10))
        else:
            for name in self._random.sample(sorted(metrics), min(3, len(metrics) - 1)):
                if kind == "remove":
                    del metrics[name]
                else:
                    metrics[name] = self._metric(name, self._random.randrange(10))
        self._write(number)
        return f"{kind} in file {number}"

    def restore(self) -> None:
        """Define again what was defined at the beginning."""
        self._broken = None
        for number, metrics in enumerate(self._first):
            if self._files[number] != metrics:
                self._files[number] = dict(metrics)
            self._write(number)

    def _name(self) -> str:
        self._made += 1
        return f"soak-{self._made}"

    def _metric(self, name: str, kind: int) -> Written:
        """Return a metric: 4 in 10 lists, 1 stream, 2 gauges, 2 rates, 1 static."""
        if kind < 4:
            return self._list(name)
        if kind < 5:
            return self._stream(name)
        if kind < 9:
            return self._page(name, rate=kind >= 7)
        value = float(self._random.randrange(100_000))
        source = {"static": {"series": [{"labels": {"queue": "a"}, "value": value}]}}
        truths: Mapping[Labels, Truth] = {frozenset({("queue", "a")}): Constant(value)}
        return self._written(name, source, Definition(name, truths, None, 5, _MAX_AGE_S))

    def _list(self, name: str) -> Written:
        queues = self._random.choice(self._sources.redis)
        chosen = self._random.sample(
            sorted(queues.lists), self._random.choice([1, 1, 3]) if len(queues.lists) > 2 else 1
        )
        source = {"redis": {"url": queues.url, "queues": [{"list": each} for each in chosen]}}
        truths: Mapping[Labels, Truth] = {frozenset({("queue", each)}): queues.lists[each] for each in chosen}
        return self._written(name, source, Definition(name, truths, queues.source, 5, _MAX_AGE_S))

    def _stream(self, name: str) -> Written:
        queues = self._random.choice(self._sources.redis)
        stream = self._random.choice(sorted(queues.waiting))
        source = {"redis": {"url": queues.url, "queues": [{"stream": stream, "group": "workers"}]}}
        both = {"waiting": queues.waiting[stream], "inFlight": queues.in_flight[stream]}
        truths: Mapping[Labels, Truth] = {
            frozenset({("queue", stream), ("group", "workers"), ("state", state)}): history
            for state, history in both.items()
        }
        return self._written(name, source, Definition(name, truths, queues.source, 5, _MAX_AGE_S))

    def _page(self, name: str, *, rate: bool) -> Written:
        page = self._random.choice(self._sources.pages)
        number = self._random.randrange(self._sources.width)
        scrape: Spec = {"targets": {"urls": [page.url]}, "metric": f"jobs{number}_total" if rate else f"depth{number}"}
        instance = ("instance", page.instance)
        if not rate:
            truths: dict[Labels, Truth] = {
                frozenset({("shard", str(shard)), instance}): page.gauges[number][shard] for shard in range(SHARDS)
            }
            return self._written(name, {"scrape": scrape}, Definition(name, truths, page.source, 5, _MAX_AGE_S))
        truths = {frozenset({instance}): Rate(float(page.slopes[number]), READ_S / _WINDOW_S)}
        signal = {"function": "rate", "window": f"{_WINDOW_S:g}s"}
        definition = Definition(name, truths, page.source, 5, _MAX_AGE_S, _WINDOW_S)
        return self._written(name, {"scrape": scrape}, definition, signal=signal)

    def _written(self, name: str, source: Spec, definition: Definition, **more: Any) -> Written:
        spec = {
            "interval": f"{definition.interval_s:g}s",
            "source": source,
            "whenUnknown": {"maxAge": f"{definition.max_age_s:g}s"},
            **more,
        }
        metadata = {"name": name, "namespace": "shop"}
        head = {"apiVersion": "spillway.dev/v1alpha1", "kind": "ExternalMetric", "metadata": metadata}
        return Written({**head, "spec": spec}, definition)

    def _path(self, number: int) -> Path:
        return self._folder / f"metrics{number:03}.yaml"

    def _write(self, number: int) -> None:
        """Write a file, and tell the oracle of what is different in it."""
        metrics = self._files[number]
        now_s = time.time()
        for name, written in metrics.items():
            timeline = self._oracle.timeline(name)
            if timeline.current is not written.definition:
                timeline.change(written.definition, now_s)
        before = self._names_of.get(number, set())
        for name in before - metrics.keys():
            self._oracle.timeline(name).change(None, now_s)
        self._names_of[number] = set(metrics)
        self._replace(number, yaml.dump_all([one.document for one in metrics.values()], Dumper=_DUMPER))

    def _replace(self, number: int, text: str) -> None:
        path = self._path(number)
        temporary = path.with_suffix(".new")
        temporary.write_text(text)
        temporary.rename(path)


_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
