"""What all anomaly detectors share: their data, and the files of scores they leave.

A detector learns from normal examples, and gives every example a score.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from kdjax import files, models
from kdjax.data.dataset import Dataset, Examples, as_float, concatenate
from kdjax.errors import InputError, record_settings, split_name
from kdjax.report.runs import Run
from kdjax.stages import batches
from kdjax.stages import predictor as predictors
from kdjax.stages.predictor import Predictor, in_batches
from kdjax.stages.record import Stage
from kdjax.tasks.anomaly import metrics, rhythm
from kdjax.tasks.anomaly.metrics import NORMAL
from kdjax.training.cost import forward_cost
from kdjax.training.parallel import AXIS
from kdjax.training.state import no_step, untrained_state
from kdjax.training.task import Source, Task, Training

Tree = Any
SHOWN = 3  # examples of each class kept to be drawn
SCORES, EXAMPLES = "scores.npz", "examples.npz"
ARTEFACTS = {
    SCORES: "every validation and test example's score, by `last` and by `best`",
    EXAMPLES: "a few test examples of each class, and their reconstructions",
    "detector.json": "what was chosen in fitting a baseline",
    rhythm.FILE: "how irregular in time each validation and test beat is",
    "soft_scores.npz": "every example's score by an ensemble, for a stage it teaches",
    "templates.npz": "the usual normal beat of each training patient",
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


def about(inputs: DetectorInputs) -> dict[str, Any]:
    """What results.json says of the data."""
    described = batches.about(inputs.dataset, inputs.sources)
    for split in ("validation", "test"):
        y = getattr(inputs.dataset, split).y
        described["examples"][f"{split} abnormal"] = int((y != NORMAL).sum())
    return described


def solved_task(
    inputs: DetectorInputs,
    score: Callable[[], Float[np.ndarray, " rows"]],
    finish: Callable[[Mapping[str, Tree], Path], None],
) -> Task:
    """The task of a detector that is not trained: `score` gives that of all rows."""
    label = every(inputs.dataset, "y")
    return Task(
        init=lambda rng: untrained_state({}),
        step=no_step,
        evaluate=lambda model, batch, constants: sums(
            constants["score"][batch["index"]], batch, constants
        ),
        summarize=summarize(inputs.dataset),
        metrics=metrics.METRICS,
        data=inputs.sources,
        constants=lambda: {"y": label, "score": score()},
        finish=finish,
        about=about(inputs),
    )


def gan(spec: Mapping[str, Any], classes: tuple[str, ...] = ()) -> models.BeatGAN:
    """The config's `model` where it names a BeatGAN, which has no classes."""
    name, fields = _named(spec)
    return models.build_gan(name, norm_axis=AXIS, **fields)


def autoencoder(spec: Mapping[str, Any], classes: tuple[str, ...] = ()) -> nn.Module:
    """The config's `model` where it names an autoencoder, or a BeatGAN's generator."""
    name, fields = _named(spec)
    return models.build_autoencoder(name, norm_axis=AXIS, **fields)


def _named(spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    record_settings({"config.model": {"dtype": "float32", "norm_devices": None}})
    return split_name(spec, where="config.model", given=("norm_axis",))


Score = Callable[[Tree, Array], Float[Array, " batch"]]
Reconstruct = Callable[[Tree, Array], Array]


def squared_error(reconstruct: Reconstruct) -> Score:
    """The mean squared error of an example's reconstruction, as its score."""

    def score(model: Tree, x: Array) -> Array:
        rebuilt = reconstruct(model, x)
        with jax.named_scope(predictors.EXACT):
            error = jnp.square(x - rebuilt)
            return jnp.mean(error, axis=tuple(range(1, x.ndim)))

    return score


def predictor(stage: Stage, model: Tree, reconstruct: Reconstruct) -> Predictor:
    """What `kdjax.load` gives of a stage whose network reconstructs its input."""
    score = squared_error(reconstruct)
    return predictors.of_stage(stage, "scores", model, score, reconstruct)


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
    part = metrics.score_sums(scores, y[index], index, batch["mask"], rows=y.shape[0])
    return lax.psum(part, AXIS)


def summarize(dataset: Dataset) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """`Task.summarize` of a dataset: metrics.summarize."""
    label = every(dataset, "y")
    return functools.partial(metrics.summarize, label=label, classes=dataset.classes)


def finish(
    score: Score,
    reconstruct: Reconstruct,
    dataset: Dataset,
    batch_size: int,
    reached: Mapping[str, Tree],
    folder: Path,
) -> None:
    """Writes what the report reads of a network that reconstructs, and `cost.json`.

    `batch_size` is that of evaluation and of the stage's predictor: on one device the
    same arithmetic, and so the same bits.
    """
    scorer, reconstructor = jax.jit(score), jax.jit(reconstruct)
    x = as_float(held_out(dataset).x)
    models = {kind: jax.device_put(model) for kind, model in reached.items()}
    scores = {
        kind: in_batches(functools.partial(scorer, model), x, batch_size)
        for kind, model in models.items()
    }
    of_last = functools.partial(reconstructor, models["last"])
    write(folder, dataset, scores, lambda x: in_batches(of_last, x, batch_size))
    cost = forward_cost(score, reached["last"], x[:1])
    files.write_json(folder / "cost.json", cost)


def every(dataset: Dataset, field: str) -> np.ndarray:
    """A field of all rows: of the splits one after another."""
    return np.concatenate([getattr(p, field) for p in batches.splits(dataset).values()])


def held_out(dataset: Dataset) -> Examples:
    """The validation and then the test examples."""
    return concatenate([dataset.validation, dataset.test])


def write(
    folder: Path,
    dataset: Dataset,
    scores: Mapping[str, Float[np.ndarray, " n"]],
    reconstruct: Callable[[np.ndarray], np.ndarray] | None,
) -> None:
    """Writes every held-out example's score and rhythm, and a few to be drawn.

    `scores.npz`: key, split, label, group of the validation and test examples, and
    their scores by `last` and `best`. `examples.npz`, if there is `reconstruct`: x,
    reconstruction, label and score (`last`) of up to 3 test examples of each class,
    from that with the class's highest score down to its median.
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
    files.write(folder / SCORES, lambda file: np.savez(file, **arrays))
    rhythm.write(folder, dataset)
    if reconstruct is None:
        return
    rows = sizes[0] + _shown(dataset.test.y, scores["last"][sizes[0] :])
    shown = {
        "x": x[rows],
        "reconstruction": reconstruct(x[rows]),
        "label": held.y[rows],
        "score": scores["last"][rows],
    }
    files.write(folder / EXAMPLES, lambda file: np.savez(file, **shown))


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


class Scores(NamedTuple):
    """scores.npz: the split, label, group and score, by `last` and `best`, of each of
    the n validation and test examples."""

    split: np.ndarray
    label: np.ndarray
    group: np.ndarray
    last: np.ndarray
    best: np.ndarray


class Shown(NamedTuple):
    """examples.npz: k test examples [k, time, leads], their reconstructions, labels and
    scores."""

    x: np.ndarray
    reconstruction: np.ndarray
    label: np.ndarray
    score: np.ndarray


def read_scores(run: Run) -> Scores | None:
    """The run's scores, None where it stored none; InputError if they are damaged."""
    scores = scores_in(run.folder)
    if scores is not None:
        _check_labels(run.file(SCORES), scores.label, run)
    return scores


def scores_in(folder: Path) -> Scores | None:
    """`read_scores` of a stage's folder, whatever its classes."""
    path = folder / SCORES
    scores = _read(path, Scores)
    if scores is not None:
        sizes = [field.size for field in scores]
        if len(set(sizes)) > 1:
            raise InputError(f"{path}: expected arrays of one length, found {sizes}")
    return scores


def read_shown(run: Run) -> Shown | None:
    """The run's examples with their reconstructions, None where it stored none, or
    others than series, of which there is no figure; InputError if they are damaged."""
    path = run.file(EXAMPLES)
    shown = _read(path, Shown)
    if shown is None:
        return None
    if shown.reconstruction.shape != shown.x.shape:
        raise InputError(
            f"{path}: expected x and reconstruction of one shape, found"
            f" {shown.x.shape} and {shown.reconstruction.shape}"
        )
    _check_labels(path, shown.label, run)
    return shown if shown.x.ndim == 3 else None


Arrays = TypeVar("Arrays", Scores, Shown)


def _read(path: Path, kind: type[Arrays]) -> Arrays | None:
    return files.read_arrays(path, kind) if path.exists() else None


def _check_labels(path: Path, label: np.ndarray, run: Run) -> None:
    classes = len(run.classes)
    if label.size and not 0 <= label.min() <= label.max() < classes:
        raise InputError(
            f"{path}: label: expected 0 to {classes - 1}, found {label.min()} to"
            f" {label.max()}"
        )
