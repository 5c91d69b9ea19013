"""The residual network for time series of Wang, Yan & Oates, IJCNN 2017.

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


class ResNetTime(nn.Module):
    """Three convolutions a block, and `relu(them + shortcut)`; the mean over time.

    A shortcut is a norm, after a convolution of window 1 where the width changes.
    Features: `block1`, `block2`, ... [batch, time, width] and `pooled`.
    """

    widths: tuple[int, ...] = (64, 128, 128)
    windows: tuple[int, ...] = (7, 5, 3)
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_series(x)
        features: OrderedDict[str, Array] = OrderedDict()
        for i, width in enumerate(self.widths, start=1):
            h = x
            for k, window in enumerate(self.windows, start=1):
                last = k == len(self.windows)
                name = f"block{i}_layer{k}"
                layer = ConvNorm(width, window, 1, not last, self.batch_norm, name=name)
                h = layer(h, train=train)
            x = nn.relu(h + norm_shortcut(x, width, self.batch_norm, i, train))
            features[f"block{i}"] = x
        features["pooled"] = pool_over_space(x)
        return features


def norm_shortcut(x: Array, width: int, batch_norm: Norm, i: int, train: bool) -> Array:
    """`norm(x)`, or of its 1 x 1 convolution to `width`; inside a __call__."""
    name = f"shortcut{i}"
    if x.shape[-1] == width:
        return batch_norm(relu=False, name=name)(x, train=train)
    return ConvNorm(width, 1, 1, False, batch_norm, name=name)(x, train=train)


def resnet_time(
    *,
    batch_norm: Norm = BatchNorm,
    widths: Any = (64, 128, 128),
    windows: Any = (7, 5, 3),
) -> ResNetTime:
    """A ResNetTime; an InputError unless there are widths, and windows that are odd."""
    blocks = some_widths(widths, of="block")
    length = len(windows) if isinstance(windows, list | tuple) else 3
    found = odd(windows, max(length, 1), where=f"{WHERE}.windows")
    return ResNetTime(blocks, found, batch_norm)
