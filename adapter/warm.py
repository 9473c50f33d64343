"""`python -m adapter.warm`: compile every kernel into numba's cache, for an image to carry."""

from __future__ import annotations

import sys

import adapter.app  # noqa: F401 its imports name every kernel that serve uses
from scaler.jit import compile_all

if __name__ == "__main__":
    sys.stdout.write(f"{compile_all()} kernels compiled\n")
