"""Which form of an operation is traced: one for each platform, or XLA's alone."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import flax.linen as nn
from jax import Array, lax

_of_xla = contextvars.ContextVar("of_xla", default=False)


@contextlib.contextmanager
def of_xla() -> Iterator[None]:
    """Inside, what is traced has XLA's own operations, for the CPU too: to be exported.

    Converters know neither `lax.platform_dependent` nor what the CPU's forms are for.
    """
    token = _of_xla.set(True)
    try:
        yield
    finally:
        _of_xla.reset(token)


def leaky_relu(x: Array, slope: float) -> Array:
    """x where it is positive, else `slope` x, 0 < slope < 1.

    To be exported as the larger of both, which int8 has everywhere: the same values.
    """
    return lax.max(x, slope * x) if _of_xla.get() else nn.leaky_relu(x, slope)


def by_platform(
    x: Array,
    kernel: Array,
    *,
    cpu: Callable[[Array, Array], Array],
    default: Callable[[Array, Array], Array],
    least: int = 1,
) -> Array:
    """`cpu(x, kernel)` on a CPU, from `least` examples on; else `default` of them."""
    # in this order, for what is exported may have a batch of unknown size
    if _of_xla.get() or x.shape[0] < least:
        return default(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=cpu, default=default)
