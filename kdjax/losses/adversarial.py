"""The two losses of BeatGAN: its discriminator's and its generator's."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float, Shaped

from kdjax.losses._checks import Scalar, checked
from kdjax.losses._examples import kept, mean_of, mean_square


@checked
def beatgan_discriminator_loss(
    real_logits: Float[Array, " batch *one"],
    fake_logits: Float[Array, " batch *one"],
    *,
    where: Shaped[Array, " batch"] | None = None,
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
        where: [batch], 0 or False for examples whose two logits do not count.

    Raises:
        ValueError: shapes that differ.

    Example:
        >>> round(float(beatgan_discriminator_loss([2.0, 1.0], [-1.0, 0.0])), 4)
        0.7233
    """
    real = mean_of(jax.nn.softplus(-kept(where, real_logits)), where)
    return real + mean_of(jax.nn.softplus(kept(where, fake_logits)), where)


@checked
def beatgan_generator_loss(
    x: Float[Array, "batch *space channels"],
    reconstruction: Float[Array, "batch *space channels"],
    real_features: Float[Array, " batch *map"],
    fake_features: Float[Array, " batch *map"],
    *,
    adversarial_weight: Scalar = 1.0,
    where: Shaped[Array, " batch"] | None = None,
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
        where: [batch], 0 or False for examples that do not count in either mean.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> x = [[[1.0], [0.0]]]  # [batch, time, channels]
        >>> rebuilt = [[[0.5], [0.0]]]
        >>> round(float(beatgan_generator_loss(x, rebuilt, [[1.0]], [[0.0]])), 4)
        1.125
    """
    matched = _apart(fake_features, real_features, where)
    return _apart(reconstruction, x, where) + adversarial_weight * matched


def _apart(
    found: Float[Array, " batch *shape"],
    target: Float[Array, " batch *shape"],
    where: Shaped[Array, " batch"] | None,
) -> Float[Array, ""]:
    target = jax.lax.stop_gradient(target)
    return mean_square(kept(where, found) - kept(where, target), where)
