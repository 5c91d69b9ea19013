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


def counted(
    where: Shaped[Array, " batch"] | None, x: Shaped[Array, " batch *rest"]
) -> Shaped[Array, " batch"]:
    """Which examples of x count."""
    return jnp.ones(x.shape[0], bool) if where is None else where > 0


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


def divergence(
    student: Float[Array, "batch classes"], teacher: Float[Array, "batch classes"]
) -> Float[Array, " batch"]:
    """KL(teacher || student) of log-probabilities; 0 log 0 = 0."""
    p = jnp.exp(teacher)
    return jnp.sum(p * jnp.where(p == 0, 0.0, teacher - student), axis=-1)


def of_labels(
    log_q: Float[Array, "batch classes"], labels: Integer[Array, " batch"]
) -> Float[Array, " batch"]:
    """`-log q_label` of each example; NaN for a label that is no class."""
    exists = (labels >= 0) & (labels < log_q.shape[-1])
    labels = jnp.where(exists, labels, 0)
    picked = jnp.take_along_axis(log_q, labels[:, None], axis=-1)[:, 0]
    # A factor and not a choice: the gradient is NaN as well.
    return -picked * jnp.where(exists, 1.0, jnp.nan)


def mean_of(
    x: Float[Array, " batch *rest"], where: Shaped[Array, " batch"] | None
) -> Float[Array, ""]:
    """The mean of all that x holds of the examples that count; 0 if none does."""
    if where is None:
        return jnp.mean(x)
    return reduce(jnp.mean(x, axis=tuple(range(1, x.ndim))), "mean", where)


def mean_square(
    x: Float[Array, " batch *rest"], where: Shaped[Array, " batch"] | None
) -> Float[Array, ""]:
    """The mean square of all that x holds of the examples that count."""
    return mean_of(jnp.square(x), where)


def standardised(
    logits: Float[Array, "batch classes"],
) -> Float[Array, "batch classes"]:
    """Each row less its mean, over its deviation (of n - 1) plus 1e-7.

    Over the classes that are possible; -inf stays. A row of equal logits becomes zero,
    and its gradient is zero.
    """
    possible = logits != -jnp.inf
    count = jnp.sum(possible, axis=-1, keepdims=True)
    first = jnp.max(logits, axis=-1, keepdims=True)
    apart = jnp.where(possible, logits - jax.lax.stop_gradient(first), 0.0)
    mean = jnp.sum(apart, axis=-1, keepdims=True) / jnp.maximum(count, 1)
    centred = jnp.where(possible, apart - mean, 0.0)
    square = jnp.sum(jnp.square(centred), axis=-1, keepdims=True)
    varies = square > 0
    deviation = jnp.sqrt(jnp.where(varies, square / jnp.maximum(count - 1, 1), 1.0))
    rows = centred / jnp.where(varies, deviation + 1e-7, jnp.inf)
    return jnp.where(possible, rows, logits)
