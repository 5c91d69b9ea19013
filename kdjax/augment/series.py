"""Augmentations of sensor windows for contrastive learning.

Each takes a key and ONE window [time, channels] and gives one of the same shape and
dtype. Ranges are static. Um et al. 2017 (augmentation of wearable data); Tang et al.
2020 (SimCLR for human activity recognition), who found `rotation` the best one. Their
jitter is `kdjax.augment.noise`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from kdjax.augment.wearable import Example, noise

Number = float | int
Positions = Float[Array, " time"]

_KNOTS = 6  # Um et al.: four inside the window and its two ends


def crop_resize(
    rng: PRNGKeyArray, x: Example, *, min_fraction: Number = 0.5
) -> Example:
    """Keeps one contiguous part and stretches it, linearly, to the full length.

    The part's share of the window is uniform on (min_fraction, 1], its place uniform.
    """
    for_size, for_start = jax.random.uniform(rng, (2,))
    size = 1 - for_size * (1 - min_fraction)
    at = for_start * (1 - size) + size * np.linspace(0, 1, len(x), dtype=np.float32)
    return _resample(x, at * (len(x) - 1))


def scaling(rng: PRNGKeyArray, x: Example, *, std: Number = 0.1) -> Example:
    """Multiplies each channel by its own factor from N(1, std^2)."""
    factor = 1 + std * jax.random.normal(rng, (1, x.shape[1]))
    return (x * factor).astype(x.dtype)


def time_warp(rng: PRNGKeyArray, x: Example, *, max_fraction: Number = 0.3) -> Example:
    """Plays the window at a speed that varies smoothly; both ends stay in place.

    The speed is drawn at 6 knots, uniform on 1 +- max_fraction, linear between them and
    then scaled to an average of 1; so time never runs backwards. (Um et al. take a
    spline through N(1, 0.2^2), which can; 0.3 here has nearly their spread.)
    """
    return _resample(x, _warped(rng, len(x), max_fraction))


def tick_warp(
    rng: PRNGKeyArray, x: Example, *, ticks: int = 7, centre: int = 140
) -> Example:
    """Slows down and speeds up a heartbeat at single ticks, its R peak held in place.

    (If that very tick is left out, the next takes its place.) Of the samples before
    `centre`, and again of those from it on but the last, `ticks` are left out and as
    many others are followed by one more: their mean with the next.
    BeatGAN's augmentation (Zhou et al. 2019): 7 of either kind on either side of the R
    peak, sample 140 of 320. ValueError where a side is too short, or `ticks` below 1.
    """
    last = len(x) - 1
    sides = [(0, centre), (centre, last)]
    if ticks < 1:
        raise ValueError(f"tick_warp: expected 1 tick or more, found {ticks}")
    if min(end - begin for begin, end in sides) < 2 * ticks:
        raise ValueError(
            f"tick_warp: expected {2 * ticks} samples or more on either side of"
            f" {centre}, found {tuple(x.shape)}"
        )
    drawn = jax.random.uniform(rng, (last,))
    changed = np.repeat([0, 2], ticks)  # left out, or doubled
    copies = []
    for begin, end in sides:
        _, chosen = jax.lax.top_k(drawn[begin:end], 2 * ticks)
        copies.append(jnp.ones(end - begin, jnp.int32).at[chosen].set(changed))
    each = jnp.concatenate([*copies, jnp.ones(1, jnp.int32)])
    ends, places = jnp.cumsum(each), np.arange(len(x))
    source = jnp.searchsorted(ends, places, side="right", method="scan_unrolled")
    second = _take(ends - each, source) != places
    here, after = _take(x, source), _take(x, jnp.minimum(source + 1, last))
    return jnp.where(second[:, None], (here + after) / 2, here).astype(x.dtype)


def permutation(rng: PRNGKeyArray, x: Example, *, segments: int = 4) -> Example:
    """Cuts the window into at most `segments` pieces and shuffles them.

    The number of pieces is uniform on 1..segments, their borders are uniform (a piece
    may be empty); samples keep their order inside a piece.
    """
    time = len(x)
    drawn = jax.random.uniform(rng, (2 * segments,))
    order, cuts, for_number = drawn[:segments], drawn[segments:-1], drawn[-1]
    number = 1 + jnp.int32(for_number * segments)
    # Cuts that are not wanted lie at the end: the pieces behind them are empty.
    wanted = np.arange(1, segments) < number
    cuts = jnp.sort(jnp.where(wanted, jnp.int32(cuts * (time + 1)), time))
    begin = jnp.concatenate([jnp.zeros(1, jnp.int32), cuts])
    length = jnp.append(begin[1:], time) - begin
    # Where each piece goes: after all that were drawn before it.
    earlier = order[None, :] < order[:, None]
    moved = jnp.where(earlier, length[None, :], 0).sum(1)
    sample = np.arange(time)[:, None]
    inside = (sample >= moved[None]) & (sample < (moved + length)[None])
    back = jnp.where(inside, (begin - moved)[None], 0).sum(1)
    return _take(x, jnp.arange(time) + back)


def channel_dropout(
    rng: PRNGKeyArray, x: Example, *, probability: Number = 0.2
) -> Example:
    """Sets each channel to 0 with the given probability, but never all of them.

    Where all would go, one of them, chosen uniformly, stays.
    """
    drawn = jax.random.uniform(rng, (1, x.shape[1]))
    keep = (drawn >= probability) | (drawn == drawn.max())
    return jnp.where(keep, x, jnp.zeros_like(x))


def rotation(rng: PRNGKeyArray, x: Example, *, degrees: Number = 180.0) -> Example:
    """One random rotation in space for all sensors: a device worn another way.

    Channels are triples of axes (x, y, z), one triple a sensor. The axis of rotation is
    uniform on the sphere, the angle uniform on 0..degrees. ValueError unless the
    channels are a multiple of 3.
    """
    time, channels = x.shape
    if channels % 3:
        raise ValueError(
            "rotation: expected channels in triples (x, y, z), a multiple of 3,"
            f" found {channels} in {tuple(x.shape)}"
        )
    for_height, for_azimuth, for_angle = jax.random.uniform(rng, (3,))
    z, azimuth = 2 * for_height - 1, 2 * jnp.pi * for_azimuth
    across = jnp.sqrt(1 - z**2)
    axis = jnp.stack([across * jnp.cos(azimuth), across * jnp.sin(azimuth), z])
    angle = for_angle * degrees * jnp.pi / 180
    # Rodrigues' formula, for rows: x @ matrix.
    eye = jnp.eye(3)
    matrix = jnp.cos(angle) * eye + jnp.sin(angle) * jnp.cross(eye, axis[None])
    matrix += (1 - jnp.cos(angle)) * jnp.outer(axis, axis)
    # Written out: 7 times faster on a CPU than a matrix product over 3 axes.
    triples = x.reshape(time, channels // 3, 3)
    a, b, c = (triples[..., i, None] * matrix[None, None, i] for i in range(3))
    return (a + b + c).reshape(x.shape).astype(x.dtype)


def simclr_series(
    rng: PRNGKeyArray,
    x: Example,
    *,
    crop_fraction: Number = 0.5,
    warp: Number = 0.3,
    segments: int = 4,
    rotation: Number = 0.0,
    scaling_std: Number = 0.1,
    noise_std: Number = 0.05,
    dropout: Number = 0.0,
) -> Example:
    """Crop, warp, permutation, rotation, scaling, noise, dropout: one view of a window.

    In this order; a part at 0 (1 for `segments`) is not compiled. `crop_fraction` is
    the largest share that is cut away, `warp` is `time_warp`'s max_fraction, `rotation`
    is in degrees (0 by default, as it needs channels in triples) and `dropout` is a
    probability. The spreads and segments are those of Um et al.'s code.
    """
    keys = jax.random.split(rng, 7)
    if crop_fraction:
        x = crop_resize(keys[0], x, min_fraction=1 - crop_fraction)
    if warp:
        x = time_warp(keys[1], x, max_fraction=warp)
    if segments > 1:
        x = permutation(keys[2], x, segments=segments)
    if rotation:
        x = _rotation(keys[3], x, degrees=rotation)
    if scaling_std:
        x = scaling(keys[4], x, std=scaling_std)
    if noise_std:
        x = noise(keys[5], x, std=noise_std)
    if dropout:
        x = channel_dropout(keys[6], x, probability=dropout)
    return x


_rotation = rotation  # `simclr_series` names its angle after the part.


def _warped(rng: PRNGKeyArray, time: int, max_fraction: Number) -> Positions:
    """Where the warped window's samples lie in the window: 0..time - 1, rising."""
    speed = 1 + max_fraction * (2 * jax.random.uniform(rng, (_KNOTS,)) - 1)
    # Linear in the knots, so the way covered is a constant matrix times them.
    knots = np.linspace(0, time - 1, _KNOTS)
    at = np.stack([np.interp(np.arange(time), knots, unit) for unit in np.eye(_KNOTS)])
    way = np.cumsum((at[:, 1:] + at[:, :-1]) / 2, axis=1, dtype=np.float32)
    covered = jnp.pad((speed[:, None] * way).sum(0), (1, 0))
    return covered * ((time - 1) / covered[-1])


def _resample(x: Example, at: Positions) -> Example:
    """x at the given places, linear between samples.

    Two gathers of rows: on a CPU 30 times faster than a matrix of weights.
    """
    last = len(x) - 1
    before = jnp.clip(jnp.int32(at), 0, last)
    share = (at - before)[:, None]
    low, high = _take(x, before), _take(x, jnp.minimum(before + 1, last))
    return (low + share * (high - low)).astype(x.dtype)


def _take(x: Array, rows: Array) -> Array:
    return x.at[rows].get(mode="promise_in_bounds")
