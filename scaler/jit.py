"""How kernels are compiled: without the GIL, cached on disk where that is possible, and never by surprise.

A kernel names its signature, so that `compile_all` can compile every one before anything is served and then forbid
more: a call with an unexpected dtype becomes an error instead of a second, slow compilation under load.

numba keys its disk cache by the file that holds the kernel, not by what the kernel calls. So a cached function may
only call compiled functions of its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

_kernels: list[tuple[Any, Any]] = []
_done: list[Any] = []


def _njit(function: Any) -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # No folder to cache in, as in a container with a read-only root: compiling at each start is slow, not wrong.
        return numba.njit(**options)(function)


def inner(function: F) -> F:
    """Compile a function that only kernels of its own file call."""
    compiled: F = _njit(function)
    return compiled


def kernel(*signature: Any) -> Callable[[F], F]:
    """Compile a function for exactly these argument types (numba types), when `compile_all` is called."""

    def decorate(function: F) -> F:
        compiled: F = _njit(function)
        if hasattr(compiled, "disable_compile"):  # with NUMBA_DISABLE_JIT it is the plain function
            _kernels.append((compiled, signature))
        return compiled

    return decorate


def compile_all() -> int:
    """Compile every kernel imported so far, or load it from the cache, and forbid any other version of it.

    Returns: How many there are. Idempotent. Takes seconds without a cache, and the GIL while it compiles.
    """
    while len(_done) < len(_kernels):
        compiled, signature = _kernels[len(_done)]
        compiled.compile(signature)
        compiled.disable_compile()
        _done.append(compiled)
    return len(_kernels)
