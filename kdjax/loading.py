"""Loads a trained stage, of whatever system, to use it on raw examples."""

from __future__ import annotations

import os

from kdjax import files
from kdjax.errors import InputError, lookup
from kdjax.stages.predictor import Predictor
from kdjax.stages.record import RESULTS, Stage, read_record, read_stage
from kdjax.tasks import ALL
from kdjax.training.checkpoint import KINDS


def load(folder: str | os.PathLike[str], checkpoint: str = "best") -> Predictor:
    """The predictor of a trained stage: a callable of raw examples [n, ...].

        >>> import kdjax
        >>> from sklearn.datasets import load_digits
        >>> predictor = kdjax.load("runs/digits/seed_0/eskd")
        >>> images = load_digits().images[:3, :, :, None]  # as the file has them
        >>> predictor(images).shape  # probabilities [n, classes]
        (3, 10)

    `folder` is a finished stage's (RUN/seed_<k>/<stage>), and all that is needed.
    Returns `kdjax.stages.predictor.Predictor`, which says what comes back. InputError
    if the folder is no finished stage, or is damaged, of kdjax 0.1, or of a task whose
    stages are not kept.
    """
    return predictor_of(finished(folder), checkpoint)


def finished(folder: str | os.PathLike[str]) -> Stage:
    """The stage in `folder`; InputError as `load`, but for its task."""
    stage = read_stage(files.local(folder, where="folder"))
    if not (stage.folder / RESULTS).exists():
        raise InputError(f"{stage.folder}: expected a finished stage; is it done?")
    read_record(stage.folder, RESULTS)
    return stage


def predictor_of(stage: Stage, checkpoint: str) -> Predictor:
    """The predictor of a finished stage, as its record says; InputError as `load`."""
    lookup(checkpoint, dict.fromkeys(KINDS), where="checkpoint")
    task = stage.record["task"]
    where = f"{stage.folder}: a stage of the task {task!r} cannot be loaded: task"
    predictor: Predictor = lookup(task, ALL.predictors, where=where)(stage, checkpoint)
    return predictor
