"""Distillation through logits, otherwise than by one divergence.

What `kdjax.losses.distillation` says of logits, labels, `where` and -inf holds here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from kdjax.losses._checks import Scalar, check_positive, checked
from kdjax.losses._devices import summed
from kdjax.losses._examples import (
    counted,
    divergence,
    kept,
    log_softmax,
    reduce,
    weigh,
)
from kdjax.losses._maps import normalize


@checked
def decoupled_kd_loss(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "batch classes"],
    labels: Integer[Array, " batch"],
    *,
    temperature: Scalar = 4.0,
    alpha: Scalar = 1.0,
    beta: Scalar = 8.0,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """Distil how sure the teacher is of the label, and apart from it all other classes.

    `T^2 (alpha TCKD + beta NCKD)`, the mean over examples, in nats. TCKD is the
    divergence KL(teacher || student) of (p_y, 1 - p_y), the label against all else, and
    NCKD that of the softmax over the other classes alone; p = softmax(logits / T). In
    `distillation_kl` NCKD has the teacher's 1 - p_y as its weight, and so says least
    where the teacher is sure. It stands beside cross-entropy, with a weight that the
    authors let rise from 0 over the first 20 epochs.

    Zhao, Cui, Song, Qiu & Liang 2022, "Decoupled knowledge distillation". Their code
    takes the logarithm of a softmax plus 1e-8 or so; here `1 - p_y` comes from a
    log-sum-exp, so that a student that is sure has a finite loss.

    Args:
        student_logits: [batch, classes], 3 classes or more; -inf excludes a class.
        teacher_logits: [batch, classes], detached.
        labels: y, [batch], integers. One that is negative, or `classes` or more, gives
            NaN.
        temperature: T, above 0.
        alpha: the weight of the label.
        beta: the weight of the other classes; the authors' best is 1 to 8 by data set.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: shapes that do not fit, fewer than 3 classes, of which only one is
            not the label's, so that NCKD is always 0; or `temperature` not above 0.

    Example:
        >>> student = [[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]]  # logits of two examples
        >>> teacher = [[4.0, 0.0, 2.0], [0.0, 4.0, 1.0]]
        >>> round(float(decoupled_kd_loss(student, teacher, [0, 1])), 4)
        1.4769
    """
    check_positive("temperature", temperature)
    classes = student_logits.shape[-1]
    if classes < 3:
        raise ValueError(
            f"student_logits: expected 3 classes or more, found {classes}: the only "
            "one beside the label's has nothing to be told apart from"
        )
    teacher = jax.lax.stop_gradient(kept(where, teacher_logits))
    student, labels = kept(where, student_logits), kept(where, labels)
    is_label = labels[:, None] == jnp.arange(classes)[None]
    pairs, others = [], []
    for logits in (student, teacher):
        log_p = log_softmax(logits, temperature)
        of_label = jnp.sum(jnp.where(is_label, log_p, 0.0), axis=-1)
        rest = jax.nn.logsumexp(log_p, axis=-1, where=~is_label)
        pairs.append(jnp.stack([of_label, rest], axis=-1))
        others.append(log_softmax(jnp.where(is_label, -jnp.inf, logits), temperature))
    losses = weigh(alpha, divergence(*pairs)) + weigh(beta, divergence(*others))
    exists = (labels >= 0) & (labels < classes)
    losses = losses * jnp.where(exists, 1.0, jnp.nan)
    return jnp.square(temperature) * reduce(losses, "mean", where)


@checked
def dist_loss(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "batch classes"],
    *,
    temperature: Scalar = 1.0,
    beta: Scalar = 1.0,
    gamma: Scalar = 1.0,
    axis_name: str | None = None,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How badly the student's predictions correlate with the teacher's, both ways.

    `beta (1 - mean_i r(p_i^s, p_i^t)) + gamma (1 - mean_c r(p_c^s, p_c^t))`, without
    unit: r is Pearson's correlation, p_i the probabilities of an example over the
    classes, p_c those of a class over the examples, and p = softmax(logits / T). A
    strong teacher's scale need not be matched, only its order and spacing. A row or a
    column whose probabilities are all equal has the correlation 0, and no gradient.

    Huang, You, Wang, Qian & Xu 2022, "Knowledge distillation from a stronger teacher".
    As their paper has it; their code multiplies by T^2.

    Args:
        student_logits: [batch, classes]; -inf excludes a class.
        teacher_logits: [batch, classes], detached.
        temperature: T, above 0; the authors take 1, or 4 on CIFAR.
        beta: the weight of the examples' correlations.
        gamma: the weight of the classes' correlations.
        axis_name: a mapped axis, over all of whose examples the classes are correlated;
            see `similarity_loss`.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: shapes that do not fit, or `temperature` not above 0.

    Example:
        >>> student = [[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]]  # logits of two examples
        >>> teacher = [[4.0, 0.0, 2.0], [0.0, 4.0, 1.0]]
        >>> round(float(dist_loss(student, teacher)), 4)
        0.0061
    """
    check_positive("temperature", temperature)
    teacher = jax.lax.stop_gradient(kept(where, teacher_logits))
    pair = [
        jnp.exp(log_softmax(logits, temperature))
        for logits in (kept(where, student_logits), teacher)
    ]
    valid = counted(where, pair[0])[:, None]
    count = jnp.maximum(summed(jnp.sum(valid), axis_name), 1)
    classes = jnp.full((1, 1), student_logits.shape[1])
    own, theirs = (normalize(_centred(p, 1, None, classes)) for p in pair)
    of_examples = jnp.sum(jnp.where(valid, own * theirs, 0.0))
    by_example = summed(of_examples, axis_name) / count
    own, theirs = (
        jnp.where(valid, _centred(p, 0, axis_name, count, valid), 0.0) for p in pair
    )
    by_class = jnp.mean(_cosines(own, theirs, axis_name))
    return beta * (1 - by_example) + gamma * (1 - by_class)


@checked
def multi_teacher_kl(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "teachers batch classes"],
    *,
    weights: Float[Array, " teachers"] | None = None,
    temperature: Scalar = 4.0,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How far the student is from the weighted mean of several teachers' predictions.

    `T^2 KL(sum_k w_k softmax(t_k / T) || softmax(student / T))`, the mean over
    examples, in nats: probabilities are averaged, not logits, whose scales differ from
    teacher to teacher. You, Xu, Xu & Tao 2017, "Learning from multiple teacher
    networks". With one teacher it is `distillation_kl`.

    Args:
        student_logits: [batch, classes]; -inf excludes a class.
        teacher_logits: [teachers, batch, classes], detached.
        weights: w, [teachers], 0 or more; they are divided by their sum. Default: all
            alike.
        temperature: T, above 0.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: shapes that do not fit, or `temperature` not above 0.

    Example:
        >>> student = [[2.0, 0.0], [0.0, 1.0]]  # logits of two examples
        >>> teachers = [[[4.0, 0.0], [0.0, 4.0]], [[2.0, 0.0], [0.0, 2.0]]]
        >>> round(float(multi_teacher_kl(student, teachers)), 4)
        0.271
    """
    check_positive("temperature", temperature)
    if weights is None:
        weights = jnp.ones(len(teacher_logits))
    shares = jax.lax.stop_gradient(weights / jnp.sum(weights))
    log_p = jnp.stack(
        [
            log_softmax(kept(where, logits), temperature)
            for logits in jax.lax.stop_gradient(teacher_logits)
        ]
    )
    mean = jax.nn.logsumexp(log_p, axis=0, b=shares[:, None, None])
    log_q = log_softmax(kept(where, student_logits), temperature)
    return jnp.square(temperature) * reduce(divergence(log_q, mean), "mean", where)


def _centred(
    x: Float[Array, "rows columns"],
    axis: int,
    axis_name: str | None,
    count: Array,
    where: Array | None = None,
) -> Float[Array, "rows columns"]:
    """x less its mean along an axis, exactly zero where all along it are equal."""
    top = jax.lax.stop_gradient(
        jnp.max(x, axis=axis, keepdims=True, where=where, initial=-jnp.inf)
    )
    x = x - (top if axis_name is None else jax.lax.pmax(top, axis_name))
    if where is not None:
        x = jnp.where(where, x, 0.0)
    return x - summed(jnp.sum(x, axis=axis, keepdims=True), axis_name) / count


def _cosines(
    a: Float[Array, "rows columns"],
    b: Float[Array, "rows columns"],
    axis_name: str | None,
) -> Float[Array, " columns"]:
    """Of each column of both; 0 without a gradient where one is zero."""
    products = [jnp.sum(x, axis=0) for x in (a * b, a * a, b * b)]
    dot, one, other = (summed(x, axis_name) for x in products)
    known = (one > 0) & (other > 0)
    norms = jnp.sqrt(jnp.where(known, one, 1.0)) * jnp.sqrt(jnp.where(known, other, 1))
    return jnp.where(known, dot / norms, 0.0)
