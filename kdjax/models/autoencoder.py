"""Autoencoders of series: a network that must pass its input through a narrow code.

Each is called as `module.apply(variables, x, train=...)`, x [batch, time, channels],
and gives (reconstruction, code [batch, latent]), float32; the reconstruction has the
shape of x.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdjax.checks import integer
from kdjax.models.layers import WHERE, check_series, some_widths
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.transposed_convolution import Double, Halve


class DenseAutoencoder(nn.Module):
    """Dense tanh layers over the flattened window.

    To `widths` units and linearly to `latent`; back through the same widths, and
    linearly to the window, or with a tanh if it is `bounded`, for series in [-1, 1].
    They compute in `dtype`.
    """

    latent: int = 10
    widths: tuple[int, ...] = (256, 128, 32)
    bounded: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, Array]:
        del train  # the same in training and evaluation
        h = x.astype(self.dtype).reshape(x.shape[0], -1)
        size = h.shape[-1]
        for i, width in enumerate(self.widths, start=1):
            h = jnp.tanh(dense(h, width, f"encoder{i}"))
        z = h = dense(h, self.latent, "latent")
        for i, width in enumerate(reversed(self.widths), start=1):
            h = jnp.tanh(dense(h, width, f"decoder{i}"))
        h = dense(h, size, f"decoder{len(self.widths) + 1}")
        if self.bounded:
            h = jnp.tanh(h)
        return h.reshape(x.shape).astype(jnp.float32), z.astype(jnp.float32)


class ConvAutoencoder(nn.Module):
    """Convolutions that each halve the time, a code, and their transposes.

    `relu(norm(conv(x)))`, window 4 at stride 2, to each of `widths` channels; linearly
    from the last map to `latent` and back; transposed convolutions through the same
    widths to x's channels. Convolutions have no bias. Where time is no multiple of
    2^layers, zeros follow it, and what answers them is cut off. They compute in
    `dtype`.
    """

    latent: int = 32
    widths: tuple[int, ...] = (32, 64, 128)
    batch_norm: Norm = BatchNorm
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, Array]:
        check_series(x)
        _, time, channels = x.shape
        steps = math.ceil(time / 2 ** len(self.widths))
        more = steps * 2 ** len(self.widths) - time
        h = jnp.pad(x.astype(self.dtype), ((0, 0), (0, more), (0, 0)))
        for i, width in enumerate(self.widths, start=1):
            h = Halve(width, name=f"encoder{i}")(h)
            h = self.batch_norm(name=f"encoder_norm{i}")(h, train=train)
        z = dense(h.reshape(h.shape[0], -1), self.latent, "latent")
        h = nn.relu(dense(z, steps * self.widths[-1], "decoder0"))
        h = h.reshape(-1, steps, self.widths[-1])
        for i, width in enumerate(reversed(self.widths[:-1]), start=1):
            h = Double(width, name=f"decoder{i}")(h)
            h = self.batch_norm(name=f"decoder_norm{i}")(h, train=train)
        h = Double(channels, name=f"decoder{len(self.widths)}")(h)
        return h[:, :time].astype(jnp.float32), z.astype(jnp.float32)


def dense(x: Array, width: int, name: str) -> Array:
    """A dense layer with biases that start at .01, computed in x's dtype."""
    layer = nn.Dense(
        width,
        dtype=x.dtype,
        kernel_init=nn.initializers.xavier_uniform(),
        bias_init=nn.initializers.constant(0.01),
        name=name,
    )
    return layer(x)


def dense_autoencoder(
    *,
    batch_norm: Norm = BatchNorm,
    dtype: str = "float32",
    latent: Any = 10,
    widths: Any = (256, 128, 32),
) -> DenseAutoencoder:
    """A DenseAutoencoder; InputError unless all are positive whole numbers.

    latent: numbers of the code; widths: of each layer before it, and back.
    """
    del batch_norm  # it has none
    integer(latent, low=1, where=f"{WHERE}.latent")
    return DenseAutoencoder(latent, some_widths(widths), dtype=dtype)


def conv_autoencoder(
    *,
    batch_norm: Norm = BatchNorm,
    dtype: str = "float32",
    latent: Any = 32,
    widths: Any = (32, 64, 128),
) -> ConvAutoencoder:
    """A ConvAutoencoder; InputError unless all are positive whole numbers.

    latent: numbers of the code; widths: channels of each convolution, and back.
    """
    integer(latent, low=1, where=f"{WHERE}.latent")
    return ConvAutoencoder(latent, some_widths(widths), batch_norm, dtype)
