"""Distillation through logits: Hinton's loss, its early-stopped form, stored targets.

Logits are [batch, classes] and labels [batch], in [0, classes). Inputs narrower than
float32 are promoted to it, and the result is a float32 scalar unless a docstring says
otherwise. The teacher is detached: no gradient reaches it. Losses are in nats,
temperatures have no unit.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Integer

from kdjax.losses._checks import Scalar, check_fraction, check_positive, checked


@checked
def cross_entropy(
    logits: Float[Array, "batch classes"],
    labels: Integer[Array, " batch"],
    *,
    label_smoothing: Scalar = 0.0,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    """Mean of `-sum_c q_c log softmax(logits)_c`, `q = (1 - e) onehot(labels) + e / C`.

    Label smoothing `e` is Szegedy et al. 2016, "Rethinking the Inception architecture".
    A label of `classes` or more gives NaN, as nothing can be raised in compiled code.
    `reduction` "none" returns [batch].

    Raises:
        ValueError: shapes that do not fit, `label_smoothing` outside [0, 1], or an
            unknown `reduction`.
    """
    check_fraction("label_smoothing", label_smoothing)
    hard = _cross_entropies(logits, labels)
    uniform = -jnp.mean(jax.nn.log_softmax(logits), axis=-1)
    losses = (1 - label_smoothing) * hard + label_smoothing * uniform
    match reduction:
        case "mean":
            return jnp.mean(losses)
        case "none":
            return losses
    raise ValueError(f"reduction: expected 'mean' or 'none', found {reduction!r}")


@checked
def distillation_kl(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "batch classes"],
    *,
    temperature: Scalar = 1.0,
    reduction: str = "batchmean",
) -> Float[Array, "..."]:
    """`T^2 KL(softmax(teacher / T) || softmax(student / T))`.

    The factor T^2 keeps the gradient, `T (softmax(s / T) - softmax(t / T))`, of one
    size at every temperature. Hinton, Vinyals & Dean 2015, "Distilling the knowledge in
    a neural network".

    `reduction`: "batchmean" is the mean over examples; "mean" divides by the number of
    classes as well, which is what `torch.nn.KLDivLoss()` does by default (a weight
    tuned with it hides a factor 1/C); "none" returns [batch].

    Raises:
        ValueError: shapes that do not fit, `temperature` not above 0, or an unknown
            `reduction`.
    """
    check_positive("temperature", temperature)
    divergence = optax.losses.kl_divergence_with_log_targets(
        jax.nn.log_softmax(student_logits / temperature),
        jax.nn.log_softmax(jax.lax.stop_gradient(teacher_logits) / temperature),
    )
    scaled = jnp.square(temperature) * divergence
    match reduction:
        case "batchmean":
            return jnp.mean(scaled)
        case "mean":
            return jnp.mean(scaled) / student_logits.shape[-1]
        case "none":
            return scaled
    raise ValueError(
        f"reduction: expected 'batchmean', 'mean' or 'none', found {reduction!r}"
    )


@checked
def kd_loss(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "batch classes"],
    labels: Integer[Array, " batch"],
    *,
    temperature: Scalar = 4.0,
    alpha: Scalar = 0.9,
    reduction: str = "batchmean",
) -> Float[Array, "..."]:
    """`(1 - alpha) CE(student, labels) + alpha distillation_kl(student, teacher)`.

    Hinton, Vinyals & Dean 2015. `reduction` is that of `distillation_kl`; the
    cross-entropy is the mean over examples, and with "none" both are [batch].

    Raises:
        ValueError: shapes that do not fit, `temperature` not above 0, `alpha` outside
            [0, 1], or an unknown `reduction`.
    """
    check_fraction("alpha", alpha)
    soft = distillation_kl(
        student_logits, teacher_logits, temperature=temperature, reduction=reduction
    )
    hard = _cross_entropies(student_logits, labels)
    if reduction != "none":
        hard = jnp.mean(hard)
    return (1 - alpha) * hard + alpha * soft


@checked
def soft_target_loss(
    student_logits: Float[Array, "batch classes"],
    teacher_probabilities: Float[Array, "batch classes"],
    *,
    temperature: Scalar = 1.0,
) -> Float[Array, ""]:
    """Mean of `-T^2 sum_c p_c log softmax(student / T)_c` for stored probabilities p.

    The probabilities are used as they are: neither softened nor normalised again. For
    stored logits use `distillation_kl`. Its gradient is the same where
    `p = softmax(teacher / T)`; its value is less by T^2 times the entropy of p.

    Raises:
        ValueError: shapes that do not fit, or `temperature` not above 0.
    """
    check_positive("temperature", temperature)
    entropies = optax.losses.softmax_cross_entropy(
        student_logits / temperature, jax.lax.stop_gradient(teacher_probabilities)
    )
    return jnp.square(temperature) * jnp.mean(entropies)


@checked
def eskd_loss(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "batch classes"],
    labels: Integer[Array, " batch"],
    *,
    step: Scalar,
    stop_step: Scalar,
    temperature: Scalar = 4.0,
    alpha: Scalar = 0.9,
    reduction: str = "batchmean",
) -> Float[Array, "..."]:
    """`kd_loss` while `step < stop_step`, and from then on CE with weight 1.

    Cho & Hariharan 2019, "On the efficacy of knowledge distillation", stop distilling
    near the end of training; `step` may be traced. (A teacher that was itself stopped
    early is a choice of its checkpoint, and takes `kd_loss`.)

    Raises:
        ValueError: as `kd_loss`.
    """
    check_fraction("alpha", alpha)
    return kd_loss(
        student_logits,
        teacher_logits,
        labels,
        temperature=temperature,
        alpha=jnp.where(jnp.less(step, stop_step), alpha, 0.0),
        reduction=reduction,
    )


def _cross_entropies(
    logits: Float[Array, "batch classes"], labels: Integer[Array, " batch"]
) -> Float[Array, " batch"]:
    """`-log softmax(logits)_label` of each example."""
    # The largest logit becomes 0: far from it, the difference of log-sum-exp and logit
    # that optax takes would lose the digits of a small loss.
    largest = jnp.max(logits, axis=-1, keepdims=True)
    return optax.losses.softmax_cross_entropy_with_integer_labels(
        logits - jax.lax.stop_gradient(largest), labels
    )
