"""Encoded answers, kept while they are the truth."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass

from adapter.api.encode import Form
from scaler.model import MetricRef, MetricResult


@dataclass(frozen=True, slots=True)
class _Entry:
    serial: int
    valid_until_ms: int | None
    body: bytes


class AnswerCache:
    """Bodies by metric, query and form, the least recently used dropped first.

    A body counts only for the very MetricResult it was made from, and only before one of its items stops being
    current: no answer outlives its truth, however late the pipeline is.
    """

    def __init__(self, max_entries: int = 8192, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._entries: OrderedDict[tuple[MetricRef, str, Form], _Entry] = OrderedDict()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.bytes = 0
        # One result a metric, and its number: entries with the number of an earlier one do not keep that one alive.
        self._newest: dict[MetricRef, tuple[MetricResult, int]] = {}
        self._serials = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: tuple[MetricRef, str, Form], result: MetricResult, now_ms: int) -> bytes | None:
        """Return the body, if there is one and it is still true."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        newest, serial = self._newest[key[0]]
        if newest is not result or entry.serial != serial:
            return None
        if entry.valid_until_ms is not None and entry.valid_until_ms <= now_ms:
            return None
        self._entries.move_to_end(key)
        return entry.body

    def put(
        self, key: tuple[MetricRef, str, Form], result: MetricResult, valid_until_ms: int | None, body: bytes
    ) -> None:
        """Keep a body. `valid_until_ms` is the earliest of its items'; None if it has none."""
        previous = self._entries.pop(key, None)
        if previous is not None:
            self.bytes -= len(previous.body)
        newest = self._newest.get(key[0])
        if newest is None or newest[0] is not result:
            newest = self._newest[key[0]] = (result, next(self._serials))
        self._entries[key] = _Entry(newest[1], valid_until_ms, body)
        self.bytes += len(body)
        while len(self._entries) > self._max_entries or self.bytes > self._max_bytes:
            _, dropped = self._entries.popitem(last=False)
            self.bytes -= len(dropped.body)
        if len(self._newest) > 2 * self._max_entries:
            used = {ref for ref, _, _ in self._entries}
            self._newest = {ref: held for ref, held in self._newest.items() if ref in used}
