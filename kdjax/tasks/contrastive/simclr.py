"""The task `simclr`: two views of every example agree, and differ from all others.

Chen et al. 2020, "A simple framework for contrastive learning of visual
representations" and "Big self-supervised models are strong semi-supervised learners".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from kdjax import augment as augmentations
from kdjax import files, losses
from kdjax.checks import boolean, integer, number
from kdjax.errors import InputError, call, section
from kdjax.stages import batches, networks
from kdjax.stages.predictor import Predictor, of_stage
from kdjax.stages.record import Stage
from kdjax.tasks.contrastive import metrics
from kdjax.tasks.contrastive.metrics import contrastive_sums, moments, unit
from kdjax.training import optim
from kdjax.training.cost import forward_cost
from kdjax.training.parallel import AXIS
from kdjax.training.state import TrainState, gradient_step
from kdjax.training.task import Task, Training

Tree = Any


class Contrast(NamedTuple):
    """The config's `contrast` section.

    temperature, chunk_size, ring: those of losses.nt_xent.
    microbatches: how many each device's part of the batch is cut into, to be encoded
      one after another: the gradient is that of the whole batch's loss, and the memory
      that of one microbatch and of all projections. Each is encoded twice, and batch
      norm sees one at a time (over all devices), so with it the result is that of batch
      norm over smaller batches; with `frozen_statistics` or without batch norm it is
      the same as in one. Gao et al. 2021, "Scaling deep contrastive learning batch size
      under memory limited setup".
    frozen_statistics: batch norm normalises by its running statistics, which stay.
    """

    temperature: float = 0.1
    chunk_size: int | None = None
    ring: bool = False
    microbatches: int = 1
    frozen_statistics: bool = False


def make(
    *,
    data: Mapping[str, Any],
    model: Mapping[str, Any],
    training: Training,
    optimizer: Mapping[str, Any],
    augment: Mapping[str, Any] | None,
    seed: int,
    contrast: Mapping[str, Any] | None = None,
    start: Mapping[str, Any] | None = None,
) -> Task:
    """The task of one stage; nothing compiles and no checkpoint is read here.

    Args:
      data: fields of kdjax.data.load; labels are not used.
      model: fields of kdjax.models.build, with the whole `projection` head.
      optimizer: fields of kdjax.training.optim.build.
      augment: fields of kdjax.augment.build; each view is one draw of it.
      contrast: fields of Contrast.
      start: {"folder", "checkpoint"} of the stage whose parameters the network starts
        from.

    Raises InputError on anything in the config or the data that does not fit.
    """
    settings: Contrast = call(Contrast, contrast or {}, where="config.contrast")
    _check(settings, training)
    projection = section(model.get("projection") or {}, where="config.model.projection")
    if not projection or projection.get("keep") is not None:
        raise InputError(
            "config.model.projection: expected a whole projection head ('hidden' and "
            "'outputs', no 'keep') to pretrain"
        )
    dataset = batches.load(data, seed)
    module = networks.build(model, dataset.classes)
    sources, constants = batches.inputs(dataset, seed, stream=training.stream)
    tx, schedule = optim.build(
        optimizer,
        total_steps=training.total_steps(sources["train"].size),
        batch_size=training.batch_size,
    )
    example = batches.first(dataset)
    views = augmentations.build(augment)
    batches.check_view(views, example, where="config.augment")
    init = networks.fresh(module, example, tx)
    if start is not None:
        begin = networks.read(start, dataset, where="config.start")
        init = networks.starting_from(begin, init, module, example)
    return Task(
        init=init,
        step=gradient_step(_loss_fn(module, views, settings), tx, schedule),
        evaluate=functools.partial(_evaluate, module, views, settings),
        summarize=metrics.summarize,
        metrics=metrics.METRICS,
        data=sources,
        constants=constants,
        finish=functools.partial(_finish, module, np.asarray(example)),
        microbatches=settings.microbatches,
        about=batches.about(dataset, sources),
    )


def predictor(stage: Stage, checkpoint: str) -> Predictor:
    """Embeddings [n, width] of raw examples: the encoder's representations."""
    module = networks.build(stage.section("model"), tuple(stage.record["classes"]))

    def forward(model: Tree, x: Array) -> Array:
        return networks.representation(networks.predict(module, model, x))

    model = networks.model_of_stage(stage, checkpoint, module)
    return of_stage(stage, "embeddings", model, forward)


def _check(settings: Contrast, training: Training) -> None:
    where = "config.contrast"
    number(settings.temperature, above=0, where=f"{where}.temperature")
    integer(settings.microbatches, low=1, where=f"{where}.microbatches")
    if settings.chunk_size is not None:
        integer(settings.chunk_size, low=1, where=f"{where}.chunk_size")
    boolean(settings.ring, where=f"{where}.ring")
    boolean(settings.frozen_statistics, where=f"{where}.frozen_statistics")
    if training.batch_size < 2:
        raise InputError(
            "config.training.batch_size: expected 2 or more, for the other examples "
            f"are the negatives; found {training.batch_size}"
        )


def _loss_fn(
    module: nn.Module, views: augmentations.Augment, settings: Contrast
) -> Callable[..., Any]:
    def loss_fn(
        params: Tree, state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[Array, tuple[Tree, dict[str, Array]]]:
        def encode(model_state: Tree, part: Tree) -> tuple[Tree, Array]:
            """The projections of a part's two views, [2, n, dim]."""
            x = batches.gather(constants, part)
            both = [
                views(augmentations.example_keys(key, part["index"]), x)
                for key in jax.random.split(rng)
            ]
            outputs, model_state = module.apply(
                {"params": params, **model_state},
                jnp.concatenate(both),
                train=not settings.frozen_statistics,
                mutable=list(model_state),
            )
            return model_state, jnp.stack(jnp.split(outputs.logits, 2))

        model_state, (z1, z2) = _by_microbatch(
            encode, state, batch, settings.microbatches
        )
        loss = losses.nt_xent(
            z1,
            z2,
            temperature=settings.temperature,
            axis_name=AXIS,
            chunk_size=settings.chunk_size,
            ring=settings.ring,
        )
        apart = jnp.sum(jnp.square(unit(z1) - unit(z2)), axis=-1)
        return loss, (model_state, {"alignment": jnp.mean(apart)})

    return loss_fn


def _by_microbatch(
    encode: Callable[[Tree, Tree], tuple[Tree, Array]],
    state: TrainState,
    batch: Tree,
    microbatches: int,
) -> tuple[Tree, Array]:
    """`encode` of the whole batch, a microbatch at a time if there are several.

    Nothing but a microbatch's projections is kept for the backward pass, which encodes
    it again.
    """
    size = batch["index"].shape[0]
    if microbatches == 1:
        return encode(state.model_state, batch)
    cut = jax.tree.map(lambda x: x.reshape(microbatches, -1, *x.shape[1:]), batch)
    again = jax.checkpoint(encode, prevent_cse=False)
    model_state, z = lax.scan(again, state.model_state, cut)
    return model_state, jnp.moveaxis(z, 0, 1).reshape(2, size, -1)


def _evaluate(
    module: nn.Module,
    views: augmentations.Augment,
    settings: Contrast,
    model: Tree,
    batch: Tree,
    constants: Tree,
) -> dict[str, tuple[Array, Array]]:
    """Sums over two views of each example, the same at every evaluation."""
    x, mask = batches.gather(constants, batch), batch["mask"]
    outputs = []
    for key in jax.random.split(jax.random.key(0)):
        view = views(augmentations.example_keys(key, batch["index"]), x)
        outputs.append(networks.predict(module, model, view))
    z1, z2 = (unit(output.logits) for output in outputs)
    loss = losses.nt_xent(
        z1,
        z2,
        temperature=settings.temperature,
        axis_name=AXIS,
        chunk_size=settings.chunk_size,
        mask=mask,
    )
    counted = lax.psum(jnp.sum(mask), AXIS)
    sums = contrastive_sums(z1, z2, mask) | {
        "moments": moments(networks.representation(outputs[0]), mask)
    }
    return lax.psum(sums, AXIS) | {"loss": (loss * counted, counted)}


def _finish(
    module: nn.Module, example: np.ndarray, reached: Mapping[str, Tree], folder: Path
) -> None:
    def forward(model: Tree, x: Array) -> Array:
        return networks.predict(module, model, x).logits

    files.write_json(
        folder / "cost.json", forward_cost(forward, reached["last"], example)
    )
