"""BeatGAN: an autoencoder of normal examples, trained against a discriminator.

It must match the discriminator's features too; what it reconstructs badly is abnormal.

Every step trains the discriminator, then the generator with the updated discriminator.
Beside the plain losses the discriminator may teach itself (FRSKD), agree with itself on
two views (SimCLR), and the generator may learn from a trained one. Zhou et al., IJCAI
2019; Ji et al., CVPR 2021; Chen et al., ICML 2020.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import jax
import optax
from jaxtyping import Array

from kdjax import augment as augmentations
from kdjax.checks import number
from kdjax.data.dataset import Dataset
from kdjax.errors import InputError, call, lookup
from kdjax.models import BeatGAN
from kdjax.stages import batches, networks
from kdjax.stages.predictor import Predictor
from kdjax.stages.record import Stage
from kdjax.tasks.anomaly import metrics, scoring
from kdjax.tasks.anomaly.beatgan_step import (
    Adversarial,
    Contrastive,
    Networks,
    Reconstruction,
    SelfDistillation,
    Terms,
    split_sides,
    step,
    variables,
)
from kdjax.training import optim
from kdjax.training.host import compile_once
from kdjax.training.state import TrainState, create_state
from kdjax.training.task import Task, Training

Tree = Any


def make(
    *,
    data: Mapping[str, Any],
    model: Mapping[str, Any],
    training: Training,
    optimizer: Mapping[str, Any],
    seed: int,
    losses: Mapping[str, Mapping[str, Any] | None] | None = None,
    augment: Mapping[str, Any] | None = None,
    start: Mapping[str, Any] | None = None,
    encoder: Mapping[str, Any] | None = None,
    teacher: Mapping[str, Any] | None = None,
) -> Task:
    """The task of one stage; nothing compiles and no checkpoint is read here.

    Args:
      data: fields of kdjax.data.load; class 0 is normal, and alone learnt from.
      model: fields of kdjax.models.build_gan. `self_teacher` and `projection` are there
        if and only if the terms that need them are.
      optimizer: fields of kdjax.training.optim.build; each side has its own.
      losses: {field of Terms: its fields, or None}.
      augment: fields of kdjax.augment.build, for what both sides train on.
      start: {"folder", "checkpoint"} of the BeatGAN stage to go on from.
      encoder: {"folder", "checkpoint"} of the `simclr` stage that pretrained the
        discriminator's encoder; laid over `start`.
      teacher: {"folder", "checkpoint"} of the BeatGAN stage whose reconstructions the
        term `reconstruction` compares with.

    Raises InputError on anything in the config or the data that does not fit.
    """
    inputs = scoring.inputs(data, training, seed)
    terms = _terms(losses or {})
    module = scoring.gan(model)
    _check_parts(module, terms, teacher)
    tx, schedule = optim.build(
        optimizer,
        total_steps=training.total_steps(inputs.sources["train"].size),
        batch_size=training.batch_size,
    )
    example = batches.first(inputs.dataset)
    networks.shapes(module, example)  # an InputError if they do not fit
    frozen = teacher and _read(teacher, inputs.dataset, where="config.teacher")
    contrast = terms.contrastive
    what = Networks(
        module,
        terms,
        _view(augment, example, where="config.augment"),
        contrast
        and _view(contrast.augment, example, where="config.losses.contrastive.augment"),
        cast(BeatGAN, frozen.module) if frozen else None,
    )
    reconstruct_by = functools.partial(reconstruct, module)
    score = scoring.squared_error(reconstruct_by)
    return Task(
        init=_init(module, inputs.dataset, tx, start, encoder),
        step=step(what, tx, schedule),
        evaluate=functools.partial(scoring.evaluate, score),
        summarize=scoring.summarize(inputs.dataset),
        metrics=metrics.METRICS,
        data=inputs.sources,
        constants=lambda: (
            inputs.constants() | {"teacher": frozen.load() if frozen else {}}
        ),
        finish=functools.partial(
            _finish, score, reconstruct_by, inputs.dataset, training.eval_batch_size
        ),
        about=scoring.about(inputs),
    )


def reconstruct(module: BeatGAN, model: Tree, x: Array) -> Array:
    """The generator's reconstruction, with the running statistics."""
    own = variables("generator", model["params"], model["model_state"])
    reconstruction: Array = module.generator.apply(own, x, train=False)[0]
    return reconstruction


def predictor(stage: Stage, checkpoint: str) -> Predictor:
    """Scores [n] of raw examples, and their reconstructions."""
    module = scoring.gan(stage.section("model"))
    model = networks.model_of_stage(stage, checkpoint, module)
    return scoring.predictor(stage, model, functools.partial(reconstruct, module))


def _terms(sections: Mapping[str, Mapping[str, Any] | None]) -> Terms:
    kinds = {
        "adversarial": Adversarial,
        "self_distillation": SelfDistillation,
        "contrastive": Contrastive,
        "reconstruction": Reconstruction,
    }
    terms: dict[str, Any] = {}
    for name, fields in sections.items():
        where = f"config.losses.{name}"
        kind = lookup(name, kinds, where="config.losses")
        if fields is None:
            if name == "adversarial":
                raise InputError(
                    f"{where}: expected its fields, found None (weight 0?)"
                )
            continue
        terms[name] = call(kind, fields, where=where)
        for field, value in terms[name]._asdict().items():
            if field == "augment":
                continue
            bounds = {"above": 0} if field == "temperature" else {"low": 0}
            number(value, where=f"{where}.{field}", **bounds)
    return Terms(**terms)


def _check_parts(
    module: BeatGAN, terms: Terms, teacher: Mapping[str, Any] | None
) -> None:
    """What a term needs is there, and nothing is there for no term."""
    for part, term in (
        ("self_teacher", "self_distillation"),
        ("projection", "contrastive"),
    ):
        has, needs = getattr(module, part), getattr(terms, term)
        if (has is None) != (needs is None):
            raise InputError(
                f"config.model.{part}: config.losses.{term} needs it, and nothing else "
                f"does; found {'it' if has else 'none'} {'without' if has else 'for'} "
                "that term"
            )
    if (teacher is None) != (terms.reconstruction is None):
        raise InputError(
            "config.teacher: config.losses.reconstruction needs it, and nothing else "
            f"does; found {'none for' if teacher is None else 'it without'} that term"
        )


def _view(
    spec: Mapping[str, Any] | None, example: Array, *, where: str
) -> augmentations.Augment:
    view = augmentations.build(spec, where=where)
    batches.check_view(view, example, where=where)
    return view


def _read(spec: Mapping[str, Any], dataset: Dataset, *, where: str) -> networks.Trained:
    return networks.read(spec, dataset, where=where, module=scoring.gan, task="beatgan")


def _finish(
    score: scoring.Score,
    reconstruct_by: scoring.Reconstruct,
    dataset: Dataset,
    batch_size: int,
    reached: Mapping[str, Tree],
    folder: Path,
) -> None:
    """`scoring.finish` of the generator alone: it is all that scores."""
    alone = {
        kind: {
            "params": split_sides(model["params"])["generator"],
            "model_state": {
                name: {"generator": parts["generator"]}
                for name, parts in model["model_state"].items()
            },
        }
        for kind, model in reached.items()
    }
    scoring.finish(score, reconstruct_by, dataset, batch_size, alone, folder)


def _init(
    module: BeatGAN,
    dataset: Dataset,
    tx: optax.GradientTransformation,
    start: Mapping[str, Any] | None,
    encoder: Mapping[str, Any] | None,
) -> Callable[[Array], TrainState]:
    """rng -> the state at step 0, with what earlier stages have learnt."""
    example = batches.first(dataset)
    init = _fresh(module, example, tx)
    template = jax.eval_shape(init, jax.random.key(0))
    if start is not None:
        begin = _read(start, dataset, where="config.start")
        init = networks.starting_from(begin, init, module, example)
    if encoder is not None:
        begin = networks.read(encoder, dataset, where="config.encoder")
        _replaced(template, networks.shapes(begin.module, example))
        init = _with_encoder(begin, init)
    return init


def _fresh(
    module: BeatGAN, example: Array, tx: optax.GradientTransformation
) -> Callable[[Array], TrainState]:
    """rng -> the state at step 0, with an optimiser for either side."""

    @compile_once
    def init(rng: Array) -> TrainState:
        state = create_state(module.init(rng, example, train=False), tx)
        sides = split_sides(state.params)
        return state._replace(
            opt_state={name: tx.init(side) for name, side in sides.items()}
        )

    return init


def _with_encoder(
    begin: networks.Trained, init: Callable[[Array], TrainState]
) -> Callable[[Array], TrainState]:
    """`init`, the discriminator's encoder in the place of its own."""
    return lambda rng: _replaced(init(rng), begin.load())


def _replaced(state: TrainState, encoder: Tree) -> TrainState:
    """The state with what `encoder` has of the discriminator's variables."""
    name = "discriminator"
    own = variables(name, state.params, state.model_state)
    fresh = {"params": own.pop("params"), "model_state": own}
    part = networks.overlay(encoder, fresh, where="config.encoder")
    model_state = {
        kind: parts | {name: part["model_state"][kind]}
        for kind, parts in state.model_state.items()
    }
    return state._replace(
        params=state.params | {name: part["params"]}, model_state=model_state
    )
