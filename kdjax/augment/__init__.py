"""Augmentations by name, run inside the compiled step: (keys, batch) -> batch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, UInt32

from kdjax.augment.corruptions import (
    SEVERITIES,
    contrast,
    gaussian_blur,
    gaussian_noise,
    pixelate,
)
from kdjax.augment.images import (
    blur,
    color_jitter,
    flip,
    grayscale,
    random_resized_crop,
    simclr_image,
)
from kdjax.augment.series import (
    channel_dropout,
    crop_resize,
    permutation,
    rotation,
    scaling,
    simclr_series,
    tick_warp,
    time_warp,
)
from kdjax.augment.wearable import mix1, mix2, noise, removal, shift
from kdjax.checks import integer, number
from kdjax.errors import check_fields, lookup, section

SERIES: dict[str, Callable[..., Array]] = {
    "channel_dropout": channel_dropout,
    "crop_resize": crop_resize,
    "mix1": mix1,
    "mix2": mix2,
    "noise": noise,
    "permutation": permutation,
    "removal": removal,
    "rotation": rotation,
    "scaling": scaling,
    "shift": shift,
    "simclr_series": simclr_series,
    "tick_warp": tick_warp,
    "time_warp": time_warp,
}
IMAGES: dict[str, Callable[..., Array]] = {
    "blur": blur,
    "color_jitter": color_jitter,
    "contrast": contrast,
    "flip": flip,
    "gaussian_blur": gaussian_blur,
    "gaussian_noise": gaussian_noise,
    "grayscale": grayscale,
    "pixelate": pixelate,
    "random_resized_crop": random_resized_crop,
    "simclr_image": simclr_image,
}
AUGMENTATIONS = SERIES | IMAGES

# A field whose name ends so is a share or a probability, 0 to 1.
_SHARES = (
    "fraction",
    "area",
    "probability",
    "flip",
    "jitter",
    "grayscale",
    "blur",
    "dropout",
    "warp",
)

Keys = Key[Array, " n"] | UInt32[Array, "n 2"]
Augment = Callable[[Keys, Float[Array, "n ..."]], Float[Array, "n ..."]]

__all__ = [
    "AUGMENTATIONS",
    "blur",
    "build",
    "channel_dropout",
    "color_jitter",
    "contrast",
    "crop_resize",
    "example_keys",
    "flip",
    "gaussian_blur",
    "gaussian_noise",
    "grayscale",
    "mix1",
    "mix2",
    "noise",
    "permutation",
    "pixelate",
    "random_resized_crop",
    "removal",
    "rotation",
    "scaling",
    "shift",
    "simclr_image",
    "simclr_series",
    "tick_warp",
    "time_warp",
]


def build(spec: Mapping[str, Any] | None, *, where: str = "config.augment") -> Augment:
    """`(keys [n], x [n, ...]) -> x`, each example by its own key.

    `spec` is {"name": "mix1", **ranges}; None is the identity. Raises an InputError
    that names `where` for an unknown name, an unknown range or one out of bounds; what
    is returned, a ValueError for examples of another rank.
    """
    if spec is None:
        return _identity
    ranges = dict(section(spec, where=where))
    transform = lookup(ranges.pop("name", ""), AUGMENTATIONS, where=f"{where}.name")
    parameters = inspect.signature(transform).parameters.values()
    known = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    for name, value in check_fields(ranges, known, where=where).items():
        _check_range(value, f"{where}.{name}", whole=isinstance(known[name], int))
    of_batch = jax.vmap(functools.partial(transform, **ranges))
    layout = "[n, time, channels]" if spec["name"] in SERIES else "[n, h, w, channels]"

    def augment(keys: Keys, x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        if x.ndim != layout.count(",") + 1:
            raise ValueError(f"{spec['name']} takes {layout}, found {x.shape}")
        return of_batch(keys, x)

    return augment


def example_keys(rng: PRNGKeyArray, index: Int[Array, " n"]) -> Keys:
    """One key for each example: `fold_in(rng, index)`.

    An example's randomness is then a function of the step's key and the example's id,
    not of its place in the batch or the device it falls on.
    """
    return jax.vmap(functools.partial(jax.random.fold_in, rng))(index)


def _check_range(value: Any, where: str, *, whole: bool) -> None:
    """Whole numbers are 1 or more, a severity to 5; others 0 or more, a share to 1."""
    if whole:
        high = SEVERITIES if where.endswith(".severity") else None
        integer(value, low=1, high=high, where=where)
    else:
        number(value, low=0, high=1 if where.endswith(_SHARES) else None, where=where)


def _identity(keys: Keys, x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    return x
