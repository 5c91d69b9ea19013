"""XceptionTime: Rahimian et al., 2019, as tsai has it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdjax.checks import integer
from kdjax.models.blocks import ConvNorm, SeparableConv, max_pool
from kdjax.models.layers import WHERE, check_series, odd, pool_over_space
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.convolution import Conv

LENGTH = 50  # of the maps that the head is given, whatever the series' length
WINDOWS = (39, 19, 9)


class XceptionModule(nn.Module):
    """Separable convolutions of three windows and a max-pool side by side.

    A convolution of window 1, the neck, comes before the three; one after the max-pool.
    Each of the four has `filters` outputs.
    """

    filters: int
    windows: tuple[int, ...] = WINDOWS

    @nn.compact
    def __call__(self, x: Array) -> Array:
        neck = Conv(self.filters, 1, name="neck")(x)
        maps = [
            SeparableConv(self.filters, window, name=f"conv{i}")(neck)
            for i, window in enumerate(self.windows, start=1)
        ]
        maps.append(Conv(self.filters, 1, name="pooled")(max_pool(x)))
        return jnp.concatenate(maps, axis=-1)


class TimeClassifier(nn.Module):
    """The classes of each time step, normed and with a ReLU, and their mean.

    Of the encoder's feature `neck2`, [batch, time, channels] -> [batch, classes].
    """

    classes: int
    batch_norm: Norm = BatchNorm
    reads: str = "neck2"

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        layer = ConvNorm(self.classes, 1, 1, True, self.batch_norm, name="classes")
        return pool_over_space(layer(x.astype(jnp.float32), train=train))


class XceptionTime(nn.Module):
    """Four modules, each twice as wide as the one before, a shortcut round every two.

    Then the time steps are averaged to 50, and two convolutions of window 1 halve the
    channels twice. Features: `module1` to `module4`, `neck1`, `neck2` and `pooled`.
    """

    filters: int = 16
    windows: tuple[int, ...] = WINDOWS
    batch_norm: Norm = BatchNorm
    own_head = TimeClassifier

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_series(x)
        features: OrderedDict[str, Array] = OrderedDict()
        before = x
        for i in range(1, 5):
            filters = self.filters * 2 ** (i - 1)
            x = XceptionModule(filters, self.windows, name=f"module{i}")(x)
            if i % 2 == 0:
                name = f"shortcut{i // 2}"
                norm = self.batch_norm
                shortcut = ConvNorm(x.shape[-1], 1, 1, False, norm, name=name)
                before = x = nn.relu(x + shortcut(before, train=train))
            features[f"module{i}"] = x
        x = average_to(x, LENGTH)
        for i in (1, 2):
            half = ConvNorm(
                x.shape[-1] // 2, 1, 1, True, self.batch_norm, name=f"neck{i}"
            )
            features[f"neck{i}"] = x = half(x, train=train)
        features["pooled"] = pool_over_space(x)
        return features


def average_to(x: Array, length: int) -> Array:
    """[batch, time, channels] -> [batch, length, channels]: means over equal parts.

    Part i is the steps from floor(i time / length) to ceil((i + 1) time / length), as
    torch's adaptive average pooling: parts may share a step.
    """
    time = x.shape[1]
    step, part = np.arange(time)[None, :], np.arange(length)[:, None]
    inside = (step >= part * time // length) & (step < -(-(part + 1) * time // length))
    share = inside / inside.sum(axis=1, keepdims=True)
    return jnp.einsum("pt,btc->bpc", jnp.asarray(share, x.dtype), x)


def xception_time(
    *, batch_norm: Norm = BatchNorm, filters: Any = 16, windows: Any = WINDOWS
) -> XceptionTime:
    """An XceptionTime whose first module has 4 x `filters` outputs.

    An InputError unless its three windows are odd.
    """
    integer(filters, low=1, where=f"{WHERE}.filters")
    found = odd(windows, 3, where=f"{WHERE}.windows")
    return XceptionTime(filters, found, batch_norm)
