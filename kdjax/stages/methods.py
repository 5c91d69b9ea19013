"""The terms by name: functions of what a student and its teacher give in training.

What each asks for, by the names of its parameters, is in `kdjax.stages.terms`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from kdjax import losses
from kdjax.data.dataset import UNLABELLED
from kdjax.data.stored_attention import overlaps
from kdjax.errors import InputError, lookup
from kdjax.models import Outputs
from kdjax.stages import taught

Term = Callable[..., Array]


def cross_entropy(
    student_logits: Array, labels: Array, *, label_smoothing: float = 0.0
) -> Array:
    """The student's cross-entropy with the labels that are known, over the batch.

    Divided by the size of the batch, known or not, so that the mean over devices is
    right however they share the known ones.
    """
    known = labels != UNLABELLED
    each = losses.cross_entropy(
        student_logits,
        jnp.where(known, labels, 0),
        label_smoothing=label_smoothing,
        reduction="none",
    )
    return jnp.mean(jnp.where(known, each, 0.0))


def kd(
    student_logits: Array,
    teacher_logits: Array,
    *,
    temperature: float = 4.0,
    reduction: str = "batchmean",
) -> Array:
    """losses.distillation_kl on the logits, labelled or not."""
    return losses.distillation_kl(
        student_logits, teacher_logits, temperature=temperature, reduction=reduction
    )


def soft_target(
    student_logits: Array, teacher_probabilities: Array, *, temperature: float = 1.0
) -> Array:
    """losses.soft_target_loss on the teacher's probabilities at temperature 1."""
    return losses.soft_target_loss(
        student_logits, teacher_probabilities, temperature=temperature
    )


def eskd(
    student_logits: Array,
    teacher_logits: Array,
    labels: Array,
    step: Array,
    *,
    stop_step: int,
    temperature: float = 4.0,
    alpha: float = 0.9,
    reduction: str = "batchmean",
) -> Array:
    """`(1 - alpha) cross_entropy + alpha kd` before `stop_step`, then cross-entropy.

    As losses.eskd_loss; examples without a label take part in the distillation alone.
    """
    alpha_now = jnp.where(jnp.less(step, stop_step), alpha, 0.0)
    hard = cross_entropy(student_logits, labels)
    soft = kd(
        student_logits, teacher_logits, temperature=temperature, reduction=reduction
    )
    return (1 - alpha_now) * hard + alpha_now * soft


def stored_attention(
    student_features: Array, teacher_outputs: Outputs, *, power: float | int = 2
) -> Array:
    """losses.attention_transfer_loss of a stored teacher's maps, which are its energy.

    Of `taught.ATTENTION` [batch, rows, columns, 1] each place of the student's map
    [batch, h, w, channels] is held against the mean over the part of the image that it
    covers, whatever their sizes: the student's energy `mean_c |f|^power` is to lie
    where the map does.
    """
    where = "config.losses.stored_attention"
    maps = lookup(
        taught.ATTENTION, teacher_outputs.features, where=f"{where}: the teacher"
    )
    if student_features.ndim != 4:
        raise InputError(
            f"{where}: expected a student's map [batch, h, w, channels], found shape "
            f"{student_features.shape}"
        )
    down, across = (
        jnp.asarray(overlaps(cells, places), maps.dtype)
        for cells, places in zip(
            maps.shape[1:3], student_features.shape[1:3], strict=True
        )
    )
    energy = jnp.einsum("nrcx,hr,wc->nhwx", maps, down, across)
    return losses.attention_transfer_loss(
        student_features, energy ** (1 / power), power=power
    )


def rdm(
    companion_features: Array,
    companion_rdm: Array,
    *,
    distance: str = "correlation",
    match: str = "correlation",
) -> Array:
    """losses.rdm_loss of what the student makes of its companions."""
    return losses.rdm_loss(
        companion_features, companion_rdm, distance=distance, match=match
    )


def teacher_free(
    student_logits: Array,
    labels: Array,
    *,
    temperature: float = 20.0,
    correct: float = 0.99,
) -> Array:
    """losses.teacher_free_loss of the labels that are known, over the whole batch."""
    known = labels != UNLABELLED
    loss = losses.teacher_free_loss(
        student_logits, labels, temperature=temperature, correct=correct, where=known
    )
    return jnp.mean(known) * loss


TERMS: dict[str, Term] = {
    "cross_entropy": cross_entropy,
    "kd": kd,
    "eskd": eskd,
    "soft_target": soft_target,
    "marginal_likelihood": losses.marginal_likelihood_loss,
    "teacher_free": teacher_free,
    "attention_transfer": losses.attention_transfer_loss,
    "amd": losses.amd_loss,
    "rdm": rdm,
    "stored_attention": stored_attention,
}
