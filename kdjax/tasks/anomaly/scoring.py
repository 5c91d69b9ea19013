"""Anomaly scores: how a detector's data are read, its examples scored, and both kept.

A detector learns from normal examples, and every example gets a score.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from kdjax import files, models
from kdjax.data.dataset import Dataset, Examples, as_float, concatenate
from kdjax.errors import InputError, split_name
from kdjax.stages import batches
from kdjax.stages import predictor as predictors
from kdjax.stages.predictor import Predictor, in_batches
from kdjax.stages.record import Stage
from kdjax.tasks.anomaly import metrics
from kdjax.tasks.anomaly.metrics import NORMAL
from kdjax.training.cost import forward_cost
from kdjax.training.loop import Source, Training
from kdjax.training.parallel import AXIS

Tree = Any
BATCH = 512  # examples scored at once when done
SHOWN = 3  # examples of each class kept to be drawn
SCORES, EXAMPLES = "scores.npz", "examples.npz"
ARTEFACTS = {
    SCORES: "every validation and test example's score, by `last` and by `best`",
    EXAMPLES: "a few test examples of each class, and their reconstructions",
    "detector.json": "what was chosen in fitting a baseline",
}


class DetectorInputs(NamedTuple):
    """`sources` by split, training's the normal examples alone, and `constants`."""

    dataset: Dataset
    sources: dict[str, Source]
    constants: Callable[[], dict[str, np.ndarray]]


def inputs(data: Mapping[str, Any], training: Training, seed: int) -> DetectorInputs:
    """The data of a detector, which learns from class 0 alone.

    Raises InputError on data without normal examples to learn from, or on a
    `training.select` that the validation split cannot give.
    """
    dataset = batches.load(data, seed)
    training.check_metric(metrics.METRICS)
    normal = np.flatnonzero(dataset.train.y == NORMAL)
    name = dataset.classes[NORMAL]
    if not len(normal):
        raise InputError(
            f"config.data: expected examples of the normal class {name!r} to learn "
            "from, found none"
        )
    for split in ("validation", "test"):
        if not (getattr(dataset, split).y == NORMAL).any():
            raise InputError(
                f"config.data: expected {split} examples of the normal class {name!r}, "
                "found none"
            )
    if training.select != "loss" and (dataset.validation.y == NORMAL).all():
        raise InputError(
            f"config.training.select: {training.select!r} needs abnormal validation "
            "examples, and there are none; 'loss' does not"
        )
    sources, constants = batches.inputs(
        dataset, seed, train=normal, stream=training.stream
    )
    return DetectorInputs(dataset, sources, constants)


def about(found: DetectorInputs) -> dict[str, Any]:
    """What results.json says of the data."""
    said = batches.about(found.dataset, found.sources)
    for split in ("validation", "test"):
        y = getattr(found.dataset, split).y
        said["examples"][f"{split} abnormal"] = int((y != NORMAL).sum())
    return said


def gan(spec: Mapping[str, Any], classes: tuple[str, ...] = ()) -> models.BeatGAN:
    """The config's `model` where it names a BeatGAN, which has no classes."""
    name, fields = split_name(spec, where="config.model")
    return models.build_gan(name, norm_axis=AXIS, **fields)


Score = Callable[[Tree, Array], Float[Array, " batch"]]
Rebuild = Callable[[Tree, Array], Array]


def squared_error(rebuild: Rebuild) -> Score:
    """The score of what rebuilds its input: the mean square of what it misses."""

    def score(model: Tree, x: Array) -> Array:
        missed = jnp.square(x - rebuild(model, x))
        return jnp.mean(missed, axis=tuple(range(1, x.ndim)))

    return score


def predictor(stage: Stage, model: Tree, rebuild: Rebuild) -> Predictor:
    """What `kdjax.load` gives of a stage whose network rebuilds its input."""
    return predictors.of_stage(stage, "scores", model, squared_error(rebuild), rebuild)


def evaluate(
    score: Score, model: Tree, batch: Tree, constants: Tree
) -> dict[str, tuple[Array, Array]]:
    """A batch's sums for `summarize`, by a score of examples."""
    return sums(score(model, batches.gather(constants, batch)), batch, constants)


def sums(
    scores: Float[Array, " batch"], batch: Tree, constants: Tree
) -> dict[str, tuple[Array, Array]]:
    """A batch's sums for `summarize`, from its scores."""
    index, y = batch["index"], constants["y"]
    found = metrics.score_sums(scores, y[index], index, batch["mask"], rows=y.shape[0])
    return lax.psum(found, AXIS)


def summarize(dataset: Dataset) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """`Task.summarize` of a dataset: metrics.summarize."""
    label = np.concatenate([split.y for split in batches.splits(dataset).values()])
    return functools.partial(metrics.summarize, label=label, classes=dataset.classes)


def finish(
    score: Score,
    rebuild: Rebuild,
    dataset: Dataset,
    reached: Mapping[str, Tree],
    folder: Path,
) -> None:
    """Writes what the report reads of a network that rebuilds: `write`, `cost.json`."""
    scorer, rebuilder = jax.jit(score), jax.jit(rebuild)
    x = as_float(held_out(dataset).x)
    scores = {
        kind: in_batches(functools.partial(scorer, jax.device_put(model)), x, BATCH)
        for kind, model in reached.items()
    }

    def rebuilt(x: np.ndarray) -> np.ndarray:
        return np.asarray(rebuilder(reached["last"], x))

    write(folder, dataset, scores, rebuilt)
    cost = forward_cost(score, reached["last"], x[:1])
    files.write_json(folder / "cost.json", cost)


def held_out(dataset: Dataset) -> Examples:
    """The validation and then the test examples."""
    return concatenate([dataset.validation, dataset.test])


def write(
    folder: Path,
    dataset: Dataset,
    scores: Mapping[str, Float[np.ndarray, " n"]],
    rebuilt: Callable[[np.ndarray], np.ndarray] | None,
) -> None:
    """Writes every held-out example's score, and a few examples to be drawn.

    `scores.npz`: key, split, label, group of the validation and test examples, and
    their scores by `last` and `best`. `examples.npz`, if there is `rebuilt`: x,
    rebuilt, label and score (`last`) of up to 3 test examples of each class, from that
    with the class's highest score down to its median.
    """
    held = held_out(dataset)
    x = as_float(held.x)
    sizes = [len(dataset.validation.y), len(dataset.test.y)]
    arrays: dict[str, Any] = {
        "key": held.key,
        "split": np.repeat(["validation", "test"], sizes),
        "label": held.y,
        "group": held.group,
        **scores,
    }
    files.write(folder / "scores.npz", lambda file: np.savez(file, **arrays))
    if rebuilt is None:
        return
    rows = sizes[0] + _shown(dataset.test.y, scores["last"][sizes[0] :])
    shown = {
        "x": x[rows],
        "rebuilt": rebuilt(x[rows]),
        "label": held.y[rows],
        "score": scores["last"][rows],
    }
    files.write(folder / "examples.npz", lambda file: np.savez(file, **shown))


def _shown(label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Rows of `SHOWN` examples of each class: from its highest score to its median."""
    rows = []
    for y in np.unique(label):
        ranked = np.flatnonzero(label == y)
        ranked = ranked[np.argsort(-score[ranked], kind="stable")]
        if len(ranked) > SHOWN:
            places = np.linspace(0, len(ranked) // 2, SHOWN)
            ranked = ranked[places.astype(int)]
        rows.append(ranked)
    return np.concatenate(rows)
