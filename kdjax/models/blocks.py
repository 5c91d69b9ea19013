"""What several families of networks are made of."""

from __future__ import annotations

import flax.linen as nn
from jax import Array

from kdjax.models.layers import pool_over_space
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.convolution import Conv
from kdjax.models.ops.depthwise import DepthwiseConv


class ConvNorm(nn.Module):
    """`norm(conv(x))`, with a ReLU after it unless told."""

    outputs: int
    window: int = 3
    stride: int = 1
    relu: bool = True
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = Conv(self.outputs, self.window, self.stride, name="conv")(x)
        return self.batch_norm(relu=self.relu, name="norm")(x, train=train)


class SeparableConv(nn.Module):
    """A convolution of each channel on its own, and one of window 1 over channels."""

    outputs: int
    window: int = 3

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = DepthwiseConv(self.window, name="depthwise")(x)
        return Conv(self.outputs, 1, name="pointwise")(x)


class SqueezeExcitation(nn.Module):
    """Each channel times a gate in (0, 1), a function of all channels' means.

    `x * sigmoid(W2 relu(W1 mean(x) + b1) + b2)`, the hidden layer of
    channels // `reduction` units. Hu, Shen & Sun, CVPR 2018.
    """

    reduction: int = 16

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        units = max(channels // self.reduction, 1)
        h = pool_over_space(x)
        h = nn.relu(nn.Dense(units, dtype=x.dtype, name="squeeze")(h))
        gate = nn.sigmoid(nn.Dense(channels, dtype=x.dtype, name="excite")(h))
        return x * gate.reshape(x.shape[0], *(1,) * (x.ndim - 2), channels)


def max_pool(x: Array, window: int = 3, stride: int = 1) -> Array:
    """The maximum over windows, padded by (window - 1) // 2 on both sides."""
    space, pad = x.ndim - 2, (window - 1) // 2
    pads, strides = ((pad, pad),) * space, (stride,) * space
    # by names, as what exports networks takes them
    return nn.max_pool(x, window_shape=(window,) * space, strides=strides, padding=pads)
