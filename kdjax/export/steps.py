"""Preprocessing inside a graph: `kdjax.data.preprocessing`'s steps, in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from kdjax.data.preprocessing import Step
from kdjax.errors import InputError


def in_graph(steps: Sequence[Step], *, where: str) -> Callable[[Array], Array]:
    """A function of raw float32 examples [n, ...] that does the steps one by one.

    As `preprocess` does them, but that `range_of_example`, which NumPy computes in
    float64, differs by up to 5e-7 of its range of 2, and more where an example is far
    from 0 for its height: then its raw float32 has not the digits either. InputError,
    which names `where`, for a step that cannot be in a graph.
    """
    for step in steps:
        if step["name"] not in STEPS:
            what = step.get("what", "no such operation in a graph")
            raise InputError(f"{where}: the step {step['name']!r}: {what}")

    def scale(x: Array) -> Array:
        for step in steps:
            constants = {key: value for key, value in step.items() if key != "name"}
            x = STEPS[step["name"]](x, **constants)
        return x

    return scale


def _wide(values: Any, x: Array) -> np.ndarray:
    """Constants of the channels, float32, with the rank of x."""
    constants = np.asarray(values, np.float32)
    return constants.reshape((1,) * (x.ndim - constants.ndim) + constants.shape)


def standardise(x: Array, *, mean: Any, std: Any) -> Array:
    return (x - _wide(mean, x)) / _wide(std, x)


def divide(x: Array, *, by: float | int) -> Array:
    return x / np.float32(by)


def to_range(x: Array, *, low: Any, high: Any) -> Array:
    least, most = _wide(low, x), _wide(high, x)
    varies = most > least
    scaled = 2 * (x - least) / np.where(varies, most - least, np.float32(1)) - 1
    return jnp.where(varies, scaled, jnp.zeros_like(x))


def range_of_example(x: Array) -> Array:
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    flat = high - low <= 1e-9 * jnp.maximum(abs(low), abs(high))
    span = jnp.where(flat, jnp.ones_like(low), high - low)
    return jnp.where(flat, jnp.zeros_like(x), 2 * (x - low) / span - 1)


STEPS: Mapping[str, Callable[..., Array]] = {
    "divide": divide,
    "range_of_example": range_of_example,
    "standardise": standardise,
    "to_range": to_range,
}
