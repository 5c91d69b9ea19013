"""Autoencoders, BeatGAN's generator among them, trained alone on normal examples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from kdjax import augment as augmentations
from kdjax.stages import batches, networks
from kdjax.stages.predictor import Predictor
from kdjax.stages.record import Stage
from kdjax.tasks.anomaly import metrics, scoring
from kdjax.training import optim
from kdjax.training.state import TrainState, gradient_step
from kdjax.training.task import Task, Training

Tree = Any


def make(
    *,
    data: Mapping[str, Any],
    model: Mapping[str, Any],
    training: Training,
    optimizer: Mapping[str, Any],
    seed: int,
    augment: Mapping[str, Any] | None = None,
) -> Task:
    """The task of one stage; nothing compiles here.

    Fields are those of `beatgan`, but `model`: of kdjax.models.build_autoencoder.
    Raises InputError on anything in the config or the data that does not fit.
    """
    inputs = scoring.inputs(data, training, seed)
    network = scoring.autoencoder(model)
    tx, schedule = optim.build(
        optimizer,
        total_steps=training.total_steps(inputs.sources["train"].size),
        batch_size=training.batch_size,
    )
    example = batches.first(inputs.dataset)
    networks.shapes(network, example)  # an InputError if they do not fit
    view = augmentations.build(augment)
    batches.check_view(view, example, where="config.augment")
    reconstruct_by = functools.partial(reconstruct, network)
    score = scoring.squared_error(reconstruct_by)
    return Task(
        init=networks.fresh(network, example, tx),
        step=gradient_step(_loss_fn(network, view), tx, schedule),
        evaluate=functools.partial(scoring.evaluate, score),
        summarize=scoring.summarize(inputs.dataset),
        metrics=metrics.METRICS,
        data=inputs.sources,
        constants=inputs.constants,
        finish=functools.partial(
            scoring.finish,
            score,
            reconstruct_by,
            inputs.dataset,
            training.eval_batch_size,
        ),
        about=scoring.about(inputs),
    )


def reconstruct(network: nn.Module, model: Tree, x: Array) -> Array:
    """The reconstruction, with the running statistics."""
    variables = {"params": model["params"], **model["model_state"]}
    reconstruction: Array = network.apply(variables, x, train=False)[0]
    return reconstruction


def predictor(stage: Stage, checkpoint: str) -> Predictor:
    """Scores [n] of raw examples, and their reconstructions."""
    module = scoring.autoencoder(stage.section("model"))
    model = networks.model_of_stage(stage, checkpoint, module)
    return scoring.predictor(stage, model, functools.partial(reconstruct, module))


def _loss_fn(network: nn.Module, view: augmentations.Augment) -> Callable[..., Any]:
    def loss_fn(
        params: Tree, state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[Array, tuple[Tree, dict[str, Array]]]:
        keys = augmentations.example_keys(rng, batch["index"])
        x = view(keys, batches.gather(constants, batch))
        (reconstruction, _), model_state = network.apply(
            {"params": params, **state.model_state},
            x,
            train=True,
            mutable=list(state.model_state),
        )
        return jnp.mean(jnp.square(reconstruction - x)), (model_state, {})

    return loss_fn
