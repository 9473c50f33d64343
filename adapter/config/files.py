"""Bytes of configuration files: which files a path stands for, and what they hold."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 10 * 1024 * 1024
"""Of one file: more than 10,000 metrics, and well above the 1 MiB a ConfigMap can hold."""

SUFFIXES = frozenset({".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was read. `problem`: why it could not be; `hint`: what is odd about it. `content` is then empty."""

    name: str
    content: bytes = b""
    problem: str = ""
    hint: str = ""


def read_files(paths: Sequence[Path]) -> tuple[File, ...]:
    """Read every file the paths stand for, each once, in order."""
    files: dict[Path, File] = {}
    for path in paths:
        for file in expand(path):
            if isinstance(file, File):
                files.setdefault(Path(file.name), file)
            else:
                files.setdefault(file.absolute(), _read(file))
    return tuple(files.values())


def expand(path: Path) -> Iterator[Path | File]:
    """Yield the files a path stands for: itself, or in a directory each *.yaml and *.yml by name, not recursively.

    Names that begin with a dot are left out: Kubernetes keeps the folders of a mounted ConfigMap under such names,
    and shows their files as symbolic links beside them.
    """
    try:
        if not path.is_dir():
            yield path
            return
        names = sorted(child.name for child in path.iterdir())
    except OSError as exc:
        yield File(str(path), problem=_unreadable(exc))
        return
    found = [path / name for name in names if not name.startswith(".") and Path(name).suffix in SUFFIXES]
    found = [child for child in found if not child.is_dir()]
    yield from found
    if not found:
        yield File(str(path), hint="holds no *.yaml or *.yml file")


def _read(path: Path) -> File:
    name = str(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return File(name, problem="is not a regular file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as exc:
        return File(name, problem=_unreadable(exc))
    if len(content) > MAX_BYTES:
        return File(name, problem=f"must be at most {MAX_BYTES} bytes (10 MiB)")
    return File(name, content)


def _unreadable(exc: OSError) -> str:
    return f"cannot be read: {exc.strerror}"
