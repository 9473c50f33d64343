"""The HPA's algorithm, compiled: hpa.py says it in words, this does it fast, and a test holds them together.

It decides only. Messages, events and conditions but ScaledToZero are left out, and each metric has one item at most.
What no longer counts is forgotten, except where forgetting would change a later decision.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int64

from scaler.hpa_behavior import SCALE_UP_FACTOR, SCALE_UP_MINIMUM
from scaler.hpa_replicas import MAX_INT32, MIN_INT32
from scaler.jit import kernel, leaf
from scaler.model import F64, I64
from scaler.quantity import MAX_MILLI
from scaler.simulate_kernel_fluid import one
from scaler.simulate_state import EVENT, MEMORY, RULE, TARGET, Record, Records

UNKNOWN = -1
"""Of a reading: there is none."""
NO_PROPOSAL = MIN_INT32 - 1
"""Below every int32: it cannot be said."""

READY, UP_STABILIZED, DOWN_STABILIZED = 0, 1, 2
WITHIN, TOO_MANY, TOO_FEW, UP_LIMIT, DOWN_LIMIT, OUT_OF_BOUNDS, DISABLED_AT_ZERO, FAILED = 0, 1, 2, 3, 4, 5, 6, 7
MAX, MIN, DISABLED = 0, 1, 2
PODS = 0

_TWO_32 = 4294967296
_NOISE = 1e-9


@leaf
def _wrap(number: int) -> int:
    return (number - MIN_INT32) % _TWO_32 + MIN_INT32


@leaf
def _int32(number: float) -> int:
    return int(number) if MIN_INT32 - 1 < number < MAX_INT32 + 1 else MIN_INT32


@leaf
def _ceil(number: float) -> float:
    return float(np.ceil(number))  # compiled, math.ceil is an int64, which not every float64 fits


@leaf
def milli_of(value: float) -> int:
    """Return a value, finite and not negative, in milli-units: quantity.milli."""
    if value >= MAX_MILLI / 1000:
        return MAX_MILLI
    whole = math.floor(value)
    scaled = (value - whole) * 1000.0
    nearest = math.floor(scaled)
    if scaled - nearest > 0.5 or (scaled - nearest == 0.5 and nearest % 2 == 1):
        nearest += 1
    if abs(scaled - nearest) <= _NOISE * value * 1000.0:
        return int(whole) * 1000 + int(nearest)
    return int(whole) * 1000 + math.ceil(scaled)


@leaf
def _within(rule: Record, ratio: float) -> bool:
    return bool((1.0 - rule.down_tolerance) <= ratio <= (1.0 + rule.up_tolerance))


@leaf
def _proposal(rule: Record, target: Record, milli: int, current: int, status: int, pods: int, ready: int) -> int:
    """Return what one metric asks for, or NO_PROPOSAL."""
    usage, wanted = float(milli), float(target.milli)
    if target.per_replica:
        if _within(rule, usage / (wanted * float(status))):
            return status
        replicas = _ceil(usage / wanted)
        return MAX_INT32 if replicas > MAX_INT32 else _int32(replicas)
    ratio = usage / wanted
    if current == 0:
        return _int32(_ceil(ratio))
    if _within(rule, ratio):
        return current
    if pods == 0:
        return NO_PROPOSAL
    replicas = ratio * float(ready)
    return MAX_INT32 if replicas > MAX_INT32 else _int32(_ceil(replicas))


@leaf
def _combined(rule: Record, targets: Records, readings: I64, current: int, status: int, pods: int, ready: int) -> int:
    """Return what all metrics ask for; NO_PROPOSAL if that cannot be said."""
    replicas, failed = 0, 0
    for index in range(len(targets)):
        proposal = NO_PROPOSAL
        if readings[index] != UNKNOWN:
            proposal = _proposal(rule, targets[index], readings[index], current, status, pods, ready)
        if proposal == NO_PROPOSAL:
            failed += 1
        elif replicas == 0 or proposal > replicas:
            replicas = proposal
    if failed and (failed == len(targets) or replicas < current):
        return NO_PROPOSAL
    return replicas


@leaf
def _since(events: Records, end: int, cutoff_s: float) -> int:
    change = 0
    for index in range(end):
        if events[index].time_s > cutoff_s:
            change += events[index].change
    return _wrap(change)


@leaf
def _start(memory: Record, ups: Records, downs: Records, current: int, period_s: int, now_s: float) -> int:
    added = _since(ups, memory.up_end, now_s - period_s)
    removed = _since(downs, memory.down_end, now_s - period_s)
    return _wrap(current - added + removed)


@leaf
def _up_limit(
    rule: Record, policies: I64, memory: Record, ups: Records, downs: Records, current: int, now_s: float
) -> int:
    if rule.up_select == DISABLED:
        return current
    found = MAX_INT32 if rule.up_select == MIN else MIN_INT32
    for index in range(rule.up_count):
        start = _start(memory, ups, downs, current, policies[0, index, 2], now_s)
        if policies[0, index, 0] == PODS:
            limit = _wrap(start + policies[0, index, 1])
        else:
            limit = _int32(_ceil(float(start) * (1 + float(policies[0, index, 1]) / 100)))
        found = min(found, limit) if rule.up_select == MIN else max(found, limit)
    return found


@leaf
def _down_limit(
    rule: Record, policies: I64, memory: Record, ups: Records, downs: Records, current: int, now_s: float
) -> int:
    if rule.down_select == DISABLED:
        return current
    found = MIN_INT32 if rule.down_select == MIN else MAX_INT32
    for index in range(rule.down_count):
        start = _start(memory, ups, downs, current, policies[1, index, 2], now_s)
        if policies[1, index, 0] == PODS:
            limit = _wrap(start - policies[1, index, 1])
        else:
            limit = _int32(float(start) * (1 - float(policies[1, index, 1]) / 100))
        found = max(found, limit) if rule.down_select == MIN else min(found, limit)
    return found


@leaf
def _stabilized(
    rule: Record, memory: Record, times: F64, counts: I64, current: int, desired: int, now_s: float
) -> tuple[int, int]:
    """Return the count that recent recommendations allow, and why; remember `desired`.

    The recommendations ascend in time, so each search goes back from the newest one and ends at its window's edge.
    """
    down_cutoff_s, up_cutoff_s = now_s - rule.down_window_s, now_s - rule.up_window_s
    lowest = highest = desired
    index = memory.recommendation_end - 1
    if rule.behavior:
        while index >= 0 and times[index] > down_cutoff_s:
            highest = max(highest, counts[index])
            index -= 1
        index = memory.recommendation_end - 1
        while index >= 0 and times[index] > up_cutoff_s:
            lowest = min(lowest, counts[index])
            index -= 1
        stable = min(max(current, lowest), highest)
    else:
        while index >= 0 and times[index] >= down_cutoff_s:
            highest = max(highest, counts[index])
            index -= 1
        stable = highest
    times[memory.recommendation_end], counts[memory.recommendation_end] = now_s, desired
    memory.recommendation_end += 1
    if stable == desired:
        return stable, READY
    return stable, UP_STABILIZED if rule.behavior and desired >= current else DOWN_STABILIZED


@leaf
def _limited(
    rule: Record,
    policies: I64,
    memory: Record,
    ups: Records,
    downs: Records,
    current: int,
    desired: int,
    now_s: float,
) -> tuple[int, int]:
    """Return the count that policies and bounds allow, and why."""
    low, high = rule.min_replicas, rule.max_replicas
    if not rule.behavior:
        rate_limit = _int32(max(SCALE_UP_FACTOR * float(current), SCALE_UP_MINIMUM))
        if desired < low:
            return low, TOO_FEW
        if desired > min(high, rate_limit):
            return (rate_limit, UP_LIMIT) if rate_limit < high else (high, TOO_MANY)
    elif desired > current:
        rate_limit = max(current, _up_limit(rule, policies, memory, ups, downs, current, now_s))
        if desired > min(high, rate_limit):
            return (rate_limit, UP_LIMIT) if rate_limit < high else (high, TOO_MANY)
    elif desired < current:
        rate_limit = min(current, _down_limit(rule, policies, memory, ups, downs, current, now_s))
        if desired < max(low, rate_limit):
            return (rate_limit, DOWN_LIMIT) if rate_limit > low else (low, TOO_FEW)
    return desired, WITHIN


@leaf
def _add_event(events: Records, end: int, change: int, longest_s: float, now_s: float) -> int:
    """Put a change in the place of the last outdated one, else at the end. Returns: one past the last."""
    place = end
    for index in range(end):
        if events[index].time_s < now_s - longest_s:
            events[index].outdated = 1
        if events[index].outdated:
            place = index
    events[place].time_s, events[place].change, events[place].outdated = now_s, _wrap(change), 0
    return max(end, place + 1)


@leaf
def sync(
    rule: Record,
    policies: I64,
    targets: Records,
    memory: Record,
    times: F64,
    counts: I64,
    ups: Records,
    downs: Records,
    readings: I64,
    current: int,
    status: int,
    pods: int,
    ready: int,
    now_s: float,
) -> tuple[int, int, int, int]:
    """Run one sync: hpa.decide.

    Args:
        policies: Kind, value and period of the policies upwards and downwards; shape (2, most, 3).
        times: Of the recommendations, with room for one more, two at the first sync; counts: their replicas.
        readings: One a metric, milli-units, or UNKNOWN.

    Returns: The replicas to set, those that the metrics ask for (UNKNOWN where they were not asked or gave no answer),
        and the indices in STABLE and LIMIT of why.
    """
    if memory.recommendation_end == 0:
        times[0], counts[0], memory.recommendation_end = now_s, current, 1
    stable, limit = READY, WITHIN
    if current == 0 and not (rule.scale_to_zero and memory.scaled_to_zero):
        return current, UNKNOWN, READY, DISABLED_AT_ZERO
    if current != 0 and not (rule.min_replicas <= current <= rule.max_replicas):
        replicas = rule.max_replicas if current > rule.max_replicas else rule.min_replicas
        desired, limit = UNKNOWN, OUT_OF_BOUNDS
    else:
        combined = _combined(rule, targets, readings, current, status, pods, ready)
        if combined == NO_PROPOSAL:
            return current, UNKNOWN, READY, FAILED
        desired = max(combined, 0)
        allowed, stable = _stabilized(rule, memory, times, counts, current, desired, now_s)
        replicas, limit = _limited(rule, policies, memory, ups, downs, current, allowed, now_s)
        if current == 0 and replicas < rule.min_replicas:
            replicas = rule.min_replicas
    if replicas != current:
        if rule.behavior and replicas > current:
            memory.up_end = _add_event(ups, memory.up_end, replicas - current, rule.up_longest_s, now_s)
        elif rule.behavior:
            memory.down_end = _add_event(downs, memory.down_end, current - replicas, rule.down_longest_s, now_s)
        memory.scaled_to_zero = rule.scale_to_zero and replicas == 0 and rule.min_replicas == 0
    return replicas, desired, stable, limit


RULE_T, TARGET_T, MEMORY_T, EVENT_T = map(one, (RULE, TARGET, MEMORY, EVENT))


@kernel(
    RULE_T,
    int64[:, :, ::1],
    TARGET_T,
    MEMORY_T,
    float64[::1],
    int64[::1],
    EVENT_T,
    EVENT_T,
    int64[::1],
    int64,
    int64,
    int64,
    int64,
    float64,
)
def sync_hpa(
    rule: Records,
    policies: I64,
    targets: Records,
    memory: Records,
    times: F64,
    counts: I64,
    ups: Records,
    downs: Records,
    readings: I64,
    current: int,
    status: int,
    pods: int,
    ready: int,
    now_s: float,
) -> tuple[int, int, int, int]:
    """Do `sync`; rule and memory are the first of their arrays."""
    state = (current, status, pods, ready, now_s)
    return sync(rule[0], policies, targets, memory[0], times, counts, ups, downs, readings, *state)
