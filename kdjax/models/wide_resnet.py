"""Wide residual networks over time or images: Zagoruyko & Komodakis, BMVC 2016."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
from jax import Array

from kdjax.checks import integer
from kdjax.errors import InputError
from kdjax.models.layers import WHERE, check_rank, pool_over_space
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.convolution import Conv


class Block(nn.Module):
    """Pre-activation: `shortcut + conv(relu(norm(conv(relu(norm(x))))))`.

    Where the shape changes, the shortcut is a 1 x 1 convolution of `relu(norm(x))`.
    """

    outputs: int
    stride: int = 1
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        h = self.batch_norm(name="norm1")(x, train=train)
        if x.shape[-1] != self.outputs or self.stride != 1:
            x = Conv(self.outputs, 1, self.stride, name="shortcut")(h)
        h = Conv(self.outputs, 3, self.stride, name="conv1")(h)
        h = self.batch_norm(name="norm2")(h, train=train)
        return x + Conv(self.outputs, 3, name="conv2")(h)


class WideResNet(nn.Module):
    """WRN-`depth`-`width` of [batch, time, channels] or [batch, height, width, c].

    Features: `group1`, `group2`, `group3` (before their norm and ReLU; 16, 32 and 64
    times `width` channels at 1, 1/2 and 1/4 of the resolution) and `pooled`.
    """

    depth: int = 16
    width: int = 1
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_rank(x)
        features: OrderedDict[str, Array] = OrderedDict()
        h = Conv(16, name="stem")(x)
        for group, stride in enumerate((1, 2, 2), start=1):
            outputs = 8 * 2**group * self.width
            for i in range((self.depth - 4) // 6):
                block = Block(
                    outputs,
                    stride if i == 0 else 1,
                    self.batch_norm,
                    name=f"group{group}_block{i + 1}",
                )
                h = block(h, train=train)
            features[f"group{group}"] = h
        h = self.batch_norm(name="norm")(h, train=train)
        features["pooled"] = pool_over_space(h)
        return features


MOST_LAYERS = 1000  # tracing more takes minutes


def wide_resnet(
    *, batch_norm: Norm = BatchNorm, depth: Any = 16, width: Any = 1
) -> WideResNet:
    """A WideResNet; an InputError if `depth` is not 6n + 4 or `width` not positive."""
    deep = integer(depth, low=1, high=MOST_LAYERS, where=f"{WHERE}.depth")
    if deep < 10 or deep % 6 != 4:
        raise InputError(
            f"{WHERE}.depth: expected 6n + 4 (10, 16, 22, 28, 34, 40, ...), "
            f"found {depth}"
        )
    return WideResNet(depth, integer(width, low=1, where=f"{WHERE}.width"), batch_norm)
