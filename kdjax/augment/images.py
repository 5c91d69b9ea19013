"""SimCLR's augmentations of images: crop, flip, colour jitter, grayscale, blur.

Each takes a key and ONE image [h, w, channels] in [0, 1] and gives one of the same
shape and dtype, again in [0, 1]. Ranges are static. Chen et al. 2020 (SimCLR),
appendix A. The forms were chosen by time on a CPU (512 images of 32 x 32 x 3).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Image = Float[Array, "h w channels"]
Number = float | int
Scalar = Float[Array, ""]

# NTSC's luma and two axes of chroma: turning the two is a change of hue alone.
_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]
)
_LUMA = _YIQ[0].astype(np.float32)
_TURN = (np.linalg.inv(_YIQ) @ [[0, 0, 0], [0, 0, -1], [0, 1, 0]] @ _YIQ).astype(
    np.float32
)


def random_resized_crop(
    rng: PRNGKeyArray, x: Image, *, min_area: Number = 0.08
) -> Image:
    """Cuts out a rectangle and resizes it, bilinearly, to the whole image.

    Its share of the area is uniform on (min_area, 1], its aspect (width / height, in
    pixels) log-uniform on 3/4..4/3, as far as such a rectangle fits (the original draws
    again where it does not), its place uniform. A crop is only ever enlarged, so there
    is nothing to antialias; at its edge the image's next pixel is blended in.
    """
    h, w, _ = x.shape
    for_area, for_aspect, *for_place = jax.random.uniform(rng, (4,))
    area = 1 - for_area * (1 - min_area)
    # Between these both sides fit.
    narrowest, widest = area * w / h, w / (h * area)
    low = jnp.log(jnp.clip(3 / 4, narrowest, widest))
    high = jnp.log(jnp.clip(4 / 3, narrowest, widest))
    aspect = jnp.exp(low + for_aspect * (high - low))
    height = jnp.sqrt(area * w / (h * aspect))
    width = jnp.sqrt(area * h * aspect / w)
    rows = _resize_weights(for_place[0] * (1 - height), height, h)
    columns = _resize_weights(for_place[1] * (1 - width), width, w)
    return as_image(resampled(x, rows, columns), x)


def flip(rng: PRNGKeyArray, x: Image, *, probability: Number = 0.5) -> Image:
    """Mirrors left and right, with the given probability."""
    return _sometimes(jax.random.uniform(rng), probability, x[:, ::-1], x)


def color_jitter(
    rng: PRNGKeyArray, x: Image, *, strength: Number = 1.0, probability: Number = 0.8
) -> Image:
    """Brightness, contrast, saturation and hue, all four with the given probability.

    The first three are factors uniform on 1 - 0.8 s..1 + 0.8 s (not below 0): of the
    image, of its distance from its mean luma, and of each pixel's distance from its
    luma. Hue turns by an angle uniform on +-0.2 s of the circle.

    Differs from the original: always in this order (there a random one), and hue and
    saturation work in YIQ, which keeps luma, not in HSV. Clipped to [0, 1] after
    brightness, after contrast and at the end. ValueError unless it has 3 channels.
    """
    _need_colors("color_jitter", x)
    return _jitter(rng, x, strength, probability)


def grayscale(rng: PRNGKeyArray, x: Image, *, probability: Number = 0.2) -> Image:
    """All channels become the luma (0.299 R + 0.587 G + 0.114 B), with the probability.

    ValueError unless it has 3 channels.
    """
    _need_colors("grayscale", x)
    gray = jnp.broadcast_to(_luma(x)[..., None], x.shape)
    return _sometimes(jax.random.uniform(rng), probability, gray, x)


def blur(rng: PRNGKeyArray, x: Image, *, probability: Number = 0.5) -> Image:
    """Gaussian blur, sigma uniform on 0.1..2 pixels, with the given probability.

    The kernel spans 10 % of the height, at least 3 pixels. Beyond the border the edge
    repeats (the original pads with 0, which darkens it).
    """
    for_choice, for_sigma = jax.random.uniform(rng, (2,))
    radius = max(1, x.shape[0] // 20)
    blurry = blurred(x, 0.1 + 1.9 * for_sigma, radius)
    return _sometimes(for_choice, probability, blurry, x)


def simclr_image(
    rng: PRNGKeyArray,
    x: Image,
    *,
    min_area: Number = 0.08,
    strength: Number = 1.0,
    flip: Number = 0.5,
    jitter: Number = 0.8,
    grayscale: Number = 0.2,
    blur: Number = 0.5,
) -> Image:
    """Crop, flip, jitter, grayscale, blur, in this order: one view of an image.

    A part whose probability (strength for jitter too) is 0 is not compiled. With one
    channel only brightness and contrast are jittered and grayscale is left out; another
    count than 1 or 3 is a ValueError.
    """
    keys = jax.random.split(rng, 5)
    x = random_resized_crop(keys[0], x, min_area=min_area)
    if flip:
        x = _flip(keys[1], x, probability=flip)
    one_channel = x.shape[2] == 1
    if jitter and strength:
        if not one_channel:
            _need_colors("simclr_image", x)
        x = _jitter(keys[2], x, strength, jitter)
    if grayscale and not one_channel:
        x = _grayscale(keys[3], x, probability=grayscale)
    if blur:
        x = _blur(keys[4], x, probability=blur)
    return x


# `simclr_image` names its probabilities after the parts.
_flip, _grayscale, _blur = flip, grayscale, blur


def blurred(x: Image, sigma: Scalar | float, radius: int) -> Image:
    """Gaussian blur, sigma in pixels, the kernel cut at `radius`; edges repeat."""
    kernel = jnp.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = jnp.pad(x, pad, mode="edge")
        # A sum of moved images: over twice as fast here as a matrix or a convolution.
        moved = [
            weight * jax.lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis)
            for i, weight in enumerate(kernel)
        ]
        x = sum(moved[1:], start=moved[0])
    return x


def resampled(
    x: Image, rows: Float[Array, "to_h h"], columns: Float[Array, "to_w w"]
) -> Float[Array, "to_h to_w channels"]:
    """Each pixel a weighted sum of others, in float32: `rows @ x @ columns.T`."""
    # Half the time of `jax.image.scale_and_translate`, and no slower than a gather.
    planes = jnp.moveaxis(x.astype(jnp.float32), 2, 0)
    made = jnp.matmul(rows[None], planes, precision="highest")
    made = jnp.matmul(made, columns.T[None], precision="highest")
    return jnp.moveaxis(made, 0, 2)


def as_image(made: Image, x: Image) -> Image:
    """What was made of the image x, in x's dtype; rounding can leave [0, 1]."""
    return jnp.clip(made, 0, 1).astype(x.dtype)


def _resize_weights(start: Scalar, size: Scalar, n: int) -> Float[Array, "to n"]:
    """Linear interpolation of [start, start + size], shares of a side, to n pixels."""
    at = (start + size * (np.arange(n) + 0.5) / n) * n - 0.5
    at = jnp.clip(at, 0, n - 1)
    return jnp.maximum(0, 1 - jnp.abs(at[:, None] - np.arange(n)[None]))


def _jitter(
    rng: PRNGKeyArray, x: Image, strength: Number, probability: Number
) -> Image:
    """Brightness and contrast, and with 3 channels saturation and hue."""
    for_choice, *factors, turn = jax.random.uniform(rng, (5,))
    brightness, contrast, saturation = (
        jnp.maximum(0, 1 + 0.8 * strength * (2 * f - 1)) for f in factors
    )
    y = jnp.clip(x * brightness, 0, 1)
    colors = x.shape[2] == 3
    mean = _luma(y).mean() if colors else y.mean()
    y = jnp.clip(mean + contrast * (y - mean), 0, 1)
    if colors:
        y = _saturate_and_turn(
            y, saturation, 2 * jnp.pi * 0.2 * strength * (2 * turn - 1)
        )
    return _sometimes(for_choice, probability, y, x)


def _saturate_and_turn(x: Image, saturation: Scalar, angle: Scalar) -> Image:
    """Multiplies each pixel's chroma and turns it by `angle` (radians); keeps luma."""
    to_luma = np.broadcast_to(_LUMA, (3, 3))
    chroma = jnp.cos(angle) * (np.eye(3, dtype=np.float32) - to_luma)
    matrix = to_luma + saturation * (chroma + jnp.sin(angle) * _TURN)
    # Written out: 26 times faster on a CPU than a matrix product over 3 channels.
    r, g, b = (x[..., i, None] * matrix[None, None, :, i] for i in range(3))
    return jnp.clip(r + g + b, 0, 1)


def _luma(x: Image) -> Float[Array, "h w"]:
    r, g, b = (float(weight) * x[..., i] for i, weight in enumerate(_LUMA))
    return r + g + b


def _sometimes(drawn: Scalar, probability: Number, changed: Image, x: Image) -> Image:
    return jnp.where(drawn < probability, as_image(changed, x), x)


def _need_colors(who: str, x: Image) -> None:
    if x.shape[2] != 3:
        raise ValueError(
            f"{who}: expected an image [h, w, 3] in red, green and blue,"
            f" found {tuple(x.shape)}"
        )
