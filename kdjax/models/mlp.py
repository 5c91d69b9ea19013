"""A multilayer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jax import Array

from kdjax.errors import InputError
from kdjax.models.layers import WHERE, Outputs, positive


class MLP(nn.Module):
    """ReLU layers of `widths` units over the flattened example, and a linear head.

    Features: `hidden1`, `hidden2`, ..., each [batch, width], after their ReLU.
    """

    classes: int
    widths: tuple[int, ...] = (128, 128)

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Outputs:
        del train  # the same in training and evaluation
        features: OrderedDict[str, Array] = OrderedDict()
        h = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.widths, start=1):
            dense = nn.Dense(width, kernel_init=nn.initializers.he_normal())
            features[f"hidden{i}"] = h = nn.relu(dense(h))
        return Outputs(nn.Dense(self.classes, name="head")(h), features)


def mlp(*, classes: int, norm_axis: str | None = None, widths: Any = (128, 128)) -> MLP:
    """An MLP; an InputError unless `widths` is a sequence of positive whole numbers."""
    del norm_axis  # it has no batch norm
    if isinstance(widths, str) or not isinstance(widths, Sequence):
        raise InputError(
            f"{WHERE}.widths: expected a sequence of whole numbers, got {widths!r}"
        )
    units = tuple(positive(f"widths[{i}]", width) for i, width in enumerate(widths))
    return MLP(positive("classes", classes), units)
