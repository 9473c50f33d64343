"""Milli-units and their text, against the Go library's vectors and an independent twin."""

from __future__ import annotations

import json
import math
from decimal import ROUND_CEILING, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.quantity import MAX_MILLI, milli, millis, text
from tests.api_fixtures import WIRE

_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def decimal_of(quantity: str) -> Decimal:
    """Return what a quantity's text stands for."""
    suffix = quantity.lstrip("-0123456789")
    return Decimal(quantity.removesuffix(suffix)).scaleb(_POWERS[suffix])


def test_vectors() -> None:
    """Each of the Go library's 700 milli-quantities is written the same."""
    lines = [line.split("\t") for line in (WIRE / "quantity-milli.tsv").read_text().splitlines()]
    assert [text(int(number)) for number, _ in lines] == [expected for _, expected in lines]
    assert len(lines) == 700


def test_scaled_vectors() -> None:
    """So is each of its scaled quantities that a whole number of milli-units can be, up to the largest suffix."""
    vectors = [json.loads(line) for line in (WIRE / "quantity-scaled.jsonl").read_text().splitlines()]
    whole = [
        v for v in vectors if v["scale"] >= -3 and decimal_of(v["string"]) == Decimal(v["value"]).scaleb(v["scale"])
    ]
    assert len(whole) > 200
    for vector in whole:
        assert text(vector["value"] * 10 ** (vector["scale"] + 3)) == vector["string"]


@given(st.integers(-(2**63), 2**63 - 1))
def test_text_is_the_number(number: int) -> None:
    """The text stands for exactly the milli-units it was made from, without a point or a trailing 000."""
    written = text(number)
    assert decimal_of(written) * 1000 == number
    assert "." not in written
    assert not written.rstrip("mkMGTPE").endswith("000")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, 0),
        (-0.0, 0),
        (1.1, 1100),
        (0.1 + 0.2, 300),
        (2.3, 2300),
        (1.0015, 1002),
        (0.0001, 1),
        (5e-324, 1),
        (1e-13, 1),
        (0.001, 1),
        (0.0010000001, 2),
        (1e6, 1_000_000_000),
        (9.1e15, 9_100_000_000_000_000_000),
        (9.2e15, MAX_MILLI),
        (1e16, MAX_MILLI),
        (1.7e308, MAX_MILLI),
    ],
)
def test_milli(value: float, expected: int) -> None:
    """A value is rounded up, float noise aside; any above 0 wakes a workload, none wraps an int64."""
    assert milli(value) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1e-9, -5.0])
def test_no_number_for_the_unknown(value: float) -> None:
    """What is not finite or negative has no milli-units."""
    with pytest.raises(ValueError, match="finite value"):
        milli(value)


@given(st.floats(min_value=0, max_value=9e15))
def test_milli_twin(value: float) -> None:
    """The result is the exact value rounded up, or the whole number that it is within 1e-9 of."""
    exact = Decimal(value) * 1000
    nearest = exact.to_integral_value()
    up = int(exact.to_integral_value(ROUND_CEILING))
    tolerance = exact * Decimal("1.01e-9")  # the product in floats has noise of its own
    expected = {up, int(nearest)} if abs(exact - nearest) <= tolerance else {up}
    assert milli(value) in expected
    assert milli(value) > 0 or value == 0


@given(st.integers(0, 10**15))
def test_whole_milli_units_survive(number: int) -> None:
    """A number of milli-units that went through a float comes back the same."""
    assert milli(number / 1000) == number


def test_largest_is_readable() -> None:
    """The largest value served stays an int64 of milli-units, below 9.2e15."""
    assert MAX_MILLI < 2**63
    assert decimal_of(text(MAX_MILLI)) < Decimal("9.2e15")


@given(st.lists(st.one_of(st.floats(0, 1e20), st.floats(0, 1e6), st.decimals(0, 10**6, places=4).map(float))))
def test_many_values_are_rounded_as_one(values: list[float]) -> None:
    """An array of values becomes the milli-units that each of them is by itself."""
    values = [*values, 0.0, MAX_MILLI / 1000, math.nextafter(MAX_MILLI / 1000, 0), 1.1, 5e-324]
    assert millis(np.array(values)).tolist() == [milli(value) for value in values]
