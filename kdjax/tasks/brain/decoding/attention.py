"""Where in the image a decoder looked: its saliency, through encoding models.

Two linear models of the same training runs meet in the voxels. The decoder says how
much each voxel speaks for the class that it finds in a volume; the encoding model says
where in the image that voxel is driven from. Their product is a map of the image.

That they share runs has a price. A voxel that goes with a class by chance there goes
with what the images of that class have in common, so that maps of noise, too, lean a
little to where classes differ. Hold maps against those of a region without signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdjax.data.fmri.preprocessing import Scaling, apply_scaling, fit_scaling
from kdjax.data.fmri.volumes import NO_CLASS
from kdjax.data.stored_attention import overlaps
from kdjax.errors import InputError
from kdjax.tasks.brain.decoding import ridge
from kdjax.tasks.brain.decoding.decoders import (
    RIDGE_PENALTIES,
    Fit,
    Labels,
    Predict,
    Responses,
)
from kdjax.tasks.brain.decoding.folds import Fold, check_rows

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue
AT_ONCE = 512  # voxels
# How far logits may be from an affine function of the voxels, of the largest of them.
AFFINE = 1e-3


def image_features(
    images: NDArray[np.float32], grid: tuple[int, int]
) -> NDArray[np.float32]:
    """What each cell of a grid over the images has: [n, 2 * cells].

    `images` [n, h, w, channels], `grid` (rows, columns) of equal cells, row by row.
    First the mean luminance of every cell, then its contrast, the root of the mean
    square of the luminance's gradient (per pixel). Three channels are red, green and
    blue; of another number the luminance is the mean.
    """
    luminance = images.mean(axis=3)
    if images.shape[3] == len(LUMINANCE):
        luminance = images @ np.array(LUMINANCE, np.float32)
    down, right = np.gradient(luminance, axis=(1, 2))
    rows, columns = (
        overlaps(pixels, cells).astype(np.float32)
        for pixels, cells in zip(luminance.shape[1:], grid, strict=True)
    )
    parts = []
    for values in (luminance, np.square(down) + np.square(right)):
        parts.append((rows @ values @ columns.T).reshape(len(images), -1))
    return np.concatenate([parts[0], np.sqrt(parts[1])], axis=1)


def shares(values: NDArray[Any]) -> NDArray[np.float32]:
    """Maps [n, cells] whose cells sum to 1: `values`, those below 0 left out.

    A map without a value above 0 says nothing, and becomes the same in every cell.
    """
    kept = np.maximum(values, 0)
    total = kept.sum(axis=1, keepdims=True)
    cells = values.shape[1]
    whole = kept / np.where(total > 0, total, 1)
    return np.where(total > 0, whole, 1 / cells).astype(np.float32)


def attention_maps(
    x: Responses,
    y: Labels,
    run: NDArray[Any],
    features: NDArray[np.float32],
    *,
    fit: Fit,
    classes: int,
    folds: Sequence[Fold],
) -> NDArray[np.float32]:
    """A map of its image for each volume, by models that did not see its run.

    `m_ik = relu(sum_j s_ij f_jk)` of volume i and cell k, divided by its sum over the
    cells (`shares`): s is the `saliency` of voxel j, f its share of the
    `receptive_fields`.

    Args:
        x: [n, voxels], cleaned run by run.
        y: [n], 0 to `classes` - 1, or -1: nothing is fitted to such a row.
        run: [n].
        features: [n, 2 * cells], of each volume's image (`image_features`).
        fit: a decoder of `decoders.build`, affine in the voxels.
        folds: what is fitted to which rows, and says of which; each row in one test.

    Returns [n, cells]. InputError for a decoder whose logits are not affine, and as
    `check_rows`.
    """
    check_rows(x, y, run, classes=classes)
    maps = np.empty((len(x), features.shape[1] // 2), np.float32)
    for fold in folds:
        train = fold.train[y[fold.train] != NO_CLASS]
        scaling = fit_scaling(x[train])
        predict = fit(x[train], y[train], run[train], classes)
        speaks = saliency(predict, x[fold.test], scaling)
        scaled = apply_scaling(scaling, x[train])
        maps[fold.test] = shares(
            speaks @ receptive_fields(features[train], scaled, run[train])
        )
    return maps


def saliency(predict: Predict, x: Responses, scaling: Scaling) -> NDArray[np.float64]:
    """How much each voxel of volumes [n, voxels] speaks for the class decoded there.

    `s_ij = v_ij (w_jc - mean_k w_jk)`: v the response by `scaling`, c the class of the
    largest logit, w the logits' weights on v, found by moving one voxel at a time by a
    deviation. Over voxels it sums to the decoded class's logit less the mean of all,
    without what a volume at the mean has of it. [n, voxels].

    Only differences between the logits of a volume count, so that what all classes
    share need not be affine: `class_mean` by Euclidean distance will do. InputError for
    logits that differ from such a function by .001 of the largest.
    """
    weights, at_mean = _weights(predict, scaling)
    v, logits = apply_scaling(scaling, x), _centred(predict(x))
    off = abs(v @ weights + at_mean - logits).max()
    if off > AFFINE * abs(logits).max():
        raise InputError(
            "config.attention: expected a decoder whose logits are affine in the "
            "voxels (ridge, logistic, lda, class_mean by euclidean distance), found "
            f"one that is {off:.2g} from it, of logits up to {abs(logits).max():.2g}"
        )
    saliencies: NDArray[np.float64] = v * weights[:, logits.argmax(axis=1)].T
    return saliencies


def receptive_fields(
    features: NDArray[np.float32],
    x: Responses,
    run: NDArray[Any],
    *,
    penalties: Sequence[float | int] = RIDGE_PENALTIES,
) -> NDArray[np.float64]:
    """Where in the image each voxel is driven from: [voxels, cells], rows sum to 1.

    Ridge regression from the standardised features [n, 2 * cells] of the images to each
    standardised voxel of `x` [n, voxels]. A voxel's penalty, of `penalties` in rising
    order, has the least squared error over the runs, each left out in turn. Its field
    is weight^2 of a cell's luminance plus weight^2 of its contrast, divided by the sum:
    the variance that each cell would give it if cells were not correlated. (The sum of
    |weight| is mostly noise, where cells are many and trials few.) A voxel that nothing
    drives, as a constant one, has 0 everywhere.
    """
    scaled = apply_scaling(fit_scaling(features), features)
    fitted = ridge.spectrum(scaled)
    tried = [float(penalty) for penalty in penalties]
    weights = np.empty((features.shape[1], x.shape[1]))
    for first in range(0, x.shape[1], AT_ONCE):
        targets = x[:, first : first + AT_ONCE].astype(np.float64)
        held_out = ridge.held_out(fitted, run, tried, targets)
        error = np.square(held_out - targets).sum(axis=1)
        chosen = ridge.best(-error)
        for k in np.unique(chosen):
            of_voxels = np.flatnonzero(chosen == k)
            weights[:, first + of_voxels] = ridge.coefficients(
                fitted, targets[:, of_voxels], penalty=tried[k]
            )[0]
    size = np.square(weights).reshape(2, -1, x.shape[1]).sum(axis=0).T
    total = size.sum(axis=1, keepdims=True)
    fields: NDArray[np.float64] = size / np.where(total > 0, total, 1)
    return fields


def _weights(
    predict: Predict, scaling: Scaling
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a deviation of each voxel adds to the centred logits, and those at the mean.

    [voxels, classes] and [classes].
    """
    mean, std = scaling
    at_mean = _centred(predict(mean[None]))[0]
    parts = []
    for first in range(0, len(mean), AT_ONCE):
        voxels = np.arange(first, min(first + AT_ONCE, len(mean)))
        moved = np.repeat(mean[None], len(voxels), axis=0)
        moved[np.arange(len(voxels)), voxels] += std[voxels]
        parts.append(_centred(predict(moved)) - at_mean)
    return np.concatenate(parts), at_mean


def _centred(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    return exact - exact.mean(axis=1, keepdims=True)
