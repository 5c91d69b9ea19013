"""A multilayer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
from jax import Array

from kdjax.checks import integers
from kdjax.models.layers import WHERE
from kdjax.models.ops.batch_norm import BatchNorm, Norm


class MLP(nn.Module):
    """ReLU layers of `widths` units over the flattened example.

    Features: `hidden1`, `hidden2`, ..., each [batch, width], after their ReLU; without
    any layer `input`, the flattened example.
    """

    widths: tuple[int, ...] = (128, 128)

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        del train  # the same in training and evaluation
        h = x.reshape(x.shape[0], -1)
        if not self.widths:
            return OrderedDict(input=h)
        features: OrderedDict[str, Array] = OrderedDict()
        initial = nn.initializers.he_normal()
        for i, width in enumerate(self.widths, start=1):
            dense = nn.Dense(width, kernel_init=initial, dtype=x.dtype)
            features[f"hidden{i}"] = h = nn.relu(dense(h))
        return features


def mlp(*, batch_norm: Norm = BatchNorm, widths: Any = (128, 128)) -> MLP:
    """An MLP; an InputError unless `widths` is a sequence of positive whole numbers."""
    del batch_norm  # it has none
    return MLP(integers(widths, low=1, where=f"{WHERE}.widths"))
