"""BeatGAN: an autoencoder and a discriminator whose features it has to match.

Two pairs of networks: convolutions for heartbeats, dense layers for motion. Zhou, Liu,
Hooi, Cheng & Ye, "BeatGAN: Anomalous rhythm detection using adversarially generated
time series", IJCAI 2019. Weights start as in the published code, Xavier's normal for
convolutions and uniform for dense layers (with bias 0.01), but for batch norm's scale:
1, where the code draws N(1, 0.02).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdjax.checks import integer
from kdjax.errors import InputError, call
from kdjax.models.autoencoder import DenseAutoencoder, dense
from kdjax.models.bifpn import BiFPN
from kdjax.models.layers import WHERE, Outputs, pool_over_space, some_widths
from kdjax.models.network import Head, projection_head
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.forms import leaky_relu
from kdjax.models.ops.transposed_convolution import Double, Halve, xavier_normal

_SCALES = (1, 2, 4, 8, 16)  # of the width, from one map to the next, half as long
_REDUCTION = 2 ** len(_SCALES)
_SLOPE = 0.2

# The kernel of a transposed convolution of one time step: [inputs, time, outputs].
_xavier_from_one = nn.initializers.variance_scaling(
    1.0, "fan_avg", "normal", in_axis=0, out_axis=-1
)


class BeatGAN(nn.Module):
    """A generator, its discriminator, and what may train beside them.

    The parts are applied one by one: `module.generator.apply(variables, x, train=...)`
    is (reconstruction, latent), float32, of the shape of x and [batch, latent]; the
    discriminator's is `Outputs`, with logits [batch, 1] and its maps in order of depth,
    of which `features` is the one that the generator has to match. `self_teacher`
    refines the maps that have a time axis, `projection` is a head on the last feature,
    the representation. The module itself only makes the variables of all its parts,
    {"params": {part: ...}, "batch_stats": {part: ...}}.
    """

    generator: nn.Module
    discriminator: nn.Module
    self_teacher: nn.Module | None = None
    projection: nn.Module | None = None

    def __call__(self, x: Array, *, train: bool) -> Array:
        reconstruction, _ = self.generator(x, train=train)
        features = self.discriminator(x, train=train).features
        if self.self_teacher is not None:
            self.self_teacher(maps(features), train=train)
        if self.projection is not None:
            self.projection(features[next(reversed(features))], train=train)
        return reconstruction


def maps(features: Mapping[str, Array]) -> OrderedDict[str, Array]:
    """Those of the features that have a time axis, [batch, time, channels]."""
    return OrderedDict((name, x) for name, x in features.items() if x.ndim == 3)


class BeatEncoder(nn.Module):
    """[batch, time, channels] -> its maps, and their summary.

    Five convolutions of window 4 and stride 2 to 1, 2, 4, 8 and 16 x `width` channels,
    batch norm on all but the first, LeakyReLU 0.2; no biases. Features: `layer1` to
    `layer4` and `features`, each half as long as the one before, and `pooled`, the mean
    of the last over time. InputError unless time is a multiple of 32.
    """

    width: int = 32
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        _check_series(x)
        features: OrderedDict[str, Array] = OrderedDict()
        for i, scale in enumerate(_SCALES, start=1):
            x = Halve(self.width * scale, name=f"conv{i}")(x)
            if i > 1:
                x = self.batch_norm(relu=False, name=f"norm{i}")(x, train=train)
            x = leaky_relu(x, _SLOPE)
            features[f"layer{i}" if i < len(_SCALES) else "features"] = x
        features["pooled"] = pool_over_space(x)
        return features


class OverTime(nn.Module):
    """A convolution over all of time: [batch, time, channels] -> [batch, outputs]."""

    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch time channels"]) -> Array:
        shape = (*x.shape[1:], self.outputs)
        kernel = self.param("kernel", xavier_normal, shape).astype(x.dtype)
        return x.reshape(x.shape[0], -1) @ kernel.reshape(-1, self.outputs)


class Decoder(nn.Module):
    """[batch, latent] -> [batch, time, channels] in (-1, 1), the encoder's mirror.

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
    """x -> (reconstruction, latent [batch, latent]).

    A `BeatEncoder`, a convolution over the steps left (10 of 320), and a `Decoder`,
    which compute in `dtype`.
    """

    latent: int = 50
    width: int = 32
    batch_norm: Norm = BatchNorm
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, Array]:
        _check_series(x)
        _, time, channels = x.shape
        width, norm = self.width, self.batch_norm
        encoder = BeatEncoder(width, norm, name="encoder")
        features = encoder(x.astype(self.dtype), train=train)
        z = OverTime(self.latent, name="latent")(features["features"])
        decoder = Decoder(time, channels, width, norm, name="decoder")
        return decoder(z, train=train), z.astype(jnp.float32)


class Discriminator(nn.Module):
    """x -> Outputs(logits [batch, 1] of being real, the features of a `BeatEncoder`).

    The logit is a convolution over the last map's time, in float32; the encoder
    computes in `dtype`.
    """

    width: int = 32
    batch_norm: Norm = BatchNorm
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Outputs:
        encoder = BeatEncoder(self.width, self.batch_norm, name="encoder")
        features = encoder(x.astype(self.dtype), train=train)
        last = features["features"].astype(jnp.float32)
        return Outputs(OverTime(1, name="logits")(last), features)


class MotionDiscriminator(nn.Module):
    """x -> Outputs(logits [batch, 1], its tanh layers of `widths` units).

    Features: `layer1`, `layer2`, ... and the last, `features`, each [batch, width]. The
    layers compute in `dtype`, that of the logit in float32.
    """

    widths: tuple[int, ...] = (256, 128, 32)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Outputs:
        del train  # the same in training and evaluation
        h = x.astype(self.dtype).reshape(x.shape[0], -1)
        features: OrderedDict[str, Array] = OrderedDict()
        for i, width in enumerate(self.widths, start=1):
            h = jnp.tanh(dense(h, width, f"layer{i}"))
            features[f"layer{i}" if i < len(self.widths) else "features"] = h
        return Outputs(dense(h.astype(jnp.float32), 1, "logits"), features)


def _check_series(x: Array) -> None:
    if x.ndim != 3 or x.shape[1] == 0 or x.shape[1] % _REDUCTION:
        raise InputError(
            "x: expected [batch, time, channels] with time a multiple of "
            f"{_REDUCTION}, found shape {x.shape}"
        )


def beat_encoder(*, batch_norm: Norm = BatchNorm, width: Any = 32) -> BeatEncoder:
    """The discriminator's encoder; InputError unless `width` is a whole number."""
    return BeatEncoder(integer(width, low=1, where=f"{WHERE}.width"), batch_norm)


def beatgan(
    *,
    batch_norm: Norm = BatchNorm,
    dtype: str = "float32",
    latent: Any = 50,
    width: Any = 32,
    self_teacher: Mapping[str, Any] | None = None,
    projection: Mapping[str, Any] | None = None,
) -> BeatGAN:
    """The networks for heartbeats; InputError unless sizes are positive whole numbers.

    For 320 samples of one lead the generator has 1,908,800 parameters and the
    discriminator 703,488. `self_teacher` has the field `width`, a BiFPN's channels;
    `projection` those of `kdjax.models.network.projection_head` but `keep`.
    """
    integer(latent, low=1, where=f"{WHERE}.latent")
    integer(width, low=1, where=f"{WHERE}.width")
    generator = Generator(latent, width, batch_norm, dtype)
    discriminator = Discriminator(width, batch_norm, dtype)
    return BeatGAN(
        generator,
        discriminator,
        None if self_teacher is None else _refining(self_teacher, batch_norm),
        None if projection is None else _projecting(projection, batch_norm),
    )


def motion_beatgan(
    *,
    batch_norm: Norm = BatchNorm,
    dtype: str = "float32",
    latent: Any = 10,
    widths: Any = (256, 128, 32),
) -> BeatGAN:
    """The networks for motion; InputError unless all are positive whole numbers.

    For 64 steps of 4 channels the generator has 206,538 parameters and the
    discriminator 102,849.
    """
    del batch_norm  # they have none
    integer(latent, low=1, where=f"{WHERE}.latent")
    units = some_widths(widths)
    generator = DenseAutoencoder(latent, units, bounded=True, dtype=dtype)
    return BeatGAN(generator, MotionDiscriminator(units, dtype))


def _refining(fields: Mapping[str, Any], batch_norm: Norm) -> BiFPN:
    where = f"{WHERE}.self_teacher"

    def bifpn(*, width: Any = 64) -> BiFPN:
        return BiFPN(1, integer(width, low=1, where=f"{where}.width"), batch_norm)

    found: BiFPN = call(bifpn, fields, where=where)
    return found


def _projecting(fields: Mapping[str, Any], batch_norm: Norm) -> Head:
    given = {"classes": 1, "batch_norm": batch_norm, "keep": None}
    where = f"{WHERE}.projection"
    head: Head = call(projection_head, fields, where=where, **given)
    return head
