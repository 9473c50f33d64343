"""A reader that never stops asking, and what it saw."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from tests.adapter_process import VALUES, Adapter
from tests.faults.truth import now_ms
from tests.waiting import until_sync

_EVERY_S = 0.1
_UNITS = {"m": 0.001, "": 1.0, "k": 1e3, "M": 1e6}


class Seen(NamedTuple):
    """One answer. `status` 0: there was none.

    `asked_ms` is when the question left, so that an age judged by it is never longer than it was; `starved_ms` is how
    long the adapter has waited for a processor in its life, which is the machine's fault and not its own. `shown` is
    the serial number of the certificate that was shown for it.
    """

    asked_ms: float
    status: int
    value: float
    stamp_ms: float
    message: str
    starved_ms: float
    shown: str = ""


class Watcher:
    """Reads some metrics of an adapter, ten times a second, while the block runs.

    Args:
        adapter: Is read.
        names: What is read of it.
        handshakes: Over a new connection each time, not always over the same.
    """

    def __init__(self, adapter: Adapter, names: Sequence[str], *, handshakes: bool = False) -> None:
        self._handshakes = handshakes
        self._adapter = adapter
        self._names = tuple(names)
        self.seen: defaultdict[str, list[Seen]] = defaultdict(list)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._connection: http.client.HTTPSConnection | None = None

    def last(self, name: str) -> Seen | None:
        """Return the newest answer."""
        return self.seen[name][-1] if self.seen[name] else None

    def asked_again(self, names: Sequence[str]) -> None:
        """Wait until each of these has been asked for once more."""
        before = {name: len(self.seen[name]) for name in names}
        until_sync(lambda: all(len(self.seen[name]) > count + 1 for name, count in before.items()))

    def _run(self) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            for name in self._names:
                self.seen[name].append(self._read(name))
            self._stop.wait(max(0.01, _EVERY_S - (time.monotonic() - started)))

    def _read(self, name: str) -> Seen:
        asked_ms, starved_ms = now_ms(), starved(self._adapter)
        try:
            if self._connection is None:
                port = self._adapter.port("secure_port")
                context = self._adapter.context()
                self._connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
            if self._connection.sock is None:
                self._connection.connect()
            shown = _serial(self._connection)
            self._connection.request("GET", VALUES + quote(name), headers=self._adapter.identity())
            with self._connection.getresponse() as response:
                status, body = response.status, json.loads(response.read())
            if self._handshakes:
                self._connection.close()
        except (OSError, http.client.HTTPException) as error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            return Seen(asked_ms, 0, 0, 0, f"{type(error).__name__}: {error}", starved_ms)
        if status != 200:
            return Seen(asked_ms, status, 0, 0, body["message"], starved_ms, shown)
        return _value(body["items"], asked_ms, starved_ms)._replace(shown=shown)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(30)
        if self._connection is not None:
            self._connection.close()


def _serial(connection: http.client.HTTPSConnection) -> str:
    certificate = connection.sock.getpeercert() if isinstance(connection.sock, ssl.SSLSocket) else None
    return str((certificate or {}).get("serialNumber", ""))


def _value(items: Sequence[Mapping[str, Any]], asked_ms: float, starved_ms: float) -> Seen:
    if len(items) != 1:
        return Seen(asked_ms, 200, float("nan"), 0, f"{len(items)} items", starved_ms)
    stamp_ms = datetime.fromisoformat(items[0]["timestamp"]).timestamp() * 1000
    return Seen(asked_ms, 200, quantity(items[0]["value"]), stamp_ms, "", starved_ms)


def quantity(text: str) -> float:
    """Return the number that a quantity stands for."""
    digits = text.rstrip("mkM")
    return float(digits) * _UNITS[text[len(digits) :]]


def starved(adapter: Adapter) -> float:
    """Return for how long the adapter's threads were ready to run and had no processor, in ms; 0 where not known."""
    assert adapter.process is not None
    total_ns = 0
    try:
        for task in Path(f"/proc/{adapter.process.pid}/task").iterdir():
            total_ns += int((task / "schedstat").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return total_ns / 1e6
