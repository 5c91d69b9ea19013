"""Xception over time or images: Chollet, CVPR 2017."""

from __future__ import annotations

from collections import OrderedDict

import flax.linen as nn
from jax import Array

from kdjax.models.blocks import ConvNorm, SeparableConv, max_pool
from kdjax.models.layers import check_rank, pool_over_space
from kdjax.models.ops.batch_norm import BatchNorm, Norm


class Xception(nn.Module):
    """Separable convolutions of window 3, with shortcuts round every two or three.

    Features: `entry1` to `entry3`, `middle1` to `middle8`, `exit1`, `exit2` and
    `pooled`.
    """

    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_rank(x)
        features: OrderedDict[str, Array] = OrderedDict()

        def norm_conv(
            outputs: int, window: int, stride: int, name: str, relu: bool = True
        ) -> ConvNorm:
            return ConvNorm(outputs, window, stride, relu, self.batch_norm, name=name)

        def separable(h: Array, outputs: int, name: str, relu: bool) -> Array:
            h = SeparableConv(outputs, name=f"{name}_conv")(h)
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
        for i, width in enumerate((128, 256, 728), start=1):
            x = halved(x, (width, width), f"entry{i}", i == 1)
            features[f"entry{i}"] = x
        for i in range(1, 9):
            h = nn.relu(x)
            for k in (1, 2, 3):
                h = separable(h, 728, f"middle{i}_{k}", k < 3)
            features[f"middle{i}"] = x = x + h
        features["exit1"] = x = halved(x, (728, 1024), "exit1", False)
        x = separable(x, 1536, "exit2_1", True)
        features["exit2"] = x = separable(x, 2048, "exit2_2", True)
        features["pooled"] = pool_over_space(x)
        return features


def xception(*, batch_norm: Norm = BatchNorm) -> Xception:
    """An Xception, whose widths are the paper's."""
    return Xception(batch_norm)
