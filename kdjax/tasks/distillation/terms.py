"""The terms of a distillation loss, composed by weight from the config.

config.losses = {"cross_entropy": {"weight": .1}, "kd": {"weight": .9}}
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from kdjax import losses
from kdjax.data.dataset import UNLABELLED
from kdjax.errors import InputError, call, lookup
from kdjax.models import Outputs

# A term: (student, teacher or None, labels, step) -> scalar.
Term = Callable[[Outputs, Any, Array, Array], Array]


def cross_entropy(*, label_smoothing: float = 0.0) -> Term:
    """The student's cross-entropy with the labels that are known, over the batch.

    Divided by the size of the batch, known or not, so that the mean over devices is
    right however they share the known ones.
    """

    def term(student: Outputs, teacher: Any, labels: Array, step: Array) -> Array:
        known = labels != UNLABELLED
        each = losses.cross_entropy(
            student.logits,
            jnp.where(known, labels, 0),
            label_smoothing=label_smoothing,
            reduction="none",
        )
        return jnp.mean(jnp.where(known, each, 0.0))

    return term


def kd(*, temperature: float = 4.0, reduction: str = "batchmean") -> Term:
    """losses.distillation_kl on the logits."""
    return lambda student, teacher, labels, step: losses.distillation_kl(
        student.logits, teacher.logits, temperature=temperature, reduction=reduction
    )


def eskd(
    *,
    stop_step: int,
    temperature: float = 4.0,
    alpha: float = 0.9,
    reduction: str = "batchmean",
) -> Term:
    """losses.eskd_loss, cross-entropy included: distillation that stops at a step."""
    return lambda student, teacher, labels, step: losses.eskd_loss(
        student.logits,
        teacher.logits,
        labels,
        step=step,
        stop_step=stop_step,
        temperature=temperature,
        alpha=alpha,
        reduction=reduction,
    )


def attention_transfer(
    *, layers: Sequence[str] | None = None, power: float = 2
) -> Term:
    """losses.attention_transfer_loss, summed over `layers` (default: all maps)."""
    pair = functools.partial(losses.attention_transfer_loss, power=power)
    return lambda student, teacher, labels, step: _over_layers(
        pair, student, teacher, layers
    )


def amd(
    *,
    layers: Sequence[str] | None = None,
    margin: float = 1.35,
    scale: float = 64.0,
    local: bool = False,
) -> Term:
    """losses.amd_loss, summed over `layers` (default: all maps)."""
    pair = functools.partial(losses.amd_loss, margin=margin, scale=scale, local=local)
    return lambda student, teacher, labels, step: _over_layers(
        pair, student, teacher, layers
    )


def _over_layers(
    loss: Callable[[Array, Array], Array],
    student: Outputs,
    teacher: Outputs,
    layers: Sequence[str] | None,
) -> Array:
    """The sum of `loss` over the named feature maps of both models."""
    if layers is None:
        layers = [name for name, f in student.features.items() if f.ndim > 2]
    total = jnp.zeros(())
    for name in layers:
        pair = []
        for whose, outputs in (("student", student), ("teacher", teacher)):
            where = f"config.losses: layers of the {whose}"
            pair.append(lookup(name, outputs.features, where=where))
        total = total + loss(*pair)
    return total


TERMS: dict[str, Callable[..., Term]] = {
    "cross_entropy": cross_entropy,
    "kd": kd,
    "eskd": eskd,
    "attention_transfer": attention_transfer,
    "amd": amd,
}
WITHOUT_TEACHER = {"cross_entropy"}


class Weighted(NamedTuple):
    weight: float
    term: Term


def build(
    spec: Mapping[str, Mapping[str, Any] | None], *, teacher: bool
) -> dict[str, Weighted]:
    """{name: Weighted} of the config's `losses` section, without the absent ones."""
    terms = {}
    for name, section in spec.items():
        factory = lookup(name, TERMS, where="config.losses")
        if section is None or section.get("weight") == 0:
            continue
        where = f"config.losses.{name}"
        if name not in WITHOUT_TEACHER and not teacher:
            raise InputError(f"{where}: needs a teacher, and this stage has none")
        fields = dict(section)
        if "weight" not in fields:
            raise InputError(f"{where}.weight: missing, and it has no default")
        terms[name] = Weighted(fields.pop("weight"), call(factory, fields, where=where))
    if not terms:
        raise InputError("config.losses: no term with a weight")
    return terms


def total(
    terms: Mapping[str, Weighted],
    student: Outputs,
    teacher: Outputs | None,
    labels: Array,
    step: Array,
) -> tuple[Array, dict[str, Array]]:
    """(sum of weight * term, {name: term})."""
    parts = {k: w.term(student, teacher, labels, step) for k, w in terms.items()}
    total = jnp.zeros(())
    for name, value in parts.items():
        total = total + terms[name].weight * value
    return total, parts
