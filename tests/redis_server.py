"""A real redis-server for tests: on a free port of loopback, in a directory of its own, gone at the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import redis

from tests.waiting import until_sync

_OWN = {"hello", "info", "config|resetstat", "client|setinfo", "client|setname", "ping"}


class RedisServer:
    """A redis-server process. Keyword options as in redis.conf: `maxclients=1`, `tls_port=…`.

    Used as a context manager it starts at once. `stop` and `start` keep port and directory, and so what was saved.
    """

    def __init__(
        self, directory: Path, *, password: str | None = None, executable: str | None = None, **options: object
    ) -> None:
        self.directory = directory
        self.executable = executable
        self.port = free_port()
        self.password = password
        self.options: dict[str, Any] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            **options,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def target(self) -> str:
        """The target of database 0."""
        return f"127.0.0.1:{self.port}/0"

    def start(self, *, ready: bool = True, **options: object) -> Self:
        """Start, and wait until it answers; `ready` False: until it accepts connections."""
        arguments = self.arguments({**self.options, **options})
        with (self.directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log)
        until_sync(self._answers if ready else self._accepts)
        return self

    def arguments(self, options: Mapping[str, object]) -> list[str]:
        """Return the command line."""
        arguments = [self.executable or redis_server(), "--dir", str(self.directory), "--daemonize", "no"]
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}", *([""] if value == "" else str(value).split(" "))]
        if self.password is not None:
            arguments += ["--requirepass", self.password]
        return arguments

    def _accepts(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError((self.directory / "redis.log").read_text(errors="replace")[-2000:])
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True

    def _answers(self) -> bool:
        if not self._accepts():
            return False
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.exceptions.BusyLoadingError:
            return False
        except redis.exceptions.MasterDownError:
            return True

    def client(self, **options: Any) -> redis.Redis:
        """Return a client. Close it, or use it in a `with`."""
        return redis.Redis(host="127.0.0.1", port=self.port, password=self.password, socket_timeout=10, **options)

    def run(self, *commands: str) -> list[Any]:
        """Run commands, each written as one would type it, and return the replies."""
        with self.client(protocol=2) as client:
            # redis-py leaves this method untyped.
            return [cast("Any", client).execute_command(*command.split(" ")) for command in commands]

    def calls(self) -> dict[str, int]:
        """Return how often each command was called since CONFIG RESETSTAT, without those this class sends itself."""
        with self.client() as client:
            stats: dict[str, dict[str, int]] = client.info("commandstats")
        counts = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
        return {name: count for name, count in counts.items() if name not in _OWN}

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    def pause(self) -> None:
        """Stop the process from running; the kernel still accepts connections for it."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    stop = kill

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("not running")
        os.kill(self._process.pid, number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def redis_server() -> str:
    """Return the path of redis-server."""
    path = shutil.which("redis-server")
    if path is None:
        raise RuntimeError(
            "these tests need redis-server 7 or newer on PATH: apt install redis-server (or brew install redis)"
        )
    return path


def free_port() -> int:
    """Return a port nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
