"""Self-distillation: a network taught by one that refines its own feature maps."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer, Shaped

from kdjax.losses._checks import Scalar, check_positive, checked
from kdjax.losses._examples import weigh
from kdjax.losses.distillation import cross_entropy, distillation_kl
from kdjax.losses.features import attention_transfer_loss


@checked
def frskd_loss(
    logits: Float[Array, "batch classes"],
    self_teacher_logits: Float[Array, "batch classes"],
    labels: Integer[Array, " batch"],
    features: Sequence[ArrayLike],
    refined_features: Sequence[ArrayLike],
    *,
    temperature: Scalar = 4.0,
    alpha: Scalar = 2.0,
    beta: Scalar = 100.0,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """Train a network and its self-teacher, which refines the network's own features.

    `CE(s, y) + CE(t, y) + alpha KL(s, t) + beta sum_i AT(f_i, r_i)`, where CE is
    `cross_entropy` and KL `distillation_kl`, both in nats, and AT is
    `attention_transfer_loss`, without unit. In KL and AT the self-teacher is detached:
    it learns from the labels alone. Ji, Shin, Hwang, Park & Moon 2021, "Refine myself
    by teaching myself: Feature refinement via self-knowledge distillation".

    Args:
        logits: s, the network's, [batch, classes].
        self_teacher_logits: t, of the same shape.
        labels: y, [batch], integers. One that is negative, or `classes` or more, gives
            NaN.
        features: a sequence of the network's maps f_i, [batch, time, channels] or
            [batch, h, w, channels]. Without maps the sum is 0.
        refined_features: as many maps r_i, those of the network refined by the
            self-teacher; r_i may differ from f_i in channels only.
        temperature: T of the distillation, above 0.
        alpha: the weight of the distillation.
        beta: the weight of attention transfer.
        where: [batch], 0 or False for examples that do not count in any term.

    Raises:
        ValueError: shapes that do not fit, as many `refined_features` as there are not
            `features`, or `temperature` not above 0.

    Example:
        >>> student = [[2.0, 0.0], [0.0, 1.0]]  # logits of two examples
        >>> teacher = [[4.0, 0.0], [0.0, 4.0]]
        >>> import numpy as np
        >>> maps = np.array([[[1.0], [0.0]], [[0.0], [1.0]]])  # [batch, time, channels]
        >>> refined = maps + 1.0
        >>> round(float(frskd_loss(student, teacher, [0, 1], [maps], [refined])), 4)
        4.6211
    """
    labelled = cross_entropy(logits, labels, where=where)
    labelled += cross_entropy(self_teacher_logits, labels, where=where)
    soft = distillation_kl(
        logits, self_teacher_logits, temperature=temperature, where=where
    )
    apart = _attention(features, refined_features, where)
    return labelled + weigh(alpha, soft) + beta * apart


def _attention(
    features: Sequence[ArrayLike],
    refined: Sequence[ArrayLike],
    where: Shaped[Array, " batch"] | None,
) -> Float[Array, ""]:
    """The sum of attention transfer over pairs of maps."""
    if len(features) != len(refined):
        raise ValueError(
            f"refined_features: expected {len(features)} maps, as many as features, "
            f"found {len(refined)}"
        )
    total = jnp.zeros(())
    for i, (own, better) in enumerate(zip(features, refined, strict=True)):
        if jnp.shape(own)[:-1] != jnp.shape(better)[:-1]:
            raise ValueError(
                f"refined_features[{i}]: expected {jnp.shape(own)} or other channels, "
                f"found {jnp.shape(better)}"
            )
        total += attention_transfer_loss(
            jnp.asarray(own), jnp.asarray(better), where=where
        )
    return total


@checked
def bernoulli_kl(
    student_logits: Float[Array, "*batch"],
    teacher_logits: Float[Array, "*batch"],
    *,
    temperature: Scalar = 4.0,
    where: Shaped[Array, "*batch"] | None = None,
) -> Float[Array, ""]:
    """How far a student's yes-or-no prediction is from its teacher's, in nats.

    `T^2 mean KL(Bernoulli(sigmoid(teacher / T)) || Bernoulli(sigmoid(student / T)))`:
    `distillation_kl` for one logit z, as a discriminator's, and equal to that of the
    two logits (z, 0). The gradient is `T (sigmoid(s / T) - sigmoid(t / T)) / N`.
    Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network".

    Args:
        student_logits: [batch] or [batch, 1], finite.
        teacher_logits: of the same shape; detached.
        temperature: T, above 0.
        where: of the logits' shape, 0 or False for those that do not count.

    Raises:
        ValueError: shapes that differ, or `temperature` not above 0.

    Example:
        >>> round(float(bernoulli_kl([2.0, -1.0], [4.0, -4.0])), 4)
        0.6985
    """
    check_positive("temperature", temperature)
    if where is not None:
        student_logits, teacher_logits = (
            jnp.where(where > 0, x, 0.0) for x in (student_logits, teacher_logits)
        )
    student = student_logits / temperature
    teacher = jax.lax.stop_gradient(teacher_logits) / temperature
    divergence = jnp.zeros_like(student)
    for sign in (1, -1):
        gap = jax.nn.log_sigmoid(sign * teacher) - jax.nn.log_sigmoid(sign * student)
        divergence += jax.nn.sigmoid(sign * teacher) * gap
    # it is 0 where both are 0, as those that do not count are
    count = student.size if where is None else jnp.maximum(jnp.sum(where > 0), 1)
    return jnp.square(temperature) * jnp.sum(divergence) / count
