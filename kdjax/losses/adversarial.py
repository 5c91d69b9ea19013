"""The two losses of BeatGAN: its discriminator's and its generator's."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kdjax.losses._checks import Scalar, checked


@checked
def beatgan_discriminator_loss(
    real_logits: Float[Array, "*batch"], fake_logits: Float[Array, "*batch"]
) -> Float[Array, ""]:
    """`mean -log sigmoid(real) + mean -log(1 - sigmoid(fake))`, in nats.

    Binary cross-entropy of real examples against 1 plus that of reconstructions against
    0, each a mean. Logits are [batch] or [batch, 1]. Nothing is detached: take the
    gradient in the discriminator's parameters only. Zhou et al. 2019, "BeatGAN:
    Anomalous rhythm detection using adversarially generated time series".

    Raises:
        ValueError: shapes that differ.
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
    """`MSE(reconstruction, x) + adversarial_weight MSE(fake_features, real_features)`.

    Both are means over all elements. The features are the discriminator's, of the
    reconstruction and of x, any map [batch, ...]: the generator matches them instead of
    fooling the discriminator. x and `real_features` are targets and detached; the
    gradient reaches the generator through `reconstruction` and `fake_features`. Zhou et
    al. 2019, "BeatGAN"; the published code has weight 1 for ECG and 0.01 for motion.

    Raises:
        ValueError: shapes that do not fit.
    """
    rebuilt = _mean_square(reconstruction, x)
    return rebuilt + adversarial_weight * _mean_square(fake_features, real_features)


def _mean_square(
    found: Float[Array, "*shape"], target: Float[Array, "*shape"]
) -> Float[Array, ""]:
    return jnp.mean(jnp.square(found - jax.lax.stop_gradient(target)))
