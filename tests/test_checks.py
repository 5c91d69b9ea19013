"""Checks of fields: what passes, and the line that says why the rest does not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdjax import checks
from kdjax.errors import InputError

WHERE = "config.section.field"


def refusal(check, *values, **bounds):
    with pytest.raises(InputError) as caught:
        check(*values, where=WHERE, **bounds)
    return str(caught.value)


@pytest.mark.parametrize("value", [2**31, -(2**31), 10**400])
def test_without_bounds_an_integer_fits_an_array(value):
    assert "expected an integer below 2^31, found" in refusal(checks.integer, value)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "expected"),
    [
        ({}, (-3, 0.5, 10**15), (), "a number"),
        ({"low": 0}, (0, 0.0, 7), (-1, -1e-300), "a number >= 0"),
        ({"above": 0}, (1e-300, 5), (0, -0.0), "a number > 0"),
        ({"high": 1}, (1, -9.5), (1.5, 2), "a number <= 1"),
        ({"below": 1}, (0.999, -9), (1, 1.0), "a number < 1"),
        ({"low": 0, "high": 1}, (0, 1), (-0.1, 1.1), "a number in [0, 1]"),
        ({"low": 0, "below": 1}, (0, 0.9), (1.0, -1), "a number in [0, 1)"),
        ({"above": 0.5, "high": 2}, (0.6, 2), (0.5, 3), "a number in (0.5, 2]"),
        ({"above": 0, "below": 1}, (0.5,), (0, 1), "a number in (0, 1)"),
    ],
)
def test_numbers_are_held_to_their_bounds(bounds, inside, outside, expected):
    for value in inside:
        passed = checks.number(value, where=WHERE, **bounds)
        assert passed == value
        assert isinstance(passed, float)
    for value in (*outside, "x", None, True, [1.0], math.nan, np.ones(3)):
        message = f"{WHERE}: expected {expected}, found {value!r}"
        assert refusal(checks.number, value, **bounds) == message


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_not_a_number_here(value):
    message = f"{WHERE}: expected a finite number > 0, found {value}"
    assert refusal(checks.number, value, above=0) == message


def test_an_integer_too_large_for_a_float_is_refused():
    assert "expected a number >= 0, found 1000" in refusal(
        checks.number, 10**400, low=0
    )


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "expected"),
    [
        ({}, (-3, 0, 2**31 - 1), (), "an integer"),
        ({"low": 1}, (1, 9), (0, -4), "an integer >= 1"),
        ({"high": 3}, (3, -9), (4,), "an integer <= 3"),
        ({"high": 2**40}, (2**40,), (2**40 + 1,), "an integer <= 1099511627776"),
        ({"low": 1, "high": 3}, (1, 3), (0, 4), "an integer in [1, 3]"),
    ],
)
def test_integers_are_held_to_their_bounds(bounds, inside, outside, expected):
    for value in inside:
        assert checks.integer(value, where=WHERE, **bounds) is value
    for value in (*outside, "x", None, True, 2.0, math.nan):
        message = f"{WHERE}: expected {expected}, found {value!r}"
        assert refusal(checks.integer, value, **bounds) == message


BOUND = st.none() | st.integers(-5, 5)


@given(value=st.floats(-6, 6), low=BOUND, high=BOUND, above=BOUND, below=BOUND)
def test_a_number_passes_where_all_its_bounds_hold(value, low, high, above, below):
    holds = all(
        [
            low is None or low <= value,
            high is None or value <= high,
            above is None or value > above,
            below is None or value < below,
        ]
    )
    bounds = {"low": low, "high": high, "above": above, "below": below}
    if holds:
        assert checks.number(value, where=WHERE, **bounds) == value
    else:
        assert refusal(checks.number, value, **bounds).endswith(f"found {value!r}")


def test_booleans_are_true_or_false():
    assert checks.boolean(False, where=WHERE) is False
    for value in (0, 1, "true", None):
        message = f"{WHERE}: expected True or False, found {value!r}"
        assert refusal(checks.boolean, value) == message


def test_one_of_the_known():
    assert checks.one_of("min", ("max", "min"), where=WHERE) == "min"
    message = f"{WHERE}: expected one of 'max', 'min', found 'least'"
    assert refusal(checks.one_of, "least", ("max", "min")) == message
    message = f"{WHERE}: expected one of 18, 34, found [18]"
    assert refusal(checks.one_of, [18], (18, 34)) == message


def test_sequences_become_tuples_of_what_was_checked():
    assert checks.numbers([0, 0.5], where=WHERE, low=0, below=1) == (0, 0.5)
    assert checks.numbers((), where=WHERE) == ()
    assert checks.integers((1, 2), where=WHERE, low=1, length=2) == (1, 2)


@pytest.mark.parametrize(
    ("check", "values", "bounds", "message"),
    [
        (checks.numbers, 0.5, {}, f"{WHERE}: expected a sequence of numbers, found"),
        (checks.numbers, "12", {}, f"{WHERE}: expected a sequence of numbers, found"),
        (
            checks.numbers,
            [0.5, 1],
            {"below": 1},
            f"{WHERE}[1]: expected a number < 1, found 1",
        ),
        (
            checks.integers,
            [1],
            {"length": 2},
            f"{WHERE}: expected a sequence of 2 integers, found [1]",
        ),
        (
            checks.integers,
            [1, 0],
            {"low": 1},
            f"{WHERE}[1]: expected an integer >= 1, found 0",
        ),
    ],
)
def test_wrong_sequences_are_named(check, values, bounds, message):
    assert refusal(check, values, **bounds).startswith(message)
