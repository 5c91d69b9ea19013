"""MiniRocket and a ridge classifier: the baseline of series that is not a network.

`kdjax.models.minirocket` makes the features, which are standardised;
`kdjax.stages.ridge` reads the classes from them. Its estimates, divided by the
temperature that makes the validation labels most likely, are the logits. Nothing is
trained step by step.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from kdjax import files
from kdjax.data.dataset import Dataset, as_float
from kdjax.errors import InputError
from kdjax.models import minirocket
from kdjax.stages import batches, calibration, ridge, taught
from kdjax.stages import predictor as predictors
from kdjax.stages.predictor import Predictor, in_batches
from kdjax.stages.record import Stage
from kdjax.training import metrics
from kdjax.training.checkpoint import load_model
from kdjax.training.cost import forward_cost
from kdjax.training.state import no_step, untrained_state
from kdjax.training.task import Task, Training

Tree = Any
FEATURES, PENALTIES = 9_996, (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
BATCH = 128  # examples transformed at once
CHOSEN = "minirocket.json"


def make(
    *,
    data: Mapping[str, Any],
    training: Training,
    seed: int,
    features: int = FEATURES,
    penalties: Sequence[float | int] = PENALTIES,
    soft_labels: bool | str = False,
) -> Task:
    """The task of one stage; nothing is fitted here.

    Args:
      data: fields of kdjax.data.load, series [time, channels] of 9 samples or more. The
        training labels that are known are fitted to.
      training: `epochs` must be 0.
      seed: draws the data's split, and what MiniRocket draws.
      features: how many; a multiple of 84 is made of it.
      penalties: of the ridge; the one with the best validation accuracy is taken.
      soft_labels: write soft_labels.npz when done, of "last" or "best": the same.

    Raises InputError on anything in the config or the data that does not fit.
    """
    training.check_untrained("MiniRocket")
    dataset = batches.load(data, seed)
    shape = dataset.train.x.shape[1:]
    if len(shape) != 2:
        raise InputError(
            f"config.task: 'minirocket' is for series [time, channels], found examples "
            f"of shape {shape}"
        )
    plan = minirocket.dilations(shape[0], features)
    tried = ridge.checked(penalties, where="config.penalties")
    stored = taught.checkpoint_of(soft_labels)
    rows = batches.labelled(dataset)
    sources, constants = batches.inputs(
        dataset, seed, train=rows, stream=training.stream
    )
    solve = functools.cache(
        functools.partial(_solve, dataset, rows, features, tried, seed)
    )

    def finish(reached: Mapping[str, Tree], folder: Path) -> None:
        example = np.asarray(batches.first(dataset))
        cost = forward_cost(_logits, reached["last"], example)
        files.write_json(folder / "cost.json", cost)
        said = {"dilations": [d for d, _ in plan], **solve()[1]}
        files.write_json(folder / CHOSEN, said)
        if stored is not None:
            splits = batches.splits(dataset)
            model = reached[stored]
            taught.leave(folder, _logits, model, splits, seed=seed, checkpoint=stored)

    return Task(
        init=lambda rng: untrained_state(jax.tree.map(jnp.asarray, solve()[0])),
        step=no_step,
        evaluate=_evaluate,
        summarize=metrics.classification_metrics,
        metrics=metrics.CLASSIFICATION,
        data=sources,
        constants=constants,
        finish=finish,
        about=batches.about(dataset, sources),
    )


def predictor(stage: Stage, checkpoint: str) -> Predictor:
    """Probabilities [n, classes] of raw examples."""
    time, channels = stage.record["input"]["shape"]
    features = stage.record["settings"]["config"]["features"]
    params = _shapes(time, channels, features, len(stage.record["classes"]))
    template = {"params": params, "model_state": {}}
    model = load_model(stage.folder, checkpoint, template)

    def forward(model: Tree, x: Array) -> Array:
        return jax.nn.softmax(_logits(model, x))

    return predictors.of_stage(stage, "probabilities", model, forward)


def _solve(
    dataset: Dataset,
    rows: np.ndarray,
    features: int,
    penalties: Sequence[float],
    seed: int,
) -> tuple[Tree, dict[str, float]]:
    """What `_logits` needs, and what was chosen on the validation examples."""
    train, held = dataset.train, dataset.validation
    learnt = as_float(train.x[rows])
    with jax.ensure_compile_time_eval():  # `init` is traced first, for its shapes
        fitted = minirocket.fit(learnt, features=features, seed=seed)
        transform = functools.partial(jax.jit(minirocket.transform), fitted)
        seen, unseen = (
            in_batches(transform, x, BATCH) for x in (learnt, as_float(held.x))
        )
    mean, std = seen.mean(axis=0), seen.std(axis=0)
    std[std == 0] = 1
    for x in (seen, unseen):
        x -= mean
        x /= std
    found = ridge.fit(
        seen,
        train.y[rows],
        unseen,
        held.y,
        classes=len(dataset.classes),
        penalties=penalties,
    )
    t = calibration.temperature(unseen @ found.kernel + found.bias, held.y)
    readout = {"kernel": found.kernel / t, "bias": found.bias / t}
    params = {"minirocket": fitted, "ridge": {"mean": mean, "std": std, **readout}}
    return params, {"penalty": found.penalty, "temperature": t}


def _shapes(time: int, channels: int, features: int, classes: int) -> Tree:
    """The shapes of `_solve`'s parameters."""
    plan = minirocket.dilations(time, features)
    width = 84 * sum(count for _, count in plan)

    def array(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    fitted = {"biases": array(width), "channels": array(len(plan), 84, channels)}
    readout = {"mean": array(width), "std": array(width)}
    readout |= {"kernel": array(width, classes), "bias": array(classes)}
    return {"minirocket": fitted, "ridge": readout}


def _logits(model: Tree, x: Array) -> Array:
    readout = model["params"]["ridge"]
    features = minirocket.transform(model["params"]["minirocket"], x)
    scaled = (features - readout["mean"][None]) / readout["std"][None]
    return scaled @ readout["kernel"] + readout["bias"][None]


def _evaluate(model: Tree, batch: Tree, constants: Tree) -> metrics.Sums:
    logits = _logits(model, batches.gather(constants, batch))
    labels = constants["y"][batch["index"]]
    return metrics.classification_sums(logits, labels, batch["mask"])
