"""Types of a config's fields, by the signature of what takes them."""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import pytest
from jaxtyping import Array, Float, Shaped

from kdjax import signatures
from kdjax.errors import InputError, call, look_up_or_import


@pytest.mark.parametrize(
    ("annotation", "right", "wrong", "words"),
    [
        (int, [0, -3, 2**31 - 1], [True, 2.0, "1", None, 2**31, [1]], "an integer"),
        (float, [0, 0.5, -1e300], [True, "1", None, math.nan, math.inf], "a number"),
        (bool, [True, False], [0, 1, "True", None], "True or False"),
        (str, ["", "a", 100], [None, 1.5, True, ["a"]], "a string"),
        (int | None, [None, 1], ["a", 0.5], "an integer or None"),
        (Mapping[str, Any], [{}, {"a": 1}], [None, [], "a"], "a section of fields"),
        (Sequence[int], [[], [1], (1, 2), 1], ["a", {}, 1.5, None], "a list"),
        (Sequence[int], [[1]], [[1, None], [0.5]], "a list, each value an integer"),
        (tuple[float, ...], [[1, 0.5]], [["a"]], "a list, each value a number"),
        (
            list[str] | None,
            [None, ["a"]],
            [[0.5]],
            "a list, each value a string or",
        ),
        (Literal["a", "b"], ["a"], ["c", None, ["a"]], "one of 'a', 'b'"),
        (Shaped[Array, ""] | float | int, [1, 0.5], ["a", None], "a number"),
        (Any, [None, "a", 1, object()], [], ""),
        (Float[Array, "n"], [None, 1], [], ""),  # the program's own
        (jax.Array, [None, 1], [], ""),
    ],
)
def test_what_fits_and_what_is_expected(annotation, right, wrong, words):
    for value in right:
        assert signatures.misfit(value, annotation) is None, value
    for value in wrong:
        assert signatures.misfit(value, annotation).startswith(words), value


@pytest.mark.parametrize(
    ("annotation", "given", "taken"),
    [
        (str | None, 100, "100"),  # a record, from a command line
        (Sequence[str], [100, "x"], ["100", "x"]),
        (tuple[str, ...], (103,), ("103",)),
        (Sequence[str] | None, "a,b", ["a", "b"]),
        (Sequence[str] | None, 100, ["100"]),
        (int | Sequence[str], 100, 100),
        (int | Sequence[str] | None, "a,b", ["a", "b"]),
        (Sequence[int], 3, [3]),
        (Sequence[float], 0.5, [0.5]),
        (str | Sequence[str], "a,b", "a,b"),
        (str | int, 3, 3),
        (bool | str, True, True),
        (float, 2**40, 2.0**40),
        (int, 2**31 - 1, 2**31 - 1),
    ],
)
def test_how_a_value_that_fits_is_taken(annotation, given, taken):
    found = signatures.taken(given, annotation)
    assert found == taken
    assert type(found) is type(taken)


def takes(*, depth: int, rate: float = 0.5, own: Any = None):
    return depth, rate


def test_a_section_is_held_to_the_signature():
    assert call(takes, {"depth": 3}, where="config.model") == (3, 0.5)
    partly = functools.partial(takes, rate=1.0)
    for function in (takes, partly):
        with pytest.raises(
            InputError, match=r"config\.model\.depth: expected an integer, found 'x'"
        ):
            call(function, {"depth": "x"}, where="config.model")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("math:pi", "'math:pi': expected a function, found 3.14"),
        ("math:tau2", "has no attribute 'tau2'"),
        ({"a:b": 1}, "unknown name {'a:b': 1}"),
        (None, "unknown name None"),
    ],
)
def test_what_names_no_function(name, message):
    with pytest.raises(InputError, match=re.escape(message)):
        look_up_or_import(name, {}, where="config.model")


def test_a_builtin_without_a_signature():
    with pytest.raises(InputError, match="states no arguments"):
        call(max, {}, where="config.model")
