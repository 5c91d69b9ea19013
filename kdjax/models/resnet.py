"""Residual networks over time or images: He et al., CVPR 2016."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
from jax import Array

from kdjax.checks import integer, number, one_of
from kdjax.errors import InputError
from kdjax.models.blocks import SqueezeExcitation
from kdjax.models.layers import WHERE, check_rank, pool_over_space
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.convolution import Conv


class BasicBlock(nn.Module):
    """`relu(shortcut + norm(conv(relu(norm(conv(x))))))`, torchvision's basic block."""

    channels: int
    stride: int = 1
    batch_norm: Norm = BatchNorm
    se: int | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        h = Conv(self.channels, 3, self.stride, name="conv1")(x)
        h = self.batch_norm(name="norm1")(h, train=train)
        h = Conv(self.channels, 3, name="conv2")(h)
        h = _last_norm(self.batch_norm, "norm2")(h, train=train)
        h = _excited(h, self.se)
        return nn.relu(_shortcut(x, h, self.stride, self.batch_norm, train) + h)


class Bottleneck(nn.Module):
    """Windows 1, 3, 1 with `channels`, `channels`, 4 x `channels` outputs.

    The stride is in the window of 3, as torchvision's (v1.5), not in the first.
    """

    channels: int
    stride: int = 1
    batch_norm: Norm = BatchNorm
    se: int | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        h = Conv(self.channels, 1, name="conv1")(x)
        h = self.batch_norm(name="norm1")(h, train=train)
        h = Conv(self.channels, 3, self.stride, name="conv2")(h)
        h = self.batch_norm(name="norm2")(h, train=train)
        h = Conv(4 * self.channels, 1, name="conv3")(h)
        h = _last_norm(self.batch_norm, "norm3")(h, train=train)
        h = _excited(h, self.se)
        return nn.relu(_shortcut(x, h, self.stride, self.batch_norm, train) + h)


def _last_norm(batch_norm: Norm, name: str) -> BatchNorm:
    """A block's last norm: its scale starts at 0, and so the block as its shortcut."""
    return batch_norm(relu=False, scale_init=nn.initializers.zeros, name=name)


def _excited(h: Array, se: int | None) -> Array:
    """A branch, squeezed by `se` and excited if there is one; inside a __call__."""
    return h if se is None else SqueezeExcitation(se, name="se")(h)


def _shortcut(x: Array, h: Array, stride: int, batch_norm: Norm, train: bool) -> Array:
    """`x`, or its 1 x 1 convolution to the shape of `h`; inside a block's __call__."""
    if x.shape[-1] == h.shape[-1] and stride == 1:
        return x
    x = Conv(h.shape[-1], 1, stride, name="shortcut")(x)
    return batch_norm(relu=False, name="shortcut_norm")(x, train=train)


BLOCKS: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
STEMS = ("cifar", "imagenet")


class ResNet(nn.Module):
    """ResNet-`depth` of [batch, time, channels] or [batch, height, width, channels].

    The stem "imagenet" is window 7, stride 2 and a max-pool of 3, stride 2; "cifar" is
    window 3, stride 1, for small images and short windows of time. All channels are
    `width` times the paper's (SimCLR's 2x, 4x; 0.25 is a quarter of them). The scale of
    each block's last batch norm starts at 0, as SimCLR's (Goyal et al. 2017), so that
    the blocks start as their shortcuts.
    Features: `stage1` to `stage4` (64, 128, 256, 512 channels, from depth 50 on 4 times
    as many) and `pooled`.
    """

    depth: int = 18
    width: float | int = 1
    stem: str = "cifar"
    batch_norm: Norm = BatchNorm
    se: int | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_rank(x)
        features: OrderedDict[str, Array] = OrderedDict()
        window, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        h = Conv(int(64 * self.width), window, stride, name="stem")(x)
        h = self.batch_norm(name="norm")(h, train=train)
        if self.stem == "imagenet":
            space = x.ndim - 2
            h = nn.max_pool(h, (3,) * space, (2,) * space, ((1, 1),) * space)
        block, stages = BLOCKS[self.depth]
        for stage, blocks in enumerate(stages, start=1):
            channels = int(32 * 2**stage * self.width)
            for i in range(blocks):
                stride = 2 if stage > 1 and i == 0 else 1
                name = f"stage{stage}_block{i + 1}"
                made = block(channels, stride, self.batch_norm, self.se, name=name)
                h = made(h, train=train)
            features[f"stage{stage}"] = h
        features["pooled"] = pool_over_space(h)
        return features


def resnet(
    *,
    batch_norm: Norm = BatchNorm,
    depth: Any = 18,
    width: Any = 1,
    stem: Any = "cifar",
    se: Any = None,
) -> ResNet:
    """A ResNet; an InputError for an unknown depth or stem, or a wrong `width` or `se`.

    `width` is a multiple of 1/64 above 0, for a whole number of channels. `se`: by how
    much squeeze-excitation reduces the channels (16 in its paper), after the last norm
    of each block's branch.
    """
    if se is not None:
        integer(se, low=1, where=f"{WHERE}.se")
    one_of(depth, BLOCKS, where=f"{WHERE}.depth")
    one_of(stem, STEMS, where=f"{WHERE}.stem")
    if number(width, above=0, where=f"{WHERE}.width") % (1 / 64):
        raise InputError(f"{WHERE}.width: expected a multiple of 1/64, found {width}")
    return ResNet(depth, width, stem, batch_norm, se)
