"""Matrix products of maps, which keep their speed in the gradient on CPU."""

from __future__ import annotations

import math
from typing import Any

from jax import Array


def product(x: Array, matrix: Array) -> Array:
    """`x @ matrix` in two dimensions, or XLA transposes `x` for the gradient."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], -1)


def flat_dot_general(
    x: Array, kernel: Array, dimension_numbers: Any, **_: Any
) -> Array:
    """`product` in the place of `lax.dot_general` in flax's dense layers.

    The last axes of `x` with the first of `kernel`, as many as are summed over.
    """
    summed = len(dimension_numbers[0][0])
    inputs = math.prod(kernel.shape[:summed])
    flat = x.reshape(*x.shape[: x.ndim - summed], inputs)
    y = product(flat, kernel.reshape(inputs, -1))
    return y.reshape(*flat.shape[:-1], *kernel.shape[summed:])
