"""Residual networks of basic blocks, over time or images: He et al., CVPR 2016."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
from jax import Array

from kdjax.errors import InputError, nearest
from kdjax.models.layers import (
    WHERE,
    BatchNorm,
    Conv,
    Outputs,
    check_rank,
    pool_over_space,
    positive,
)

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
STEMS = ("cifar", "imagenet")


class BasicBlock(nn.Module):
    """`relu(shortcut + norm(conv(relu(norm(conv(x))))))`, torchvision's basic block."""

    outputs: int
    stride: int = 1
    norm_axis: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        h = Conv(self.outputs, 3, self.stride, name="conv1")(x)
        h = BatchNorm(self.norm_axis, name="norm1")(h, train=train)
        h = Conv(self.outputs, 3, name="conv2")(h)
        h = BatchNorm(self.norm_axis, relu=False, name="norm2")(h, train=train)
        if x.shape[-1] != self.outputs or self.stride != 1:
            x = Conv(self.outputs, 1, self.stride, name="shortcut")(x)
            norm = BatchNorm(self.norm_axis, relu=False, name="shortcut_norm")
            x = norm(x, train=train)
        return nn.relu(x + h)


class ResNet(nn.Module):
    """ResNet-18 or -34 of [batch, time, channels] or [batch, height, width, channels].

    The stem "imagenet" is window 7, stride 2 and a max-pool of 3, stride 2; "cifar" is
    window 3, stride 1, for small images and short windows of time.
    Features: `stage1` to `stage4` (64, 128, 256, 512 channels) and `pooled`.
    """

    classes: int
    depth: int = 18
    stem: str = "cifar"
    norm_axis: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Outputs:
        check_rank(x)
        features: OrderedDict[str, Array] = OrderedDict()
        window, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        h = Conv(64, window, stride, name="stem")(x)
        h = BatchNorm(self.norm_axis, name="norm")(h, train=train)
        if self.stem == "imagenet":
            space = x.ndim - 2
            h = nn.max_pool(h, (3,) * space, (2,) * space, ((1, 1),) * space)
        for stage, blocks in enumerate(BLOCKS[self.depth], start=1):
            for i in range(blocks):
                block = BasicBlock(
                    32 * 2**stage,
                    2 if stage > 1 and i == 0 else 1,
                    self.norm_axis,
                    name=f"stage{stage}_block{i + 1}",
                )
                h = block(h, train=train)
            features[f"stage{stage}"] = h
        features["pooled"] = pool_over_space(h)
        return Outputs(
            nn.Dense(self.classes, name="head")(features["pooled"]), features
        )


def resnet(
    *,
    classes: int,
    norm_axis: str | None = None,
    depth: Any = 18,
    stem: Any = "cifar",
) -> ResNet:
    """A ResNet; an InputError for another depth than 18 or 34, or an unknown stem."""
    if depth not in BLOCKS:
        raise InputError(f"{WHERE}.depth: expected 18 or 34, got {depth!r}")
    if stem not in STEMS:
        near = nearest(str(stem), STEMS)
        raise InputError(f"{WHERE}.stem: unknown stem {stem!r}{near}")
    return ResNet(positive("classes", classes), depth, stem, norm_axis)
