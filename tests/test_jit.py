"""What numba's disk cache holds is used exactly while it is right."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = """
import numpy as np
from scaler.jit import inner
SCALE = {scale}
TABLE = np.array([{table}])
@inner
def deep(x):
    return x + {deep}
@inner
def helper(x):
    return deep(x) * TABLE[0]
"""
USER = """
from numba import types
from scaler.jit import compile_all, kernel
from helping import SCALE, helper
@kernel(types.int64)
def use(x):
    return helper(x) * SCALE
compile_all()
print(use(1), sum(use.stats.cache_hits.values()))
"""


_times = itertools.count(1_000_000_000)


def run(folder: Path, **constants: int) -> tuple[int, int]:
    """Write the two modules and run them; return what the kernel says, and how often it came from the cache."""
    (folder / "helping.py").write_text(HELPER.format(**{"scale": 1, "table": 1, "deep": 0} | constants))
    (folder / "using.py").write_text(USER)
    os.utime(folder / "using.py", (0, next(_times)))
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(Path(__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "using.py"], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    value, hits = done.stdout.split()
    return int(value), int(hits)


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
def test_a_kernel_is_compiled_again_when_anything_frozen_into_it_changes(tmp_path: Path) -> None:
    """A constant, a table and a function of another file count as the kernel's own; a new time of its file does not."""
    assert run(tmp_path) == (1, 0)
    assert run(tmp_path) == (1, 1)
    assert run(tmp_path, scale=3) == (3, 0)
    assert run(tmp_path, table=5) == (5, 0)
    assert run(tmp_path, deep=7) == (8, 0)
    assert run(tmp_path, deep=7) == (8, 1)
