"""A real master with a replica and sentinels that watch them, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.redis_server import RedisServer, redis_server
from tests.waiting import until_sync

MASTER = "mymaster"


class Sentinel(RedisServer):
    """A redis-server process that is a sentinel for one master. `lines` are added to its configuration."""

    def __init__(
        self, directory: Path, master_port: int, *lines: str, quorum: int = 2, executable: str | None = None
    ) -> None:
        super().__init__(directory, executable=executable)
        directory.mkdir(exist_ok=True)
        settings = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {directory}",
            f"sentinel monitor {MASTER} 127.0.0.1 {master_port} {quorum}",
            f"sentinel down-after-milliseconds {MASTER} 500",
            f"sentinel failover-timeout {MASTER} 6000",
            *lines,
        )
        self._file = directory / "sentinel.conf"  # which the sentinel itself rewrites
        self._file.write_text("\n".join(settings) + "\n")

    def arguments(self, options: Mapping[str, object]) -> list[str]:
        """Return the command line."""
        del options
        return [self.executable or redis_server(), str(self._file), "--sentinel"]

    def knows(self) -> dict[bytes, bytes]:
        """Return what it knows of the master."""
        (reply,) = self.run(f"SENTINEL MASTER {MASTER}")
        return dict(zip(reply[::2], reply[1::2], strict=True))


class SentinelSet:
    """Two servers, of which the first is the master at the start, and sentinels that know each other."""

    def __init__(self, directory: Path, sentinels: int = 3) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._count = sentinels
        self.servers: list[RedisServer] = []
        self.sentinels: list[Sentinel] = []

    @property
    def addresses(self) -> list[str]:
        """The sentinels, as a configuration names them."""
        return [f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels]

    def failover(self) -> None:
        """Have the sentinels make the other server the master. The one that was it goes on saying that it is."""
        before = self.sentinels[0].knows()[b"port"]
        self.sentinels[0].run(f"SENTINEL FAILOVER {MASTER}")
        until_sync(lambda: all(sentinel.knows()[b"port"] != before for sentinel in self.sentinels))

    def __enter__(self) -> Self:
        try:
            self._form()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _form(self) -> None:
        for i in range(2):
            directory = self._directory / f"server{i}"
            directory.mkdir()
            master = {"replicaof": f"127.0.0.1 {self.servers[0].port}"} if i else {}
            server = RedisServer(directory, repl_diskless_sync_delay=0, **master)
            self.servers.append(self._stack.enter_context(server))
        for i in range(self._count):
            sentinel = Sentinel(self._directory / f"sentinel{i}", self.servers[0].port)
            self.sentinels.append(self._stack.enter_context(sentinel))
        until_sync(lambda: all(self._complete(sentinel) for sentinel in self.sentinels))

    def _complete(self, sentinel: Sentinel) -> bool:
        known = sentinel.knows()
        return known[b"num-slaves"] == b"1" and int(known[b"num-other-sentinels"]) == self._count - 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def say(port: int, epoch: int, host: str = "127.0.0.1") -> bytes:
    """Return what a sentinel says of a master at this port."""
    fields = {"name": MASTER, "ip": host, "port": str(port), "flags": "master", "config-epoch": str(epoch)}
    words = [word for pair in fields.items() for word in pair]
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words)
