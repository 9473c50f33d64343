"""Notice that configuration files have changed, and read them again.

Polling, because a mounted ConfigMap changes by a swap of symbolic links that no event on the file itself shows, and
because it works on every file system. A poll costs one stat a file.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TypeAlias

from adapter.config.files import File, expand, read_files
from adapter.config.load import LoadResult, parse

POLL_S = 2.0
SETTLE_S = 0.1
"""How long files must hold still: an editor or a link swap is not read half done."""

_MAX_READS = 50

_Stamp: TypeAlias = tuple[tuple[str, int, int, int, int], ...]


class Watch:
    """The configuration at some paths, and its changes. One reader; all work on files is done in a thread."""

    def __init__(self, paths: Sequence[Path], poll_s: float = POLL_S, settle_s: float = SETTLE_S) -> None:
        self._paths = tuple(paths)
        self._poll_s = poll_s
        self._settle_s = settle_s
        self._stamp: _Stamp | None = None
        self._digest = b""
        self._wanted = asyncio.Event()
        self.polls = 0
        """How often the files have been looked at."""

    def reload(self) -> None:
        """Make `changes` yield what the files hold now, changed or not. Call it on the event loop."""
        self._wanted.set()

    async def load(self) -> LoadResult:
        """Read the files now. `changes` counts from here."""
        files = await self._settled()
        self._digest = _digest(files)
        return await asyncio.to_thread(parse, files)

    async def changes(self) -> AsyncGenerator[LoadResult, None]:
        """Yield what the files hold each time their content has changed, errors included. Never ends."""
        while True:
            wanted = await self._woken()
            stamp = await asyncio.to_thread(_stamp, self._paths)
            self.polls += 1
            if stamp == self._stamp and not wanted:
                continue
            files = await self._settled()
            digest = _digest(files)
            if digest != self._digest or wanted:
                self._digest = digest
                yield await asyncio.to_thread(parse, files)

    async def _woken(self) -> bool:
        """Wait for the next poll; return whether it was asked for."""
        try:
            await asyncio.wait_for(self._wanted.wait(), self._poll_s)
        except TimeoutError:
            return False
        self._wanted.clear()
        return True

    async def _settled(self) -> tuple[File, ...]:
        """Read until two reads in a row agree, or for the fiftieth time."""
        self._stamp = await asyncio.to_thread(_stamp, self._paths)
        files = await asyncio.to_thread(read_files, self._paths)
        for _ in range(_MAX_READS):
            await asyncio.sleep(self._settle_s)
            before, self._stamp = self._stamp, await asyncio.to_thread(_stamp, self._paths)
            if self._stamp == before:
                return files
            files = await asyncio.to_thread(read_files, self._paths)
        return files


def _stamp(paths: Sequence[Path]) -> _Stamp:
    """Return what differs once a file was written, replaced, added or removed."""
    return tuple(_file_stamp(file) for path in paths for file in expand(path))


def _file_stamp(file: Path | File) -> tuple[str, int, int, int, int]:
    if isinstance(file, File):
        return file.name, 0, 0, 0, 0
    try:
        status = file.stat()
    except OSError as exc:
        return str(file), exc.errno or 0, 0, 0, 0
    return str(file), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest(files: Sequence[File]) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    for file in files:
        head = "\0".join((file.name, file.problem, file.hint, str(len(file.content))))
        digest.update(head.encode(errors="surrogateescape"))
        digest.update(file.content)
    return digest.digest()
