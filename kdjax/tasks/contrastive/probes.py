"""Probes: how well a frozen network's representations tell the classes apart.

The representations of all examples are computed once, without augmentation; then a
linear classifier is trained on them, or a ridge regression solved, or the nearest
labelled neighbours vote.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import keystr, tree_map_with_path
from jaxtyping import Array

from kdjax import files, losses
from kdjax.data.dataset import Dataset
from kdjax.errors import InputError, call, lookup, split_name
from kdjax.stages import batches, networks, representations
from kdjax.stages import predictor as predictors
from kdjax.stages.predictor import Predictor
from kdjax.stages.record import Stage
from kdjax.stages.representations import Features
from kdjax.tasks.contrastive.readouts import PROBES, Probe
from kdjax.training import metrics, optim
from kdjax.training.checkpoint import load_model
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
    name, fields = split_name(probe, where="config.probe")
    factory = lookup(name, PROBES, where="config.probe.name")
    reader: Probe = call(factory, fields, where="config.probe", classes=dataset.classes)
    if reader.module is None and training.epochs:
        raise InputError(
            f"config.training.epochs: expected 0, for the probe {name!r} is not "
            f"trained; got {training.epochs}"
        )
    frozen = representations.frozen(encoder, model, dataset, seed)
    known = batches.labelled(dataset)
    sources, _ = batches.inputs(
        dataset, seed, train=known, read_files=False, stream=training.stream
    )

    @functools.cache
    def encode() -> Features:
        return representations.encode(frozen.module, frozen.load(), dataset, seed)

    @functools.cache
    def solve() -> dict[str, np.ndarray]:
        return reader.fit(encode())

    tx, schedule = optax.identity(), optax.constant_schedule(0.0)
    if reader.module is not None:
        tx, schedule = optim.build(
            optimizer or {},
            total_steps=training.total_steps(sources["train"].size),
            batch_size=training.batch_size,
        )
    return Task(
        init=functools.partial(
            _init, reader, frozen.module, batches.first(dataset), tx
        ),
        step=gradient_step(_loss_fn(reader), tx, schedule),
        evaluate=functools.partial(_evaluate, reader),
        summarize=metrics.classification_metrics,
        metrics=metrics.CLASSIFICATION,
        data=sources,
        constants=lambda: {
            "x": encode().x,
            "y": encode().y,
            "solved": solve(),
        },
        finish=functools.partial(
            _finish,
            dataset,
            encode,
            lambda: {"encoder": frozen.load(), "solved": solve()},
            embeddings,
        ),
        about=batches.about(dataset, sources)
        | {"encoder": {"model": frozen.spec, "classes": frozen.classes}},
    )


def predictor(stage: Stage, checkpoint: str) -> Predictor:
    """Probabilities [n, classes] of raw examples, by the frozen encoder and the probe.

    Those of `ridge` are its targets' estimates put through a softmax: only their order
    means something.
    """
    classes = tuple(stage.record["classes"])
    known = stage.record["encoder"]
    encoder = networks.build(known["model"], tuple(known["classes"]))
    name, fields = split_name(stage.config["probe"], where="config.probe")
    reader: Probe = lookup(name, PROBES, where="config.probe.name")(
        **fields, classes=classes
    )
    example = jnp.zeros((1, *stage.record["input"]["shape"]))
    model: dict[str, Any] = _read_frozen(stage, networks.shapes(encoder, example))
    model["probe"] = {"params": {}, "model_state": {}}
    if reader.module is not None:
        width = jax.eval_shape(
            lambda m, x: networks.representation(networks.predict(encoder, m, x)),
            model["encoder"],
            example,
        )
        template = networks.shapes(reader.module, jnp.zeros(width.shape))
        model["probe"] = load_model(stage.folder, checkpoint, template)

    def forward(model: Tree, x: Array) -> Array:
        outputs = networks.predict(encoder, model["encoder"], x)
        seen = networks.representation(outputs)
        return jax.nn.softmax(reader.logits(model["probe"], model["solved"], seen))

    return predictors.of_stage(stage, "probabilities", model, forward)


def _read_frozen(stage: Stage, encoder: Tree) -> dict[str, Any]:
    """{"encoder", "solved"} of what `_finish` wrote, the encoder's shapes given."""
    path = stage.folder / FROZEN
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        places = tree_map_with_path(lambda place, _: f"encoder{keystr(place)}", encoder)
        return {
            "encoder": jax.tree.map(lambda place: arrays[place], places),
            "solved": {
                key.removeprefix("solved/"): array
                for key, array in arrays.items()
                if key.startswith("solved/")
            },
        }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected the frozen encoder ({error})") from error


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


FROZEN = "frozen.npz"
EMBEDDINGS = "embeddings.npz"
ARTEFACTS = {
    FROZEN: "the encoder that a probe reads, and what the probe solved at once",
    EMBEDDINGS: "the test examples in two principal components of the representations",
}


def _finish(
    dataset: Dataset,
    encode: Callable[[], Features],
    frozen: Callable[[], dict[str, Any]],
    embeddings: bool,
    reached: Mapping[str, Tree],
    folder: Path,
) -> None:
    parts = frozen()
    encoder = jax.tree_util.tree_leaves_with_path(parts["encoder"])
    arrays: dict[str, Any] = {f"encoder{keystr(path)}": x for path, x in encoder}
    arrays |= {f"solved/{name}": array for name, array in parts["solved"].items()}
    files.write(folder / FROZEN, lambda file: np.savez(file, **arrays))
    if not embeddings:
        return
    from sklearn.decomposition import PCA  # imported here: it takes a second

    features, test = encode(), len(dataset.test.y)
    pca = PCA(2, random_state=0).fit(features.x[features.train])
    shown: dict[str, Any] = {
        "key": dataset.test.key,
        "label": dataset.test.y,
        "position": pca.transform(features.x[-test:]).astype(np.float32),
        "explained": pca.explained_variance_ratio_.astype(np.float32),
    }
    files.write(folder / EMBEDDINGS, lambda file: np.savez(file, **shown))
