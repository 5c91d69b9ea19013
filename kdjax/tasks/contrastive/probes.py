"""Probes: what can be read from the representations of a frozen network.

The representations of all examples are computed once, without augmentation; then a
linear classifier is trained on them, or a ridge regression solved, or the nearest
labelled neighbours vote.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from kdjax import files, losses
from kdjax.data.dataset import Dataset
from kdjax.errors import InputError, call, lookup, split_name
from kdjax.stages import batches, networks, representations
from kdjax.stages.representations import Features
from kdjax.tasks.contrastive.readouts import PROBES, Probe
from kdjax.training import metrics, optim
from kdjax.training.loop import Task, Training
from kdjax.training.state import TrainState, create_state, gradient_step

Tree = Any


def make(
    *,
    data: Mapping[str, Any],
    probe: Mapping[str, Any],
    training: Training,
    seed: int,
    encoder: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    optimizer: Mapping[str, Any] | None = None,
    embeddings: bool = False,
) -> Task:
    """The task of one stage; nothing compiles and no checkpoint is read here.

    Args:
      data: fields of kdjax.data.load. The labels that are known are fitted to.
      probe: {"name": a key of probes.PROBES, **its fields}.
      encoder: {"folder", "checkpoint"} of the stage whose network is frozen. Without
        it: `model` as it is initialised by `seed`, the control.
      optimizer: fields of kdjax.training.optim.build, for what is trained.
      embeddings: write embeddings.npz, the test split in its first two principal
        components, when done.

    Raises InputError on anything in the config or the data that does not fit.
    """
    dataset = batches.load(data, seed)
    scores = dict.fromkeys(metrics.CLASSIFICATION_SCORES)
    lookup(training.select, scores, where="config.training.select")
    name, fields = split_name(probe, where="config.probe")
    factory = lookup(name, PROBES, where="config.probe.name")
    reader: Probe = call(factory, fields, where="config.probe", classes=dataset.classes)
    if reader.module is None and training.epochs:
        raise InputError(
            f"config.training.epochs: expected 0, for the probe {name!r} is not "
            f"trained; got {training.epochs}"
        )
    module, load = representations.frozen(encoder, model, dataset, seed)
    known = batches.labelled(dataset)
    sources, _ = batches.inputs(dataset, seed, train=known, stream=False)
    encode = functools.cache(
        lambda: representations.encode(module, load(), dataset, seed)
    )
    tx, schedule = optax.identity(), optax.constant_schedule(0.0)
    if reader.module is not None:
        tx, schedule = optim.build(
            optimizer or {},
            total_steps=training.total_steps(sources["train"].size),
            batch_size=training.batch_size,
        )
    return Task(
        init=functools.partial(_init, reader, module, batches.first(dataset), tx),
        step=gradient_step(_loss_fn(reader), tx, schedule),
        evaluate=functools.partial(_evaluate, reader),
        figures=metrics.classification_figures,
        data=sources,
        constants=lambda: _constants(reader, encode()),
        finish=functools.partial(_finish, dataset, encode, embeddings),
        about=batches.about(dataset, sources)
        | {"teacher": None, "start": encoder and networks.name(encoder)},
    )


def _init(
    probe: Probe,
    encoder: nn.Module,
    example: Array,
    tx: optax.GradientTransformation,
    rng: Array,
) -> TrainState:
    if probe.module is None:
        return TrainState(jnp.zeros((), jnp.int32), {}, {}, tx.init({}))

    def represent(rng: Array) -> Array:
        outputs, _ = encoder.init_with_output(rng, example, train=False)
        return networks.representation(outputs)

    shape = jax.eval_shape(represent, rng).shape
    return create_state(probe.module.init(rng, jnp.zeros(shape), train=False), tx)


def _constants(probe: Probe, features: Features) -> dict[str, Any]:
    return {"x": features.x, "y": features.y, "solved": probe.fit(features)}


def _loss_fn(probe: Probe) -> Callable[..., Any]:
    def loss_fn(
        params: Tree, state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[Array, tuple[Tree, dict[str, Array]]]:
        model = {"params": params, "model_state": state.model_state}
        x, labels = constants["x"][batch["index"]], constants["y"][batch["index"]]
        logits = probe.logits(model, constants["solved"], x)
        hits = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
        return losses.cross_entropy(logits, labels), (
            state.model_state,
            {"accuracy": hits},
        )

    return loss_fn


def _evaluate(
    probe: Probe, model: Tree, batch: Tree, constants: Tree
) -> dict[str, tuple[Array, Array]]:
    x, labels = constants["x"][batch["index"]], constants["y"][batch["index"]]
    logits = probe.logits(model, constants["solved"], x)
    return metrics.classification_sums(logits, labels, batch["mask"])


def _finish(
    dataset: Dataset,
    encode: Callable[[], Features],
    embeddings: bool,
    reached: Mapping[str, Tree],
    folder: Path,
) -> None:
    if not embeddings:
        return
    from sklearn.decomposition import PCA  # imported here: it takes a second

    features, test = encode(), len(dataset.test.y)
    pca = PCA(2, random_state=0).fit(features.x[features.train])
    arrays: dict[str, Any] = {
        "key": dataset.test.key,
        "label": dataset.test.y,
        "position": pca.transform(features.x[-test:]).astype(np.float32),
        "explained": pca.explained_variance_ratio_.astype(np.float32),
    }
    path = folder / "embeddings.npz"
    files.write(path, functools.partial(np.savez, **arrays))
