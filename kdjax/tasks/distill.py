"""Supervised classification and distillation: a weighted sum of loss terms.

One task serves the teacher, the student alone and every distilled student: what differs
is which terms the config's `losses` section names, and whether there is a teacher.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from kdjax import augment as augmentations
from kdjax import data as datasets
from kdjax import files, models
from kdjax.data.dataset import (
    SPLITS,
    Dataset,
    Examples,
    epoch_order,
    index_batches,
)
from kdjax.data.soft_labels import write_soft_labels
from kdjax.errors import InputError, lookup, split_name
from kdjax.models import Outputs
from kdjax.tasks import terms
from kdjax.training import metrics, optim
from kdjax.training.checkpoint import load_model
from kdjax.training.cost import forward_cost
from kdjax.training.loop import Batch, Source, Task, Training
from kdjax.training.parallel import AXIS
from kdjax.training.state import TrainState, create_state, gradient_step

Tree = Any


class Teacher(NamedTuple):
    """A frozen teacher: its module, how to read its variables, what it sees."""

    module: nn.Module
    load: Callable[[], Tree]
    augment: augmentations.Augment | None  # None: the student's view


def make(
    *,
    data: Mapping[str, Any],
    model: Mapping[str, Any],
    training: Training,
    optimizer: Mapping[str, Any],
    losses: Mapping[str, Mapping[str, Any] | None],
    seed: int,
    teacher: Mapping[str, Any] | None = None,
    augment: Mapping[str, Any] | None = None,
    soft_labels: bool = False,
) -> Task:
    """The task of one stage; nothing compiles and no checkpoint is read here.

    Args:
      data: fields of kdjax.data.load; `seed` draws its split, too.
      model: fields of kdjax.models.build.
      optimizer: fields of kdjax.training.optim.build.
      losses: {term of terms.TERMS: {"weight": ..., **fields} or None}.
      teacher: {"folder": a trained stage's, "checkpoint": "best" or "last", "augment":
        "student" (default: it sees the student's view), None or its own augmentation}.
        An experiment fills in "folder" and "config" from {"stage": name}.
      augment: fields of kdjax.augment.build, for training.
      soft_labels: write soft_labels.npz when done.

    Raises InputError on anything in the config or the data that does not fit.
    """
    dataset = _dataset(json.dumps(data), seed)
    scores = dict.fromkeys(metrics.CLASSIFICATION_SCORES)
    lookup(training.select, scores, where="config.training.select")
    splits = {k: getattr(dataset, k) for k in SPLITS}
    module = _module(model, dataset.classes)
    total_steps = training.epochs * training.steps_per_epoch(len(dataset.train.y))
    tx, schedule = optim.build(optimizer, total_steps=total_steps)
    weighted = terms.build(losses, teacher=teacher is not None)
    frozen = _teacher(teacher, dataset) if teacher is not None else None
    example = jnp.asarray(dataset.train.x[:1])
    _check_losses(weighted, module, frozen, example)
    loss_fn = _loss_fn(module, weighted, augmentations.build(augment), frozen)
    return Task(
        init=lambda rng: create_state(module.init(rng, example, train=False), tx),
        step=gradient_step(loss_fn, tx, schedule),
        evaluate=functools.partial(_evaluate, module),
        figures=metrics.classification_figures,
        data=_sources(splits, seed),
        constants=lambda: {
            "x": np.concatenate([split.x for split in splits.values()]),
            "y": np.concatenate([split.y for split in splits.values()]),
            "teacher": frozen.load() if frozen else {},
        },
        finish=functools.partial(_finish, module, splits, seed, soft_labels),
        about={
            "data": dataset.name,
            "synthetic": dataset.synthetic,
            "classes": list(dataset.classes),
            "examples": {name: len(split.y) for name, split in splits.items()},
            "teacher": teacher and _teacher_name(teacher),
        },
    )


@functools.lru_cache(maxsize=2)
def _dataset(spec: str, seed: int) -> Dataset:
    """The stages of one seed share their data set."""
    name, fields = split_name(json.loads(spec), where="config.data")
    return datasets.load(name, seed=seed, **fields)


def _module(spec: Mapping[str, Any], classes: Sequence[str]) -> nn.Module:
    name, fields = split_name(spec, where="config.model")
    return models.build(name, classes=len(classes), norm_axis=AXIS, **fields)


def _teacher_name(spec: Mapping[str, Any]) -> dict[str, str]:
    folder = Path(spec["folder"])
    return {"stage": folder.name, "checkpoint": spec.get("checkpoint", "best")}


def _teacher(spec: Mapping[str, Any], dataset: Dataset) -> Teacher:
    known = ("folder", "config", "checkpoint", "augment")
    for name in spec:
        lookup(name, dict.fromkeys(known), where="config.teacher")
    folder = Path(spec["folder"])
    config = spec.get("config") or files.read_json(folder / "config.json")
    taught = _dataset(json.dumps(config["data"]), config["seed"])
    classes = taught.classes
    if classes != dataset.classes:
        raise InputError(
            f"config.teacher: {folder} knows {len(classes)} classes "
            f"({', '.join(classes)}), the student's data have {len(dataset.classes)} "
            f"({', '.join(dataset.classes)})"
        )
    module = _module(config["model"], classes)
    _check_same_inputs(taught, dataset)

    def load() -> Tree:
        variables = jax.eval_shape(
            functools.partial(module.init, train=False),
            jax.random.key(0),
            jnp.asarray(dataset.train.x[:1]),
        )
        model_state = {k: v for k, v in variables.items() if k != "params"}
        template = {"params": variables["params"], "model_state": model_state}
        return load_model(folder, spec.get("checkpoint", "best"), template)

    view = spec.get("augment", "student")
    if view == "student":
        return Teacher(module, load, None)
    own = augmentations.build(view, where="config.teacher.augment")
    return Teacher(module, load, own)


def _check_same_inputs(taught: Dataset, dataset: Dataset) -> None:
    """The teacher must see examples as those it learnt from."""
    shapes = taught.test.x.shape[1:], dataset.test.x.shape[1:]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"config.teacher: the teacher takes examples of shape {shapes[0]}, the "
            f"student's data have {shapes[1]}"
        )
    same = np.array_equal(taught.test.key, dataset.test.key)
    if same and not np.array_equal(taught.test.x, dataset.test.x):
        raise InputError(
            "config.teacher: the teacher learnt on examples standardised otherwise "
            "than the student's; give both the same training subjects"
        )


def _check_losses(
    weighted: Mapping[str, terms.Weighted],
    module: nn.Module,
    teacher: Teacher | None,
    example: Array,
) -> None:
    """Traces the loss on shapes alone, so that what does not fit is said at once."""

    def outputs(network: nn.Module) -> Outputs:
        x = jnp.broadcast_to(example, (2, *example.shape[1:]))
        return network.init_with_output(jax.random.key(0), x, train=False)[0]

    def trace() -> Array:
        labels, step = jnp.zeros(2, jnp.int32), jnp.zeros((), jnp.int32)
        taught = outputs(teacher.module) if teacher else None
        return terms.total(weighted, outputs(module), taught, labels, step)[0]

    try:
        jax.eval_shape(trace)
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        line = str(error).splitlines()[0]
        raise InputError(f"config.model or config.losses: {line}") from error


def _sources(splits: Mapping[str, Examples], seed: int) -> dict[str, Source]:
    """Batches of rows of the constants, in which the splits follow one another."""

    def batches(
        start: int, size: int, batch_size: int, *, epoch: int | None
    ) -> Iterator[Batch]:
        order = None if epoch is None else epoch_order(size, seed=seed, epoch=epoch)
        for batch in index_batches(
            size, batch_size, order=order, drop_remainder=epoch is not None
        ):
            yield batch | {"index": batch["index"] + np.int32(start)}

    sources, start = {}, 0
    for name, split in splits.items():
        size = len(split.y)
        sources[name] = Source(size, functools.partial(batches, start, size))
        start += size
    return sources


def _predict(module: nn.Module, model: Tree, x: Array) -> Outputs:
    """A forward pass with the running statistics."""
    variables = {"params": model["params"], **model["model_state"]}
    return cast(Outputs, module.apply(variables, x, train=False))


def _loss_fn(
    module: nn.Module,
    weighted: Mapping[str, terms.Weighted],
    augment: augmentations.Augment,
    teacher: Teacher | None,
) -> Callable[..., Any]:
    def loss_fn(
        params: Tree, state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[Array, tuple[Tree, dict[str, Array]]]:
        x, labels = constants["x"][batch["index"]], constants["y"][batch["index"]]
        student_rng, teacher_rng = jax.random.split(rng)
        view = augment(augmentations.example_keys(student_rng, batch["index"]), x)
        outputs, model_state = module.apply(
            {"params": params, **state.model_state},
            view,
            train=True,
            mutable=list(state.model_state),
        )
        taught = None
        if teacher is not None:
            if teacher.augment is not None:
                keys = augmentations.example_keys(teacher_rng, batch["index"])
                view = teacher.augment(keys, x)
            taught = _predict(teacher.module, constants["teacher"], view)
        loss, parts = terms.total(weighted, outputs, taught, labels, state.step)
        hits = jnp.mean(jnp.argmax(outputs.logits, axis=-1) == labels)
        return loss, (model_state, parts | {"accuracy": hits})

    return loss_fn


def _evaluate(
    module: nn.Module, model: Tree, batch: Tree, constants: Tree
) -> dict[str, tuple[Array, Array]]:
    logits = _predict(module, model, constants["x"][batch["index"]]).logits
    labels = constants["y"][batch["index"]]
    return metrics.classification_sums(logits, labels, batch["mask"])


def _finish(
    module: nn.Module,
    splits: Mapping[str, Examples],
    seed: int,
    soft_labels: bool,
    trained: Mapping[str, Tree],
    folder: Path,
) -> None:
    def forward(model: Tree, x: Array) -> Array:
        return _predict(module, model, x).logits

    cost = forward_cost(forward, trained["last"], splits["train"].x[:1])
    files.write_json(folder / "cost.json", cost)
    if soft_labels:
        predict, best = jax.jit(forward), jax.device_put(trained["best"])
        header = {
            "stage": folder.name,
            "seed": seed,
            "checkpoint": "best",
            "in_sample": ["train"],
        }
        write_soft_labels(
            folder / "soft_labels.npz",
            lambda x: np.asarray(predict(best, x)),
            splits,
            header,
        )
