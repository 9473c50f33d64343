"""Readers: an HPA's cadence over every metric, and an open loop beside it, each on connections that stay open."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from threading import Event, Thread

from bench.load import Reader, request
from tests.adapter_process import VALUES
from tests.soak.oracle import Answer, Oracle

JSON = "application/json"


class Asking:
    """Threads that ask and have each answer judged.

    Args:
        port, tls: The adapter's.
        names: What may be asked for.
        cadence_s: How often each metric is asked for, as an HPA does.
        rate: Requests a second of the open loop.
    """

    def __init__(
        self,
        port: int,
        tls: ssl.SSLContext,
        oracle: Oracle,
        names: Callable[[], list[str]],
        *,
        cadence_s: float,
        rate: float,
    ) -> None:
        self._port, self._tls = port, tls
        self._oracle = oracle
        self._names = names
        self._cadence_s = cadence_s
        self._rate = rate
        self._stop = Event()
        self._threads = [Thread(target=self._hpas, name="hpas"), Thread(target=self._open_loop, name="open loop")]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop, and wait."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _hpas(self) -> None:
        """Ask for every metric once a cadence, evenly spread."""
        asker = _Asker(self._port, self._tls, self._oracle)
        while not self._stop.is_set():
            names = self._names()
            began = time.monotonic()
            for number, name in enumerate(names):
                if self._stop.wait(max(0.0, began + number * self._cadence_s / len(names) - time.monotonic())):
                    break
                asker.ask(name)
        asker.close()

    def _open_loop(self) -> None:
        """Ask for any metric at random moments, whether earlier ones were slow or not."""
        choose = random.Random(3)
        asker = _Asker(self._port, self._tls, self._oracle)
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += choose.expovariate(self._rate)
            asker.ask(choose.choice(self._names()))
        asker.close()


class _Asker:
    """One connection. A connection that ends without an answer is a violation, and is opened again."""

    def __init__(self, port: int, tls: ssl.SSLContext, oracle: Oracle) -> None:
        self._port, self._tls = port, tls
        self._oracle = oracle
        self._reader: Reader | None = None

    def ask(self, name: str) -> None:
        """Ask for a metric, and judge the answer."""
        sent_s = time.time()
        try:
            self._reader = self._reader or Reader(self._port, self._tls)
            status, body = self._reader.ask(request(VALUES + name, JSON))
        except OSError as error:
            self.close()
            self._oracle.verdicts.blame(f"{name} at {sent_s:.3f}: no answer: {error}")
            return
        self._oracle.judge(Answer(name, sent_s, time.time(), status, body))

    def close(self) -> None:
        """Close the connection."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
