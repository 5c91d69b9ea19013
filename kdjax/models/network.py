"""An encoder and what stands on it: a projection head, a classifier, or both."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdjax.checks import boolean, integer, integers
from kdjax.models.layers import WHERE, Outputs
from kdjax.models.ops.batch_norm import BatchNorm, Norm


class Head(nn.Module):
    """[batch, width] -> float32 [batch, outputs]: hidden layers and a last one.

    Hidden layer i is `relu(norm_i(layer_i(x)))`. The last layer is a classifier,
    `classes`, with bias; or a projection, the next `layer` and its `norm` without a
    ReLU or a bias, as SimCLR's. Layers have no bias where batch norm follows; without
    `norm` they have one. The last layer computes in float32, the hidden ones in x's
    dtype.
    """

    outputs: int
    hidden: tuple[int, ...] = ()
    classifier: bool = True
    norm: bool = True
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        for i, width in enumerate(self.hidden, start=1):
            x = self._layer(x, i, width, relu=True, train=train)
        x = x.astype(jnp.float32)
        if self.classifier:
            return nn.Dense(self.outputs, name="classes")(x)
        last = len(self.hidden) + 1
        return self._layer(x, last, self.outputs, relu=False, train=train)

    def _layer(self, x: Array, i: int, width: int, *, relu: bool, train: bool) -> Array:
        bias = not self.norm
        x = nn.Dense(width, use_bias=bias, dtype=x.dtype, name=f"layer{i}")(x)
        if self.norm:
            norm = self.batch_norm(relu=relu, center=relu, name=f"norm{i}")
            return norm(x, train=train)
        return nn.relu(x) if relu else x


class Network(nn.Module):
    """`head(encoder(x))`: x is cast to `dtype`, in which the encoder computes.

    The encoder returns its features in order of depth; the last, [batch, width], is the
    representation. The head is given that, or the feature that it `reads`. Features
    keep `dtype`; logits, parameters and batch statistics are
    float32.
    """

    encoder: nn.Module
    head: nn.Module
    dtype: str = "float32"

    def __call__(self, x: Array, *, train: bool) -> Outputs:
        features = self.encoder(x.astype(self.dtype), train=train)
        read = getattr(self.head, "reads", next(reversed(features)))
        return Outputs(self.head(features[read], train=train), features)


def classifier(classes: int) -> Head:
    """A linear classifier on the representation."""
    return Head(classes)


def projection_head(
    *,
    classes: int,
    batch_norm: Norm = BatchNorm,
    hidden: Any = (256,),
    outputs: Any = 128,
    norm: Any = True,
    keep: Any = None,
) -> Head:
    """The head of contrastive pretraining, or of fine-tuning from inside it.

    `keep` None: layers of `hidden` units and a projection to `outputs` (Chen et al.,
    SimCLR, ICML 2020). `keep` k: the first k hidden layers, then a classifier: SimCLR
    fine-tunes with k = 0, SimCLR v2 (NeurIPS 2020) with the first of three layers,
    k = 1. What both have carries the same name and shape.
    An InputError names a field with a value it cannot take.
    """
    units = integers(hidden, low=1, where=f"{WHERE}.projection.hidden")
    integer(outputs, low=1, where=f"{WHERE}.projection.outputs")
    boolean(norm, where=f"{WHERE}.projection.norm")
    if keep is None:
        return Head(outputs, units, False, norm, batch_norm)
    integer(keep, low=0, high=len(units), where=f"{WHERE}.projection.keep")
    return Head(classes, units[:keep], True, norm, batch_norm)
