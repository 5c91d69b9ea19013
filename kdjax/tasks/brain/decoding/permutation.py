"""Is decoding above chance? Ridge regression's accuracy beside permuted labels'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax import files
from kdjax.checks import integer
from kdjax.data.fmri.preprocessing import apply_scaling, fit_scaling
from kdjax.data.fmri.volumes import NO_CLASS
from kdjax.tasks.brain.decoding import ridge
from kdjax.tasks.brain.decoding.decoders import (
    RIDGE_PENALTIES,
    Labels,
    Responses,
    checked_penalties,
)
from kdjax.tasks.brain.decoding.folds import check_folds, check_rows, leave_one_run_out

FILE = "permutations.json"
ELEMENTS = 2**22  # of the targets of permutations that are decoded at once


class PermutationTest(NamedTuple):
    """`accuracy` of the labels as they are, its `p`, and that of each permutation."""

    accuracy: float
    p: float
    null: NDArray[np.float64]


def beside(accuracy: float, null: NDArray[np.float64]) -> PermutationTest:
    """The test of an accuracy, `p = (1 + #{null >= accuracy}) / (1 + permutations)`."""
    p = (1 + int(np.sum(null >= accuracy))) / (1 + len(null))
    return PermutationTest(accuracy, p, null)


def write(folder: Path, tested: PermutationTest) -> None:
    """Writes FILE: the accuracy, its p, and where the permutations' accuracies lie."""
    files.write_json(
        folder / FILE,
        {
            "accuracy": tested.accuracy,
            "p": tested.p,
            "permutations": len(tested.null),
            "null_mean": float(np.mean(tested.null)),
            "null_max": float(np.max(tested.null)),
        },
    )


def permutation_test(
    x: Responses,
    y: Labels,
    run: NDArray[Any],
    *,
    classes: int,
    penalties: Sequence[float | int] = RIDGE_PENALTIES,
    permutations: int = 1000,
    seed: int = 0,
) -> PermutationTest:
    """Ridge regression, one run left out, with labels permuted within their runs.

    `p = (1 + #{permuted accuracy >= accuracy}) / (1 + permutations)` (Phipson & Smyth
    2010). The accuracy is that of `out_of_fold` with `decoders.ridge` on all voxels,
    and the permuted ones are found in the same way, the penalty chosen anew for each
    permutation in each fold: voxels are standardised without labels, so predictions are
    products of matrices that all permutations share.

    Under the null hypothesis the labels of a run are exchangeable; across runs they are
    not, for runs differ in level and noise. That takes blocks: volumes that follow each
    other are alike, and are not exchangeable.

    Args:
        x: [n, voxels], block means, cleaned run by run.
        y: [n], 0 to `classes` - 1; rows of label -1 are left out.
        run: [n].

    Raises InputError as `out_of_fold`.
    """
    tried = checked_penalties(penalties)
    integer(permutations, low=1, where="permutations")
    check_rows(x, y, run, classes=classes)
    rows = np.flatnonzero(y != NO_CLASS)
    x, y, run = x[rows], y[rows], run[rows]
    check_folds(leave_one_run_out(run), y, run, classes=classes)
    labels = np.column_stack([y, permuted(y, run, count=permutations, seed=seed)])
    accuracy = _right(x, labels, run, classes, tried) / len(y)
    return beside(float(accuracy[0]), accuracy[1:])


def permuted(y: Labels, run: NDArray[Any], *, count: int, seed: int) -> Labels:
    """`count` permutations of labels [n] within their runs: [n, count]."""
    rng = np.random.default_rng(seed)
    out = np.empty((len(y), count), y.dtype)
    for number in np.unique(run):
        rows = np.flatnonzero(run == number)
        out[rows] = rng.permuted(np.tile(y[rows], (count, 1)), axis=1).T
    return out


def _right(
    x: Responses,
    labels: Labels,
    run: NDArray[Any],
    classes: int,
    penalties: tuple[float, ...],
) -> NDArray[np.int64]:
    """How many volumes of left-out runs are decoded rightly, by labels' column."""
    n, columns = labels.shape
    together = max(1, ELEMENTS // (n * classes))
    right = np.zeros(columns, np.int64)
    for fold in leave_one_run_out(run):
        scaling = fit_scaling(x[fold.train])
        fitted = ridge.spectrum(apply_scaling(scaling, x[fold.train]))
        scaled = apply_scaling(scaling, x[fold.test])
        test = ridge.hat(fitted, scaled, penalties).astype(np.float32)
        inner = None
        if len(penalties) > 1:
            held_out = ridge.held_out_hat(fitted, run[fold.train], penalties)
            inner = held_out.astype(np.float32)
        for first in range(0, columns, together):
            part = labels[:, first : first + together]
            train = part[fold.train]
            targets = _one_hot(train, classes)
            decoded = _decoded(test, targets, classes)
            hits = (decoded == part[fold.test]).sum(axis=1)
            chosen = np.zeros(part.shape[1], np.intp)
            if inner is not None:
                inside = _decoded(inner, targets, classes) == train
                chosen = ridge.best(inside.sum(axis=1))
            right[first : first + together] += hits[chosen, np.arange(len(chosen))]
    return right


def _one_hot(labels: Labels, classes: int) -> NDArray[np.float32]:
    """[n, columns * classes] of labels [n, columns]."""
    hot = np.eye(classes, dtype=np.float32)[labels]
    return hot.reshape(len(labels), -1)


def _decoded(
    hats: NDArray[np.float32], targets: NDArray[np.float32], classes: int
) -> NDArray[np.intp]:
    """The class of the largest prediction: [penalties, m, columns]."""
    out = []
    for hat in hats:
        scores = hat @ targets
        out.append(scores.reshape(len(hat), -1, classes).argmax(axis=2))
    return np.stack(out)
