"""Fully convolutional networks over time: Wang, Yan & Oates, IJCNN 2017.

With tsai's windows, 7 5 3, and no biases; the paper has 8 5 3, with biases.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
from jax import Array

from kdjax.models.blocks import ConvNorm
from kdjax.models.layers import WHERE, check_series, odd, pool_over_space, some_widths
from kdjax.models.ops.batch_norm import BatchNorm, Norm


class FCN(nn.Module):
    """`relu(norm(conv(x)))` for each width and window, then the mean over time.

    Features: `layer1`, `layer2`, ... [batch, time, width] and `pooled`.
    """

    widths: tuple[int, ...] = (128, 256, 128)
    windows: tuple[int, ...] = (7, 5, 3)
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_series(x)
        features: OrderedDict[str, Array] = OrderedDict()
        for i, (width, window) in enumerate(
            zip(self.widths, self.windows, strict=True), start=1
        ):
            layer = ConvNorm(
                width, window, batch_norm=self.batch_norm, name=f"layer{i}"
            )
            features[f"layer{i}"] = x = layer(x, train=train)
        features["pooled"] = pool_over_space(x)
        return features


def fcn(
    *,
    batch_norm: Norm = BatchNorm,
    widths: Any = (128, 256, 128),
    windows: Any = (7, 5, 3),
) -> FCN:
    """An FCN; an InputError unless both are positive and of one length.

    widths, windows: of each convolution. Windows are odd, so that the series keeps its
    length.
    """
    layers = some_widths(widths)
    return FCN(layers, odd(windows, len(layers), where=f"{WHERE}.windows"), batch_norm)
