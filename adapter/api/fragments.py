"""What is the same in each answer of a metric, kept as it is written: of each item its name and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from typing import Generic, TypeVar

from scaler.model import Labels

T = TypeVar("T", bound=Sized)


class _OfMetric(dict[Labels, T], Generic[T]):
    """The beginnings of one metric's items by their labels, each written when it is first looked up."""

    def __init__(self, cache: FragmentCache[T], metric_name: str) -> None:
        self._cache: FragmentCache[T] = cache
        self._metric_name = metric_name

    def __missing__(self, labels: Labels) -> T:
        written = self[labels] = self._cache.write(self._metric_name, labels)
        self._cache.size += len(written)
        return written


class FragmentCache(Generic[T]):
    """The beginnings of items by metric and labels. When it is full it starts anew.

    Args:
        write: Writes the beginning of an item from the metric's name and the item's labels.
        max_size: Characters or bytes of all that is kept; one answer may exceed it.
    """

    def __init__(self, write: Callable[[str, Labels], T], max_size: int = 8 * 1024 * 1024) -> None:
        self.write = write
        self.size = 0
        """Characters or bytes of all that is kept."""
        self._max_size = max_size
        self._metrics: dict[str, _OfMetric[T]] = {}

    def of(self, metric_name: str) -> Mapping[Labels, T]:
        """Return the beginnings of a metric's items, to be used for one answer."""
        if self.size > self._max_size:
            self._metrics, self.size = {}, 0
        found = self._metrics.get(metric_name)
        if found is None:
            self.size += len(metric_name)
            found = self._metrics[metric_name] = _OfMetric(self, metric_name)
        return found
