"""Supervised classification and distillation: a weighted sum of loss terms.

One task serves the teacher, the student alone, every distilled student and fine-tuning:
what differs is which terms the config's `losses` section names, whether there is a
teacher, and where the network starts.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from kdjax import augment as augmentations
from kdjax import files
from kdjax.checks import boolean
from kdjax.data.dataset import UNLABELLED, Dataset
from kdjax.errors import InputError
from kdjax.stages import attached, batches, networks, taught, terms
from kdjax.stages import companions as companion
from kdjax.stages import predictor as predictors
from kdjax.stages.companions import Companions
from kdjax.stages.predictor import Predictor
from kdjax.stages.record import Stage
from kdjax.tasks.distillation import evaluation
from kdjax.training import optim
from kdjax.training.cost import forward_cost
from kdjax.training.parallel import AXIS
from kdjax.training.state import TrainState, gradient_step
from kdjax.training.task import Task, Training

Tree = Any
COMPANIONS = 2  # the stream of a step's random numbers that draws them


def make(
    *,
    data: Mapping[str, Any],
    model: Mapping[str, Any],
    training: Training,
    optimizer: Mapping[str, Any],
    losses: Mapping[str, Any],
    seed: int,
    teacher: Mapping[str, Any] | None = None,
    companions: Mapping[str, Any] | None = None,
    reference: Mapping[str, Any] | None = None,
    corruptions: Mapping[str, Mapping[str, Any]] | None = None,
    start: Mapping[str, Any] | None = None,
    freeze: Sequence[str] = (),
    rates: Sequence[Sequence[Any]] = (),
    unlabelled: bool = False,
    augment: Mapping[str, Any] | None = None,
    soft_labels: bool | str = False,
    together: bool = False,
) -> Task:
    """The task of one stage; nothing compiles and no checkpoint is read here.

    Args:
      data: fields of kdjax.data.load; `seed` draws its split, too.
      model: fields of kdjax.models.build.
      optimizer: fields of kdjax.training.optim.build.
      losses: {term of kdjax.stages.methods.TERMS: {"weight": ..., **fields} or None}.
      teacher: fields of kdjax.stages.taught.build: a stage whose network teaches, or
        its stored soft labels, as they are or as a control of them.
      companions: fields of kdjax.stages.companions.build: examples that the network
        sees beside its own, for the term `rdm`.
      reference: {"folder"} of the stage whose stored soft labels the predictions are
        held against, where it has some; they teach nothing.
      corruptions: {name: fields of kdjax.augment.build}: what is done to the examples
        that are evaluated, each by itself, beside the examples as they are.
      start: {"folder", "checkpoint"} of the stage whose parameters the network starts
        from, all that it has by the same name: fine-tuning.
      freeze: patterns of paths, such as "encoder/stage[12].*", each over a whole path;
        the arrays that they match stay as they start, batch norm's statistics too,
        which is then in training as it is in evaluation. They have no optimizer state.
      rates: pairs (pattern, factor of the learning rate), such as (("encoder/.*", .1),)
        (a config's names may have no dots); the first that matches counts.
      unlabelled: train on the examples without a label as well; they take part in every
        term but the cross-entropy.
      augment: fields of kdjax.augment.build, for training.
      soft_labels: write soft_labels.npz when done, of the checkpoint "best" (or True)
        or "last".
      together: train in step with the stages, of all seeds, that differ from this one
        in their data and stored teachers alone, as one program: for networks so small
        that compiling takes longer than training.

    Raises InputError on anything in the config or the data that does not fit.
    """
    if boolean(together, where="config.together"):
        _check_together(teacher, companions, reference)
    dataset = batches.load(data, seed)
    module = networks.build(model, dataset.classes, tuple(freeze))
    example = batches.first(dataset)
    rows = None if unlabelled else batches.labelled(dataset)
    sources, constants = batches.inputs(
        dataset, seed, train=rows, stream=training.stream
    )
    steps = training.total_steps(sources["train"].size)
    whole, schedule = optim.build(
        optimizer, total_steps=steps, batch_size=training.batch_size
    )
    tx = networks.by_path(whole, module, example, freeze=freeze, rates=rates)
    beside = companion.build(companions, dataset) if companions is not None else None
    weighted = terms.build(
        losses,
        teacher=teacher is not None,
        companions=beside is not None,
        total_steps=steps,
    )
    frozen = None
    if teacher is not None:
        frozen = taught.build(teacher, dataset, seed=seed)
    adapters = terms.check(
        weighted, module, example, teacher=frozen, companions=beside is not None
    )
    init = networks.fresh(module, example, tx)
    if start is not None:
        begin = networks.read(start, dataset, where="config.start")
        init = networks.starting_from(begin, init, module, example)
    view = augmentations.build(augment)
    batches.check_view(view, example, where="config.augment")
    loss_fn = _loss_fn(module, weighted, view, frozen, beside, freeze, adapters)
    step = gradient_step(loss_fn, tx, schedule)
    if adapters.module:
        init = attached.init(init, adapters, whole)
        step = attached.step(loss_fn, tx, whole, schedule)
    stored = taught.checkpoint_of(soft_labels)
    judged = evaluation.build(module, dataset, corruptions, reference)
    program = None
    if together:
        sizes = [*example.shape, len(dataset.classes), sources["train"].size]
        compiled_in = (
            *(model, losses, optimizer, augment, corruptions, frozen is None),
            *(freeze, rates),
        )
        program = json.dumps(["distill", sizes, *compiled_in], sort_keys=True)
    return Task(
        init=init,
        step=step,
        evaluate=judged.evaluate,
        summarize=evaluation.summarize,
        metrics=evaluation.METRICS,
        data=sources,
        constants=lambda: (
            constants()
            | judged.constants()
            | {"teacher": frozen.load() if frozen else {}}
            | {"companions": beside.load() if beside else {}}
        ),
        finish=functools.partial(_finish, module, dataset, seed, stored),
        about=batches.about(dataset, sources),
        program=program,
    )


def predictor(stage: Stage, checkpoint: str) -> Predictor:
    """Probabilities [n, classes] of raw examples."""
    module = networks.build(stage.section("model"), tuple(stage.record["classes"]))

    def forward(model: Tree, x: Array) -> Array:
        return jax.nn.softmax(networks.predict(module, model, x).logits)

    model = networks.model_of_stage(stage, checkpoint, module)
    return predictors.of_stage(stage, "probabilities", model, forward)


def _check_together(
    teacher: Mapping[str, Any] | None, *others: Mapping[str, Any] | None
) -> None:
    """InputError where a stage reads what is compiled into its step."""
    alike = teacher is None or (
        teacher.get("stored", False) and not teacher.get("attention", False)
    )
    if not alike or any(other is not None for other in others):
        raise InputError(
            "config.together: expected a stage with a stored teacher at most, without "
            "attention, and no companions or reference, found others"
        )


def _loss_fn(
    module: nn.Module,
    weighted: Mapping[str, terms.Weighted],
    augment: augmentations.Augment,
    teacher: taught.Teacher | None,
    companions: Companions | None,
    freeze: Sequence[str],
    adapters: attached.Modules,
) -> Callable[..., Any]:
    def loss_fn(
        params: Tree, state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[Array, tuple[Tree, dict[str, Array]]]:
        known_state, applied = state.model_state, None
        if adapters.module:
            own = params[attached.ADAPTERS], known_state[attached.ADAPTERS]
            applied = attached.Applied(adapters, *own)
            params = params[attached.STUDENT]
            known_state = known_state[attached.STUDENT]
        x, labels = batches.gather(constants, batch), constants["y"][batch["index"]]
        student_rng, teacher_rng = jax.random.split(rng)
        view = augment(augmentations.example_keys(student_rng, batch["index"]), x)
        params = optim.frozen(params, freeze)
        outputs, model_state = module.apply(
            {"params": params, **known_state},
            view,
            train=True,
            mutable=list(known_state),
        )
        theirs = teacher and teacher.outputs(
            constants["teacher"], batch, x, view, teacher_rng
        )
        seen = None
        if companions is not None:
            own_rng = jax.random.fold_in(rng, COMPANIONS)
            drawn, rdm = companions.draw(constants["companions"], own_rng)
            # with the running statistics, as they are judged: these examples leave no
            # trace in them, and are the same on every device
            model = {"params": params, "model_state": model_state}
            seen = networks.predict(module, model, drawn), rdm
        loss, parts = terms.total(
            weighted, outputs, theirs, labels, state.step, seen, applied
        )
        if applied is not None:
            parted = {attached.STUDENT: model_state, attached.ADAPTERS: applied.moved}
            model_state = parted
        known = labels != UNLABELLED
        hits = known & (jnp.argmax(outputs.logits, axis=-1) == labels)
        # each summed over devices, which may share the known labels unevenly
        hit, labelled = lax.psum((jnp.sum(hits), jnp.sum(known)), AXIS)
        accuracy = hit / jnp.maximum(labelled, 1)
        return loss, (model_state, parts | {"accuracy": accuracy})

    return loss_fn


def _finish(
    module: nn.Module,
    dataset: Dataset,
    seed: int,
    soft_labels: str | None,
    reached: Mapping[str, Tree],
    folder: Path,
) -> None:
    def forward(model: Tree, x: Array) -> Array:
        return networks.predict(module, model, x).logits

    example = np.asarray(batches.first(dataset))
    cost = forward_cost(forward, reached["last"], example)
    files.write_json(folder / "cost.json", cost)
    if soft_labels is not None:
        model, splits = reached[soft_labels], batches.splits(dataset)
        taught.leave(folder, forward, model, splits, seed=seed, checkpoint=soft_labels)
