"""`python -m adapter.warm`: compile every kernel of `serve` into numba's cache, for an image to carry."""

from __future__ import annotations

import sys

import adapter.app  # noqa: F401 - importing it names every kernel that it uses
from scaler.jit import cached, compile_all


def main() -> None:
    """Compile, and say how much of it there was to do."""
    kernels = compile_all()
    sys.stdout.write(f"kernels={kernels} cached={cached()}\n")


if __name__ == "__main__":
    main()
