"""An adapter that reads what is going to be broken beside healthy neighbours, and everybody's answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import yaml

from tests.adapter_process import Adapter
from tests.faults.judge import INTERVAL_MS
from tests.faults.origins import Origin, PageOrigin, RedisOrigin, metric
from tests.faults.proxy import Proxies
from tests.faults.truth import Span
from tests.faults.watcher import Seen, Watcher

MAX_AGE_S = 2
_READS = re.compile(r"spillway_metric_reads_total\{(.*)\}")

Start = Callable[[Path, Path], Adapter]
"""Returns an adapter that is not started, from its directory and its configuration."""


class Broken(Protocol):
    """Something that can be broken in one way, and the metric that shows it."""

    name: str

    def metrics(self, max_age_s: int) -> list[dict[str, Any]]:
        """Return what the adapter's file says."""
        ...

    def was(self, seen: Seen) -> Span | None:
        """Return when what was seen was true; None: never."""
        ...

    def is_back(self, seen: Seen, mended_ms: float) -> bool:
        """Tell whether a value was read since the fault has ended."""
        ...

    def break_it(self) -> None:
        """Begin to be broken."""
        ...

    def mend(self) -> None:
        """End it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Elsewhere(Protocol):
    """What is broken, if it is another replica that is, with its own answers."""

    @property
    def answers(self) -> list[Seen]:
        """What it has answered."""
        ...


@dataclass(frozen=True)
class Neighbour:
    """A metric that is healthy throughout, and its oracle."""

    metric: dict[str, Any]
    was: Callable[[Seen], Span | None]

    @property
    def name(self) -> str:
        """The metric's."""
        return str(self.metric["metadata"]["name"])


def fixed(name: str, value: float) -> Neighbour:
    """Return a metric of a fixed value. Only its timestamp tells how old it is."""
    source = {"static": {"series": [{"labels": {"queue": "a"}, "value": value}]}}
    return Neighbour(metric(name, source, MAX_AGE_S), lambda seen: stamped(seen) if seen.value == value else None)


def stamped(seen: Seen) -> Span:
    """Return when a value was true that says so only by its timestamp, of whole seconds."""
    return Span(seen.stamp_ms, seen.stamp_ms + INTERVAL_MS)


def of_origin(name: str, origin: Origin, source: dict[str, Any] | None = None) -> Neighbour:
    """Return a metric of a healthy server."""
    found = source or origin.source("localhost", origin.port, None)
    return Neighbour(metric(name, found, MAX_AGE_S), lambda seen: origin.truth.span(seen.value))


class Stage:
    """`with Stage(tmp_path, lambda proxies: [BrokenSource(…)]) as stage:` everything runs and was read once.

    Args:
        directory: For all files.
        make: Returns what is going to be broken; it is entered.
        start: How the adapter is started.
        more: Further neighbours, beside a Redis, a page and a fixed value.
        handshakes: Read over a new connection each time.

    Attributes:
        config: The directory of the adapter's files: one for all neighbours, and one for each broken metric.
    """

    def __init__(
        self,
        directory: Path,
        make: Callable[[Proxies], Sequence[Broken]],
        start: Start = Adapter,
        more: Sequence[Neighbour] = (),
        *,
        handshakes: bool = False,
    ) -> None:
        self._handshakes = handshakes
        self.config = directory / "metrics"
        self._directory = directory
        self._make = make
        self._start = start
        self._more = more
        self._stack = ExitStack()
        self.broken: Sequence[Broken] = ()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            proxies = stack.enter_context(Proxies())
            redis = stack.enter_context(RedisOrigin(self._directory / "near-redis", 300))
            page = stack.enter_context(PageOrigin(self._directory / "near-page", 600))
            near = (of_origin("near-redis", redis), of_origin("near-page", page), fixed("near-static", 7.5))
            self.neighbours = (*near, *self._more)
            self.broken = self._make(proxies)
            for each in self.broken:
                stack.enter_context(each)
            self.config.mkdir()
            (self.config / "near.yaml").write_text(yaml.safe_dump_all(each.metric for each in self.neighbours))
            for each in self.broken:
                if metrics := each.metrics(MAX_AGE_S):
                    (self.config / f"{each.name}.yaml").write_text(yaml.safe_dump_all(metrics))
            self.adapter = stack.enter_context(self._start(self._directory, self.config))
            names = [*(each.name for each in self.neighbours), *(each.name for each in self.broken)]
            self.watcher = stack.enter_context(Watcher(self.adapter, names, handshakes=self._handshakes))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def answers(self, broken: Broken) -> list[Seen]:
        """Return what was read of what is broken, here or where it is read."""
        return broken.answers if isinstance(broken, Elsewhere) else self.watcher.seen[broken.name]

    def reads(self, name: str) -> dict[str, float]:
        """Return how often a metric was read, by outcome, since the start."""
        found: dict[str, float] = {}
        for series, count in self.adapter.metrics().items():
            labels = _READS.fullmatch(series)
            if labels and f'metric="{name}"' in labels[1]:
                found[re.findall('outcome="(.*?)"', labels[1])[0]] = count
        return found
