"""MobileNetV2 over time or images: Sandler et al., CVPR 2018."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdjax.checks import integers, number
from kdjax.models.blocks import ConvNorm
from kdjax.models.layers import WHERE, check_rank, pool_over_space
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.depthwise import DepthwiseConv

# of each stage: expansion, outputs, the stride of its first block
STAGES = (
    (1, 16, 1),
    (6, 24, 2),
    (6, 32, 2),
    (6, 64, 2),
    (6, 96, 1),
    (6, 160, 2),
    (6, 320, 1),
)
BLOCKS = (1, 2, 3, 4, 3, 3, 1)


class InvertedResidual(nn.Module):
    """Wider by `expansion`, each channel on its own, narrow again without a ReLU.

    The ReLUs are cut off at 6. With x added where the shape stays.
    """

    outputs: int
    expansion: int
    stride: int = 1
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        h = x
        if self.expansion > 1:
            wide = x.shape[-1] * self.expansion
            h = ConvNorm(wide, 1, 1, True, self.batch_norm, name="wide")(h, train=train)
            h = jnp.minimum(h, 6.0)
        h = DepthwiseConv(3, self.stride, name="depthwise")(h)
        h = jnp.minimum(self.batch_norm(name="norm")(h, train=train), 6.0)
        narrow = ConvNorm(self.outputs, 1, 1, False, self.batch_norm, name="narrow")
        h = narrow(h, train=train)
        return x + h if x.shape == h.shape else h


class MobileNetV2(nn.Module):
    """A stem of window 3 and stride 2, seven stages, and 1280 channels of window 1.

    Channels are `width` times the paper's, to the nearest multiple of 8; `blocks` in
    each stage. Features: `stage1` to `stage7`, `last` and `pooled`.
    """

    width: float = 1.0
    blocks: tuple[int, ...] = BLOCKS
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_rank(x)
        features: OrderedDict[str, Array] = OrderedDict()
        x = self._conv(x, self._channels(32), 3, 2, "stem", train)
        for i, (expansion, outputs, stride) in enumerate(STAGES, start=1):
            for k in range(self.blocks[i - 1]):
                block = InvertedResidual(
                    self._channels(outputs),
                    expansion,
                    stride if k == 0 else 1,
                    self.batch_norm,
                    name=f"stage{i}_block{k + 1}",
                )
                x = block(x, train=train)
            features[f"stage{i}"] = x
        x = self._conv(x, self._channels(1280, low=1280), 1, 1, "last_conv", train)
        features["last"] = x
        features["pooled"] = pool_over_space(x)
        return features

    def _conv(
        self, x: Array, outputs: int, window: int, stride: int, name: str, train: bool
    ) -> Array:
        layer = ConvNorm(outputs, window, stride, True, self.batch_norm, name=name)
        return jnp.minimum(layer(x, train=train), 6.0)

    def _channels(self, channels: int, low: int = 8) -> int:
        """The nearest multiple of 8, but no less than .9 of what was asked for."""
        asked = channels * self.width
        found = max(low, int(asked + 4) // 8 * 8)
        return found + 8 if found < 0.9 * asked else found


def mobilenet_v2(
    *, batch_norm: Norm = BatchNorm, width: Any = 1.0, blocks: Any = BLOCKS
) -> MobileNetV2:
    """A MobileNetV2; an InputError unless `width` is a number from .1 to 10.

    Or `blocks` are not seven numbers.
    """
    number(width, low=0.1, high=10, where=f"{WHERE}.width")
    counts = integers(blocks, length=len(STAGES), low=1, where=f"{WHERE}.blocks")
    return MobileNetV2(width, counts, batch_norm)
