"""A signal's function, run by the kernel that knows it."""

from __future__ import annotations

from scaler import kernels, kernels_groups, kernels_over_time
from scaler.arena import Arena
from scaler.model import F64, I64, U8
from scaler.rules import COUNTER, EXTRAPOLATED, Function, Signal

_OVER_TIME = {
    Function.SUM_OVER_TIME: kernels_over_time.SUM,
    Function.AVG_OVER_TIME: kernels_over_time.AVG,
    Function.MIN_OVER_TIME: kernels_over_time.MIN,
    Function.MAX_OVER_TIME: kernels_over_time.MAX,
    Function.LAST_OVER_TIME: kernels_over_time.LAST,
    Function.PRESENT_OVER_TIME: kernels_over_time.PRESENT,
    Function.STDDEV_OVER_TIME: kernels_over_time.STDDEV,
    Function.QUANTILE_OVER_TIME: kernels_over_time.QUANTILE,
    Function.CHANGES: kernels_over_time.CHANGES,
    Function.RESETS: kernels_over_time.RESETS,
    Function.IDELTA: kernels_over_time.IDELTA,
    Function.IRATE: kernels_over_time.IRATE,
    Function.DERIV: kernels_over_time.DERIV,
    Function.PREDICT_LINEAR: kernels_over_time.PREDICT,
}


PER_SECOND = frozenset({Function.RATE, Function.HISTOGRAM_QUANTILE})


def run(arena: Arena, signal: Signal, ids: I64, end_ms: I64, value: F64, state: U8) -> None:
    """Compute every series of some blocks; of a histogram, the rates of its buckets.

    Args:
        arena: The samples.
        signal: The function and what it needs.
        ids: The blocks' rows, shape (k,).
        end_ms: Where each block's window ends, shape (k,).
        value, state: Filled, one a series; see `kernels.extrapolated`.
    """
    function, window_ms = signal.function, signal.window_ms or 0
    if function is Function.VALUE:
        kernels.newest(arena.values, arena.bits, arena.rows, ids, value, state)
    elif function in EXTRAPOLATED:
        kernels.extrapolated(
            arena.values,
            arena.bits,
            arena.times,
            arena.irregular,
            arena.events,
            arena.dropped,
            arena.rows,
            ids,
            end_ms,
            window_ms,
            function in COUNTER,
            function in PER_SECOND,
            value,
            state,
        )
    else:
        kernels_over_time.over_time(
            arena.values,
            arena.bits,
            arena.times,
            arena.irregular,
            arena.rows,
            ids,
            end_ms,
            window_ms,
            _OVER_TIME[function],
            _parameter(signal),
            value,
            state,
        )


def fold(
    arena: Arena, signal: Signal, op: int, ids: I64, end_ms: I64, gone_from: int, state: U8, out: F64, members: I64,
    unknown: I64,
) -> bool:  # fmt: skip
    """Compute every series of some blocks and fold them into their groups, without a number a series in between.

    Args:
        arena, signal, ids, end_ms, state: As in `run`.
        op, gone_from, out, members, unknown: See `kernels_groups.extrapolated_groups`.

    Returns: False, and nothing is done: there is no such kernel for the function.
    """
    if signal.function not in EXTRAPOLATED:
        return False
    kernels_groups.extrapolated_groups(
        arena.values,
        arena.bits,
        arena.times,
        arena.irregular,
        arena.groups,
        arena.events,
        arena.dropped,
        arena.rows,
        ids,
        end_ms,
        gone_from,
        signal.window_ms or 0,
        signal.function in COUNTER,
        signal.function in PER_SECOND,
        op,
        state,
        out,
        members,
        unknown,
    )
    return True


def _parameter(signal: Signal) -> float:
    if signal.function is Function.PREDICT_LINEAR:
        return (signal.ahead_ms or 0) / 1000
    return signal.quantile or 0.0
