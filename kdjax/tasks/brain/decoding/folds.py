"""Folds of whole runs: volumes of one run are too alike to stand on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import integer
from kdjax.data.fmri.volumes import NO_CLASS
from kdjax.errors import InputError

RUNS = 3  # one tested, one for the temperature, one to train on


class Fold(NamedTuple):
    """Rows to train on and rows to test, and the runs that are tested: `held`."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]
    held: tuple[int, ...]


def leave_one_run_out(run: NDArray[Any]) -> list[Fold]:
    """A fold for each run, in rising order, that tests it and trains on the others.

    InputError unless there are two runs or more.
    """
    return _folds(run, [(int(number),) for number in _runs(run)])


def k_fold(run: NDArray[Any], *, count: int, seed: int) -> list[Fold]:
    """`count` folds of whole runs, drawn by the seed, of nearly equal numbers of runs.

    Each run is tested once. InputError unless `count` is 2 to the number of runs.
    """
    runs = _runs(run)
    integer(count, low=2, high=len(runs), where="folds.count")
    drawn = np.random.default_rng(seed).permutation(runs)
    return _folds(run, [tuple(map(int, p)) for p in np.array_split(drawn, count)])


def _runs(run: NDArray[Any]) -> NDArray[Any]:
    runs = np.unique(run)
    if len(runs) < 2:
        raise InputError(f"run: expected 2 runs or more, found {len(runs)}")
    return runs


def _folds(run: NDArray[Any], held: Sequence[tuple[int, ...]]) -> list[Fold]:
    folds = []
    for numbers in held:
        inside = np.isin(run, numbers)
        folds.append(
            Fold(
                np.flatnonzero(~inside), np.flatnonzero(inside), tuple(sorted(numbers))
            )
        )
    return folds


def check_rows(
    x: NDArray[Any], y: NDArray[Any], run: NDArray[Any], *, classes: int
) -> None:
    """InputError unless decoders can be fitted to, and tested on, these volumes.

    Refused: shapes that disagree, numbers that are not finite, fewer than two classes,
    labels other than 0 to `classes` - 1 and -1, fewer than three runs, a run in which
    nothing has a class.
    """
    integer(classes, low=2, where="classes")
    if x.ndim != 2:
        raise InputError(f"x: expected [volumes, voxels], found shape {x.shape}")
    for name, found in (("y", y.shape), ("run", run.shape)):
        if found != (len(x),):
            raise InputError(f"{name}: expected ({len(x)},), found {found}")
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise InputError(
            f"x: expected finite numbers, found {x[row, column]} in volume {row}, "
            f"voxel {column}"
        )
    wrong = (y < NO_CLASS) | (y >= classes)
    if wrong.any():
        raise InputError(
            f"y: expected -1 to {classes - 1}, found {y[wrong][0]} in volume "
            f"{np.argmax(wrong)}"
        )
    runs = np.unique(run)
    if len(runs) < RUNS:
        raise InputError(f"run: expected {RUNS} runs or more, found {len(runs)}")
    empty = np.setdiff1d(runs, run[y != NO_CLASS])
    if len(empty):
        raise InputError(f"run {empty[0]}: expected a class in some volume, found none")


def check_folds(
    folds: Sequence[Fold], y: NDArray[Any], run: NDArray[Any], *, classes: int
) -> None:
    """InputError unless the folds test each row once, by what its run had no part in.

    Refused: a row tested in no fold or in two, a run on both sides of a fold, a class
    that a fold's training rows lack.
    """
    rows = np.concatenate([fold.test for fold in folds]) if folds else np.empty(0, int)
    tested = np.bincount(rows, minlength=len(y))
    if (tested != 1).any():
        row = int(np.argmax(tested != 1))
        raise InputError(
            f"folds: volume {row}: expected to be tested once, found {tested[row]} "
            "times"
        )
    for fold in folds:
        both = np.intersect1d(run[fold.train], run[fold.test])
        if len(both):
            raise InputError(
                f"folds: run {both[0]}: expected to be trained on or tested, found both"
            )
        absent = np.setdiff1d(np.arange(classes), y[fold.train])
        if len(absent):
            held = ", ".join(map(str, fold.held))
            raise InputError(
                f"class {absent[0]}: expected in the training runs of each fold, found "
                f"none without run {held}"
            )
