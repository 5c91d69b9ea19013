"""Window 4 at stride 2 and its transpose: half as many time steps, twice as many."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from kdjax.models.ops.forms import by_platform
from kdjax.models.ops.products import product

# `nn.initializers.xavier_normal` cuts the normal off at two standard deviations.
xavier_normal = nn.initializers.variance_scaling(1.0, "fan_avg", "normal")

_LAYOUT = ("NWC", "WIO", "NWC")
_MANY = 9  # examples: for fewer preparing the kernel costs more than it saves


def halve(
    x: Float[Array, "batch time inputs"], kernel: Float[Array, "4 inputs outputs"]
) -> Float[Array, "batch half outputs"]:
    """`y[t] = sum_j x[2t + j - 1] kernel[j]`, torch's `Conv1d(k, 4, 2, padding=1)`.

    On CPU as matrix products, whose gradients are products too; elsewhere, and for a
    few examples, as in scoring one beat, XLA's convolution. ValueError if time is odd.
    """
    if x.shape[1] % 2:
        raise ValueError(f"x: expected an even number of time steps, found {x.shape}")
    forms = {"cpu": _halve_by_products, "default": _halve_by_xla}
    return by_platform(x, kernel, **forms, least=_MANY)


def double(
    x: Float[Array, "batch time inputs"], kernel: Float[Array, "4 inputs outputs"]
) -> Float[Array, "batch double outputs"]:
    """`y[2t + 2 - j] += x[t] kernel[j]`: the transpose of `halve`, in `x`.

    It is flax's `nn.ConvTranspose` with window 4, stride 2 and "SAME" padding; torch's
    `ConvTranspose1d(k, 4, 2, padding=1)` has the weight `kernel[::-1]`. On CPU it is 10
    times faster than XLA's (forward and backward, 10 steps of 512 channels to 256), but
    for a few examples.
    """
    forms = {"cpu": _double_by_products, "default": _double_by_xla}
    return by_platform(x, kernel, **forms, least=_MANY)


def _halve_by_xla(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x, kernel, (2,), [(1, 1)], dimension_numbers=_LAYOUT
    )


def _double_by_xla(x: Array, kernel: Array) -> Array:
    return lax.conv_transpose(x, kernel, (2,), "SAME", dimension_numbers=_LAYOUT)


def _double_by_products(x: Array, kernel: Array) -> Array:
    batch, time, _ = x.shape
    y = jax.ShapeDtypeStruct((batch, 2 * time, kernel.shape[-1]), x.dtype)
    adjoint = jnp.swapaxes(kernel[::-1], 1, 2)
    transpose = jax.linear_transpose(lambda y: _halve_by_products(y, adjoint), y)
    return transpose(x)[0]


def _halve_by_products(x: Array, kernel: Array) -> Array:
    """A window of 2 at stride 1 over pairs of samples, shifted by one."""
    batch, time, inputs = x.shape
    pairs = jnp.pad(x, ((0, 0), (1, 1), (0, 0))).reshape(batch, -1, 2 * inputs)
    kernel = kernel.reshape(2, 2 * inputs, -1)
    if time % 4 == 0 and inputs >= 16:
        return _by_three_products(pairs, kernel)
    columns = jnp.concatenate([pairs[:, :-1], pairs[:, 1:]], axis=-1)
    return product(columns, kernel.reshape(4 * inputs, -1))


def _by_three_products(
    x: Float[Array, "batch time inputs"], kernel: Float[Array, "2 inputs outputs"]
) -> Float[Array, "batch shorter outputs"]:
    """`x[t] kernel[0] + x[t + 1] kernel[1]`, two outputs from 3 products instead of 4.

    Winograd's F(2, 2), for an even number of outputs, one less than time steps.
    """
    batch, time, inputs = x.shape
    steps = x[:, :-1].reshape(batch, time // 2, 2, inputs)
    first, second = steps[:, :, 0], steps[:, :, 1]
    third = jnp.concatenate([first[:, 1:], x[:, -1:]], axis=1)
    a = product(first - second, kernel[0])
    b = product(second, kernel[0] + kernel[1])
    c = product(third - second, kernel[1])
    return jnp.stack([a + b, b + c], axis=2).reshape(batch, time - 1, -1)


class Halve(nn.Module):
    """`halve` with its own kernel, [4, inputs, outputs], and no bias."""

    outputs: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (4, x.shape[-1], self.outputs)
        kernel = self.param("kernel", xavier_normal, shape)
        return halve(x, kernel.astype(x.dtype))


class Double(nn.Module):
    """`double` with its own kernel, [4, inputs, outputs], and no bias."""

    outputs: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (4, x.shape[-1], self.outputs)
        kernel = self.param("kernel", xavier_normal, shape)
        return double(x, kernel.astype(x.dtype))
