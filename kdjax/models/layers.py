"""What the networks share: their outputs, pooling, checks of a field and a shape."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jax import Array
from jaxtyping import Float

from kdjax.errors import InputError

WHERE = "config.model"


class Outputs(NamedTuple):
    """What a network returns: float32 logits [batch, classes] and features by name.

    The logits of a network that ends in a projection are the projections. The features
    are in order of depth, the representation last; in an OrderedDict because `jax.jit`,
    `jax.vmap` and `jax.grad` return the keys of a plain dict sorted.
    """

    logits: Array
    features: OrderedDict[str, Array]


def positive(field: str, value: Any) -> int:
    """`value` if it is a whole number above 0, else an InputError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(
            f"{WHERE}.{field}: expected a whole number >= 1, found {value!r}"
        )
    return value


def positives(field: str, values: Any) -> tuple[int, ...]:
    """A sequence of whole numbers above 0 as a tuple, else an InputError."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(
            f"{WHERE}.{field}: expected a sequence of whole numbers, found {values!r}"
        )
    return tuple(positive(f"{field}[{i}]", value) for i, value in enumerate(values))


def one_of(field: str, value: Any, known: Iterable[Any]) -> None:
    """An InputError unless `value` is one of the `known`."""
    names = sorted(known)
    if value not in names:
        raise InputError(
            f"{WHERE}.{field}: expected one of {', '.join(map(str, names))}, "
            f"found {value!r}"
        )


def check_rank(x: Array) -> None:
    """A ValueError unless `x` is [batch, time, channels] or [batch, h, w, channels]."""
    if x.ndim not in (3, 4):
        raise ValueError(
            "x: expected [batch, time, channels] or [batch, height, width, channels], "
            f"found shape {x.shape}"
        )


def pool_over_space(
    x: Float[Array, "batch *space channels"],
) -> Float[Array, "batch channels"]:
    """Mean over everything but batch and channels."""
    return x.mean(tuple(range(1, x.ndim - 1)))
