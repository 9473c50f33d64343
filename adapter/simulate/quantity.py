"""Kubernetes quantities as users write them: "10", "500m", "1.5k", "2Gi", "1e3"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from adapter.schema.words import Unclear, show, wrong

MAX_MILLI = 2**63 - 1
MAX_CHARS = 64

_FORM = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,4}|)")
_POWER = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_NANO = Fraction(1, 10**9)


def parse_milli(text: str) -> int | None:
    """Return a quantity in milli-units, or None if the text is none or its milli-units do not fit 64 bits.

    What is finer than a billionth is rounded away from zero to one, and so are milli-units.

    Source: k8s.io/apimachinery pkg/api/resource, ParseQuantity and Quantity.MilliValue.
    """
    value = _value(text)
    if value is None:
        return None
    milli = _away(value * 1_000)
    return milli if abs(milli) <= MAX_MILLI else None


def parse_number(text: str) -> float | None:
    """Return a quantity as a float64, or None: Quantity.AsApproximateFloat64."""
    value = _value(text)
    return None if value is None else float(value)


def _value(text: str) -> Fraction | None:
    found = _FORM.fullmatch(text) if len(text) <= MAX_CHARS else None
    if found is None:
        return None
    sign, digits, suffix = found.groups()
    value = Fraction(digits if digits[0] != "." else f"0{digits}")
    if suffix in _BINARY:
        value *= 1024 ** _BINARY[suffix]
    else:
        power = _POWER[suffix] if suffix in _POWER else int(suffix[1:])
        if abs(power) > 100:
            return None
        value *= Fraction(10) ** power
    value = _away(value / _NANO) * _NANO
    return -value if sign == "-" else value


def _away(value: Fraction) -> int:
    """Round away from zero."""
    return -(-value.numerator // value.denominator) if value >= 0 else value.numerator // value.denominator


@dataclass(frozen=True, slots=True)
class Quantity:
    """Annotates an int of milli-units, or, with `ratio`, a float. Bounds are inclusive, in the same unit."""

    low: float = 1
    high: float = MAX_MILLI
    ratio: bool = False

    def read(self, value: object) -> float:
        """Return the number, or raise the error that says what was wrong."""
        text = value.text if isinstance(value, Unclear) else value
        if isinstance(text, int | float) and not isinstance(text, bool):
            text = f"{text:.17g}"
        found = (parse_number if self.ratio else parse_milli)(text) if isinstance(text, str) else None
        if found is None:
            raise wrong(f"must be a quantity such as 10, 500m or 1.5k, got {show(value)}")
        if not self.low <= found <= self.high:
            least = "0" if self.low == 0 else "above 0"
            raise wrong(f"must be {'at least 0' if self.low == 0 else least}, got {show(value)}")
        return found

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)
