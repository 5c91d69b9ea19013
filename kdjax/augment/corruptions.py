"""Corruptions of images at a fixed severity, by which robustness is judged.

Each takes a key and ONE image [h, w, channels] in [0, 1] and gives one of the same
shape and dtype, again in [0, 1]. `severity` is static, 1 (hardly seen) to 5; a direct
call with another is a ValueError. The constants are those of CIFAR-10-C, for images of
32 x 32: Hendrycks & Dietterich 2019, "Benchmarking neural network robustness to common
corruptions and perturbations". There an image is cut off to 8 bits at the end, and
between `pixelate`'s two steps; here it stays as it is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import NDArray

from kdjax.augment.images import Image, as_image, blurred, resampled

SEVERITIES = 5
STD = (0.04, 0.06, 0.08, 0.09, 0.10)
SIGMA = (0.4, 0.6, 0.7, 0.8, 1.0)
FACTOR = (0.75, 0.5, 0.4, 0.3, 0.15)
SIZE = (0.95, 0.9, 0.85, 0.75, 0.65)


def gaussian_noise(rng: PRNGKeyArray, x: Image, *, severity: int = 3) -> Image:
    """Adds N(0, std^2), drawn for each pixel and channel, and clips to [0, 1].

    std = .04, .06, .08, .09, .10.
    """
    drawn = jax.random.normal(rng, (x.size,)).reshape(x.shape)
    return as_image(x + _at(severity, STD) * drawn, x)


def gaussian_blur(rng: PRNGKeyArray, x: Image, *, severity: int = 3) -> Image:
    """Gaussian blur of sigma .4, .6, .7, .8 or 1 pixels; the key is not used.

    The kernel ends at 4 sigma; beyond the border the edge repeats.
    """
    del rng
    sigma = _at(severity, SIGMA)
    return as_image(blurred(x, sigma, int(4 * sigma + 0.5)), x)


def contrast(rng: PRNGKeyArray, x: Image, *, severity: int = 3) -> Image:
    """Draws each channel towards its mean over the image; the key is not used.

    Differences from the mean are multiplied by .75, .5, .4, .3 or .15.
    """
    del rng
    mean = x.astype(jnp.float32).mean((0, 1), keepdims=True)
    return as_image(mean + _at(severity, FACTOR) * (x - mean), x)


def pixelate(rng: PRNGKeyArray, x: Image, *, severity: int = 3) -> Image:
    """Makes the image smaller and large again, in whole pixels; the key is not used.

    Its sides become .95, .9, .85, .75 or .65 of what they were, rounded down: a pixel
    of the small image is the mean of the pixels whose centres it covers, one of the
    large image the pixel of the small one that covers its centre (Pillow's BOX).
    """
    del rng
    size = _at(severity, SIZE)
    rows, columns = (_coarse(side, int(size * side)) for side in x.shape[:2])
    return as_image(resampled(x, rows, columns), x)


def _at(severity: int, constants: Sequence[float]) -> float:
    if severity not in range(1, SEVERITIES + 1):
        raise ValueError(f"severity: expected 1 to {SEVERITIES}, found {severity}")
    return constants[severity - 1]


def _coarse(side: int, small: int) -> Float[Array, "to side"]:
    """To `small` pixels (at least 1) and back to `side`, as one matrix of weights."""
    small = max(1, small)
    weights = _boxes(small, side) @ _boxes(side, small)
    return jnp.asarray(weights, jnp.float32)


def _boxes(n: int, to: int) -> NDArray[np.float64]:
    """[to, n]: from n pixels, the mean of those whose centres lie in each new pixel.

    A new pixel that is smaller than an old one is taken to be as large.
    """
    scale = n / to
    centre = (np.arange(to)[:, None] + 0.5) * scale
    apart, half = np.arange(n) + 0.5 - centre, max(scale, 1) / 2
    inside = (apart > -half) & (apart <= half)  # as Pillow has it at a border
    return inside / inside.sum(axis=1, keepdims=True)
