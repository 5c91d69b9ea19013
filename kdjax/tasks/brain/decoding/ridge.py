"""Ridge regression as hat matrices: what each training label adds to a prediction.

They depend on voxels and penalties alone, so that the leave-one-run-out predictions of
a thousand permuted labels are matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class Spectrum(NamedTuple):
    """Principal axes of training volumes, of which there are k <= min(n, voxels).

    `mean` [voxels]; `axes` [voxels, k], orthonormal; `squares` [k], the squared
    singular values of the centred volumes, all above rounding; `coordinates` [n, k],
    the centred volumes along the axes.
    """

    mean: Matrix
    axes: Matrix
    squares: Matrix
    coordinates: Matrix


def spectrum(x: NDArray[Any]) -> Spectrum:
    """The principal axes of volumes [n, voxels], in float64.

    From the eigenvectors of the smaller of the two products: `x x'` [n, n] with more
    voxels than volumes (the dual form), otherwise `x' x` [voxels, voxels].
    """
    x = x.astype(np.float64)
    mean = x.mean(axis=0)
    x -= mean
    dual = x.shape[1] > x.shape[0]
    squares, vectors = np.linalg.eigh(x @ x.T if dual else x.T @ x)
    eps = np.finfo(np.float64).eps
    largest = max(squares[-1], eps * len(x) * (mean @ mean))
    kept = squares > max(x.shape) * eps * largest
    squares, vectors = squares[kept], vectors[:, kept]
    if dual:
        singular = np.sqrt(squares)
        return Spectrum(mean, x.T @ vectors / singular, squares, vectors * singular)
    return Spectrum(mean, vectors, squares, x @ vectors)


def project(fitted: Spectrum, x: NDArray[Any]) -> Matrix:
    """Any volumes [m, voxels] along the axes of the training volumes: [m, k]."""
    return (x - fitted.mean) @ fitted.axes


def coefficients(
    fitted: Spectrum, targets: Matrix, *, penalty: float
) -> tuple[Matrix, Matrix]:
    """Weights [voxels, outputs] and intercept [outputs] of targets [n, outputs].

    They minimise `|targets - x w - b|^2 + penalty |w|^2`, sums over the n volumes; the
    intercept is not penalised. As scikit-learn's `Ridge(alpha=penalty)`.
    """
    along = (fitted.coordinates.T @ targets) / (fitted.squares + penalty)[:, None]
    weights = fitted.axes @ along
    return weights, targets.mean(axis=0) - fitted.mean @ weights


def hat(fitted: Spectrum, x: NDArray[Any], penalties: Sequence[float]) -> Matrix:
    """For each penalty the matrix [m, n] that takes training targets to predictions.

    `hat[k] @ targets` are the predictions of volumes `x` [m, voxels] with penalty k,
    the intercept included: [penalties, m, n]. Its rows sum to 1.
    """
    return _hat(fitted, project(fitted, x), penalties)


def held_out_hat(
    fitted: Spectrum, group: NDArray[Any], penalties: Sequence[float]
) -> Matrix:
    """As `hat` for the training volumes, each from those of other groups alone.

    [penalties, n, n]. For the volumes B of one group of `group` [n], and H the hat of
    all: `(1 - H_BB)^-1 H_B,others`, which equals a fit without B for any targets, with
    the intercept and the penalty, and with the scale of the voxels that B shared in.
    Needs two groups or more. Hastie, Tibshirani & Friedman 2009, section 7.10 (they
    leave out one example).
    """
    whole = _hat(fitted, fitted.coordinates, penalties)
    for label in np.unique(group):
        rows = np.flatnonzero(group == label)
        own = whole[:, rows[:, None], rows]
        whole[:, rows[:, None], rows] = 0
        whole[:, rows] = np.linalg.solve(np.eye(len(rows)) - own, whole[:, rows])
    return whole


def held_out(
    fitted: Spectrum, group: NDArray[Any], penalties: Sequence[float], targets: Matrix
) -> Matrix:
    """`held_out_hat @ targets` of targets [n, outputs]: [penalties, n, outputs].

    Without the hat, whose n^2 numbers a few outputs do not need: of a group B,
    `(1 - H_BB)^-1 (predictions of B by the fit to all - H_BB targets_B)`.
    """
    n = len(targets)
    spread = fitted.squares + np.asarray(penalties)[:, None]  # [penalties, k]
    weights = fitted.coordinates.T @ targets / spread[:, :, None]
    out = fitted.coordinates @ weights + targets.mean(axis=0)
    for label in np.unique(group):
        rows = np.flatnonzero(group == label)
        part = fitted.coordinates[rows]
        own = (part / spread[:, None]) @ part.T + 1 / n
        left = out[:, rows] - own @ targets[rows]
        out[:, rows] = np.linalg.solve(np.eye(len(rows)) - own, left)
    return out


def best(values: NDArray[Any]) -> NDArray[np.intp]:
    """The place of the largest of [penalties, ...]; ties go to the largest penalty.

    Penalties are in rising order.
    """
    last = len(values) - 1
    return np.asarray(last - np.argmax(values[::-1], axis=0))


def _hat(fitted: Spectrum, along: Matrix, penalties: Sequence[float]) -> Matrix:
    n = len(fitted.coordinates)
    out = np.empty((len(penalties), len(along), n))
    for k, penalty in enumerate(penalties):
        np.matmul(along / (fitted.squares + penalty), fitted.coordinates.T, out=out[k])
    out += 1 / n
    return out
