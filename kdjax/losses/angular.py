"""Angular margin distillation (AMD): where on a map the energy is, on a hypersphere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from kdjax.losses._checks import Scalar, check_positive, checked
from kdjax.losses._examples import kept, mean_square
from kdjax.losses._maps import check_map, norm, normalize

_LOCAL_WEIGHT = 0.2
_COSINE_MARGIN = 1e-7  # keeps the gradient of arccos finite at the ends


@checked
def amd_loss(
    student_features: Float[Array, "batch *space student_channels"],
    teacher_features: Float[Array, "batch *space teacher_channels"],
    *,
    margin: Scalar = 1.35,
    scale: Scalar = 64.0,
    local: bool = False,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How far apart two feature maps put their energy, as angles with a margin.

    For each map f, over its positions::

        a = sum_c |f|^2,  Qp = a / (||a|| + 1e-6),  Qn = 1 - Qp
        P = scale cos(margin arccos(clip(Qp, -1 + 1e-7, 1 - 1e-7)))
        G = P - log(exp(P) + exp(scale Qn))
        loss = (MSE(G^s, G^t) + MSE(P^s, P^t) + MSE(Qn^s, Qn^t)) / 3

    where each of the six maps is first divided by its norm over positions, MSE is the
    mean over examples and positions, and the teacher is detached. With `local` the loss
    is 0.8 of this plus 0.2 of its mean over the four quadrants of Qp (of a series: four
    parts of time), cut from the map as the whole normalised it. A side of n positions
    is cut at `n // 2`, as in the authors' code, a series at `k n // 4` for k = 1, 2, 3:
    where n does not divide, some parts are one position longer.

    The result is a float32 scalar without unit, of the order of 1e-3: beside a
    cross-entropy its weight is about 5000. Jeon, Choi, Shukla & Turaga 2023,
    "Leveraging angular distributions for improved knowledge distillation".

    Args:
        student_features: f^s, [batch, time, channels] or [batch, h, w, channels].
        teacher_features: f^t, the same but for the number of channels; detached.
        margin: the factor on the angle, above 0; above 1 it sets energy further apart.
        scale: the factor on the cosine, above 0.
        local: compare four parts of the map as well.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: shapes that do not fit, a map too small for four local parts, or
            `margin` or `scale` not above 0.

    Example:
        >>> student = [[[1.0], [0.0], [2.0]]]  # [batch, time, channels]
        >>> teacher = [[[0.0, 1.0], [0.0, 1.0], [3.0, 1.0]]]
        >>> round(float(amd_loss(student, teacher)), 4)
        0.0116
    """
    check_positive("margin", margin)
    check_positive("scale", scale)
    check_map("student_features", student_features)
    energies = (
        _energy(kept(where, student_features)),
        _energy(jax.lax.stop_gradient(kept(where, teacher_features))),
    )
    # of each position by itself: a part's maps are a part of these
    student, teacher = (_angular_maps(q, margin, scale) for q in energies)
    loss = _distance(student, teacher, where)
    if not local:
        return loss
    parts = [
        _distance([s[index] for s in student], [t[index] for t in teacher], where)
        for index in _quarters(energies[0].shape[1:])
    ]
    return (1 - _LOCAL_WEIGHT) * loss + _LOCAL_WEIGHT * jnp.mean(jnp.stack(parts))


def _energy(
    features: Float[Array, "batch *space channels"],
) -> Float[Array, " batch *space"]:
    """Qp: the energy at each position, of about unit norm over them."""
    energy = jnp.sum(jnp.square(features), axis=-1)
    return energy / (norm(energy) + 1e-6)


def _distance(
    student: Sequence[Float[Array, " batch *space"]],
    teacher: Sequence[Float[Array, " batch *space"]],
    where: Shaped[Array, " batch"] | None,
) -> Float[Array, ""]:
    """Mean over G, P and Qn of the MSE between the two normalised maps."""
    pairs = zip(student, teacher, strict=True)
    errors = [mean_square(normalize(s) - normalize(t), where) for s, t in pairs]
    return jnp.mean(jnp.stack(errors))


def _angular_maps(
    positive: Float[Array, " batch *space"], margin: Scalar, scale: Scalar
) -> tuple[Float[Array, " batch *space"], ...]:
    """G, P and Qn of Qp."""
    negative = 1 - positive
    cosine = jnp.clip(positive, -1 + _COSINE_MARGIN, 1 - _COSINE_MARGIN)
    logit = scale * jnp.cos(margin * jnp.arccos(cosine))
    # P - log(e^P + e^(s Qn)) = -log(1 + e^(s Qn - P)): e^64 is never formed.
    ratio = -jnp.logaddexp(0.0, scale * negative - logit)
    return ratio, logit, negative


def _quarters(space: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Indices of four parts of [batch, *space]: 2 x 2 of an image, 4 of a series."""
    count = 4 if len(space) == 1 else 2
    if min(space) < count:
        raise ValueError(
            f"student_features: local=True needs at least {count} positions a side, "
            f"found {space}"
        )
    cuts = [[n * k // count for k in range(count + 1)] for n in space]
    sides = [[slice(*ends) for ends in itertools.pairwise(cut)] for cut in cuts]
    for part in itertools.product(*sides):
        yield (slice(None), *part)
