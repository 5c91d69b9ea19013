"""The training state, and the common step: one loss, one optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from kdjax.training.parallel import AXIS

Tree = Any
Metrics = dict[str, Float[Array, ""]]


class TrainState(NamedTuple):
    """All that changes during training.

    `params` and `model_state` (batch statistics) make a model and are saved apart from
    `opt_state`. A task with several networks or optimisers keeps them as dicts here.
    `average` is None, or the average of `params` over the updates, which is then the
    model's in their place (`averaging.averaged`).
    """

    step: Int[Array, ""]
    params: Tree
    model_state: Tree
    opt_state: Tree
    average: Tree = None


def create_state(
    variables: Tree, optimizer: optax.GradientTransformation
) -> TrainState:
    """The state at step 0 from a linen module's initial variables."""
    model_state = {k: v for k, v in variables.items() if k != "params"}
    params = variables["params"]
    return TrainState(
        jnp.zeros((), jnp.int32), params, model_state, optimizer.init(params)
    )


def untrained_state(params: Tree) -> TrainState:
    """The state of a task without steps: what was fitted, and no optimiser."""
    return TrainState(jnp.zeros((), jnp.int32), params, {}, optax.EmptyState())


def no_step(*_: Any) -> Any:
    """The step of a task that `Training.check_untrained` lets through."""
    raise AssertionError("there is no step: the epochs are 0")


LossFn = Callable[..., tuple[Float[Array, ""], tuple[Tree, Metrics]]]


def gradient_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """The step `(state, batch, constants, rng) -> (state, metrics)` of one loss.

    Args:
      loss_fn: (params, state, batch, constants, rng) -> (loss, (model_state, metrics)),
        the mean over this device's examples.
      optimizer: an optax transformation, over the gradient of the mean over devices.
      schedule: step -> learning rate, for the metrics only.
    """

    def step(
        state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[TrainState, Metrics]:
        def mean_loss(params: Tree) -> tuple[Array, tuple[Tree, Metrics]]:
            loss, aux = loss_fn(params, state, batch, constants, rng)
            return lax.pmean(loss, AXIS), aux

        gradient_fn = jax.value_and_grad(mean_loss, has_aux=True)
        (loss, (model_state, metrics)), gradients = gradient_fn(state.params)
        gradients, metrics = lax.pmean((gradients, metrics), AXIS)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        metrics = metrics | {
            "loss": loss,
            "grad_norm": optax.tree.norm(gradients),
            "learning_rate": jnp.asarray(schedule(state.step)),
        }
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, model_state, opt_state), metrics

    return step
