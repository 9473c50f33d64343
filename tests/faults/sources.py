"""The rows of sources. A new source joins with one entry in SOURCES, and its row in the matrix."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.certificates import NOW, SERVER_AUTH, Authority
from tests.faults.matrix import Fault
from tests.faults.origins import Origin, PageOrigin, RedisOrigin, metric
from tests.faults.proxy import FaultProxy, Mode, Proxies, Words
from tests.faults.truth import Span
from tests.faults.watcher import Seen

HOST, NAME = "127.0.0.1", "localhost"
NOISE = random.Random(6).randbytes(4096)

MODES = {
    Fault.ABSENT: Mode.ABSENT,
    Fault.REFUSES: Mode.REFUSE,
    Fault.HANGS: Mode.HANG,
    Fault.DRIPS: Mode.DRIP,
    Fault.CUTS: Mode.CUT,
    Fault.GARBAGE: Mode.GARBAGE,
    Fault.TOO_MUCH: Mode.FLOOD,
    Fault.FLAPS: Mode.FLAP,
}


@dataclass(frozen=True, slots=True)
class Source:
    """A real server of a kind, in a directory of its own, its value growing from a number; and lies of that kind."""

    origin: Callable[[Path, int], Origin]
    words: Words


_PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
SOURCES: Mapping[str, Source] = {
    "Redis": Source(RedisOrigin, Words(NOISE, b"$1000000000\r\n", b"x" * 1024)),
    "scrape target": Source(
        PageOrigin, Words(_PAGE + b"Content-Length: 4096\r\n\r\n" + NOISE, _PAGE + b"\r\n", b'jobs{n="1"} 1\n')
    ),
}


def server_context(directory: Path, authority: Authority, *, expired: bool) -> ssl.SSLContext:
    """Return what a TLS server of localhost shows."""
    ends = NOW - timedelta(days=1) if expired else NOW + timedelta(days=1)
    pair = authority.issue(NAME, usage=SERVER_AUTH, dns=NAME, not_before=NOW - timedelta(days=2), not_after=ends)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    pair.load_into(context, directory)
    return context


class BrokenSource:
    """A metric of one source behind a proxy of its own, which can be broken in one way."""

    def __init__(self, kind: str, fault: Fault, directory: Path, first: int, proxies: Proxies) -> None:
        self.fault = fault
        self.name = f"{kind.replace(' ', '-')}-{fault.slug}".lower()
        source = SOURCES[kind]
        self._directory = directory / self.name
        self.origin = source.origin(self._directory, first)
        self._authority = Authority("pages")
        tls = server_context(self._directory, self._authority, expired=False) if fault is Fault.EXPIRED else None
        self.proxy: FaultProxy = proxies.add(self.origin.port, source.words, tls)

    def metrics(self, max_age_s: int) -> list[dict[str, Any]]:
        """Return what the adapter is told."""
        ca_file = None
        if self.fault is Fault.EXPIRED:
            ca_file = self._directory / "ca.pem"
            ca_file.write_text(self._authority.pem)
        return [metric(self.name, self.origin.source(HOST, self.proxy.port, ca_file), max_age_s)]

    def was(self, seen: Seen) -> Span | None:
        """Return when what was seen was true."""
        return self.origin.truth.span(seen.value)

    def is_back(self, seen: Seen, mended_ms: float) -> bool:
        """Tell whether a value was read since the fault has ended."""
        span = self.was(seen)
        return span is not None and span.until_ms > mended_ms

    def break_it(self) -> None:
        """Begin to be broken."""
        if self.fault is Fault.CREDENTIALS:
            self.origin.change_credentials(back=False)
        elif self.fault is Fault.EXPIRED:
            self.proxy.present(server_context(self._directory, self._authority, expired=True))
        elif not self.origin.become(MODES[self.fault]):
            self.proxy.become(MODES[self.fault])

    def mend(self) -> None:
        """End it."""
        if self.fault is Fault.CREDENTIALS:
            self.origin.change_credentials(back=True)
        elif self.fault is Fault.EXPIRED:
            self.proxy.present(server_context(self._directory, self._authority, expired=False))
        else:
            self.origin.become(Mode.FORWARD)
            self.proxy.become(Mode.FORWARD)

    def __enter__(self) -> Self:
        self.origin.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.origin.__exit__(kind, error, trace)
