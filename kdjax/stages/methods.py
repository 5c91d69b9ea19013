"""The terms by name: functions of what a student and its teacher give in training.

What each asks for, by the names of its parameters, is in `kdjax.stages.terms`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from kdjax import losses
from kdjax.data.dataset import UNLABELLED
from kdjax.data.stored_attention import overlaps
from kdjax.errors import InputError, lookup
from kdjax.losses._checks import Scalar
from kdjax.models import Outputs
from kdjax.models.adapters import (
    ContrastiveAdapter,
    FitNetAdapter,
    SelfTeacher,
    VariationalAdapter,
)
from kdjax.stages import taught
from kdjax.stages.attached import adapted

Term = Callable[..., Array]


def cross_entropy(
    student_logits: Array, labels: Array, *, label_smoothing: Scalar = 0.0
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
    temperature: Scalar = 4.0,
    reduction: str = "batchmean",
    standardise: bool = False,
) -> Array:
    """losses.distillation_kl on the logits, labelled or not."""
    return losses.distillation_kl(
        student_logits,
        teacher_logits,
        temperature=temperature,
        reduction=reduction,
        standardise=standardise,
    )


def decoupled(
    student_logits: Array,
    teacher_logits: Array,
    labels: Array,
    *,
    temperature: Scalar = 4.0,
    alpha: Scalar = 1.0,
    beta: Scalar = 8.0,
) -> Array:
    """losses.decoupled_kd_loss of the examples with a label, over the whole batch."""
    known = labels != UNLABELLED
    loss = losses.decoupled_kd_loss(
        student_logits,
        teacher_logits,
        labels,
        temperature=temperature,
        alpha=alpha,
        beta=beta,
        where=known,
    )
    return jnp.mean(known) * loss


@adapted(FitNetAdapter)
def fitnet(
    student_features: Array, teacher_features: Array, adapter: Callable[..., Array]
) -> Array:
    """losses.fitnet_loss of the student's map through its adapter."""
    mapped = adapter(student_features, teacher_features)
    return losses.fitnet_loss(mapped, teacher_features)


@adapted(VariationalAdapter)
def variational(
    student_features: Array,
    teacher_features: Array,
    adapter: Callable[..., tuple[Array, Array]],
) -> Array:
    """losses.variational_loss of the adapter's mean and variance."""
    mean, variance = adapter(student_features, teacher_features)
    return losses.variational_loss(mean, variance, teacher_features)


@adapted(ContrastiveAdapter)
def contrastive(
    student_embeddings: Array,
    teacher_embeddings: Array,
    labels: Array,
    adapter: Callable[..., tuple[Array, Array]],
    axis_name: str,
    *,
    temperature: Scalar = 0.07,
    by_class: bool = False,
) -> Array:
    """losses.contrastive_distillation_loss of both sides' projections, which learn.

    `by_class`: examples of the same class are no negatives.
    """
    return losses.contrastive_distillation_loss(
        *adapter(student_embeddings, lax.stop_gradient(teacher_embeddings)),
        temperature=temperature,
        labels=labels if by_class else None,
        learnt_teacher=True,
        axis_name=axis_name,
    )


@adapted(SelfTeacher)
def frskd(
    student_logits: Array,
    student_maps: Mapping[str, Array],
    labels: Array,
    adapter: Callable[..., Outputs],
    *,
    temperature: Scalar = 4.0,
    alpha: Scalar = 2.0,
    beta: Scalar = 100.0,
) -> Array:
    """losses.frskd_loss of the student and a pyramid that refines its maps.

    It has both cross-entropies, so it is a stage's only term. The self-teacher's goes
    on into the student's maps, as in the authors' code; examples without a label count
    in none of its parts, and it is divided by the whole batch.
    """
    better = adapter(student_logits, student_maps)
    known = labels != UNLABELLED
    loss = losses.frskd_loss(
        student_logits,
        better.logits,
        labels,
        list(student_maps.values()),
        list(better.features.values()),
        temperature=temperature,
        alpha=alpha,
        beta=beta,
        where=known,
    )
    return jnp.mean(known) * loss


def soft_target(
    student_logits: Array, teacher_probabilities: Array, *, temperature: Scalar = 1.0
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
    temperature: Scalar = 4.0,
    alpha: Scalar = 0.9,
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
    temperature: Scalar = 20.0,
    correct: Scalar = 0.99,
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
    "decoupled": decoupled,
    "dist": losses.dist_loss,
    "fitnet": fitnet,
    "variational": variational,
    "attention_transfer": losses.attention_transfer_loss,
    "amd": losses.amd_loss,
    "similarity": losses.similarity_loss,
    "relational": losses.relational_loss,
    "pkt": losses.pkt_loss,
    "correlation": losses.correlation_loss,
    "contrastive": contrastive,
    "frskd": frskd,
    "rdm": rdm,
    "stored_attention": stored_attention,
}
