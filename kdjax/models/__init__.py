"""Networks by name: `build("wide_resnet", classes=6, depth=16, width=1)`.

A model is a linen module called as `module.apply(variables, x, train=...)`; it returns
`Outputs(logits, features)` and keeps {"params", "batch_stats"}.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from kdjax.errors import call, lookup
from kdjax.models.layers import WHERE, Outputs
from kdjax.models.mlp import MLP, mlp
from kdjax.models.resnet import ResNet, resnet
from kdjax.models.wide_resnet import WideResNet, wide_resnet

MODELS = {"mlp": mlp, "resnet": resnet, "wide_resnet": wide_resnet}

__all__ = ["MLP", "MODELS", "Outputs", "ResNet", "WideResNet", "build"]


def build(
    name: str, *, classes: int, norm_axis: str | None = None, **fields: Any
) -> nn.Module:
    """The model `name` for `classes` classes.

    `fields` are the config's: `depth`, `width` (wide_resnet), `depth`, `stem` (resnet),
    `widths` (mlp). Batch statistics in training are over the mapped axis `norm_axis`.
    An unknown name or field, or a value it cannot take, is an InputError.
    """
    factory = lookup(name, MODELS, where=f"{WHERE}.name")
    return call(factory, fields, where=WHERE, classes=classes, norm_axis=norm_axis)
