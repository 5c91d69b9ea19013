"""Checks of a config's fields: each returns the value or raises an InputError.

The error is one line: the field `where`, what was expected, what was found. Bounds are
`low <= value <= high`, or without the bound itself `above < value < below`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from kdjax.errors import InputError
from kdjax.signatures import LARGEST

T = TypeVar("T")
Number: TypeAlias = int | float


def number(
    value: Any,
    *,
    where: str,
    low: Number | None = None,
    high: Number | None = None,
    above: Number | None = None,
    below: Number | None = None,
) -> float:
    """`value` as a float if it is a number inside the bounds.

    Never a boolean, NaN or infinite.
    """
    bounds = _Bounds(low, high, above, below)
    right = isinstance(value, int | float) and not isinstance(value, bool)
    # also leaves out NaN, and an integer too large for a float
    if right and abs(value) <= sys.float_info.max and bounds.hold(value):
        return float(value)
    infinite = isinstance(value, float) and math.isinf(value)
    kind = "a finite number" if infinite else "a number"
    raise _error(where, f"{kind}{bounds}", value)


def integer(
    value: Any, *, where: str, low: int | None = None, high: int | None = None
) -> int:
    """`value` if it is an integer (not 2.0, not True) inside the bounds.

    Without bounds of its own, one that an array of int32 holds.
    """
    bounds = _Bounds(low, high)
    right = isinstance(value, int) and not isinstance(value, bool)
    fits = right and -LARGEST <= value <= (LARGEST if high is None else high)
    if fits and bounds.hold(value):
        return value
    least = " below 2^31" if right and not fits and high is None else ""
    raise _error(where, f"an integer{bounds}{least}", value)


def boolean(value: Any, *, where: str) -> bool:
    """`value` if it is True or False."""
    if isinstance(value, bool):
        return value
    raise _error(where, "True or False", value)


def one_of(value: T, known: Iterable[T], *, where: str) -> T:
    """`value` if it is one of the `known`."""
    names = list(known)
    if value in names:
        return value
    raise _error(where, f"one of {', '.join(map(repr, names))}", value)


def numbers(
    values: Any, *, where: str, length: int | None = None, **bounds: Number
) -> tuple[float, ...]:
    """A sequence of `length` numbers (None: any length) as a tuple, each in bounds."""
    pairs = _items(values, f"{length or ''} numbers", where, length)
    return tuple(number(value, where=place, **bounds) for place, value in pairs)


def integers(
    values: Any, *, where: str, length: int | None = None, **bounds: int
) -> tuple[int, ...]:
    """A sequence of `length` integers (None: any length) as a tuple, each in bounds."""
    pairs = _items(values, f"{length or ''} integers", where, length)
    return tuple(integer(value, where=place, **bounds) for place, value in pairs)


def _items(
    values: Any, kind: str, where: str, length: int | None
) -> list[tuple[str, Any]]:
    """(`where` of it, value) of each value of a sequence."""
    right = isinstance(values, Sequence) and not isinstance(values, str)
    if not right or length not in (None, len(values)):
        raise _error(where, f"a sequence of {kind.strip()}", values)
    return [(f"{where}[{i}]", value) for i, value in enumerate(values)]


class _Bounds(NamedTuple):
    low: Number | None = None
    high: Number | None = None
    above: Number | None = None
    below: Number | None = None

    def hold(self, value: Number) -> bool:
        return (
            (self.low is None or self.low <= value)
            and (self.high is None or value <= self.high)
            and (self.above is None or self.above < value)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """' in [0, 1)', ' >= 1', or '' where there are none."""
        left, right = "", ""
        if self.low is not None:
            left, alone = f"[{self.low}", f" >= {self.low}"
        if self.above is not None:
            left, alone = f"({self.above}", f" > {self.above}"
        if self.high is not None:
            right, alone = f"{self.high}]", f" <= {self.high}"
        if self.below is not None:
            right, alone = f"{self.below})", f" < {self.below}"
        if left and right:
            return f" in {left}, {right}"
        return alone if left or right else ""


def _error(where: str, expected: str, found: Any) -> InputError:
    return InputError(f"{where}: expected {expected}, found {found!r}")


def differences(
    one: Any, other: Any, place: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """(place, one, other) of each value in which two trees of dicts differ.

    The place is `place`, and the keys after it with dots.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            inner = f"{place}.{key}" if place else key
            yield from differences(one.get(key), other.get(key), inner)
    # NaN is the same as NaN
    elif one != other and repr(one) != repr(other):
        yield place, one, other


def difference(one: Any, other: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """The first of `differences`, None where all are the same."""
    return next(differences(one, other, place), None)
