"""Networks by name: `build("wide_resnet", classes=6, depth=16, width=1)`.

A network is an encoder and a head, one linen module called as
`module.apply(variables, x, train=...)`; it returns `Outputs(logits, features)` and
keeps {"params", "batch_stats"}, each with the parts `encoder` and `head`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn

from kdjax.checks import integer, one_of
from kdjax.errors import call, look_up_or_import, lookup
from kdjax.models.autoencoder import conv_autoencoder, dense_autoencoder
from kdjax.models.beatgan import BeatGAN, beat_encoder, beatgan, motion_beatgan
from kdjax.models.convnet import ConvNet, convnet
from kdjax.models.ctrnn import CTRNN, ctrnn
from kdjax.models.densenet import densenet
from kdjax.models.fcn import fcn
from kdjax.models.gated import Gated, gated
from kdjax.models.inception import inception_time
from kdjax.models.layers import DTYPES, WHERE, Outputs
from kdjax.models.mlp import MLP, mlp
from kdjax.models.mobilenet import mobilenet_v2
from kdjax.models.network import Head, Network, classifier, projection_head
from kdjax.models.ops.batch_norm import BatchNorm
from kdjax.models.recurrent import Recurrent
from kdjax.models.resnet import ResNet, resnet
from kdjax.models.resnet_time import resnet_time
from kdjax.models.sequence import last_step, lstm_fcn
from kdjax.models.transformer import transformer
from kdjax.models.wide_resnet import WideResNet, wide_resnet
from kdjax.models.xception import xception
from kdjax.models.xception_time import xception_time

MODELS = {
    "beat_encoder": beat_encoder,
    "convnet": convnet,
    "densenet": densenet,
    "fcn": fcn,
    "gru": partial(last_step, "gru"),
    "inception_time": inception_time,
    "lstm": partial(last_step, "lstm"),
    "lstm_fcn": lstm_fcn,
    "mlp": mlp,
    "mobilenet_v2": mobilenet_v2,
    "resnet": resnet,
    "resnet_time": resnet_time,
    "transformer": transformer,
    "wide_resnet": wide_resnet,
    "xception": xception,
    "xception_time": xception_time,
}
RECURRENT: dict[str, Callable[..., Recurrent]] = {
    "ctrnn": ctrnn,
    "gru": partial(gated, "gru"),
    "lstm": partial(gated, "lstm"),
}
GANS: dict[str, Callable[..., BeatGAN]] = {
    "beatgan": beatgan,
    "motion_beatgan": motion_beatgan,
}
AUTOENCODERS: dict[str, Callable[..., nn.Module]] = {
    "conv_autoencoder": conv_autoencoder,
    "dense_autoencoder": dense_autoencoder,
}

__all__ = [
    "AUTOENCODERS",
    "CTRNN",
    "GANS",
    "MLP",
    "MODELS",
    "RECURRENT",
    "BeatGAN",
    "ConvNet",
    "Gated",
    "Head",
    "Network",
    "Outputs",
    "Recurrent",
    "ResNet",
    "WideResNet",
    "build",
    "build_autoencoder",
    "build_gan",
    "build_recurrent",
]


def build(
    name: str,
    *,
    classes: int,
    norm_axis: str | None = None,
    norm_devices: int | None = None,
    dtype: Any = "float32",
    projection: Mapping[str, Any] | None = None,
    freeze: tuple[str, ...] = (),
    **fields: Any,
) -> Network:
    """The network `name` of `MODELS`, or "module:factory", for `classes` classes.

    `fields` are the encoder's: `depth`, `width` (wide_resnet), `depth`, `width`, `stem`
    (resnet), `widths` (mlp), `widths`, `windows`, `strides` (convnet), `width`
    (beat_encoder, BeatGAN's discriminator without its last layer). Batch statistics
    in training are over groups of `norm_devices` devices (None: all) of the mapped axis
    `norm_axis`. `dtype` is what the encoder computes in, "float32" or "bfloat16".
    Batch norm whose statistics' paths match a pattern of `freeze` is in training as it
    is in evaluation. `projection` holds the fields of
    `kdjax.models.network.projection_head`; without it the head is a classifier on the
    representation, the encoder's last feature.
    An unknown name or field, or a value it cannot take, is an InputError.
    """
    integer(classes, low=1, where=f"{WHERE}.classes")
    one_of(dtype, DTYPES, where=f"{WHERE}.dtype")
    if norm_devices is not None:
        integer(norm_devices, low=1, where=f"{WHERE}.norm_devices")
    batch_norm = partial(BatchNorm, norm_axis, norm_devices, frozen=freeze)
    factory = look_up_or_import(name, MODELS, where=f"{WHERE}.name")
    encoder = call(factory, fields, where=WHERE, batch_norm=batch_norm)
    head: nn.Module
    own = getattr(encoder, "own_head", None)
    if projection is None:
        head = own(classes, batch_norm) if own else classifier(classes)
    else:
        where = f"{WHERE}.projection"
        given = {"classes": classes, "batch_norm": batch_norm}
        head = call(projection_head, projection, where=where, **given)
    return Network(encoder, head, dtype)


def build_gan(
    name: str,
    *,
    norm_axis: str | None = None,
    norm_devices: int | None = None,
    dtype: Any = "float32",
    **fields: Any,
) -> BeatGAN:
    """The networks `name` of `GANS`: a generator, a discriminator and their helpers.

    Batch statistics and `dtype` as in `build`: logits and reconstructions, parameters
    and statistics are float32. An unknown name or field, or a value it cannot take,
    is an InputError.
    """
    gan: BeatGAN = _made(name, GANS, norm_axis, norm_devices, dtype, fields)
    return gan


def build_autoencoder(
    name: str,
    *,
    norm_axis: str | None = None,
    norm_devices: int | None = None,
    dtype: Any = "float32",
    **fields: Any,
) -> nn.Module:
    """The network `name` of `AUTOENCODERS`, or the generator of that of `GANS`.

    Called with x, it gives (reconstruction, code). Fields and errors as in `build_gan`.
    """
    known: dict[str, Callable[..., nn.Module]] = {**AUTOENCODERS, **GANS}
    made = _made(name, known, norm_axis, norm_devices, dtype, fields)
    return made.generator if isinstance(made, BeatGAN) else made


def _made(
    name: str,
    known: Mapping[str, Callable[..., Any]],
    norm_axis: str | None,
    norm_devices: int | None,
    dtype: Any,
    fields: Mapping[str, Any],
) -> Any:
    """What the factory `name` makes of its fields, batch norm and dtype."""
    if norm_devices is not None:
        integer(norm_devices, low=1, where=f"{WHERE}.norm_devices")
    one_of(dtype, DTYPES, where=f"{WHERE}.dtype")
    factory = lookup(name, known, where=f"{WHERE}.name")
    given = {"batch_norm": partial(BatchNorm, norm_axis, norm_devices), "dtype": dtype}
    return call(factory, fields, where=WHERE, **given)


def build_recurrent(
    name: str, *, inputs: int, outputs: int, dt: float, **fields: Any
) -> Recurrent:
    """The recurrent network `name` of `RECURRENT`, or "module:factory".

    For trials of so many inputs and outputs, in steps of dt ms. An unknown name or
    field, or a value it cannot take, is an InputError.
    """
    factory = look_up_or_import(name, RECURRENT, where=f"{WHERE}.name")
    given = {"inputs": inputs, "outputs": outputs, "dt": dt}
    network: Recurrent = call(factory, fields, where=WHERE, **given)
    return network
