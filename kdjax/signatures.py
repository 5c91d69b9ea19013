"""Whether a config's value is of the type that a function's signature says."""

from __future__ import annotations

import functools
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ALONE = {str, int, float}  # what is also a list of itself
LARGEST = 2**31 - 1  # integers: what an array of int32 holds


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """{parameter: its annotation}, of a function, a class or a partial of one."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # of names that exist for type checkers alone
        return {}


def misfit(value: Any, annotation: Any) -> str | None:
    """What was expected instead of a value, in words; None if the value fits.

    A float is finite and may be written as an integer, and so may a string, such as a
    record's "100"; an integer is below 2^31 and no boolean; a sequence is a list or
    tuple, or one of its values alone; a mapping is a section. A config holds no arrays,
    so `Array | float` is a float. Of other types nothing is said.
    """
    choices = _choices(annotation)
    said = [_misfit(value, choice) for choice in choices]
    if None in said:
        return None
    if "a number" in said:
        said = [words for words in said if words != "an integer"]
    # of arrays alone: what the program itself gives
    return " or ".join(dict.fromkeys(words for words in said if words)) or None


def taken(value: Any, annotation: Any) -> Any:
    """A value that fits, as a function takes it.

    An integer as a string, or as a float if it is no int32, lest jax takes it for an
    integer; what fits a list's values as a list, "a,b" as one of two strings.
    """
    choices = _choices(annotation)
    inner = set().union(*map(_inner, choices))
    (kind,) = inner if len(inner) == 1 else (Any,)
    if isinstance(value, list | tuple):
        return type(value)(taken(each, kind) for each in value)
    plain = [each for each in choices if not _is_list(each)]
    if kind in ALONE and all(_misfit(value, each) is not None for each in plain):
        parts = value.split(",") if isinstance(value, str) else [value]
        return [taken(part, kind) for part in parts]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if str in choices and not {int, float}.intersection(choices):
        return str(value)
    right = isinstance(value, int) and LARGEST < abs(value) <= sys.float_info.max
    return float(value) if right else value


def _choices(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _misfit(value: Any, annotation: Any) -> str | None:
    kind = typing.get_origin(annotation) or annotation
    if kind is typing.Literal:
        known = typing.get_args(annotation)
        return None if value in known else f"one of {', '.join(map(repr, known))}"
    if _is_list(annotation):
        return _sequence_misfit(value, annotation)
    if kind not in _KINDS:
        package = getattr(annotation, "__module__", "").partition(".")[0]
        return "" if package in ("jax", "jaxlib", "jaxtyping") else None
    words, fits = _KINDS[kind]
    return None if fits(value) else words


def _inner(annotation: Any) -> set[Any]:
    """What a list holds, by its annotation."""
    given = typing.get_args(annotation) if _is_list(annotation) else ()
    return {each for each in given if each is not Ellipsis}


def _is_list(annotation: Any) -> bool:
    return (typing.get_origin(annotation) or annotation) in (Sequence, list, tuple)


def _sequence_misfit(value: Any, annotation: Any) -> str | None:
    inner = _inner(annotation)
    if not isinstance(value, list | tuple):
        fits = any(misfit(value, kind) is None for kind in inner & ALONE)
        return None if fits and len(inner) == 1 else "a list"
    if len(inner) != 1:
        return None
    (kind,) = inner
    said = [misfit(each, kind) for each in value]
    words = next((words for words in said if words), None)
    return words and f"a list, each value {words}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or _is_integer(value)


def _is_integer(value: Any) -> bool:
    right = isinstance(value, int) and not isinstance(value, bool)
    return right and abs(value) <= LARGEST


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    right = isinstance(value, int) and not isinstance(value, bool)
    return right and abs(value) <= sys.float_info.max


_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("True or False", lambda value: isinstance(value, bool)),
    int: ("an integer", _is_integer),
    float: ("a number", _is_number),
    str: ("a string", _is_text),
    type(None): ("None", lambda value: value is None),
    Mapping: ("a section of fields", lambda value: isinstance(value, Mapping)),
}
