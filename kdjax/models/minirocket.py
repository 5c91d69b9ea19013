"""MiniRocket: features of series by fixed convolutions, for a linear classifier.

Dempster, Schmidt & Webb, "MiniRocket: a very fast (almost) deterministic transform for
time series classification", KDD 2021; with several channels as in the authors' code.

There are 84 kernels of length 9, with the weight 2 at three places and -1 at the other
six, and some 12 (of 100 samples) to 32 dilations of each. A feature is the share of a
convolution's outputs that are above a bias: `mean(C > b)`. Nothing is trained: biases
are quantiles of C of training examples.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float
from numpy.typing import NDArray

from kdjax.checks import integer
from kdjax.errors import InputError

LENGTH = 9
KERNELS = np.array([*itertools.combinations(range(LENGTH), 3)])  # where they are 2
MOST_DILATIONS = 32
GOLDEN = (np.sqrt(5) + 1) / 2

Fitted = dict[str, Any]


def fit(x: Float[np.ndarray, "n time channels"], *, features: int, seed: int) -> Fitted:
    """What `transform` needs beside x, drawn by `seed` from training examples.

    `biases` [84 * (features // 84)]; `channels` [dilations, 84, channels], 1 for those
    whose convolutions are summed in C: their number is 2^u, u uniform from 0 to
    log2(min(channels, 9) + 1), rounded down. The biases of a kernel and dilation are
    quantiles, at multiples of the golden ratio (mod 1), of C of one random example.

    InputError for series of fewer than 9 samples, or fewer than 84 features.
    """
    _, time, channels = x.shape
    plan = dilations(time, features)
    rng = np.random.default_rng(seed)
    most = np.log2(min(channels, LENGTH) + 1)
    mixed = np.zeros((len(plan), len(KERNELS), channels), np.float32)
    for row in mixed.reshape(-1, channels):
        count = int(2 ** rng.uniform(0, most))
        row[rng.choice(channels, count, replace=False)] = 1
    places = np.arange(1, sum(c for _, c in plan) * len(KERNELS) + 1) * GOLDEN % 1
    biases, start = [], 0
    for (dilation, count), own in zip(plan, mixed, strict=True):
        drawn = x[rng.integers(len(x), size=len(KERNELS))].astype(np.float64)
        weights = _weights(own.astype(np.float64), np)
        outputs = np.einsum("ktjc,jck->kt", _taps(drawn, dilation, np), weights)
        for row in outputs:
            biases.append(np.quantile(row, places[start : start + count]))
            start += count
    return {"biases": np.concatenate(biases).astype(np.float32), "channels": mixed}


def transform(
    fitted: Fitted, x: Float[Array, "n time channels"]
) -> Float[Array, "n features"]:
    """The features of any series as long as those of `fit`, from 0 to 1, in JAX.

    C is as long as x, whose ends are padded with zeros. Of every other kernel (which,
    changes from dilation to dilation) only the outputs that no zero reached are
    counted. Features are in the order of dilation, kernel, bias.
    """
    n, time, _ = x.shape
    parts, start = [], 0
    for i, (dilation, count) in enumerate(dilations(time, len(fitted["biases"]))):
        end = start + len(KERNELS) * count
        biases = fitted["biases"][start:end].reshape(len(KERNELS), count)
        weights = _weights(fitted["channels"][i], jnp)
        taps = _taps(x, dilation, jnp).transpose(2, 3, 1, 0)  # [9, channels, time, n]
        outputs = weights.reshape(-1, len(KERNELS)).T @ taps.reshape(-1, time * n)
        outputs = outputs.reshape(len(KERNELS), time, n).transpose(1, 0, 2)
        # -inf, which is above no bias, where only whole windows count
        reach, step = dilation * (LENGTH // 2), jnp.arange(time)[:, None]
        cut = (step < reach) | (step >= time - reach)
        inner = (jnp.arange(len(KERNELS)) + i) % 2 == 1
        outputs = jnp.where((cut & inner[None])[..., None], -jnp.inf, outputs)
        steps = jnp.where(inner, time - 2 * reach, time)
        shares = _above(outputs, biases) / steps[:, None, None]
        parts.append(shares.reshape(end - start, n))
        start = end
    return jnp.concatenate(parts).T


def dilations(time: int, features: int) -> list[tuple[int, int]]:
    """(dilation, features of each kernel with it), dilations rising from 1.

    They are 2^e, rounded down, e of 32 even steps up to that at which a kernel is as
    long as the series; a dilation that comes k times has k times the features.
    """
    integer(features, low=len(KERNELS), where="config.features")
    if time < LENGTH:
        raise InputError(
            f"config.data: expected series of {LENGTH} samples or more, found {time}"
        )
    each = features // len(KERNELS)
    steps = min(each, MOST_DILATIONS)
    most = np.log2((time - 1) / (LENGTH - 1))
    found, times = np.unique(
        np.logspace(0, most, steps, base=2).astype(int), return_counts=True
    )
    counts = (times * (each / steps)).astype(int)
    counts[: each - counts.sum()] += 1
    return [(int(d), int(c)) for d, c in zip(found, counts, strict=True)]


def _weights(mixed: Any, numpy: Any) -> Any:
    """[9, channels, 84]: a kernel's weights, 0 for the channels that it leaves out."""
    kernels = np.full((LENGTH, len(KERNELS)), -1, np.float32)
    kernels[KERNELS.T, np.arange(len(KERNELS))] = 2
    return numpy.asarray(kernels)[:, None, :] * mixed.T[None]


def _taps(x: Any, dilation: int, numpy: Any) -> NDArray[Any] | Array:
    """[n, time, 9, channels]: the samples under a kernel centred at each time."""
    time, reach = x.shape[1], dilation * (LENGTH // 2)
    padded = numpy.pad(x, ((0, 0), (reach, reach), (0, 0)))
    parts = [padded[:, j * dilation : j * dilation + time] for j in range(LENGTH)]
    return numpy.stack(parts, axis=2)


def _above(
    outputs: Float[Array, "time kernels n"], biases: Float[Array, "kernels count"]
) -> Float[Array, "kernels count n"]:
    """How many outputs are above each bias: one time after the other, for the cache."""

    def add(found: Array, row: Array) -> tuple[Array, None]:
        return found + (row[:, None] > biases[..., None]), None

    shape = (*biases.shape, outputs.shape[-1])
    return lax.scan(add, jnp.zeros(shape), outputs)[0]
