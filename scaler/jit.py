"""How kernels are compiled: without the GIL, cached on disk where that is possible, and never by surprise.

A kernel names its signature, so that `compile_all` can compile every one before anything is served and then forbid
more: a call with an unexpected dtype becomes an error instead of a second, slow compilation under load.

numba freezes into a function what it calls and the constants it names, wherever they are from, but judges its disk
cache by the time of the function's own file: a change elsewhere would go unseen, and a file that was copied looks new.
So we stamp what is cached with a digest of the code and of everything frozen into it. Kernels may then share functions
and constants across files, and a cache that was made with an image is good whatever times its files have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, TypeVar

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

_kernels: list[tuple[Any, Any]] = []
_done: list[Any] = []


def _njit(function: Any, **more: bool) -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", **more}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # No folder to cache in, as in a container with a read-only root: compiling at each start is slow, not wrong.
        return numba.njit(**options)(function)
    if hasattr(compiled, "py_func"):  # with NUMBA_DISABLE_JIT it is the plain function
        compiled._cache._cache_file._source_stamp = frozen(compiled) + "".join(more)
    return compiled


def frozen(compiled: Any) -> str:
    """Return a digest of what numba freezes into a compiled function: its code, its constants, what it calls."""
    digest = hashlib.sha256()
    waiting, seen = [compiled.py_func], set()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        code = function.__code__
        digest.update(repr(_code(code)).encode())
        cells = zip(code.co_freevars, (cell.cell_contents for cell in function.__closure__ or ()), strict=True)
        for name, value in [*_globals(function), *cells]:
            # A compiled function; or what builds the instructions of an intrinsic, and what that calls.
            called = getattr(value, "py_func", value)
            if isinstance(called, FunctionType):
                waiting.append(called)
            elif isinstance(value, np.ndarray):
                digest.update(f"{name}: {value.dtype} {value.shape} {value.tobytes()!r};".encode())
            elif isinstance(value, int | float | str | bytes | tuple):
                digest.update(f"{name}: {value!r};".encode())
            elif type(value).__module__.startswith("llvmlite.ir."):
                digest.update(f"{name}: {value};".encode())
    return digest.hexdigest()


def _globals(function: FunctionType) -> list[tuple[str, object]]:
    """Return the globals that a function names, of functions only ours."""
    known, package = function.__globals__, function.__module__.partition(".")[0]
    named = [(name, known[name]) for name in sorted(_names(function.__code__)) if name in known]
    return [
        (name, value)
        for name, value in named
        if not isinstance(value, FunctionType) or value.__module__.partition(".")[0] == package
    ]


def _code(code: CodeType) -> tuple[object, ...]:
    constants = [_code(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames


def _names(code: CodeType) -> set[str]:
    inside = (_names(each) for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*inside)


def inner(function: F) -> F:
    """Compile a function that only kernels call."""
    compiled: F = _njit(function)
    return compiled


def inlined(function: F) -> F:
    """Compile a small function into whatever calls it: a call costs about 5 ns, which is more than its work."""
    compiled: Any = numba.njit(inline="always", nogil=True, error_model="numpy")(function)
    result: F = compiled
    return result


def leaf(function: F) -> F:
    """Compile a function that only kernels call and that makes no array: it counts no references to those it is given.

    Counting is atomic: in small functions it took more than half of the time, and threads that share an array wait for
    each other. What is given must be kept alive by the caller, as an argument is.
    """
    compiled: F = _njit(function, _nrt=False)
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


def cached() -> int:
    """Return how many of the kernels that `compile_all` has seen to came from the disk cache."""
    return sum(any(compiled.stats.cache_hits.values()) for compiled in _done)
