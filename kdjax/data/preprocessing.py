"""Preprocessing: from the numbers in a data set's files to what a network sees.

A step is plain data, {"name": one of STEPS, **its constants}, so that a stage's record
holds it and a trained network takes raw examples anywhere. Loaders scale by `scaled`,
and so the same bits come out; but for images that stay in their files, which
the compiled step divides (a pixel may differ by 1e-7), and which are first resized and
cut to squares by `data.stream.read_image`.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdjax.errors import InputError, lookup

Step = Mapping[str, Any]
_raw = contextvars.ContextVar("raw", default=False)


@contextlib.contextmanager
def left_raw() -> Iterator[None]:
    """Inside, loaders leave examples as files have them; their steps are as ever."""
    token = _raw.set(True)
    try:
        yield
    finally:
        _raw.reset(token)


def are_raw() -> bool:
    """Whether loaders are to leave examples as they are."""
    return _raw.get()


def scaled(x: ArrayLike, *steps: Step) -> NDArray[np.float32]:
    """What a loader gives of raw examples: `preprocess`, but inside `left_raw`."""
    return preprocess(() if are_raw() else steps, x)


def preprocess(steps: Sequence[Step], x: ArrayLike) -> NDArray[np.float32]:
    """The steps one after another on raw examples `x` [n, ...]; float32.

    InputError for a step that has no function here.
    """
    result = np.asarray(x)
    for step in steps:
        constants = {key: value for key, value in step.items() if key != "name"}
        result = lookup(step["name"], STEPS, where="preprocessing")(result, **constants)
    return np.asarray(result, np.float32)


def standardise(
    x: NDArray[Any], *, mean: ArrayLike, std: ArrayLike
) -> NDArray[np.float32]:
    """`(x - mean) / std` of each channel, the last axis."""
    scaled = np.asarray(x, np.float32) - np.asarray(mean, np.float32)
    scaled /= np.asarray(std, np.float32)
    return scaled


def divide(x: NDArray[Any], *, by: float | int) -> NDArray[np.float32]:
    """`x / by`: pixels to [0, 1]."""
    return (np.asarray(x) / np.float32(by)).astype(np.float32)


def to_range(x: NDArray[Any], *, low: ArrayLike, high: ArrayLike) -> NDArray[Any]:
    """Each channel from [low, high] to [-1, 1]; a constant one, low = high, to 0."""
    low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
    span = np.where(high > low, high - low, 1)
    scaled = 2 * (np.asarray(x, np.float32) - low) / span - 1
    return np.where(high > low, scaled, 0).astype(np.float32)


def range_of_example(x: NDArray[Any]) -> NDArray[np.float32]:
    """Each example [n, time, channels] and channel from its own range to [-1, 1].

    A flat one to 0: heart beats, whose height says little. In float64, in which what
    is in this range already comes out as it went in.
    """
    x = np.asarray(x, np.float64)
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    # A constant lead leaves a filter with rounding noise.
    flat = high - low <= 1e-9 * np.maximum(abs(low), abs(high))
    scaled = 2 * (x - low) / np.where(flat, 1, high - low) - 1
    return np.where(flat, 0, scaled).astype(np.float32)


def by_file(x: NDArray[Any], *, what: str) -> NDArray[Any]:
    """Refused: what was done to a whole file cannot be done to an example."""
    raise InputError(f"preprocessing: {what}: it needs the whole file of an example")


STEPS: dict[str, Callable[..., NDArray[Any]]] = {
    "by_file": by_file,
    "divide": divide,
    "range_of_example": range_of_example,
    "standardise": standardise,
    "to_range": to_range,
}
