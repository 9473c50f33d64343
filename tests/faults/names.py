"""The row of DNS: a name server of our own, and a process that asks no other."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.adapter_process import Adapter
from tests.faults.matrix import Fault
from tests.faults.origins import RedisOrigin, metric
from tests.faults.proxy import FaultProxy, Proxies
from tests.faults.sources import NOISE, SOURCES
from tests.faults.truth import TICK_S, Span, Ticker
from tests.faults.watcher import Seen

ADDRESS = "127.0.5.53"
"""Of the name server: resolv.conf knows no ports, so that it needs port 53, and an address that nobody else uses."""

_A, _REFUSED, _TRUNCATED = 1, 5, 0x0200
MANY = 200


class NameServer:
    """Answers every name with 127.0.0.1, over UDP and TCP, or as a fault has it."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.questions = 0
        self._open = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for each in (udp, tcp):
            each.settimeout(0.2)
            each.bind((ADDRESS, 53))
        tcp.listen()
        self._open.set()
        for serve, sock in ((self._serve_udp, udp), (self._serve_tcp, tcp)):
            self._threads.append(threading.Thread(target=serve, args=(sock,), daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.clear()
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()

    def _serve_udp(self, sock: socket.socket) -> None:
        with sock:
            while self._open.is_set():
                with contextlib.suppress(TimeoutError):
                    question, client = sock.recvfrom(4096)
                    self.questions += 1
                    if self.fault is not Fault.HANGS:
                        sock.sendto(_answer(question, self.fault, tcp=False), client)

    def _serve_tcp(self, sock: socket.socket) -> None:
        with sock:
            while self._open.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = sock.accept()
                    with connection:
                        connection.settimeout(5)
                        while head := connection.recv(2):
                            found = _answer(connection.recv(int.from_bytes(head)), self.fault, tcp=True)
                            whole = len(found).to_bytes(2) + found
                            connection.sendall(whole[: len(whole) // 2] if self.fault is Fault.CUTS else whole)
                            if self.fault is Fault.CUTS:
                                break


def _answer(question: bytes, fault: Fault | None, *, tcp: bool) -> bytes:
    """Return the answer to a question, as a fault has it."""
    end = question.index(b"\0", 12) + 5
    asked, kind = question[12:end], int.from_bytes(question[end - 4 : end - 2])
    if fault is Fault.GARBAGE:
        return question[:2] + b"\x81\x80" + NOISE[:500]
    if fault in (Fault.CUTS, Fault.TOO_MUCH) and not tcp:
        return question[:2] + struct.pack(">HHHHH", 0x8180 | _TRUNCATED, 1, 0, 0, 0) + asked
    if fault is Fault.REFUSES:
        return question[:2] + struct.pack(">HHHHH", 0x8180 | _REFUSED, 1, 0, 0, 0) + asked
    addresses: Sequence[bytes] = [socket.inet_aton("127.0.0.1")]
    if fault is Fault.TOO_MUCH:
        addresses = [socket.inet_aton(f"127.9.{n // 250}.{n % 250 + 1}") for n in range(MANY)]
    records = [b"\xc0\x0c" + struct.pack(">HHIH", _A, 1, 0, 4) + each for each in addresses] if kind == _A else []
    return question[:2] + struct.pack(">HHHHH", 0x8180, 1, len(records), 0, 0) + asked + b"".join(records)


def needs_mounts() -> None:
    """Skip where a process cannot have mounts of its own, as of a resolv.conf or a small disk, and say why."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a process with mounts of its own needs root and unshare(1)")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("a process with mounts of its own needs the right to a mount namespace (CAP_SYS_ADMIN)")


class OwnNames(Adapter):
    """An adapter that asks our name server."""

    def wrapper(self) -> tuple[str, ...]:
        resolv, names = self.directory / "resolv.conf", self.directory / "nsswitch.conf"
        resolv.write_text(f"nameserver {ADDRESS}\noptions timeout:5 attempts:2\n")
        names.write_text("hosts: files dns\n")
        mounts = f"mount --bind {resolv} /etc/resolv.conf"
        if Path("/etc/nsswitch.conf").exists():
            mounts += f" && mount --bind {names} /etc/nsswitch.conf"
        return ("unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh")


class BrokenNames:
    """A Redis whose name has to be looked up anew, since its connections are cut, while the name server is broken.

    While it hangs, a crowd of other names does as well.
    """

    def __init__(self, fault: Fault, directory: Path, server: NameServer, proxies: Proxies) -> None:
        self.name = f"names-{fault.slug}"
        self._fault = fault
        self._names = server
        self.origin = RedisOrigin(directory / self.name, 5000)
        self.proxy: FaultProxy = proxies.add(self.origin.port, SOURCES["Redis"].words)
        self._ticker = Ticker(self._cut)
        self._ticks = 0

    def metrics(self, max_age_s: int) -> list[dict[str, Any]]:
        """Return what the adapter is told."""
        hosts = [f"{self.name}.test", *(f"{self.name}-{n}.test" for n in range(40 * (self._fault is Fault.HANGS)))]
        names = [self.name, *(f"{self.name}-{n}" for n in range(len(hosts) - 1))]
        return [
            metric(name, self.origin.source(host, self.proxy.port, None), max_age_s)
            for name, host in zip(names, hosts, strict=True)
        ]

    def was(self, seen: Seen) -> Span | None:
        """Return when what was seen was true."""
        return self.origin.truth.span(seen.value)

    def is_back(self, seen: Seen, mended_ms: float) -> bool:
        """Tell whether a value was read since the fault has ended."""
        span = self.was(seen)
        return span is not None and span.until_ms > mended_ms

    def break_it(self) -> None:
        """Begin."""
        if self._fault is Fault.ABSENT:
            self._names.__exit__(None, None, None)
        if self._fault is Fault.FLAPS:
            self._ticker.start()
        else:
            self._names.fault = self._fault
            self.proxy.cut()

    def mend(self) -> None:
        """End it."""
        if self._fault is Fault.FLAPS:
            self._ticker.stop()
        self._names.fault = None
        if self._fault is Fault.ABSENT:
            self._names.__enter__()

    def _cut(self) -> None:
        self._ticks += 1
        self._names.fault = Fault.REFUSES if self._ticks // round(1 / TICK_S) % 2 else None
        self.proxy.cut()

    def __enter__(self) -> Self:
        self.origin.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.origin.__exit__(kind, error, trace)
