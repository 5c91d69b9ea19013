"""Losses of pairs of examples, over one device or all of a mapped axis."""

from __future__ import annotations

import jax
from jax import lax
from jaxtyping import Array, Shaped


def gathered(
    x: Shaped[Array, " batch *rest"], axis_name: str | None
) -> Shaped[Array, " examples *rest"]:
    """The rows of all devices, in their order; x where there is no axis."""
    if axis_name is None:
        return x
    return lax.all_gather(x, axis_name, tiled=True)


def summed(x: Array, axis_name: str | None) -> Array:
    """The sum over all devices; x where there is no axis."""
    return x if axis_name is None else lax.psum(x, axis_name)


def matmul(a: Array, b: Array) -> Array:
    """`a @ b` in full float32 on every accelerator."""
    return jax.numpy.matmul(a, b, precision=lax.Precision.HIGHEST)
