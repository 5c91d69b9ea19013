"""Contrastive metrics: exact sums over a split, and how well embeddings are spread.

Wang & Isola 2020, "Understanding contrastive representation learning through alignment
and uniformity on the hypersphere".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from kdjax.training.metrics import Metric, by_name, effective_rank
from kdjax.training.parallel import AXIS

METRICS = by_name(
    Metric("loss", "NT-Xent", False, form=".2f"),
    Metric("retrieval", "retrieval", True, scale=100.0, form=".1f", unit=" (%)"),
    Metric("alignment", "alignment", False),
    Metric("uniformity", "uniformity", False, form=".2f"),
    Metric("rank", "rank of representations", True, form=".1f"),
    Metric("projection_rank", "rank of projections", True, form=".1f"),
)
COLLAPSED = 1.5  # an effective rank below this is one direction


def contrastive_sums(
    z1: Float[Array, "n dim"], z2: Float[Array, "n dim"], mask: Float[Array, " n"]
) -> dict[str, tuple[Array, Array]]:
    """{name: (sum, count)} over this device's unit vectors, against all devices'.

    alignment: |z1 - z2|^2 over the examples. uniformity: exp(-2 |z1_i - z1_j|^2) over
    the pairs i != j (Wang & Isola 2020). retrieval: whether z2_i is the nearest to z1_i
    of all z2. projection_moments: [dim, dim], z1 z1^T.
    """
    count = mask.shape[0]
    others, targets, valid = lax.all_gather((z1, z2, mask), AXIS, tiled=True)
    own = lax.axis_index(AXIS) * count + jnp.arange(count)
    apart = jnp.sum(jnp.square(z1 - z2), axis=-1)
    pairs = mask[:, None] * valid[None, :]
    pairs *= own[:, None] != jnp.arange(valid.shape[0])[None, :]
    distances = jnp.maximum(2 - 2 * z1 @ others.T, 0.0)
    similar = jnp.where(valid[None, :] > 0, z1 @ targets.T, -jnp.inf)
    hits = jnp.argmax(similar, axis=-1) == own
    return {
        "alignment": (jnp.sum(mask * apart), jnp.sum(mask)),
        "uniformity": (jnp.sum(pairs * jnp.exp(-2 * distances)), jnp.sum(pairs)),
        "retrieval": (jnp.sum(mask * hits), jnp.sum(mask)),
        "projection_moments": moments(z1, mask),
    }


def summarize(total: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """The metrics of a split, whether the projections collapsed, and its examples.

    uniformity is the logarithm of its mean: 0 where all vectors are one, less where
    they spread. The ranks are effective_rank's, of representations and projections.
    """
    means = {
        name: float(total[name][0] / max(total[name][1], 1))
        for name in ("loss", "alignment", "uniformity", "retrieval")
    }
    ranks = {
        "rank": effective_rank(total["moments"][0]),
        "projection_rank": effective_rank(total["projection_moments"][0]),
    }
    values: dict[str, Any] = means | ranks
    values["uniformity"] = float(np.log(max(means["uniformity"], 1e-300)))
    values["collapsed"] = ranks["projection_rank"] < COLLAPSED
    values["examples"] = int(total["alignment"][1])
    return values


def moments(x: Float[Array, "n dim"], mask: Float[Array, " n"]) -> tuple[Array, Array]:
    """(sum of x x^T over the examples, [dim, dim], and their count)."""
    x = x.astype(jnp.float32)
    return (x * mask[:, None]).T @ x, jnp.sum(mask)


def unit(z: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
    """The vectors at length 1."""
    return z / jnp.maximum(jnp.linalg.norm(z, axis=-1, keepdims=True), 1e-12)
