"""BeatGAN: an autoencoder and a discriminator whose features it has to match.

Two pairs of networks: convolutions for heartbeats, dense layers for motion. Zhou, Liu,
Hooi, Cheng & Ye, "BeatGAN: Anomalous rhythm detection using adversarially generated
time series", IJCAI 2019. Weights start as in the published code, Xavier's normal for
convolutions and uniform for dense layers (with bias 0.01), but for batch norm's scale:
1, where the code draws N(1, 0.02).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdjax.errors import InputError
from kdjax.models.batch_norm import BatchNorm, Norm
from kdjax.models.layers import WHERE, Outputs, positive, positives
from kdjax.models.transposed_convolution import Double, Halve, xavier_normal

_SCALES = (1, 2, 4, 8, 16)  # of the width, from one map to the next, half as long
_REDUCTION = 2 ** len(_SCALES)
_SLOPE = 0.2

# The kernel of a transposed convolution of one time step: [inputs, time, outputs].
_xavier_from_one = nn.initializers.variance_scaling(
    1.0, "fan_avg", "normal", in_axis=0, out_axis=-1
)


class Pair(NamedTuple):
    """A generator and its discriminator, for `beatgan_generator_loss` and the other.

    `generator.apply(variables, x, train=...)` is (reconstruction, latent): float32, of
    the shape of x and [batch, latent]; the discriminator's is `Outputs`, with logits
    [batch, 1] and its maps in order of depth, the last named `features`. With
    train=True and mutable=["batch_stats"] both also return new batch statistics.
    """

    generator: nn.Module
    discriminator: nn.Module


class Encoder(nn.Module):
    """[batch, time, channels] -> ([batch, outputs], its maps).

    Five convolutions of window 4 and stride 2 to 1, 2, 4, 8 and 16 x `width` channels,
    batch norm on all but the first, LeakyReLU 0.2; then one over all that is left of
    time (10 steps of 320 samples). No biases. Features: `layer1` to `layer4` and
    `features`, each half as long as the one before. InputError unless time is a
    multiple of 32.
    """

    outputs: int
    width: int = 32
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> tuple[Array, OrderedDict[str, Array]]:
        _check_series(x)
        features: OrderedDict[str, Array] = OrderedDict()
        for i, scale in enumerate(_SCALES, start=1):
            x = Halve(self.width * scale, name=f"conv{i}")(x)
            if i > 1:
                x = self.batch_norm(relu=False, name=f"norm{i}")(x, train=train)
            x = nn.leaky_relu(x, _SLOPE)
            features[f"layer{i}" if i < len(_SCALES) else "features"] = x
        shape = (*x.shape[1:], self.outputs)
        kernel = self.param("kernel", xavier_normal, shape).astype(x.dtype)
        flat = x.reshape(x.shape[0], -1)
        return flat @ kernel.reshape(-1, self.outputs), features


class Decoder(nn.Module):
    """[batch, latent] -> [batch, time, channels] in (-1, 1), the mirror of `Encoder`.

    Transposed convolutions, to 16 x `width` channels over time / 32 steps and then each
    twice as long, with batch norm and ReLU; a last one to `channels`, and tanh.
    """

    time: int
    channels: int
    width: int = 32
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, z: Float[Array, "batch latent"], *, train: bool) -> Array:
        shape = (z.shape[-1], self.time // _REDUCTION, self.width * _SCALES[-1])
        kernel = self.param("kernel", _xavier_from_one, shape).astype(z.dtype)
        x = (z @ kernel.reshape(shape[0], -1)).reshape(-1, *shape[1:])
        x = self.batch_norm(name="norm1")(x, train=train)
        for i, scale in enumerate(reversed(_SCALES[:-1]), start=2):
            x = Double(self.width * scale, name=f"conv{i}")(x)
            x = self.batch_norm(name=f"norm{i}")(x, train=train)
        last = Double(self.channels, name=f"conv{len(_SCALES) + 1}")(x)
        return jnp.tanh(last.astype(jnp.float32))


class Generator(nn.Module):
    """x -> (reconstruction, latent [batch, latent]): an `Encoder` and a `Decoder`."""

    latent: int = 50
    width: int = 32
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> tuple[Array, Array]:
        _check_series(x)
        _, time, channels = x.shape
        width, norm = self.width, self.batch_norm
        z, _ = Encoder(self.latent, width, norm, name="encoder")(x, train=train)
        decoder = Decoder(time, channels, width, norm, name="decoder")
        return decoder(z, train=train), z.astype(jnp.float32)


class Discriminator(nn.Module):
    """x -> Outputs(logits [batch, 1] of being real, the five maps of an `Encoder`)."""

    width: int = 32
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> Outputs:
        encoder = Encoder(1, self.width, self.batch_norm, name="encoder")
        logits, features = encoder(x, train=train)
        return Outputs(logits.astype(jnp.float32), features)


class MotionGenerator(nn.Module):
    """x -> (reconstruction, latent): dense tanh layers over the flattened window.

    To `widths` units and linearly to `latent`; back through the same widths, and tanh.
    """

    latent: int = 10
    widths: tuple[int, ...] = (256, 128, 32)

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> tuple[Array, Array]:
        del train  # the same in training and evaluation
        h = x.reshape(x.shape[0], -1)
        size = h.shape[-1]
        for i, width in enumerate(self.widths, start=1):
            h = jnp.tanh(_dense(h, width, f"encoder{i}"))
        z = h = _dense(h, self.latent, "latent")
        for i, width in enumerate((*reversed(self.widths), size), start=1):
            h = jnp.tanh(_dense(h, width, f"decoder{i}"))
        return h.reshape(x.shape).astype(jnp.float32), z.astype(jnp.float32)


class MotionDiscriminator(nn.Module):
    """x -> Outputs(logits [batch, 1], its tanh layers of `widths` units).

    Features: `layer1`, `layer2`, ... and the last, `features`, each [batch, width].
    """

    widths: tuple[int, ...] = (256, 128, 32)

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> Outputs:
        del train  # the same in training and evaluation
        h = x.reshape(x.shape[0], -1)
        features: OrderedDict[str, Array] = OrderedDict()
        for i, width in enumerate(self.widths, start=1):
            h = jnp.tanh(_dense(h, width, f"layer{i}"))
            features[f"layer{i}" if i < len(self.widths) else "features"] = h
        return Outputs(_dense(h, 1, "logits").astype(jnp.float32), features)


def _dense(x: Array, width: int, name: str) -> Array:
    layer = nn.Dense(
        width,
        dtype=x.dtype,
        kernel_init=nn.initializers.xavier_uniform(),
        bias_init=nn.initializers.constant(0.01),
        name=name,
    )
    return layer(x)


def _check_series(x: Array) -> None:
    if x.ndim != 3 or x.shape[1] == 0 or x.shape[1] % _REDUCTION:
        raise InputError(
            "x: expected [batch, time, channels] with time a multiple of "
            f"{_REDUCTION}, found shape {x.shape}"
        )


def beatgan(*, batch_norm: Norm = BatchNorm, latent: Any = 50, width: Any = 32) -> Pair:
    """The networks for heartbeats; InputError unless both are positive whole numbers.

    For 320 samples of one lead the generator has 1,908,800 parameters and the
    discriminator 703,488.
    """
    positive("latent", latent)
    positive("width", width)
    generator = Generator(latent, width, batch_norm)
    return Pair(generator, Discriminator(width, batch_norm))


def motion_beatgan(
    *, batch_norm: Norm = BatchNorm, latent: Any = 10, widths: Any = (256, 128, 32)
) -> Pair:
    """The networks for motion; InputError unless all are positive whole numbers.

    For 64 steps of 4 channels the generator has 206,538 parameters and the
    discriminator 102,849.
    """
    del batch_norm  # they have none
    positive("latent", latent)
    units = positives("widths", widths)
    if not units:
        raise InputError(f"{WHERE}.widths: expected one layer or more, found none")
    return Pair(MotionGenerator(latent, units), MotionDiscriminator(units))
