"""The rows of our own files: configuration that changes, the serving certificate, and what is written at the start."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.adapter_process import Adapter
from tests.certificates import NOW, SERVER_AUTH, Authority, Pair
from tests.faults.defined import Definition
from tests.faults.matrix import Fault
from tests.faults.sources import NOISE
from tests.faults.stage import fixed, stamped
from tests.faults.truth import TICK_S, Span, Ticker
from tests.faults.watcher import Seen

_TOO_MUCH = 11 * 1024 * 1024
_PIECES = 60


class Slowly:
    """Does a list of things, one a tick, and the last of them at once when it is stopped early."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = [*steps]
        self._ticker = Ticker(self._tick)
        self._ticker.start()

    def _tick(self) -> None:
        if self._steps:
            self._steps.pop(0)()

    def stop(self) -> None:
        """End."""
        self._ticker.stop()


def replace(path: Path, content: bytes) -> None:
    """Write a file in one step, whatever was in its place."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)


def ring(path: Path) -> None:
    """Make a path one that nobody can open, not even root: a symbolic link to itself."""
    path.unlink()
    path.symlink_to(path.name)


def dripping(path: Path, content: bytes) -> Slowly:
    """Write a file in place, a piece a tick."""
    path.write_bytes(b"")
    size = len(content) // _PIECES + 1

    def append(piece: bytes) -> Callable[[], object]:
        return lambda: os.write(file, piece)

    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    return Slowly(*(append(content[at : at + size]) for at in range(0, len(content), size)), lambda: os.close(file))


def flapping(on: Callable[[], object], off: Callable[[], object]) -> Slowly:
    """Do one and the other in turn, a second each."""
    second = [lambda: None] * (round(1 / TICK_S) - 1)
    return Slowly(*([off, *second, on, *second] * 20))


class BrokenFile:
    """A file of the configuration, broken in one way while its content changes."""

    def __init__(self, fault: Fault, config: Path) -> None:
        self.name = f"file-{fault.slug}"
        self._fault = fault
        self._config = config
        self._aside = config.with_name("aside")
        self._path = config / f"{self.name}.yaml"
        self._definition = Definition(self.name, 10)
        self._slowly: Slowly | None = None

    def metrics(self, max_age_s: int) -> list[dict[str, Any]]:
        """Return what the adapter is told at first."""
        del max_age_s
        return [self._definition.document()]

    def was(self, seen: Seen) -> Span | None:
        """Return when what was seen was true."""
        return self._definition.was(seen)

    def is_back(self, seen: Seen, mended_ms: float) -> bool:
        """Tell whether the changed file counts."""
        return mended_ms == 0 or self._definition.is_back(seen)

    def break_it(self) -> None:
        """Begin."""
        self._content = yaml.safe_dump(self._definition.next()).encode()
        content, path = self._content, self._path
        match self._fault:
            case Fault.ABSENT:
                replace(path, content)
                self._config.rename(self._aside)
            case Fault.REFUSES:
                ring(path)
            case Fault.HANGS:
                path.unlink()
                os.mkfifo(path)
            case Fault.DRIPS:
                self._slowly = dripping(path, content)
            case Fault.CUTS:
                replace(path, content[: len(content) // 2])
            case Fault.GARBAGE:
                replace(path, NOISE)
            case Fault.TOO_MUCH:
                replace(path, content + b"#" * _TOO_MUCH)
            case _:
                replace(path, content)
                self._slowly = flapping(
                    lambda: self._aside.rename(self._config), lambda: self._config.rename(self._aside)
                )

    def mend(self) -> None:
        """End it."""
        if self._slowly is not None:
            self._slowly.stop()
        if self._aside.exists():
            self._aside.rename(self._config)
        replace(self._path, self._content)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._slowly is not None:
            self._slowly.stop()


class Certificates:
    """The files of a serving certificate, and those who issue it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.cert_file, self.key_file, self.ca_file = (directory / name for name in ("tls.crt", "tls.key", "ca.crt"))
        self._authority = Authority("serving")
        self.ca_file.write_text(self._authority.pem)
        self.write(self.issue())

    def issue(self, *, expired: bool = False) -> Pair:
        """Return a new certificate for localhost."""
        ends = NOW + timedelta(days=-1 if expired else 1)
        return self._authority.issue(
            "localhost", usage=SERVER_AUTH, dns="localhost", not_before=NOW - timedelta(days=2), not_after=ends
        )

    def write(self, pair: Pair) -> None:
        """Put a pair in place, the key first, as is done where it matters."""
        replace(self.key_file, pair.key_pem)
        replace(self.cert_file, pair.pem.encode())

    def start(self, directory: Path, config: Path) -> Adapter:
        """Return an adapter that serves it, whose readers believe only its authority."""
        own = self

        class Serving(Adapter):
            def context(self) -> ssl.SSLContext:
                context = ssl.create_default_context(cafile=str(own.ca_file))
                context.check_hostname = False  # the address is ours, the name the certificate's
                return context

        files = ("--tls-cert-file", str(self.cert_file), "--tls-private-key-file", str(self.key_file))
        return Serving(directory, config, *files)


class BrokenCertificate:
    """The serving certificate, broken in one way while it is replaced. Each answer is read over a new connection."""

    def __init__(self, fault: Fault, files: Certificates) -> None:
        self.name = f"certificate-{fault.slug}"
        self._fault = fault
        self._files = files
        self._metric = fixed(self.name, 12)
        self._new = files.issue()
        self._slowly: list[Slowly] = []

    def metrics(self, max_age_s: int) -> list[dict[str, Any]]:
        """Return what the adapter is told."""
        del max_age_s
        return [self._metric.metric]

    def was(self, seen: Seen) -> Span | None:
        """Return when what was seen was true."""
        return stamped(seen) if seen.value == 12 else None

    def is_back(self, seen: Seen, mended_ms: float) -> bool:
        """Tell whether the new certificate was shown."""
        return mended_ms == 0 or int(seen.shown or "0", 16) == self._new.certificate.serial_number

    def break_it(self) -> None:
        """Begin."""
        files, new = self._files, self._new
        match self._fault:
            case Fault.ABSENT:
                files.key_file.unlink()
                files.cert_file.unlink()
            case Fault.REFUSES:
                ring(files.key_file)
                ring(files.cert_file)
            case Fault.DRIPS:
                self._slowly = [
                    dripping(path, content[: -len(content) // 4])
                    for path, content in ((files.key_file, new.key_pem), (files.cert_file, new.pem.encode()))
                ]
            case Fault.CUTS:
                replace(files.cert_file, new.pem.encode())  # and the key not yet
            case Fault.GARBAGE:
                replace(files.cert_file, NOISE)
            case Fault.CREDENTIALS:
                replace(files.key_file, files.issue().key_pem)
            case Fault.EXPIRED:
                files.write(files.issue(expired=True))
            case _:
                self._slowly = [flapping(lambda: files.write(new), lambda: replace(files.cert_file, NOISE))]

    def mend(self) -> None:
        """End it, with the new pair."""
        for each in self._slowly:
            each.stop()
        for path in (self._files.key_file, self._files.cert_file):
            if path.is_symlink():
                path.unlink()
        self._files.write(self._new)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._slowly:
            each.stop()


class Starting(Adapter):
    """An adapter whose directory for certificates is broken when it starts.

    A disk that is full or cannot be written to is a mount of its own, which needs root.
    """

    def __init__(self, fault: Fault, directory: Path, config: Path) -> None:
        self._certs = directory / "certs"
        self._fault = fault
        super().__init__(directory, config)
        if fault is Fault.ABSENT:
            return
        self._certs.mkdir()
        authority = Authority("other")
        pair, other = (authority.issue("x", dns="localhost", usage=SERVER_AUTH) for _ in range(2))
        cert, key = pair.pem.encode(), pair.key_pem
        match fault:
            case Fault.CUTS:
                cert = cert[: len(cert) // 2]
            case Fault.GARBAGE:
                cert = key = NOISE
            case Fault.CREDENTIALS:
                key = other.key_pem
            case Fault.EXPIRED:
                past = authority.issue("x", dns="localhost", usage=SERVER_AUTH, not_after=NOW - timedelta(seconds=1))
                cert, key = past.pem.encode(), past.key_pem
        (self._certs / "tls.crt").write_bytes(cert)
        (self._certs / "tls.key").write_bytes(key)

    def wrapper(self) -> tuple[str, ...]:
        if self._fault not in (Fault.REFUSES, Fault.TOO_MUCH):
            return ()
        options = "ro" if self._fault is Fault.REFUSES else "size=4k"
        full = "" if self._fault is Fault.REFUSES else f" && head -c 4096 /dev/zero > {self._certs}/full"
        mount = f"mount -t tmpfs -o {options} tmpfs {self._certs}{full}"
        return ("unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh")
