"""Distillation through intermediate feature maps.

`where` is [batch], 0 or False for the examples that do not count: their loss and their
gradient are 0, whatever they hold, and means are over the others.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from kdjax.losses._checks import checked
from kdjax.losses._examples import kept, mean_of, mean_square
from kdjax.losses._maps import check_map, normalize


@checked
def attention_transfer_loss(
    student_features: Float[Array, "batch *space student_channels"],
    teacher_features: Float[Array, "batch *space teacher_channels"],
    *,
    power: float | int = 2,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How far apart the places are where student and teacher features have energy.

    Mean over examples and positions of `(Q^s - Q^t)^2`, where `Q = A / ||A||` and
    `A = mean_c |f|^power` is the attention map of features f. The norm is taken over
    positions; a zero map stays zero, and its gradient is zero. The result is a float32
    scalar without unit. Zagoruyko & Komodakis 2017, "Paying more attention to
    attention", in the form of their published code (the paper writes a norm where the
    code has a mean square).

    Args:
        student_features: [batch, time, channels] or [batch, h, w, channels].
        teacher_features: the same but for the number of channels; detached.
        power: of a feature in its energy, at least 1.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: shapes that do not fit, or `power` below 1, whose gradient is
            infinite where a feature is zero.

    Example:
        >>> student = [[[1.0], [0.0], [2.0]]]  # [batch, time, channels]
        >>> teacher = [[[0.0, 1.0], [0.0, 1.0], [3.0, 1.0]]]
        >>> round(float(attention_transfer_loss(student, teacher)), 4)
        0.0103
    """
    if not power >= 1:
        raise ValueError(f"power: expected at least 1, found {power}")
    check_map("student_features", student_features)
    student = _attention(kept(where, student_features), power)
    teacher = jax.lax.stop_gradient(kept(where, teacher_features))
    return mean_square(student - _attention(teacher, power), where)


@checked
def fitnet_loss(
    student_features: Float[Array, "batch *space channels"],
    teacher_features: Float[Array, "batch *space channels"],
    *,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How far the student's features are from the teacher's: the mean squared error.

    The mean over examples, positions and channels of `(f^s - f^t)^2`. Where student and
    teacher have other numbers of channels, the student's come through an adapter, a
    1 x 1 convolution that is trained with it (`kdjax.models.adapters`). The result is a
    float32 scalar; its weight beside a cross-entropy is about 100. Romero, Ballas,
    Kahou, Chassang, Gatta & Bengio 2015, "FitNets: Hints for thin deep nets", as a
    term of the whole training and not as its first stage.

    Args:
        student_features: [batch, time, channels] or [batch, h, w, channels].
        teacher_features: of the same shape; detached.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: shapes that differ, or are no maps.

    Example:
        >>> student = [[[1.0], [0.0], [2.0]]]  # [batch, time, channels]
        >>> teacher = [[[0.0], [1.0], [3.0]]]
        >>> float(fitnet_loss(student, teacher))
        1.0
    """
    check_map("student_features", student_features)
    teacher = jax.lax.stop_gradient(kept(where, teacher_features))
    return mean_square(kept(where, student_features) - teacher, where)


@checked
def variational_loss(
    mean: Float[Array, "batch *space channels"],
    variance: Float[Array, "*channels"],
    teacher_features: Float[Array, "batch *space channels"],
    *,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How unlikely the student's guess makes the teacher's features, in nats.

    The mean over examples, positions and channels of `((m - t)^2 / v + log v) / 2`: the
    negative logarithm of a Gaussian's density, less a constant. Minimised over m and v
    it maximises a lower bound of the mutual information. m is the student's map through
    an adapter, and v, positive, one number a channel; both are trained
    (`kdjax.models.adapters`). The result is a float32 scalar; its weight is about 1.
    Ahn, Hu, Damianou, Lawrence & Dai 2019, "Variational information distillation for
    knowledge transfer".

    Args:
        mean: m, [batch, time, channels] or [batch, h, w, channels].
        variance: v, above 0: a scalar, or [channels].
        teacher_features: t, of m's shape; detached.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: shapes that differ, or are no maps; a `variance` that is neither a
            scalar nor [channels].

    Example:
        >>> guess = [[[1.0], [0.0], [2.0]]]  # [batch, time, channels]
        >>> teacher = [[[0.0], [1.0], [3.0]]]
        >>> round(float(variational_loss(guess, [2.0], teacher)), 4)
        0.5966
    """
    check_map("mean", mean)
    channels = mean.shape[-1]
    if variance.shape not in ((), (channels,)):
        raise ValueError(
            f"variance: expected a scalar or ({channels},), found {variance.shape}"
        )
    variance = variance.reshape((1,) * (mean.ndim - 1) + (-1,))
    teacher = jax.lax.stop_gradient(kept(where, teacher_features))
    square = jnp.square(kept(where, mean) - teacher)
    return mean_of(square / variance + jnp.log(variance), where) / 2


def _attention(
    features: Float[Array, "batch *space channels"], power: float | int
) -> Float[Array, " batch *space"]:
    """Attention map of unit norm over positions."""
    return normalize(jnp.mean(jnp.abs(features) ** power, axis=-1))
