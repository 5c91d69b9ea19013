"""What losses of examples share: those that count, softmax, labels, means."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from kdjax.losses._checks import Scalar


def weigh(weight: Scalar, loss: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """`weight * loss`, but 0 for a weight of 0 of an infinite loss, not NaN."""
    return weight * jnp.where((weight == 0) & jnp.isinf(loss), 0.0, loss)


def kept(
    where: Shaped[Array, " batch"] | None, x: Shaped[Array, " batch *rest"]
) -> Shaped[Array, " batch *rest"]:
    """x with 0 in the rows that do not count: a NaN there would make the gradient NaN
    even if the loss left it out afterwards."""
    if where is None:
        return x
    return jnp.where((where > 0).reshape(-1, *(1,) * (x.ndim - 1)), x, 0)


def reduce(
    losses: Float[Array, " batch"],
    reduction: str,
    where: Shaped[Array, " batch"] | None,
) -> Float[Array, "*examples"]:
    """The mean of the losses that count, or with "none" 0 for those that do not."""
    losses = kept(where, losses)
    if reduction == "none":
        return losses
    if where is None:
        return jnp.mean(losses)
    return jnp.sum(losses) / jnp.maximum(jnp.sum(where > 0), 1)


def log_softmax(
    logits: Float[Array, "batch classes"], temperature: Scalar = 1.0
) -> Float[Array, "batch classes"]:
    """`log softmax(logits / T)`: -inf, without a gradient, where the logit is -inf."""
    possible = logits != -jnp.inf
    finite = jnp.where(possible, logits, 0.0) / temperature
    some = jnp.any(possible, axis=-1, keepdims=True)
    return jax.nn.log_softmax(jnp.where(some, finite, jnp.nan), where=possible | ~some)


def of_labels(
    log_q: Float[Array, "batch classes"], labels: Integer[Array, " batch"]
) -> Float[Array, " batch"]:
    """`-log q_label` of each example; NaN for a label that is no class."""
    exists = (labels >= 0) & (labels < log_q.shape[-1])
    labels = jnp.where(exists, labels, 0)
    picked = jnp.take_along_axis(log_q, labels[:, None], axis=-1)[:, 0]
    # A factor and not a choice: the gradient is NaN as well.
    return -picked * jnp.where(exists, 1.0, jnp.nan)
