"""Parts of all networks: their outputs, pooling over space, the check of a shape."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from jax import Array
from jaxtyping import Float

from kdjax.checks import integers
from kdjax.errors import InputError

WHERE = "config.model"
DTYPES = ("bfloat16", "float32")  # what networks compute in; parameters are float32


class Outputs(NamedTuple):
    """What a network returns: float32 logits [batch, classes] and features by name.

    The logits of a network that ends in a projection are the projections. The features
    are in order of depth, the representation last; in an OrderedDict because `jax.jit`,
    `jax.vmap` and `jax.grad` return the keys of a plain dict sorted.
    """

    logits: Array
    features: OrderedDict[str, Array]


def check_rank(x: Array) -> None:
    """A ValueError unless `x` is [batch, time, channels] or [batch, h, w, channels]."""
    if x.ndim not in (3, 4):
        raise ValueError(
            "x: expected [batch, time, channels] or [batch, height, width, channels], "
            f"found shape {x.shape}"
        )


def check_series(x: Array) -> None:
    """An InputError unless `x` is [batch, time, channels]."""
    if x.ndim != 3:
        raise InputError(
            f"{WHERE}.name: this network is for series [time, channels], "
            f"found examples of shape {x.shape[1:]}"
        )


def some_widths(widths: Any, *, of: str = "layer") -> tuple[int, ...]:
    """The config's `widths`; InputError unless one or more positive whole numbers."""
    found = integers(widths, low=1, where=f"{WHERE}.widths")
    if not found:
        raise InputError(f"{WHERE}.widths: expected one {of} or more, found none")
    return found


def odd(windows: Any, length: int, *, where: str) -> tuple[int, ...]:
    """`length` odd positive windows, which keep a series' length; InputError."""
    found = integers(windows, length=length, low=1, where=where)
    for i, window in enumerate(found):
        if window % 2 == 0:
            raise InputError(f"{where}[{i}]: expected an odd number, found {window}")
    return found


def pool_over_space(
    x: Float[Array, "batch *space channels"],
) -> Float[Array, "batch channels"]:
    """Mean over everything but batch and channels."""
    return x.mean(tuple(range(1, x.ndim - 1)))
