"""The demo's child processes: started with it, ended with it, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

LOOPBACK = "127.0.0.1"
_END_S = 5.0


class DemoError(Exception):
    """The demo cannot go on; the message is one line that says why and what to do."""


def free_port(preferred: int = 0) -> int:
    """Return a TCP port of loopback that nobody listens on: the preferred one if it is free, else any."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            # As servers do; without it a port whose last connections are still in TIME_WAIT looks taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError(f"no free TCP port on {LOOPBACK}")


@dataclass(frozen=True, slots=True)
class Child:
    """A running child process. Its stdout and stderr go to `log`."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    async def ended(self) -> NoReturn:
        """Wait until it ends by itself, which it must not.

        Raises:
            DemoError: It did.
        """
        code = await self.process.wait()
        raise DemoError(f"{self.name} ended by itself with code {code}: {last_line(self.log)}")


@asynccontextmanager
async def child(
    name: str, argv: Sequence[str | Path], log: Path, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Child]:
    """Run a command while the context lasts, then SIGTERM, and SIGKILL if it is not gone 5 s later.

    Raises:
        DemoError: It cannot be started.
    """
    try:
        process = await _start(argv, log, environ)
    except OSError as exc:
        raise DemoError(f"{name} cannot be started: {exc}") from exc
    try:
        yield Child(name, process, log)
    finally:
        await _end(process)


async def _start(
    argv: Sequence[str | Path], log: Path, environ: Mapping[str, str] | None
) -> asyncio.subprocess.Process:
    with _appended(log) as output:
        # A process group of its own: Ctrl-C in a terminal reaches a whole group, and the demo ends things in order.
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=environ,
            process_group=0,
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        process.send_signal(signal.SIGCONT)  # someone may have stopped it, to see what happens
    try:
        async with asyncio.timeout(_END_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def last_line(log: Path) -> str:
    """Return the last line that says something, for a message."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _appended(log: Path) -> BinaryIO:
    return log.open("ab")
