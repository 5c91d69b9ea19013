"""The task of the baselines: detectors that are fitted in closed form, not trained.

They see the normal training examples, flattened, or a frozen network's representations
of them; every example's score is computed once.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdjax import files
from kdjax.data.dataset import Dataset, as_float
from kdjax.errors import call, lookup, split_name
from kdjax.stages import networks, representations
from kdjax.tasks.anomaly import scoring
from kdjax.tasks.anomaly.detectors import DETECTORS, Detector, Fitted
from kdjax.tasks.anomaly.metrics import NORMAL
from kdjax.training.task import Task, Training

Tree = Any


def make(
    *,
    data: Mapping[str, Any],
    detector: Mapping[str, Any],
    training: Training,
    seed: int,
    encoder: Mapping[str, Any] | None = None,
) -> Task:
    """The task of one stage; nothing is fitted and no checkpoint is read here.

    Args:
      data: fields of kdjax.data.load; class 0 is normal, and alone fitted to.
      detector: {"name": a key of detectors.DETECTORS, **its fields}.
      training: `epochs` must be 0.
      encoder: {"folder", "checkpoint"} of the stage whose network's representations the
        detector sees in the place of the examples.

    Raises InputError on anything in the config or the data that does not fit.
    """
    inputs = scoring.inputs(data, training, seed)
    name, fields = split_name(detector, where="config.detector")
    factory = lookup(name, DETECTORS, where="config.detector.name")
    fit: Detector = call(factory, fields, where="config.detector", seed=seed)
    training.check_untrained("a detector")
    read = None
    if encoder is not None:
        read = networks.read(encoder, inputs.dataset, where="config.encoder")
    solve = functools.cache(functools.partial(_solve, inputs.dataset, fit, read, seed))
    finish = functools.partial(_finish, inputs.dataset, solve)
    return scoring.solved_task(inputs, lambda: solve()[1], finish)


def _solve(
    dataset: Dataset, fit: Detector, read: networks.Trained | None, seed: int
) -> tuple[Fitted, np.ndarray]:
    """The fitted detector, and the scores of all rows."""
    y = scoring.every(dataset, "y")
    if read is None:
        x = as_float(scoring.every(dataset, "x")).reshape(len(y), -1)
    else:
        x = representations.encode(read.module, read.load(), dataset, seed).x
    train = np.arange(len(y)) < len(dataset.train.y)
    held = ~train & (np.arange(len(y)) < len(y) - len(dataset.test.y))
    fitted = fit(x[train & (y == NORMAL)], x[held & (y == NORMAL)])
    return fitted, np.asarray(fitted.score(x), np.float32)


def _finish(
    dataset: Dataset, solve: Any, reached: Mapping[str, Tree], folder: Path
) -> None:
    fitted, scores = solve()
    held = scores[len(dataset.train.y) :]

    def reconstruct(x: np.ndarray) -> np.ndarray:
        flat = x.reshape(len(x), -1)
        return np.asarray(fitted.reconstruct(flat), np.float32).reshape(x.shape)

    scoring.write(
        folder,
        dataset,
        dict.fromkeys(reached, held),
        reconstruct if fitted.reconstruct is not None else None,
    )
    files.write_json(folder / "detector.json", fitted.about)
