"""Spatial maps of features, which the feature losses compare."""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Squared, the smallest norm divided by: PyTorch's F.normalize has 1e-12. The floor is
# under the root, where the gradient of the norm of a zero map would be infinite.
_SMALLEST_SQUARE = 1e-24


def check_map(name: str, features: Float[Array, "..."]) -> None:
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
    """x / ||x||_2 over all axes but the first; a zero map stays zero."""
    return x / norm(x)
