"""InceptionTime: Ismail Fawaz et al., Data Mining and Knowledge Discovery 2020.

With tsai's windows, 39 19 9; the paper has 40 20 10.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdjax.checks import integer
from kdjax.models.blocks import max_pool
from kdjax.models.layers import WHERE, check_series, odd, pool_over_space
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.convolution import Conv
from kdjax.models.resnet_time import norm_shortcut


class Inception(nn.Module):
    """Convolutions of three windows and a max-pool side by side, then norm and ReLU.

    A convolution of window 1, the neck, comes before the three, but for a single
    channel; one after the max-pool. Each of the four has `filters` outputs.
    """

    filters: int = 32
    windows: tuple[int, ...] = (39, 19, 9)
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        neck = Conv(self.filters, 1, name="neck")(x) if x.shape[-1] > 1 else x
        maps = [
            Conv(self.filters, window, name=f"conv{i}")(neck)
            for i, window in enumerate(self.windows, start=1)
        ]
        maps.append(Conv(self.filters, 1, name="pooled")(max_pool(x)))
        return self.batch_norm(name="norm")(jnp.concatenate(maps, -1), train=train)


class InceptionTime(nn.Module):
    """`modules` Inception modules, a shortcut round every three; the mean over time.

    Features: `module1`, `module2`, ... [batch, time, 4 filters], every third with its
    shortcut, and `pooled`.
    """

    filters: int = 32
    modules: int = 6
    windows: tuple[int, ...] = (39, 19, 9)
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_series(x)
        features: OrderedDict[str, Array] = OrderedDict()
        before = x
        for i in range(1, self.modules + 1):
            module = Inception(
                self.filters, self.windows, self.batch_norm, name=f"module{i}"
            )
            x = module(x, train=train)
            if i % 3 == 0:
                width = 4 * self.filters
                shortcut = norm_shortcut(before, width, self.batch_norm, i // 3, train)
                before = x = nn.relu(x + shortcut)
            features[f"module{i}"] = x
        features["pooled"] = pool_over_space(x)
        return features


def inception_time(
    *,
    batch_norm: Norm = BatchNorm,
    filters: Any = 32,
    modules: Any = 6,
    windows: Any = (39, 19, 9),
) -> InceptionTime:
    """An InceptionTime; an InputError unless its three windows are odd.

    filters: of each of a module's four branches, and of its neck; modules: how many, a
    shortcut over every three.
    """
    integer(filters, low=1, where=f"{WHERE}.filters")
    integer(modules, low=1, high=1000, where=f"{WHERE}.modules")
    found = odd(windows, 3, where=f"{WHERE}.windows")
    return InceptionTime(filters, modules, found, batch_norm)
