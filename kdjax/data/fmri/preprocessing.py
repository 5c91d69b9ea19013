"""Cleaning of fMRI volumes, averages of blocks, and what is fitted on training volumes.

`detrend`, `z_score`, `clean` and `block_means` use each run's own volumes and no labels
but to name a block: they may be applied to all runs before a decoder leaves some out.
What is fitted across runs is a pair, `fit_...` on training volumes and `apply_...` on
any, so that a decoder fits it inside each fold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import integer
from kdjax.data.fmri.volumes import NO_CLASS, Volumes
from kdjax.errors import InputError

# Less variation than this, of a voxel's largest value, is float32's rounding.
ROUNDING = 1e-6


class Scaling(NamedTuple):
    """Mean and standard deviation of each voxel, float32 [voxels]; std is above 0."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]


class Selection(NamedTuple):
    """The chosen voxels: `columns` intp [count], rising; `of`, how many there were."""

    columns: NDArray[np.intp]
    of: int


def detrend(
    x: NDArray[np.float32], run: NDArray[np.int32], *, order: int = 1
) -> NDArray[np.float32]:
    """Each run without its polynomial of `order` in time, its mean included.

    `x` [volumes, voxels] less its least-squares fit in each run; order 0 removes the
    mean, 1 a line. A voxel of which rounding alone is left becomes 0. Safe outside
    folds: a run is cleaned by itself. InputError for a run of `order` + 1 volumes or
    fewer, which the fit would take whole.
    """
    integer(order, low=0, where="detrend.order")
    bases = _bases(run, order)
    return _by_run(x, run, lambda part: _without_trend(part, bases[len(part)]))


def z_score(x: NDArray[np.float32], run: NDArray[np.int32]) -> NDArray[np.float32]:
    """Each run's voxels to mean 0 and standard deviation 1 over its volumes.

    `x` [volumes, voxels]; the deviation is the population's (divided by n). A voxel
    that is constant in a run, but for rounding, is 0 there. Safe outside folds: a run
    is scaled by itself.
    """
    return _by_run(x, run, lambda part: _scaled(_centred(part)))


def clean(
    x: NDArray[np.float32], run: NDArray[np.int32], *, order: int = 1
) -> NDArray[np.float32]:
    """`z_score` of `detrend`, in one pass that allocates the result alone."""
    integer(order, low=0, where="clean.order")
    bases = _bases(run, order)

    def both(part: NDArray[np.float64]) -> NDArray[np.float64]:
        return _scaled(_without_trend(part, bases[len(part)]))

    return _by_run(x, run, both)


def _by_run(
    x: NDArray[np.float32],
    run: NDArray[np.int32],
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float32]:
    """`function` of each run's volumes in float64, one run at a time."""
    out = np.empty_like(x)
    for number in np.unique(run):
        rows = np.flatnonzero(run == number)
        out[rows] = function(x[rows].astype(np.float64))
    return out


def _bases(run: NDArray[np.int32], order: int) -> dict[int, NDArray[np.float64]]:
    """Orthonormal polynomials [volumes, order + 1] by a run's number of volumes."""
    numbers, lengths = np.unique(run, return_counts=True)
    short = lengths <= order + 1
    if short.any():
        raise InputError(
            f"run {numbers[short][0]}: expected more than {order + 1} volumes for a "
            f"trend of order {order}, found {lengths[short][0]}"
        )
    bases = {}
    for length in map(int, np.unique(lengths)):
        time = np.linspace(-1, 1, length)
        bases[length] = np.linalg.qr(np.polynomial.legendre.legvander(time, order))[0]
    return bases


def _without_trend(
    x: NDArray[np.float64], basis: NDArray[np.float64]
) -> NDArray[np.float64]:
    largest = abs(x).max(axis=0)
    x -= basis @ (basis.T @ x)
    x[:, np.sqrt(np.square(x).mean(axis=0)) <= ROUNDING * largest] = 0
    return x


def _centred(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return _without_trend(x, np.full((len(x), 1), len(x) ** -0.5))


def _scaled(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred voxels divided by their deviation, where that is not 0."""
    std = np.sqrt(np.square(x).mean(axis=0))
    x /= np.where(std > 0, std, 1)
    return x


def block_means(volumes: Volumes, *, lag: int) -> Volumes:
    """Each block's mean over its volumes moved `lag` volumes later, a row a block.

    The haemodynamic response follows the stimulus by some 5 s: 2 volumes at a TR of
    2.5 s. A volume moved past the end of its run is left out, never taken from the next
    run; a block that has none left is, too, which is said on stderr. Before any volumes
    are dropped: the rows of a run must follow each other in time. Safe outside folds,
    if folds are of whole runs.

    A row has its block's run, data type and class, and its image if it had one alone,
    else "". Rows are in order of block. InputError for a block in two runs or of two
    classes, and if no block is left.
    """
    integer(lag, low=0, where="block_means.lag")
    numbers = np.unique(volumes.block)
    members = [np.flatnonzero(volumes.block == number) for number in numbers]
    x = np.empty((len(numbers), volumes.x.shape[1]), np.float32)
    first: list[int] = []
    stimulus: list[str] = []
    kept: list[int] = []
    for k, rows in enumerate(members):
        _check_block(volumes, int(numbers[k]), rows)
        moved = rows + lag
        moved = moved[moved < len(volumes.run)]
        moved = moved[volumes.run[moved] == volumes.run[rows[0]]]
        if not len(moved):
            continue
        x[len(kept)] = volumes.x[moved].mean(axis=0, dtype=np.float64)
        shown = set(volumes.stimulus[rows].tolist())
        stimulus.append(shown.pop() if len(shown) == 1 else "")
        first.append(int(rows[0]))
        kept.append(k)
    if not kept:
        raise InputError(f"block_means.lag: {lag}: expected blocks, found none left")
    if len(kept) < len(numbers):
        print(
            f"kdjax: {volumes.subject}: {len(numbers) - len(kept)} of {len(numbers)} "
            f"blocks have no volume {lag} later in their run and are left out",
            file=sys.stderr,
        )
    return volumes._replace(
        x=x[: len(kept)],
        run=volumes.run[first],
        block=volumes.block[first],
        data_type=volumes.data_type[first],
        y=volumes.y[first],
        stimulus=np.array(stimulus, np.str_),
    )


def _check_block(volumes: Volumes, number: int, rows: NDArray[np.intp]) -> None:
    runs, labels = np.unique(volumes.run[rows]), np.unique(volumes.y[rows])
    where = f"{volumes.subject}: block {number}"
    if len(runs) > 1:
        raise InputError(f"{where}: expected one run, found {runs.tolist()}")
    if len(labels) > 1:
        names = [volumes.classes[k] if k != NO_CLASS else "rest" for k in labels]
        raise InputError(f"{where}: expected one class, found {', '.join(names)}")


def fit_scaling(x: NDArray[np.float32]) -> Scaling:
    """Mean and deviation of each voxel over training volumes [volumes, voxels].

    A constant voxel's deviation is 1, so that scaling only centres it.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    std = np.sqrt(_square_distance(x, mean) / len(x))
    constant = std <= ROUNDING * np.maximum(abs(x.max(axis=0)), abs(x.min(axis=0)))
    std = np.where(constant, 1, std)
    return Scaling(mean.astype(np.float32), std.astype(np.float32))


def apply_scaling(scaling: Scaling, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(x - mean) / std` of each voxel."""
    _check_voxels(x, len(scaling.mean))
    out = x - scaling.mean
    out /= scaling.std
    return out


def anova_f(x: NDArray[np.float32], y: NDArray[np.int32]) -> NDArray[np.float64]:
    """F [voxels] of a one-way analysis of variance of each voxel between classes.

    `F = (between / (C - 1)) / (within / (n - C))`, sums of squares over the n volumes
    with a class; those of label -1 are left out. A constant voxel has 0, one that is
    constant in each class but not across them infinity. InputError unless there are two
    classes and more volumes than classes.
    """
    classes = np.unique(y[y != NO_CLASS])
    n = int((y != NO_CLASS).sum())
    if len(classes) < 2 or n <= len(classes):
        raise InputError(
            "anova_f: expected two classes or more, and more volumes than classes, "
            f"found {len(classes)} classes in {n} volumes"
        )
    parts = [x[y == label] for label in classes]
    means = np.stack([part.mean(axis=0, dtype=np.float64) for part in parts])
    counts = np.array([len(part) for part in parts], np.float64)
    grand = counts @ means / n
    within = sum(
        (_square_distance(part, mean) for part, mean in zip(parts, means, strict=True)),
        start=np.zeros(x.shape[1]),
    )
    between = counts @ np.square(means - grand)
    # The same value in all volumes has means that differ by float64's rounding.
    between[between <= n * np.square(1e-12 * grand)] = 0
    between, within = between / (len(classes) - 1), within / (n - len(classes))
    constant = np.where(between > 0, np.inf, 0.0)
    return np.divide(between, within, out=constant, where=within > 0)


def fit_selection(
    x: NDArray[np.float32], y: NDArray[np.int32], *, count: int
) -> Selection:
    """The `count` voxels of largest F between the classes of training volumes.

    Ties go to the voxel that comes first; the chosen ones stay in their order. Labels
    are used, so never outside the fold. InputError for more voxels than there are.
    """
    integer(count, low=1, high=x.shape[1], where="selection.count")
    order = np.argsort(-anova_f(x, y), kind="stable")
    return Selection(np.sort(order[:count]), x.shape[1])


def apply_selection(
    selection: Selection, x: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The selected voxels of volumes [volumes, voxels]."""
    _check_voxels(x, selection.of)
    return x[:, selection.columns]


def _square_distance(x: NDArray[Any], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over volumes of `(x - mean)^2` [voxels], a few volumes at a time."""
    total = np.zeros(len(mean))
    for first in range(0, len(x), 256):
        total += np.square(x[first : first + 256] - mean).sum(axis=0)
    return total


def _check_voxels(x: NDArray[np.float32], voxels: int) -> None:
    if x.shape[-1] != voxels:
        raise InputError(f"x: expected {voxels} voxels, as fitted, found {x.shape[-1]}")
