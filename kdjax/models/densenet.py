"""Densely connected networks over time or images: Huang et al., CVPR 2017."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdjax.checks import integer, one_of
from kdjax.errors import InputError
from kdjax.models.blocks import ConvNorm, max_pool
from kdjax.models.layers import WHERE, check_rank, pool_over_space
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.convolution import Conv

IMAGENET = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
STEMS = ("cifar", "imagenet")


class DenseNet(nn.Module):
    """DenseNet-BC: every layer is given the outputs of all before it in its block.

    A layer is `conv_3(relu(norm(conv_1(relu(norm(x))))))` with 4 x `growth` and then
    `growth` outputs. Between blocks, half the channels at half the resolution. The
    stem "cifar" is window 3; "imagenet" window 7 and a max-pool of 3, both of stride 2.
    Features: `block1`, `block2`, ... (before norm and ReLU) and `pooled`.
    """

    blocks: tuple[int, ...]
    growth: int = 12
    stem: str = "cifar"
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_rank(x)
        features: OrderedDict[str, Array] = OrderedDict()
        if self.stem == "imagenet":
            stem = ConvNorm(2 * self.growth, 7, 2, True, self.batch_norm, name="stem")
            x = max_pool(stem(x, train=train), stride=2)
        else:
            x = Conv(2 * self.growth, name="stem")(x)
        for i, layers in enumerate(self.blocks, start=1):
            for k in range(1, layers + 1):
                h = self._conv(x, 4 * self.growth, 1, f"block{i}_layer{k}a", train)
                h = self._conv(h, self.growth, 3, f"block{i}_layer{k}b", train)
                x = jnp.concatenate([x, h], axis=-1)
            features[f"block{i}"] = x
            if i < len(self.blocks):
                x = self._conv(x, x.shape[-1] // 2, 1, f"transition{i}", train)
                space = (2,) * (x.ndim - 2)
                if min(x.shape[1:-1]) < 2:
                    least = 2 ** (len(self.blocks) - 1)
                    least *= 4 if self.stem == "imagenet" else 1
                    raise InputError(
                        f"{WHERE}.name: 'densenet' halves what it is given: expected "
                        f"{least} samples or more, found fewer"
                    )
                x = nn.avg_pool(x, window_shape=space, strides=space)
        x = self.batch_norm(name="norm")(x, train=train)
        features["pooled"] = pool_over_space(x)
        return features

    def _conv(
        self, x: Array, outputs: int, window: int, name: str, train: bool
    ) -> Array:
        x = self.batch_norm(name=f"{name}_norm")(x, train=train)
        return Conv(outputs, window, name=f"{name}_conv")(x)


def densenet(
    *,
    batch_norm: Norm = BatchNorm,
    depth: Any = 100,
    growth: Any = 12,
    stem: Any = "cifar",
) -> DenseNet:
    """A DenseNet-BC; an InputError for a depth that there is not, or a wrong `growth`.

    With the stem "cifar" three blocks of (depth - 4) / 6 layers; with "imagenet" the
    four blocks of depth 121, 169 or 201, whose growth in the paper is 32.
    """
    integer(growth, low=1, where=f"{WHERE}.growth")
    one_of(stem, STEMS, where=f"{WHERE}.stem")
    if stem == "imagenet":
        one_of(depth, IMAGENET, where=f"{WHERE}.depth")
        return DenseNet(IMAGENET[depth], growth, stem, batch_norm)
    integer(depth, low=10, high=1000, where=f"{WHERE}.depth")
    if (depth - 4) % 6:
        raise InputError(f"{WHERE}.depth: expected 6 n + 4, found {depth}")
    return DenseNet(((depth - 4) // 6,) * 3, growth, stem, batch_norm)
