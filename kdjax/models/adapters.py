"""Adapters: what stands between a student's features and its teacher's in training.

A linen module called as `module(student, teacher, train=...)`, or with the student's
alone where it is itself the teacher, its sizes those of what it is called with. It is
trained with the student and belongs to the loss: not to the network, which is kept,
counted and exported without it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdjax.models.bifpn import BiFPN
from kdjax.models.layers import Outputs
from kdjax.models.ops.batch_norm import BatchNorm

VARIANCE = 5.0  # where VariationalAdapter's variances start, as Ahn et al. have it


def _rows(x: Array) -> Array:
    """[batch, *space, channels] as rows, as `ops.products` has them and for its reason:
    a small student's step with FitNet's adapter is 1.4 times as fast on a CPU."""
    return x.reshape(-1, x.shape[-1])


class FitNetAdapter(nn.Module):
    """[batch, *space, channels] to the teacher's channels: 1 x 1 convolution and norm.

    No ReLU follows, for a teacher's map before its own has both signs. (RepDistiller's
    regressor ends in one.)
    """

    axis: str | None = None

    @nn.compact
    def __call__(self, student: Array, teacher: Array, *, train: bool) -> Array:
        x = nn.Dense(teacher.shape[-1], use_bias=False)(_rows(student))
        norm = BatchNorm(axis=self.axis, relu=False)
        normed: Array = norm(x, train=train)
        return normed.reshape(*student.shape[:-1], -1)


class VariationalAdapter(nn.Module):
    """(mean, variance) of the teacher's map: three 1 x 1 convolutions, ReLU between.

    mean: [batch, *space, the teacher's channels]; variance: one a channel, the
    exponential of a parameter that starts at `log(VARIANCE)`.
    """

    axis: str | None = None

    @nn.compact
    def __call__(
        self, student: Array, teacher: Array, *, train: bool
    ) -> tuple[Array, Array]:
        del train
        channels = teacher.shape[-1]
        x = _rows(student)
        for _ in range(2):
            x = nn.relu(nn.Dense(channels, use_bias=False)(x))
        mean = nn.Dense(channels, use_bias=False)(x).reshape(*student.shape[:-1], -1)
        start = nn.initializers.constant(math.log(VARIANCE))
        return mean, jnp.exp(self.param("log_variance", start, (channels,)))


class ContrastiveAdapter(nn.Module):
    """Both sides' embeddings [batch, ...] to one width, by a dense layer each."""

    axis: str | None = None
    width: int = 128

    @nn.compact
    def __call__(
        self, student: Array, teacher: Array, *, train: bool
    ) -> tuple[Array, Array]:
        del train
        own = nn.Dense(self.width, name="student")(student)
        return own, nn.Dense(self.width, name="teacher")(teacher)


class SelfTeacher(nn.Module):
    """A network's logits and maps to `BiFPN`'s Outputs: as many classes, maps refined.

    Its pyramid is as wide as the deepest map.
    """

    axis: str | None = None

    @nn.compact
    def __call__(
        self, logits: Array, maps: Mapping[str, Array], *, train: bool
    ) -> Outputs:
        width = list(maps.values())[-1].shape[-1]
        norm = functools.partial(BatchNorm, axis=self.axis)
        outputs: Outputs = BiFPN(logits.shape[-1], width, norm)(maps, train=train)
        return outputs
