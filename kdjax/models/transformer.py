"""A transformer encoder of series: Vaswani et al., NeurIPS 2017.

With learnt positions, batch norm and a flattened head as Zerveas et al., KDD 2021; or
with sines, layer norm and the mean over time. Without their dropout of .1.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdjax.checks import boolean, integer, one_of
from kdjax.errors import InputError
from kdjax.models.layers import WHERE, check_series
from kdjax.models.ops.batch_norm import BatchNorm, Norm

POSITIONS, NORMS, POOLINGS = ("learnt", "sines"), ("batch", "layer"), ("flat", "mean")


class EncoderLayer(nn.Module):
    """`h = norm(x + attention(x))`, then `norm(h + W2 gelu(W1 h))`."""

    heads: int
    hidden: int
    norm: str
    bias: bool
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        width = x.shape[-1]
        attention = nn.MultiHeadDotProductAttention(
            self.heads,
            dtype=x.dtype,
            use_bias=self.bias,
            name="attention",
        )
        x = self._norm(x + attention(x), "norm1", train)
        h = nn.gelu(nn.Dense(self.hidden, dtype=x.dtype, name="hidden")(x))
        h = nn.Dense(width, dtype=x.dtype, name="outputs")(h)
        return self._norm(x + h, "norm2", train)

    def _norm(self, x: Array, name: str, train: bool) -> Array:
        if self.norm == "batch":
            return self.batch_norm(relu=False, name=name)(x, train=train)
        return nn.LayerNorm(dtype=x.dtype, name=name)(x)


class Transformer(nn.Module):
    """Encoder layers of [batch, time, channels]; all steps side by side, or their mean.

    Features: `layer1`, `layer2`, ... [batch, time, width], then `flat`, which is
    `gelu` of the last layer as [batch, time * width], or `mean`.
    """

    width: int = 128
    layers: int = 3
    heads: int = 16
    hidden: int = 256
    positions: str = "learnt"
    norm: str = "batch"
    pooling: str = "flat"
    bias: bool = False
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_series(x)
        features: OrderedDict[str, Array] = OrderedDict()
        x = nn.Dense(self.width, dtype=x.dtype, name="embedding")(x)
        x = x + self._positions(x.shape[1]).astype(x.dtype)[None]
        for i in range(1, self.layers + 1):
            layer = EncoderLayer(
                self.heads,
                self.hidden,
                self.norm,
                self.bias,
                self.batch_norm,
                name=f"layer{i}",
            )
            features[f"layer{i}"] = x = layer(x, train=train)
        if self.pooling == "mean":
            features["mean"] = x.mean(1)
        else:
            features["flat"] = nn.gelu(x).reshape(x.shape[0], -1)
        return features

    def _positions(self, time: int) -> Array:
        """Learnt, or sines and cosines of wavelengths from 2 pi to 20,000 pi."""
        shape = (time, self.width)
        if self.positions == "learnt":
            return self.param("positions", nn.initializers.normal(0.02), shape)
        rates = 10_000.0 ** -(np.arange(0, self.width, 2) / self.width)
        angles = np.arange(time)[:, None] * rates[None]
        waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        return jnp.asarray(waves.reshape(shape), jnp.float32)


def transformer(
    *,
    batch_norm: Norm = BatchNorm,
    width: Any = 128,
    layers: Any = 3,
    heads: Any = 16,
    hidden: Any = 256,
    positions: Any = "learnt",
    norm: Any = "batch",
    pooling: Any = "flat",
    bias: Any = False,
) -> Transformer:
    """A Transformer; an InputError names a field with a value it cannot take.

    `width` is a multiple of `heads`, even with sines. layers: of attention and
    products; hidden: the width inside the latter; positions: "learnt" or "sines"; norm:
    "batch" or "layer"; pooling: "flat" (all times) or "mean". `bias`: of the
    attention's four products.
    """
    for name, value in (("width", width), ("heads", heads), ("hidden", hidden)):
        integer(value, low=1, where=f"{WHERE}.{name}")
    integer(layers, low=1, high=1000, where=f"{WHERE}.layers")
    one_of(positions, POSITIONS, where=f"{WHERE}.positions")
    one_of(norm, NORMS, where=f"{WHERE}.norm")
    one_of(pooling, POOLINGS, where=f"{WHERE}.pooling")
    boolean(bias, where=f"{WHERE}.bias")
    if width % heads:
        raise InputError(
            f"{WHERE}.width: expected a multiple of {heads} heads, found {width}"
        )
    if positions == "sines" and width % 2:
        raise InputError(f"{WHERE}.width: expected an even number, found {width}")
    return Transformer(
        width, layers, heads, hidden, positions, norm, pooling, bias, batch_norm
    )
