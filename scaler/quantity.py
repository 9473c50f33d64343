"""Values on the wire: int64 milli-units, written as a Kubernetes resource.Quantity."""

from __future__ import annotations

import math

import numpy as np

from scaler.model import F64, I64

MAX_MILLI = 9_199_999_999_999_999_999
"""The largest value served, in milli-units. From 2**63 milli-units on, the HPA's int64 wraps and it scales down."""

_SUFFIXES = {-3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
_NOISE = 1e-9


def text(milli: int) -> str:
    """Return the canonical text of so many milli-units: 1500 → "1500m", 3000 → "3", 1_000_000 → "1k".

    Source: k8s.io/apimachinery pkg/api/resource, NewMilliQuantity(milli, DecimalSI).String().
    """
    if milli == 0:
        return "0"
    if milli % 1000:
        return f"{milli}m"
    sign, mantissa, exponent = "-" if milli < 0 else "", abs(milli), -3
    while mantissa % 1000 == 0 and exponent < 18:
        mantissa //= 1000
        exponent += 3
    return f"{sign}{mantissa}{_SUFFIXES[exponent]}"


def milli(value: float) -> int:
    """Return a value in the metric's unit as milli-units.

    Rounds up, as the HPA does, so that any value above 0 is at least 1: 1m wakes a workload that sleeps at zero
    replicas, and 0 means idle. A value within 1e-9 (relative) of a whole number of milli-units is that number: 1.1 is
    1100, though 1.1 * 1000 is a little more. Above MAX_MILLI it is MAX_MILLI.

    Raises:
        ValueError: The value is NaN, infinite or negative. Such a value is unknown, and no number stands for it.
    """
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"only a finite value of at least 0 has milli-units, got {value}")
    if value >= MAX_MILLI / 1000:
        return MAX_MILLI
    whole = math.floor(value)
    scaled = (value - whole) * 1000  # apart from the whole part, which a product of floats would blur above 9e12
    nearest = round(scaled)
    noise = abs(scaled - nearest) <= _NOISE * value * 1000
    return whole * 1000 + (nearest if noise else math.ceil(scaled))


def millis(values: F64) -> I64:
    """Return `milli` of each of some values, all of them finite and not negative."""
    clipped = np.minimum(values, MAX_MILLI / 1000)
    whole = np.floor(clipped)
    scaled = (clipped - whole) * 1000
    nearest = np.rint(scaled)
    noise = np.abs(scaled - nearest) <= _NOISE * clipped * 1000
    found = whole.astype(np.int64) * 1000 + np.where(noise, nearest, np.ceil(scaled)).astype(np.int64)
    return np.where(values >= MAX_MILLI / 1000, MAX_MILLI, found)
