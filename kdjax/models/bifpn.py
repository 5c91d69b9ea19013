"""The self-teacher: a pyramid that refines a network's own maps, with its own head."""

from __future__ import annotations

import functools
import itertools
from collections import OrderedDict
from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from kdjax.models.layers import Outputs, pool_over_space
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.convolution import Conv

_EPSILON = 1e-4


class BiFPN(nn.Module):
    """{name: map [batch, *space_i, channels_i]} -> Outputs(logits, the maps refined).

    A bidirectional feature pyramid over time or over images. The maps are in order of
    depth, each a whole number of times shorter along each axis than the one before.
    Every map p_i is first brought to `width` channels by a 1x1 convolution, batch norm
    and ReLU; then, with n a convolution of window 3, batch norm and ReLU, and f
    `Fuse`::

        d_i = n(f(p_i, up(d_{i+1})))         top down, from d_last = p_last
        r_i = n(f(p_i, d_i, down(r_{i-1})))  bottom up, to channels_i channels

    without d_i at both ends, where it is p_i, and with r_1 = n(f(p_1, up(d_2))). `up`
    repeats each step, `down` takes the maximum over steps and brings r to `width`
    channels. The refined maps keep name, space and channels; logits [batch, classes],
    float32, are a dense layer on the mean over space of the deepest. Every parameter
    is on the way to them, so that the labels alone train the self-teacher.

    Gradients flow back into the maps: detach them for a self-teacher that leaves its
    network alone. ValueError for maps that do not fit. Tan, Pang & Le, "EfficientDet",
    CVPR 2020; Ji et al., "Refine myself by teaching myself", CVPR 2021.
    """

    classes: int = 1
    width: int = 64
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, features: Mapping[str, Array], *, train: bool) -> Outputs:
        _check(features)

        def layer(x: Array, channels: int, window: int, name: str) -> Array:
            x = Conv(channels, window, name=f"{name}_conv")(x)
            return self.batch_norm(name=f"{name}_norm")(x, train=train)

        maps, last = list(features.values()), len(features) - 1
        own = [layer(x, self.width, 1, f"lateral{i}") for i, x in enumerate(maps)]
        downwards = {last: own[last]}
        for i in reversed(range(1, last)):
            deeper = upsample(downwards[i + 1], own[i].shape[1:-1])
            fused = Fuse(name=f"fuse_down{i}")(own[i], deeper)
            downwards[i] = layer(fused, self.width, 3, f"down{i}")
        refined: list[Array] = []
        for i, x in enumerate(own):
            between = [downwards[i]] if 0 < i < last else []
            if i == 0:
                beside = upsample(downwards[1], x.shape[1:-1])
            else:
                shallower = max_pool(refined[-1], x.shape[1:-1])
                beside = layer(shallower, self.width, 1, f"pooled{i}")
            fused = Fuse(name=f"fuse_up{i}")(x, *between, beside)
            refined.append(layer(fused, maps[i].shape[-1], 3, f"refined{i}"))
        pooled = pool_over_space(refined[-1].astype(jnp.float32))
        logits = nn.Dense(self.classes, name="classes")(pooled)
        return Outputs(logits, OrderedDict(zip(features, refined, strict=True)))


class Fuse(nn.Module):
    """`sum_i w_i x_i / (sum_i w_i + 1e-4)`, w = relu(learnt weights), from 1 each.

    "Fast normalised fusion", Tan et al. 2020.
    """

    @nn.compact
    def __call__(self, *maps: Float[Array, "batch *space channels"]) -> Array:
        weights = nn.relu(self.param("weights", nn.initializers.ones, (len(maps),)))
        weights = (weights / (weights.sum() + _EPSILON)).astype(maps[0].dtype)
        return jnp.einsum("i,i...->...", weights, jnp.stack(maps))


def upsample(
    x: Float[Array, "batch *space channels"], space: tuple[int, ...]
) -> Float[Array, "batch *larger channels"]:
    """Each step repeated, to `space`: along each axis a multiple of the steps of x."""
    for axis, size in enumerate(space, start=1):
        if size != x.shape[axis]:
            x = jnp.repeat(x, size // x.shape[axis], axis=axis)
    return x


def max_pool(
    x: Float[Array, "batch *space channels"], space: tuple[int, ...]
) -> Float[Array, "batch *smaller channels"]:
    """The maximum over neighbouring steps, to `space`: of each axis a divisor.

    The gradient goes to the first of those that are largest. (That of `jnp.max` divides
    by how many equal the maximum: none, so NaN, where XLA computes x again, rounded
    otherwise.)
    """
    for axis, size in enumerate(space, start=1):
        parts = x.reshape(*x.shape[:axis], size, -1, *x.shape[axis + 1 :])
        neighbours = [
            lax.index_in_dim(parts, i, axis + 1, keepdims=False)
            for i in range(parts.shape[axis + 1])
        ]
        x = functools.reduce(lambda a, b: jnp.where(a >= b, a, b), neighbours)
    return x


def _check(features: Mapping[str, Array]) -> None:
    """ValueError unless two maps or more, each a whole number of times shorter."""
    shapes = {name: x.shape for name, x in features.items()}
    space = [shape[1:-1] for shape in shapes.values()]
    if len(space) < 2 or {len(axes) for axes in space} not in ({1}, {2}):
        raise ValueError(
            "features: expected two maps or more, [batch, time, channels] or [batch, "
            f"h, w, channels], found {shapes}"
        )
    for larger, smaller in itertools.pairwise(space):
        if any(b == 0 or a % b for a, b in zip(larger, smaller, strict=True)):
            raise ValueError(
                "features: expected each map a whole number of times shorter than the "
                f"one before, found {shapes}"
            )
