"""Raw examples of a stage: all of its test split to check on, some to calibrate on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax import data as datasets
from kdjax.data.dataset import Dataset, Examples, normals
from kdjax.data.preprocessing import left_raw, preprocess
from kdjax.data.stream import ImageFiles
from kdjax.errors import InputError, split_name
from kdjax.stages import batches
from kdjax.stages.record import Stage
from kdjax.tasks import ALL

CALIBRATED_ON = 256  # training examples
ROWS = 256  # examples handled at once
SEED = 0  # draws those that are calibrated on
CLOSE = 1e-5  # of 1, of what the network sees


class Raw(NamedTuple):
    """Raw test examples with their labels, where there are some, and training ones."""

    x: NDArray[np.float32] | ImageFiles
    y: NDArray[np.int32] | None
    calibration: NDArray[np.float32]

    def parts(self) -> Iterator[NDArray[np.float32]]:
        """The test examples in their order, `ROWS` at a time."""
        for start in range(0, len(self.x), ROWS):
            yield as_read(self.x[start : start + ROWS])


def as_read(x: NDArray[np.float32] | ImageFiles) -> NDArray[np.float32]:
    """Raw examples as an array; pixels as the numbers that they are."""
    array = x.read() if isinstance(x, ImageFiles) else x
    return np.asarray(array, np.float32)


def of_stage(stage: Stage, kind: str) -> Raw:
    """The raw examples of a stage's data, read anew; `kind` is its predictor's.

    InputError where the data are no longer those that it was trained on, or their
    loader gives no raw examples.
    """
    draw = ALL.examples.get(stage.record["task"])
    if draw is not None:
        (x, y), (train, _) = draw(stage, "test"), draw(stage, "train")
        return Raw(x, y, train[_drawn(np.arange(len(train)))])
    spec, seed = stage.config["data"], stage.config["seed"]
    where = f"{stage.folder}: its data ({stage.record['data']})"
    if batches.fingerprint(spec, seed) != stage.record["fingerprint"]:
        raise InputError(f"{where} changed since it was trained")
    name, fields = split_name(spec, where="config.data", given=("seed",))
    with left_raw():
        raw = datasets.load(name, seed=seed, **fields)
    _check(raw, batches.load(spec, seed), where)
    learnt = np.arange(len(raw.train.y))
    if kind == "scores":  # a detector learns from normal examples alone
        learnt = normals(raw.train)
    return Raw(raw.test.x, raw.test.y, _some(raw.train, learnt))


def _check(raw: Dataset, loaded: Dataset, where: str) -> None:
    """InputError unless the steps make of the raw examples what the network saw."""
    first = as_read(raw.test.x[:ROWS])
    if isinstance(loaded.test.x, ImageFiles):  # a batch's step divides them
        return
    again = preprocess(raw.preprocessing, first)
    seen = loaded.test.x[:ROWS]
    apart = float(np.max(abs(again - seen) / np.maximum(1, abs(seen))))
    if apart > CLOSE:
        raise InputError(
            f"{where}: its loader gives no raw examples: expected it to scale by "
            "kdjax.data.preprocessing.scaled, found values "
            f"{apart:.2g} from what the network saw"
        )


def _some(train: Examples, learnt: NDArray[np.intp]) -> NDArray[np.float32]:
    """`CALIBRATED_ON` of those training examples, or all of them, drawn by `SEED`."""
    return as_read(train.x[_drawn(learnt)])


def _drawn(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng(SEED).permutation(rows)[:CALIBRATED_ON])
