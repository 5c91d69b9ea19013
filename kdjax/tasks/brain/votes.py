"""The task `votes`: what people said of images, as soft labels that may teach."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdjax import files
from kdjax.data.human.cifar10h import join_votes
from kdjax.errors import call
from kdjax.stages import batches
from kdjax.tasks.brain import predicted
from kdjax.training.task import Task, Training

LEAST = 1e-6  # the probability of a class that nobody voted for: logits are finite


def make(
    *, data: Mapping[str, Any], votes: Mapping[str, Any], training: Training, seed: int
) -> Task:
    """The task of one stage: the votes' shares as the logits `log p`.

    Args:
      data: fields of kdjax.data.load, `cifar10` with `swap`: the training and
        validation examples must be those of test_batch.bin, on which people voted.
      votes: {"path": the folder of CIFAR-10H}, whose files `join_votes` reads.
      training: `epochs` must be 0.

    Peterson et al. 2019, "Human uncertainty makes classification more robust". Raises
    InputError on what does not fit: a vote is joined to its image by key.
    """
    training.check_untrained("a vote")
    dataset = batches.load(data, seed)
    folder = call(_folder, votes, where="config.votes")
    rows = predicted.rows_in(dataset, ("train", "validation"))
    found = join_votes(folder, rows.key, rows.y)
    logits = np.log(np.maximum(found.probability, LEAST)).astype(np.float32)
    # no image's votes depend on its label: none is in-sample
    solved = predicted.Solved(logits, np.zeros(len(rows.y), np.int32))
    return predicted.task(dataset, rows, lambda: solved, header={"votes": str(folder)})


def _folder(*, path: str) -> Path:
    return files.local(path, where="config.votes").resolve()
