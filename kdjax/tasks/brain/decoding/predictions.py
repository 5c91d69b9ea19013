"""What decoders say of volumes of runs that they, and their temperature, did not see.

Each fold is fitted as if its tested runs did not exist: the choice of voxels, their
scale, the penalty, the classifier and the temperature come from its training runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import integer
from kdjax.data.fmri.volumes import NO_CLASS
from kdjax.data.soft_labels import IN_SAMPLE
from kdjax.stages.calibration import temperature
from kdjax.tasks.brain.decoding.decoders import Fit, Labels, Predict, Responses
from kdjax.tasks.brain.decoding.folds import (
    Fold,
    check_folds,
    check_rows,
    k_fold,
    leave_one_run_out,
)

CALIBRATION_FOLDS = 5


class Predictions(NamedTuple):
    """Logits of each volume, and the fold whose decoder they are of.

    `logits` float32 [n, classes], divided by the fold's temperature; `fold` int32 [n],
    a place among the folds, or -1: the decoder was fitted to this row; `temperatures`
    float64 [folds], 1 where none was fitted.
    """

    logits: NDArray[np.float32]
    fold: NDArray[np.int32]
    temperatures: NDArray[np.float64]


class Decoder(NamedTuple):
    """A fitted decoder: predict, x [m, voxels] -> logits [m, classes], of which the
    probabilities are softmax(logits / temperature)."""

    predict: Predict
    temperature: float

    def logits(self, x: Responses) -> NDArray[np.float32]:
        """The calibrated logits, divided by the temperature."""
        return self.predict(x) / np.float32(self.temperature)


def calibrated(
    x: Responses,
    y: Labels,
    run: NDArray[Any],
    *,
    fit: Fit,
    classes: int,
    calibration: int | None = CALIBRATION_FOLDS,
    seed: int = 0,
) -> Decoder:
    """A decoder of all these volumes, with a temperature from runs held out of them.

    The temperature is that of the logits of all volumes, each by a decoder that is
    fitted without its run: `calibration` folds of whole runs, as many as there are runs
    at the most, drawn by the seed. None: no temperature, that is 1. Rows of label -1
    are left out. InputError for a class that is in the runs of one fold alone.
    """
    rows = np.flatnonzero(y != NO_CLASS)
    x, y, run = x[rows], y[rows], run[rows]
    found = 1.0
    if calibration is not None:
        count = min(
            integer(calibration, low=2, where="calibration"), len(np.unique(run))
        )
        folds = k_fold(run, count=count, seed=seed)
        check_folds(folds, y, run, classes=classes)
        held_out = np.empty((len(x), classes), np.float32)
        for fold in folds:
            train = fold.train
            held_out[fold.test] = fit(x[train], y[train], run[train], classes)(
                x[fold.test]
            )
        found = temperature(held_out, y)
    return Decoder(fit(x, y, run, classes), found)


def out_of_fold(
    x: Responses,
    y: Labels,
    run: NDArray[Any],
    *,
    fit: Fit,
    classes: int,
    folds: Sequence[Fold] | None = None,
    calibration: int | None = CALIBRATION_FOLDS,
    seed: int = 0,
) -> Predictions:
    """Logits of each volume by a decoder, and a temperature, that did not see its run.

    Args:
        x: [n, voxels], cleaned run by run.
        y: [n], 0 to `classes` - 1, or -1: no decoder learns from such a row, but it has
            logits as any other.
        run: [n].
        fit: a decoder of `decoders.build`.
        folds: leave one run out unless given; each row is tested once.
        calibration, seed: of each fold's temperature, as in `calibrated`.

    Raises InputError for fewer than three runs, a run without any class, a class absent
    from the training runs of a fold or of a fold of the temperature, and whatever
    `check_rows` and `check_folds` refuse.
    """
    check_rows(x, y, run, classes=classes)
    folds = leave_one_run_out(run) if folds is None else folds
    check_folds(folds, y, run, classes=classes)
    logits = np.empty((len(x), classes), np.float32)
    place = np.empty(len(x), np.int32)
    temperatures = np.empty(len(folds))
    for k, fold in enumerate(folds):
        train = fold.train
        decoder = calibrated(
            x[train],
            y[train],
            run[train],
            fit=fit,
            classes=classes,
            calibration=calibration,
            seed=seed,
        )
        logits[fold.test] = decoder.logits(x[fold.test])
        place[fold.test], temperatures[k] = k, decoder.temperature
    return Predictions(logits, place, temperatures)


def in_sample(
    x: Responses, y: Labels, run: NDArray[Any], *, fit: Fit, classes: int
) -> Predictions:
    """Logits of the very volumes that the decoder was fitted to, with no temperature.

    They say how well it remembers, not what it decodes: labels at random come out as
    right as any. For comparison with studies that did this. `fold` is -1. InputError as
    for `out_of_fold`, for a class that no volume has.
    """
    check_rows(x, y, run, classes=classes)
    decoder = calibrated(x, y, run, fit=fit, classes=classes, calibration=None)
    fold = np.full(len(x), IN_SAMPLE, np.int32)
    return Predictions(decoder.logits(x), fold, np.ones(1))
