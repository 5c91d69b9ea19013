"""Self-distillation: a network taught by one that refines its own feature maps."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from kdjax.losses._checks import Scalar, check_positive, checked
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
) -> Float[Array, ""]:
    """`CE(s, y) + CE(t, y) + alpha KL(s, t) + beta sum_i AT(f_i, r_i)`.

    s are the network's logits and t its self-teacher's, f_i its feature maps and r_i
    the same maps refined by the self-teacher; KL is `distillation_kl` and AT
    `attention_transfer_loss`, in both of which the self-teacher is detached: it learns
    from the labels alone. Maps are [batch, time, channels] or [batch, h, w, channels];
    f_i and r_i may differ in channels only. Without maps the sum is 0. Ji, Shin, Hwang,
    Park & Moon 2021, "Refine myself by teaching myself: Feature refinement via
    self-knowledge distillation".

    Raises:
        ValueError: shapes that do not fit, as many `refined_features` as there are not
            `features`, or `temperature` not above 0.
    """
    labelled = cross_entropy(logits, labels) + cross_entropy(
        self_teacher_logits, labels
    )
    soft = distillation_kl(logits, self_teacher_logits, temperature=temperature)
    return labelled + alpha * soft + beta * _attention(features, refined_features)


def _attention(
    features: Sequence[ArrayLike], refined: Sequence[ArrayLike]
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
        total += attention_transfer_loss(jnp.asarray(own), jnp.asarray(better))
    return total


@checked
def bernoulli_kl(
    student_logits: Float[Array, "*batch"],
    teacher_logits: Float[Array, "*batch"],
    *,
    temperature: Scalar = 4.0,
) -> Float[Array, ""]:
    """`T^2 mean KL(Bern(sigmoid(teacher / T)) || Bern(sigmoid(student / T)))`.

    `distillation_kl` for one logit, as a discriminator's: it equals that of the two
    logits (z, 0). Logits are [batch] or [batch, 1], the teacher is detached; the
    gradient is `T (sigmoid(s / T) - sigmoid(t / T)) / N`. Hinton, Vinyals & Dean 2015.

    Raises:
        ValueError: shapes that differ, or `temperature` not above 0.
    """
    check_positive("temperature", temperature)
    student = student_logits / temperature
    teacher = jax.lax.stop_gradient(teacher_logits) / temperature
    divergence = sum(
        jax.nn.sigmoid(sign * teacher)
        * (jax.nn.log_sigmoid(sign * teacher) - jax.nn.log_sigmoid(sign * student))
        for sign in (1, -1)
    )
    return jnp.square(temperature) * jnp.mean(divergence)
