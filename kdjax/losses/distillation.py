"""Distillation through logits: Hinton's, early-stopped, stored or virtual teachers.

Logits are [batch, classes] and labels [batch], integers in [0, classes). Inputs
narrower than float32 are promoted to it, and the result is a float32 scalar unless a
docstring says otherwise. The teacher is detached: no gradient reaches it. Losses are in
nats, temperatures have no unit.

A label outside [0, classes), -1 included, gives NaN, in the value and the gradient:
nothing can be raised in compiled code. To leave out unlabelled rows, use `where`.

`where` is [batch], 0 or False for the examples that do not count. These give exactly
zero loss and zero gradient, NaN or a label of -1 in them notwithstanding; means are
over the others, and 0 if there are none. (So where devices count different numbers of
examples, the mean over devices is not the mean over examples.)

A logit of -inf means that the class is not possible: its probability is 0, its gradient
is zero, and 0 log 0 = 0. A loss is +inf where the target has mass on a class that the
student's logits exclude. A weight of 0 takes such a term away. A row without a possible
class gives NaN, as does a logit of NaN or +inf.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from kdjax.losses._checks import Scalar, check_fraction, check_positive, checked
from kdjax.losses._examples import (
    divergence,
    kept,
    log_softmax,
    of_labels,
    reduce,
    standardised,
    weigh,
)


@checked
def cross_entropy(
    logits: Float[Array, "batch classes"],
    labels: Integer[Array, " batch"],
    *,
    label_smoothing: Scalar = 0.0,
    reduction: str = "mean",
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, "*examples"]:
    """How badly the logits predict the labels: the softmax cross-entropy, in nats.

    `-sum_c q_c log softmax(logits)_c` with `q = (1 - e) onehot(labels) + e / C`, where
    e is `label_smoothing` (Szegedy et al. 2016, "Rethinking the Inception
    architecture") and C counts the classes whose logit is not -inf: e is shared among
    the possible classes.

    Args:
        logits: [batch, classes]; -inf excludes a class.
        labels: [batch], integers. One that is negative, or `classes` or more, gives
            NaN; one whose logit is -inf gives +inf.
        label_smoothing: e, in [0, 1].
        reduction: "mean" over the examples, or "none": [batch].
        where: [batch], 0 or False for examples that do not count, as unlabelled ones:
            `where=labels >= 0`. Their loss and gradient are 0, whatever they hold. The
            mean is over the others, and 0 if there are none.

    Raises:
        ValueError: shapes that do not fit, `label_smoothing` outside [0, 1], or an
            unknown `reduction`.

    Example:
        >>> logits = [[2.0, 0.0], [0.0, 1.0]]
        >>> round(float(cross_entropy(logits, [0, 1])), 4)
        0.2201
    """
    check_fraction("label_smoothing", label_smoothing)
    logits, labels = kept(where, logits), kept(where, labels)
    log_q = log_softmax(logits)
    uniform = -jnp.mean(log_q, axis=-1, where=log_q != -jnp.inf)
    losses = weigh(1 - label_smoothing, of_labels(log_q, labels))
    losses += weigh(label_smoothing, uniform)
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction: expected 'mean' or 'none', found {reduction!r}")
    return reduce(losses, reduction, where)


@checked
def distillation_kl(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "batch classes"],
    *,
    temperature: Scalar = 1.0,
    reduction: str = "batchmean",
    standardise: bool = False,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, "*examples"]:
    """How far the student's softened prediction is from the teacher's, in nats.

    `T^2 KL(softmax(teacher / T) || softmax(student / T))`. The factor T^2 keeps the
    gradient, `T (softmax(s / T) - softmax(t / T))`, of one size at every temperature.
    Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network".

    Args:
        student_logits: [batch, classes]; -inf excludes a class.
        teacher_logits: [batch, classes], detached. A class of -inf adds nothing,
            whatever the student gives it; one that only the student excludes makes the
            loss +inf, unless the teacher's probability rounds to 0 in float32.
        temperature: T, above 0.
        reduction: "batchmean" is the mean over examples; "mean" divides by the number
            of classes as well, which is what `torch.nn.KLDivLoss()` does by default (a
            weight tuned with it hides a factor 1/C); "none" returns [batch].
        standardise: before they are softened, both sides' logits less their mean, over
            their deviation (with classes - 1) plus 1e-7, example by example: only the
            teacher's order and spacing are to be matched (Sun, Ren, Li, Wang & Cao
            2024, "Logit standardization in knowledge distillation": T = 2, weight 9
            beside .1 of the cross-entropy). Logits that are all equal become 0.
        where: [batch], 0 or False for examples that do not count, as in
            `cross_entropy`.

    Raises:
        ValueError: shapes that do not fit, `temperature` not above 0, or an unknown
            `reduction`.

    Example:
        >>> student = [[2.0, 0.0], [0.0, 1.0]]  # logits of two examples
        >>> teacher = [[4.0, 0.0], [0.0, 4.0]]
        >>> round(float(distillation_kl(student, teacher, temperature=4.0)), 4)
        0.6985
    """
    check_positive("temperature", temperature)
    teacher = jax.lax.stop_gradient(kept(where, teacher_logits))
    student = kept(where, student_logits)
    if standardise:
        teacher, student = standardised(teacher), standardised(student)
    log_p, log_q = (log_softmax(x, temperature) for x in (teacher, student))
    losses = jnp.square(temperature) * divergence(log_q, log_p)
    if reduction not in ("batchmean", "mean", "none"):
        raise ValueError(
            f"reduction: expected 'batchmean', 'mean' or 'none', found {reduction!r}"
        )
    total = reduce(losses, reduction, where)
    return total / student_logits.shape[-1] if reduction == "mean" else total


@checked
def kd_loss(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "batch classes"],
    labels: Integer[Array, " batch"],
    *,
    temperature: Scalar = 4.0,
    alpha: Scalar = 0.9,
    reduction: str = "batchmean",
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, "*examples"]:
    """Learn from the labels and from a teacher: cross-entropy plus distillation.

    `(1 - alpha) cross_entropy(student, labels) + alpha distillation_kl(student,
    teacher)`, in nats. Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a
    neural network".

    Args:
        student_logits: [batch, classes]; -inf excludes a class.
        teacher_logits: [batch, classes], detached.
        labels: [batch], integers. One that is negative, or `classes` or more, gives
            NaN, at any alpha.
        temperature: T of the distillation, above 0.
        alpha: the weight of the distillation, in [0, 1].
        reduction: that of `distillation_kl`. The cross-entropy is the mean over
            examples, or with "none", as the result, [batch].
        where: [batch], 0 or False for examples that count in neither term, as in
            `cross_entropy`.

    Raises:
        ValueError: shapes that do not fit, `temperature` not above 0, `alpha` outside
            [0, 1], or an unknown `reduction`.

    Example:
        >>> student = [[2.0, 0.0], [0.0, 1.0]]  # logits of two examples
        >>> teacher = [[4.0, 0.0], [0.0, 4.0]]
        >>> loss = kd_loss(student, teacher, [0, 1], temperature=4.0, alpha=0.9)
        >>> round(float(loss), 4)
        0.6507
    """
    check_fraction("alpha", alpha)
    soft = distillation_kl(
        student_logits,
        teacher_logits,
        temperature=temperature,
        reduction=reduction,
        where=where,
    )
    log_q = log_softmax(kept(where, student_logits))
    hard = reduce(of_labels(log_q, kept(where, labels)), reduction, where)
    return weigh(1 - alpha, hard) + weigh(alpha, soft)


@checked
def soft_target_loss(
    student_logits: Float[Array, "batch classes"],
    teacher_probabilities: Float[Array, "batch classes"],
    *,
    temperature: Scalar = 1.0,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How badly the student predicts stored probabilities: a cross-entropy, in nats.

    Mean over examples of `-T^2 sum_c p_c log softmax(student / T)_c`. The probabilities
    p are used as they are: neither softened nor normalised again. For stored logits use
    `distillation_kl`, whose gradient is the same where `p = softmax(teacher / T)`; this
    value is greater than that by T^2 times the entropy of p. Hinton, Vinyals & Dean
    2015, "Distilling the knowledge in a neural network".

    Args:
        student_logits: [batch, classes]; -inf excludes a class, and gives +inf where p
            is not 0.
        teacher_probabilities: p, [batch, classes], detached.
        temperature: T, above 0.
        where: [batch], 0 or False for examples that do not count, as in
            `cross_entropy`.

    Raises:
        ValueError: shapes that do not fit, or `temperature` not above 0.

    Example:
        >>> student = [[2.0, 0.0], [0.0, 1.0]]  # logits of two examples
        >>> votes = [[0.75, 0.25], [0.5, 0.5]]
        >>> round(float(soft_target_loss(student, votes)), 4)
        0.7201
    """
    check_positive("temperature", temperature)
    p = jax.lax.stop_gradient(kept(where, teacher_probabilities))
    log_q = log_softmax(kept(where, student_logits), temperature)
    entropies = -jnp.sum(p * jnp.where(p == 0, 0.0, log_q), axis=-1)
    return jnp.square(temperature) * reduce(entropies, "mean", where)


@checked
def marginal_likelihood_loss(
    student_logits: Float[Array, "batch classes"],
    teacher_probabilities: Float[Array, "batch classes"],
    *,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How unlikely the student makes what a teacher knows of the class, in nats.

    Mean over examples of `-log sum_c p_c softmax(student)_c`: the teacher's p, times
    any factor that all classes share, is the likelihood of each class given what the
    teacher saw, and the class itself is summed out. Where p is one class's alone this
    is cross-entropy; where p is even it is `log C` whatever the student says: a
    teacher that knows nothing teaches nothing, whereas `soft_target_loss` pulls the
    student towards even predictions. The gradient is q less the posterior,
    `q_c - p_c q_c / sum_k p_k q_k` with `q = softmax(student)`. Meant for classes that
    are equally frequent. Jin & Ghahramani 2002, "Learning with multiple labels".

    Args:
        student_logits: [batch, classes]; -inf excludes a class, and gives +inf where p
            is 0 in all others.
        teacher_probabilities: p, [batch, classes], detached.
        where: [batch], 0 or False for examples that do not count, as in
            `cross_entropy`.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> student = [[2.0, 0.0], [0.0, 1.0]]  # logits of two examples
        >>> votes = [[0.75, 0.25], [0.5, 0.5]]
        >>> round(float(marginal_likelihood_loss(student, votes)), 4)
        0.5318
    """
    p = jax.lax.stop_gradient(kept(where, teacher_probabilities))
    log_q = log_softmax(kept(where, student_logits))
    joint = jnp.where(p == 0, -jnp.inf, jnp.log(jnp.where(p == 0, 1.0, p)) + log_q)
    some = jnp.any(joint != -jnp.inf, axis=-1)
    found = jax.nn.logsumexp(jnp.where(some[:, None], joint, 0.0), axis=-1)
    return reduce(-jnp.where(some, found, -jnp.inf), "mean", where)


@checked
def teacher_free_loss(
    student_logits: Float[Array, "batch classes"],
    labels: Integer[Array, " batch"],
    *,
    temperature: Scalar = 20.0,
    correct: Scalar = 0.99,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """Learn from a virtual teacher that is right and treats all other classes alike.

    `T^2 KL(softmax(d / T) || softmax(student / T))`, the mean over examples, in nats,
    where d is `correct` for the label and `(1 - correct) / (C - 1)` for each of the
    other classes; C counts those whose logit is not -inf. It stands beside
    cross-entropy. Tf-KD_reg of Yuan, Tay, Li, Wang & Feng 2020, "Revisiting knowledge
    distillation via label smoothing regularization".

    d is softened as the authors' code does it, probabilities in the place of logits, so
    that the teacher is nearly uniform: of 10 classes it gives .105 to the label at
    T = 20. The student is drawn to `softmax(d)`, .23 for the label: far softer than d,
    which plain label smoothing would be drawn to. The student is softened as the paper
    has it; their code for CIFAR-100 does not. T^2 keeps the gradient of one size, as in
    `distillation_kl`; they have a factor to tune in its place, and divide by C.

    Args:
        student_logits: [batch, classes]; -inf excludes a class, from the teacher too.
        labels: [batch], integers; see `cross_entropy`.
        temperature: T, above 0; the authors take 20 or more.
        correct: the virtual teacher's probability of the label before it is softened,
            in [0, 1].
        where: [batch], 0 or False for examples that do not count, as in
            `cross_entropy`.

    Raises:
        ValueError: shapes that do not fit, `temperature` not above 0, or `correct`
            outside [0, 1].

    Example:
        >>> student = [[2.0, 0.0], [0.0, 1.0]]  # logits of two examples
        >>> round(float(teacher_free_loss(student, [0, 1])), 4)
        0.065
    """
    check_fraction("correct", correct)
    classes = jnp.arange(student_logits.shape[-1])[None]
    labels = labels[:, None]
    possible = student_logits != -jnp.inf
    others = jnp.sum(possible, axis=-1, keepdims=True, dtype=student_logits.dtype) - 1
    each = jnp.where(possible, (1 - correct) / jnp.maximum(others, 1), -jnp.inf)
    teacher = jnp.where(classes == labels, correct, each)
    exists = (labels >= 0) & (labels < student_logits.shape[-1])
    return distillation_kl(
        student_logits,
        jnp.where(exists, teacher, jnp.nan),
        temperature=temperature,
        where=where,
    )


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
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, "*examples"]:
    """Learn from a teacher until a step, and from then on from the labels alone.

    `kd_loss` while `step < stop_step`, and then cross-entropy with weight 1, in nats.
    Cho & Hariharan 2019, "On the efficacy of knowledge distillation", stop distilling
    near the end of training. (A teacher that was itself stopped early is a choice of
    its checkpoint, and takes `kd_loss`.)

    Args:
        student_logits: [batch, classes]; -inf excludes a class.
        teacher_logits: [batch, classes], detached.
        labels: [batch], integers; see `kd_loss`.
        step: steps done so far; may be traced.
        stop_step: the first step without the teacher.
        temperature: as in `kd_loss`.
        alpha: as in `kd_loss`, until `stop_step`.
        reduction: as in `kd_loss`.
        where: as in `kd_loss`.

    Raises:
        ValueError: as `kd_loss`.

    Example:
        >>> student = [[2.0, 0.0], [0.0, 1.0]]  # logits of two examples
        >>> teacher = [[4.0, 0.0], [0.0, 4.0]]
        >>> in_time = {"step": 10, "stop_step": 100}
        >>> round(float(eskd_loss(student, teacher, [0, 1], **in_time)), 4)
        0.6507
    """
    check_fraction("alpha", alpha)
    return kd_loss(
        student_logits,
        teacher_logits,
        labels,
        temperature=temperature,
        alpha=jnp.where(jnp.less(step, stop_step), alpha, 0.0),
        reduction=reduction,
        where=where,
    )
