"""An adapter that reads what is going to be broken beside healthy neighbours, and everybody's answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import yaml

from tests.adapter_process import Adapter
from tests.faults.judge import INTERVAL_MS
from tests.faults.origins import Origin, PageOrigin, RedisOrigin, metric
from tests.faults.proxy import Proxies
from tests.faults.truth import Span
from tests.faults.watcher import Seen, Watcher

MAX_AGE_S = 2
_FIXED = 7.5
_READS = re.compile(r"spillway_metric_reads_total\{(.*)\}")

Start = Callable[[Path, Path], Adapter]
"""Returns an adapter that is not started, from its directory and its configuration."""


class Broken(Protocol):
    """Something that can be broken in one way, and the metric that shows it."""

    name: str

    def metrics(self, max_age_s: int) -> list[dict[str, Any]]: ...

    def was(self, seen: Seen) -> Span | None: ...

    def break_it(self) -> None: ...

    def mend(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Neighbours:
    """What is healthy throughout: a Redis, a page by name, and a fixed value."""

    def __init__(self, directory: Path) -> None:
        self._redis, self._page = RedisOrigin(directory / "redis", 300), PageOrigin(directory / "page", 600)
        self.names = ("near-redis", "near-page", "near-static")

    def metrics(self) -> list[dict[str, Any]]:
        """Return what the adapter is told."""
        static = {"static": {"series": [{"labels": {"queue": "a"}, "value": _FIXED}]}}
        sources = (
            self._redis.source("127.0.0.1", self._redis.port, None),
            self._page.source("localhost", self._page.port, None),
            static,
        )
        return [metric(name, source, MAX_AGE_S) for name, source in zip(self.names, sources, strict=True)]

    def was(self, name: str, seen: Seen) -> Span | None:
        """Return when what was seen of a neighbour was true. Only its timestamp tells how old a fixed value is."""
        origins: Mapping[str, Origin] = {self.names[0]: self._redis, self.names[1]: self._page}
        if name in origins:
            return origins[name].truth.span(seen.value)
        return Span(seen.stamp_ms, seen.stamp_ms + INTERVAL_MS) if seen.value == _FIXED else None

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._stack.enter_context(self._redis)
        self._stack.enter_context(self._page)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class Stage:
    """`with Stage(tmp_path, lambda proxies: [BrokenSource(…)]) as stage:` everything runs and was read once.

    Args:
        directory: For all files.
        make: Returns what is going to be broken; it is entered.
        start: How the adapter is started.
    """

    def __init__(self, directory: Path, make: Callable[[Proxies], Sequence[Broken]], start: Start = Adapter) -> None:
        self._directory = directory
        self._make = make
        self._start = start
        self._stack = ExitStack()
        self.broken: Sequence[Broken] = ()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            proxies = stack.enter_context(Proxies())
            self.neighbours = stack.enter_context(Neighbours(self._directory / "near"))
            self.broken = self._make(proxies)
            for each in self.broken:
                stack.enter_context(each)
            metrics = [*self.neighbours.metrics(), *(m for each in self.broken for m in each.metrics(MAX_AGE_S))]
            config = self._directory / "metrics.yaml"
            config.write_text(yaml.safe_dump_all(metrics))
            self.adapter = stack.enter_context(self._start(self._directory, config))
            names = [*self.neighbours.names, *(each.name for each in self.broken)]
            self.watcher = stack.enter_context(Watcher(self.adapter, names))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def reads(self, name: str) -> dict[str, float]:
        """Return how often a metric was read, by outcome, since the start."""
        found: dict[str, float] = {}
        for series, count in self.adapter.metrics().items():
            labels = _READS.fullmatch(series)
            if labels and f'metric="{name}"' in labels[1]:
                found[re.findall('outcome="(.*?)"', labels[1])[0]] = count
        return found
