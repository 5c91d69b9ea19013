"""Xception over time or images: Chollet, CVPR 2017."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
from jax import Array

from kdjax.checks import integer, number
from kdjax.models.blocks import ConvNorm, SeparableConv, max_pool
from kdjax.models.layers import WHERE, check_rank, pool_over_space
from kdjax.models.ops.batch_norm import BatchNorm, Norm


class Xception(nn.Module):
    """Separable convolutions of window 3, with shortcuts round every two or three.

    Channels are `width` times the paper's, with `blocks` in the middle. Features:
    `entry1` to `entry3`, `middle1` to `middle8`, `exit1`, `exit2` and `pooled`.
    """

    width: float = 1.0
    blocks: int = 8
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_rank(x)
        features: OrderedDict[str, Array] = OrderedDict()

        def channels(of_paper: int) -> int:
            return max(1, round(of_paper * self.width))

        def norm_conv(
            outputs: int, window: int, stride: int, name: str, relu: bool = True
        ) -> ConvNorm:
            return ConvNorm(
                channels(outputs), window, stride, relu, self.batch_norm, name=name
            )

        def separable(h: Array, outputs: int, name: str, relu: bool) -> Array:
            h = SeparableConv(channels(outputs), name=f"{name}_conv")(h)
            norm = self.batch_norm(relu=relu, name=f"{name}_norm")
            return norm(h, train=train)

        def halved(x: Array, widths: tuple[int, int], name: str, first: bool) -> Array:
            h = x if first else nn.relu(x)
            h = separable(h, widths[0], f"{name}_1", True)
            h = max_pool(separable(h, widths[1], f"{name}_2", False), stride=2)
            shortcut = norm_conv(widths[1], 1, 2, f"{name}_shortcut", False)
            return h + shortcut(x, train=train)

        x = norm_conv(32, 3, 2, "stem1")(x, train=train)
        x = norm_conv(64, 3, 1, "stem2")(x, train=train)
        for i, outputs in enumerate((128, 256, 728), start=1):
            x = halved(x, (outputs, outputs), f"entry{i}", i == 1)
            features[f"entry{i}"] = x
        for i in range(1, self.blocks + 1):
            h = nn.relu(x)
            for k in (1, 2, 3):
                h = separable(h, 728, f"middle{i}_{k}", k < 3)
            features[f"middle{i}"] = x = x + h
        features["exit1"] = x = halved(x, (728, 1024), "exit1", False)
        x = separable(x, 1536, "exit2_1", True)
        features["exit2"] = x = separable(x, 2048, "exit2_2", True)
        features["pooled"] = pool_over_space(x)
        return features


def xception(
    *, batch_norm: Norm = BatchNorm, width: Any = 1.0, blocks: Any = 8
) -> Xception:
    """An Xception; an InputError names a field with a value it cannot take.

    width: a factor of all channels, 1 as published; blocks: how many in the middle.
    """
    number(width, low=0.01, high=10, where=f"{WHERE}.width")
    integer(blocks, low=1, high=1000, where=f"{WHERE}.blocks")
    return Xception(width, blocks, batch_norm)
