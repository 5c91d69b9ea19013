"""Maps and rows of features, and how they are brought to length 1."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Squared, the smallest norm divided by: PyTorch's F.normalize has 1e-12. The floor is
# under the root, where the gradient of the norm of a zero map would be infinite.
_SMALLEST_SQUARE = 1e-24

# An element above it is scaled down before it is squared: float32 ends at 3.4e38.
_LARGE = 1e12


def check_map(name: str, features: Float[Array, "*shape"]) -> None:
    """ValueError unless [batch, time, channels] or [batch, h, w, channels]."""
    if features.ndim not in (3, 4):
        raise ValueError(
            f"{name}: expected [batch, time, channels] or [batch, h, w, channels], "
            f"found {features.shape}"
        )


def norm(x: Float[Array, " batch *space"]) -> Float[Array, " batch *ones"]:
    """||x||_2 over all axes but the first, which stay as axes of size 1."""
    axes = tuple(range(1, x.ndim))
    square = jnp.sum(jnp.square(x), axis=axes, keepdims=True)
    return jnp.sqrt(jnp.maximum(square, _SMALLEST_SQUARE))


def normalize(x: Float[Array, " batch *space"]) -> Float[Array, " batch *space"]:
    """x / ||x||_2 over all axes but the first.

    A zero map, which has no direction, stays zero and its gradient is zero. The scale
    of large elements is a constant to the gradient: x / ||x|| does not depend on it.
    """
    axes = tuple(range(1, x.ndim))
    largest = jnp.max(jnp.abs(x), axis=axes, keepdims=True, initial=0.0)
    largest = jax.lax.stop_gradient(largest)
    x = x / jnp.where(largest > _LARGE, largest, 1.0)
    # Over infinity, zero has the gradient zero.
    return x / jnp.where(largest == 0, jnp.inf, norm(x))
