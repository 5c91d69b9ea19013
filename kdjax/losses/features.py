"""Distillation through intermediate feature maps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kdjax.losses._checks import checked
from kdjax.losses._maps import check_map, normalize


@checked
def attention_transfer_loss(
    student_features: Float[Array, "batch *space student_channels"],
    teacher_features: Float[Array, "batch *space teacher_channels"],
    *,
    power: float | int = 2,
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
    student = _attention(student_features, power)
    teacher = _attention(jax.lax.stop_gradient(teacher_features), power)
    return jnp.mean(jnp.square(student - teacher))


def _attention(
    features: Float[Array, "batch *space channels"], power: float | int
) -> Float[Array, " batch *space"]:
    """Attention map of unit norm over positions."""
    return normalize(jnp.mean(jnp.abs(features) ** power, axis=-1))
