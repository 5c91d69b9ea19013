"""The two losses of BeatGAN: its discriminator's and its generator's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kdjax.losses._checks import Scalar, checked


@checked
def beatgan_discriminator_loss(
    real_logits: Float[Array, "*batch"], fake_logits: Float[Array, "*batch"]
) -> Float[Array, ""]:
    """How badly a discriminator tells real examples from reconstructions, in nats.

    `mean -log sigmoid(real) + mean -log(1 - sigmoid(fake))`: the binary cross-entropy
    of real examples against 1 plus that of reconstructions against 0. Nothing is
    detached: take the gradient in the discriminator's parameters only. Zhou et al.
    2019, "BeatGAN: Anomalous rhythm detection using adversarially generated time
    series".

    Args:
        real_logits: of real examples, [batch] or [batch, 1].
        fake_logits: of reconstructions, of the same shape.

    Raises:
        ValueError: shapes that differ.

    Example:
        >>> round(float(beatgan_discriminator_loss([2.0, 1.0], [-1.0, 0.0])), 4)
        0.7233
    """
    real = jnp.mean(jax.nn.softplus(-real_logits))
    return real + jnp.mean(jax.nn.softplus(fake_logits))


@checked
def beatgan_generator_loss(
    x: Float[Array, "batch *space channels"],
    reconstruction: Float[Array, "batch *space channels"],
    real_features: Float[Array, " batch *map"],
    fake_features: Float[Array, " batch *map"],
    *,
    adversarial_weight: Scalar = 1.0,
) -> Float[Array, ""]:
    """How far a reconstruction is from its original, in itself and in its features.

    `MSE(reconstruction, x) + adversarial_weight MSE(fake_features, real_features)`,
    both means over all elements, in the squared units of x and of the features. The
    generator matches the discriminator's features instead of fooling it. Zhou et al.
    2019, "BeatGAN"; the published code has weight 1 for ECG and 0.01 for motion.

    Args:
        x: the originals, [batch, ..., channels]; detached.
        reconstruction: the generator's, of the same shape.
        real_features: the discriminator's features of x, any map [batch, ...];
            detached.
        fake_features: its features of the reconstruction, of the same shape.
        adversarial_weight: the weight of the features' term.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> x = [[[1.0], [0.0]]]  # [batch, time, channels]
        >>> rebuilt = [[[0.5], [0.0]]]
        >>> round(float(beatgan_generator_loss(x, rebuilt, [[1.0]], [[0.0]])), 4)
        1.125
    """
    matched = _mean_square(fake_features, real_features)
    return _mean_square(reconstruction, x) + adversarial_weight * matched


def _mean_square(
    found: Float[Array, "*shape"], target: Float[Array, "*shape"]
) -> Float[Array, ""]:
    return jnp.mean(jnp.square(found - jax.lax.stop_gradient(target)))
