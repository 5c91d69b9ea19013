"""The task `probe`: how well a frozen network's representations tell classes apart.

The representations of all examples are computed once, without augmentation; then one of
`readouts.PROBES` reads them: a linear classifier is trained on them, or a ridge
regression solved, or the nearest labelled neighbours vote. The linear classifier may be
a student: of labels, of stored soft labels, or of both.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from kdjax.data.dataset import Dataset
from kdjax.data.stream import ImageFiles
from kdjax.errors import InputError
from kdjax.models import Outputs
from kdjax.stages import batches, networks, representations, taught, terms
from kdjax.stages.predictor import Predictor, of_stage
from kdjax.stages.record import Stage
from kdjax.stages.representations import FROZEN, Features, Solved
from kdjax.tasks.contrastive import readouts
from kdjax.tasks.contrastive.embeddings import EMBEDDINGS, write_embeddings
from kdjax.tasks.contrastive.readouts import Probe
from kdjax.training import metrics, optim
from kdjax.training.checkpoint import load_model
from kdjax.training.state import TrainState, create_state, gradient_step
from kdjax.training.task import Task, Training

Tree = Any
_LABELS = {"cross_entropy": {"weight": 1.0}}
ARTEFACTS = {
    FROZEN: "the network that a probe reads, and what the probe solved at once",
    EMBEDDINGS: "the test examples in two principal components of the representations",
}


def make(
    *,
    data: Mapping[str, Any],
    probe: Mapping[str, Any],
    training: Training,
    seed: int,
    encoder: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    optimizer: Mapping[str, Any] | None = None,
    losses: Mapping[str, Mapping[str, Any] | None] | None = None,
    teacher: Mapping[str, Any] | None = None,
    soft_labels: bool | str = False,
    embeddings: bool = False,
) -> Task:
    """The task of one stage; nothing compiles and no checkpoint is read here.

    Args:
      data: fields of kdjax.data.load. The labels that are known are fitted to.
      probe: {"name": a key of readouts.PROBES, **its fields}.
      encoder: {"folder", "checkpoint"} of the stage whose network is frozen. Without
        it: `model` as it is initialised by `seed`, the control.
      optimizer: fields of kdjax.training.optim.build, for what is trained.
      losses: {name in kdjax.stages.methods.TERMS: {"weight": ..., **fields}}, of what
        is trained. None: the cross-entropy.
      teacher: fields of kdjax.stages.taught.build of stored soft labels: what is
        trained is their student.
      soft_labels: write soft_labels.npz when done, of the checkpoint "best" (or True)
        or "last".
      embeddings: write embeddings.npz, the test split in its first two principal
        components, when done.

    Raises InputError on anything in the config or the data that does not fit.
    """
    dataset = batches.load(data, seed)
    chosen = readouts.build(probe, dataset.classes)
    if chosen.module is None:
        training.check_untrained(f"the probe {probe['name']!r}")
        _check_not_taught(probe["name"], losses, teacher)
    stored = taught.checkpoint_of(soft_labels)
    frozen = representations.frozen(encoder, model, dataset, seed)
    sources, _ = batches.inputs(
        dataset,
        seed,
        train=batches.labelled(dataset),
        read_files=False,
        stream=training.stream,
    )
    tx, schedule = optax.identity(), optax.constant_schedule(0.0)
    if chosen.module is not None:
        tx, schedule = optim.build(
            optimizer or {},
            total_steps=training.total_steps(sources["train"].size),
            batch_size=training.batch_size,
        )
    example = batches.first(dataset)
    weighted, teaching = _learning(
        chosen, frozen.module, example, dataset, losses, teacher, seed
    )

    @functools.cache
    def encode() -> Features:
        return representations.encode(frozen.module, frozen.load(), dataset, seed)

    @functools.cache
    def solve() -> Solved:
        return chosen.fit(encode())

    def finish(models: Mapping[str, Tree], folder: Path) -> None:
        representations.write_frozen(folder, frozen.load(), solve())
        if embeddings:
            write_embeddings(folder, dataset.test, encode())
        if stored is not None:
            taught.leave(
                folder,
                lambda model, x: chosen.logits(model[0], model[1], x),
                (models[stored], solve()),
                representations.as_examples(encode(), dataset),
                seed=seed,
                checkpoint=stored,
            )

    files = isinstance(dataset.train.x, ImageFiles)  # too many for a device
    if files:
        sources = {k: representations.streamed(s, encode) for k, s in sources.items()}
    return Task(
        init=functools.partial(_init, chosen, frozen.module, example, tx),
        step=gradient_step(_loss_fn(chosen, weighted, teaching), tx, schedule),
        evaluate=functools.partial(_evaluate, chosen),
        summarize=metrics.classification_metrics,
        metrics=metrics.CLASSIFICATION,
        data=sources,
        constants=lambda: {
            "y": encode().y,
            "solved": solve(),
            "teacher": teaching.load() if teaching else {},
            **({} if files else {"x": encode().x}),
        },
        finish=finish,
        about=batches.about(dataset, sources)
        | {"encoder": {"model": frozen.spec, "classes": frozen.classes}},
    )


def predictor(stage: Stage, checkpoint: str) -> Predictor:
    """Probabilities [n, classes] of raw examples, by the frozen network and the probe.

    Those of `ridge` are its targets' estimates put through a softmax: only their order
    means something. Nothing but the stage's own folder is read.
    """
    record = stage.record
    # the settings, for a probe's defaults may change with kdjax
    chosen = readouts.build(stage.section("probe"), record["classes"])
    read = record["encoder"]
    encoder = networks.build(read["model"], tuple(read["classes"]))
    example = jnp.zeros((1, *record["input"]["shape"]))
    network, solved = representations.read_frozen(
        stage.folder, networks.shapes(encoder, example)
    )
    trained: Tree = {"params": {}, "model_state": {}}
    if chosen.module is not None:
        seen = jnp.zeros(representations.shape(encoder, example))
        template = networks.shapes(chosen.module, seen)
        trained = load_model(stage.folder, checkpoint, template)

    def forward(model: Tree, x: Array) -> Array:
        seen = networks.representation(networks.predict(encoder, model["encoder"], x))
        return jax.nn.softmax(chosen.logits(model["probe"], model["solved"], seen))

    model = {"encoder": network, "solved": solved, "probe": trained}
    return of_stage(stage, "probabilities", model, forward)


def _init(
    probe: Probe,
    encoder: nn.Module,
    example: Array,
    tx: optax.GradientTransformation,
    rng: Array,
) -> TrainState:
    if probe.module is None:
        return TrainState(jnp.zeros((), jnp.int32), {}, {}, tx.init({}))
    seen = jnp.zeros(representations.shape(encoder, example))
    return create_state(probe.module.init(rng, seen, train=False), tx)


def _check_not_taught(name: str, *sections: Mapping[str, Any] | None) -> None:
    """InputError where there is a section of what only a trained probe can learn."""
    if any(section is not None for section in sections):
        raise InputError(
            f'config.probe: expected "linear" beside losses or a teacher, for only it '
            f"is trained by a loss; found {name!r}"
        )


def _learning(
    probe: Probe,
    encoder: nn.Module,
    example: Array,
    dataset: Dataset,
    losses: Mapping[str, Any] | None,
    teacher: Mapping[str, Any] | None,
    seed: int,
) -> tuple[dict[str, terms.Weighted], taught.Teacher | None]:
    """The terms that a probe is trained by, none if it is not, and its teacher."""
    if probe.module is None:
        return {}, None
    weighted = terms.build(losses or _LABELS, teacher=teacher is not None)
    teaching = None
    if teacher is not None:
        if not teacher.get("stored"):
            raise InputError(
                "config.teacher.stored: expected True, for a probe sees "
                "representations, and no examples that a network could be shown"
            )
        teaching = taught.build(teacher, dataset, seed=seed)
    seen = jnp.zeros(representations.shape(encoder, example))
    if terms.check(weighted, probe.module, seen, teacher=teaching).module:
        raise InputError("config.losses: a probe takes no term with an adapter")
    return weighted, teaching


def _loss_fn(
    probe: Probe,
    weighted: Mapping[str, terms.Weighted],
    teacher: taught.Teacher | None,
) -> Callable[..., Any]:
    def loss_fn(
        params: Tree, state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[Array, tuple[Tree, dict[str, Array]]]:
        model = {"params": params, "model_state": state.model_state}
        x, labels = _seen(constants, batch), constants["y"][batch["index"]]
        own = Outputs(probe.logits(model, constants["solved"], x), OrderedDict())
        theirs = teacher and teacher.outputs(constants["teacher"], batch, x, x, rng)
        loss, parts = terms.total(weighted, own, theirs, labels, state.step)
        hits = jnp.mean(jnp.argmax(own.logits, axis=-1) == labels)
        return loss, (state.model_state, parts | {"accuracy": hits})

    return loss_fn


def _seen(constants: Tree, batch: Tree) -> Array:
    """The representations of a batch: on the device, or streamed."""
    return batch["x"] if "x" in batch else constants["x"][batch["index"]]


def _evaluate(
    probe: Probe, model: Tree, batch: Tree, constants: Tree
) -> dict[str, tuple[Array, Array]]:
    x, labels = _seen(constants, batch), constants["y"][batch["index"]]
    logits = probe.logits(model, constants["solved"], x)
    return metrics.classification_sums(logits, labels, batch["mask"])
