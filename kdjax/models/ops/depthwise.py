"""Convolution of each channel on its own, with a form of its own on CPU."""

from __future__ import annotations

import itertools
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdjax.models.ops.convolution import by_xla
from kdjax.models.ops.forms import by_platform

he_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def depthwise(
    x: Float[Array, "batch *space channels"],
    kernel: Float[Array, "*window 1 channels"],
    stride: int = 1,
) -> Float[Array, "batch *reduced channels"]:
    """`y[t, c] = sum_k kernel[k, c] x[t + k, c]` over time or images.

    Padded by (k - 1) // 2 on both sides, as `kdjax.models.ops.convolution.convolve`. On
    CPU it is a sum over the window's positions, which XLA fuses into one loop.
    """
    by_sums = partial(_by_sums, stride=stride)
    of_xla = partial(by_xla, stride=stride, groups=x.shape[-1])
    return by_platform(x, kernel, cpu=by_sums, default=of_xla)


def _by_sums(x: Array, kernel: Array, *, stride: int) -> Array:
    window = kernel.shape[:-2]
    pads = [((k - 1) // 2, (k - 1) // 2) for k in window]
    reduced = [
        (size + 2 * pad - k) // stride + 1
        for size, (pad, _), k in zip(x.shape[1:-1], pads, window, strict=True)
    ]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    y = jnp.zeros((), x.dtype)
    for place in itertools.product(*map(range, window)):
        part = tuple(
            slice(k, k + (size - 1) * stride + 1, stride)
            for k, size in zip(place, reduced, strict=True)
        )
        weight = kernel[place].reshape((1,) * (x.ndim - 1) + (-1,))
        y = y + x[(slice(None), *part)] * weight
    return y


class DepthwiseConv(nn.Module):
    """`depthwise` with its own kernel, [window..., 1, channels], and no bias."""

    window: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*(self.window,) * (x.ndim - 2), 1, x.shape[-1])
        kernel = self.param("kernel", he_fan_in, shape)
        return depthwise(x, kernel.astype(x.dtype), self.stride)
