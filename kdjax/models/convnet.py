"""A plain stack of convolutions over time or images."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
from jax import Array

from kdjax.checks import integers
from kdjax.errors import InputError
from kdjax.models.layers import WHERE, check_rank, pool_over_space, some_widths
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.convolution import Conv


class ConvNet(nn.Module):
    """`relu(norm(conv(x)))` for each width, window, stride; then the mean over space.

    Padding is (window - 1) // 2 on both sides.
    Features: `layer1`, `layer2`, ... (`widths` channels) and `pooled`.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    windows: tuple[int, ...] = (7, 5, 5, 3)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_rank(x)
        features: OrderedDict[str, Array] = OrderedDict()
        layers = zip(self.widths, self.windows, self.strides, strict=True)
        for i, (width, window, stride) in enumerate(layers, start=1):
            x = Conv(width, window, stride, name=f"conv{i}")(x)
            x = self.batch_norm(name=f"norm{i}")(x, train=train)
            features[f"layer{i}"] = x
        features["pooled"] = pool_over_space(x)
        return features


def convnet(
    *,
    batch_norm: Norm = BatchNorm,
    widths: Any = (32, 64, 128, 256),
    windows: Any = (7, 5, 5, 3),
    strides: Any = (2, 2, 2, 2),
) -> ConvNet:
    """A ConvNet; an InputError unless the three are positive and of one length.

    widths, windows, strides: of each convolution, in order of depth.
    """
    layers = some_widths(widths)
    others = {"windows": windows, "strides": strides}
    for field, values in others.items():
        others[field] = integers(values, low=1, where=f"{WHERE}.{field}")
        if len(others[field]) != len(layers):
            raise InputError(
                f"{WHERE}.{field}: expected {len(layers)} numbers, as many as widths, "
                f"found {len(others[field])}"
            )
    return ConvNet(layers, others["windows"], others["strides"], batch_norm)
