"""Distillation through dissimilarities: what a teacher finds alike, and what not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from kdjax.losses._checks import checked
from kdjax.losses._examples import counted, kept
from kdjax.losses._maps import normalize

# Two pairs are always on a line.
_FEWEST_PAIRS = 3

# Distances, which are 0 to 2, are exact to about this in float32.
_ROUNDING = 1e-6


@checked
def rdm_loss(
    student_features: Float[Array, "batch *space channels"],
    rdm: Float[Array, "batch batch"],
    *,
    distance: str = "correlation",
    match: str = "correlation",
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How far what the student finds alike is from what a brain, or a teacher, does.

    With D_ij the distance of the features of examples i and j, all of an example's in
    one vector, and R the representational dissimilarity matrix given, over the pairs
    i < j whose R_ij is not NaN:

    `1 - corr(D, R)`, Pearson's, in [0, 2], if `match` is "correlation": neither R's
    unit nor its zero counts. It is 0 with fewer than 3 pairs, or if R is the same in
    all; and 1, all but without gradient, if D is the same to 1e-6, float32's rounding.

    `mean (D - R)^2` if `match` is "mse": R is in D's unit. 0 without pairs.

    Pairs are those within the batch given, so that the mean over devices is not the
    loss of the whole batch. McClure & Kriegeskorte 2016, "Representational distance
    learning for deep neural networks", take squared differences; the correlation is
    that of representational similarity analysis (Kriegeskorte, Mur & Bandettini 2008).

    Args:
        student_features: [batch, *space, channels].
        rdm: R, [batch, batch], detached. Its upper triangle is read alone: NaN in R_ij,
            i < j, leaves a pair out, and a row and column of NaN an example.
        distance: "correlation", 1 - Pearson's correlation of the two vectors, or
            "cosine", 1 - their cosine. A vector that has no direction (all its features
            equal, or all zero) is at 1 from every other, and its gradient is zero.
        match: "correlation" or "mse".
        where: [batch], 0 or False for examples that are in no pair.

    Raises:
        ValueError: shapes that do not fit, an unknown `distance` or `match`, or a
            single feature to correlate.

    Example:
        >>> features = [[1.0, 0.0, 2.0], [0.0, 1.0, 2.0], [3.0, 0.0, 1.0]]
        >>> rdm = [[0.0, 1.0, 2.0], [1.0, 0.0, 1.5], [2.0, 1.5, 0.0]]
        >>> round(float(rdm_loss(features, rdm)), 4)
        0.8614
    """
    if distance not in ("correlation", "cosine"):
        raise ValueError(
            f"distance: expected 'correlation' or 'cosine', found {distance!r}"
        )
    if match not in ("correlation", "mse"):
        raise ValueError(f"match: expected 'correlation' or 'mse', found {match!r}")
    rows = kept(where, student_features).reshape(len(student_features), -1)
    if distance == "correlation":
        if rows.shape[1] < 2:
            raise ValueError(
                "student_features: expected two features or more to correlate, found "
                f"{student_features.shape}"
            )
        rows = rows - rows[:, :1]  # equal features become exactly zero
        rows = rows - jnp.mean(rows, axis=1, keepdims=True)
    rows = normalize(rows)
    distances = 1 - jnp.matmul(rows, rows.T, precision=jax.lax.Precision.HIGHEST)
    rdm = jax.lax.stop_gradient(rdm)
    counts = counted(where, rows)
    pairs = jnp.triu(~jnp.isnan(rdm), 1) & jnp.outer(counts, counts)
    if match == "mse":
        squares = jnp.square(jnp.where(pairs, distances - rdm, 0))
        return jnp.sum(squares) / jnp.maximum(jnp.sum(pairs), 1)
    return _decorrelation(distances, rdm, pairs)


def _decorrelation(
    distances: Float[Array, "batch batch"],
    rdm: Float[Array, "batch batch"],
    pairs: Bool[Array, "batch batch"],
) -> Float[Array, ""]:
    """1 - Pearson's correlation over the pairs; 0 where the RDM says nothing."""
    count = jnp.sum(pairs)
    low = jnp.min(rdm, where=pairs, initial=jnp.inf)
    extent = jnp.max(rdm, where=pairs, initial=-jnp.inf) - low
    varies = (count >= _FEWEST_PAIRS) & (extent != 0)
    own = _centred(distances, pairs)
    given = _centred((rdm - low) / jnp.where(varies, extent, 1), pairs)
    own_square = jnp.sum(jnp.square(own)) + count * _ROUNDING**2
    given_square = jnp.sum(jnp.square(given))
    squares = jnp.where(varies, own_square * given_square, 1)
    return jnp.where(varies, 1 - jnp.sum(own * given) / jnp.sqrt(squares), 0.0)


def _centred(
    x: Float[Array, "batch batch"], pairs: Bool[Array, "batch batch"]
) -> Float[Array, "batch batch"]:
    """x less its mean over the pairs, and 0 elsewhere."""
    paired = jnp.where(pairs, x, 0)
    mean = jnp.sum(paired) / jnp.maximum(jnp.sum(pairs), 1)
    return jnp.where(pairs, paired - mean, 0)
