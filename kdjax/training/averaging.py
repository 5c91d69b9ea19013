"""Averaged weights: a model that is the mean of those that training went through."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from kdjax.checks import number
from kdjax.training.state import Metrics, TrainState
from kdjax.training.task import Task

Tree = Any
WHERE = "config.optimizer"


def decay(optimizer: Mapping[str, Any] | None) -> float | None:
    """The field `ema` of a config's optimizer; InputError unless it is in (0, 1)."""
    found = (optimizer or {}).get("ema")
    if found is None:
        return None
    return number(found, where=f"{WHERE}.ema", above=0, below=1)


def averaged(task: Task, optimizer: Mapping[str, Any] | None) -> Task:
    """`task`, its model the exponential moving average of its weights.

    With decay d, the field `ema` of the optimizer, and w_i the weights after update i,
    the average after n updates is

        sum_i d^(n - i) w_i / sum_i d^(n - i)

    so the weights at the start have no part in it (the bias correction of Kingma & Ba
    2015); before the first update it is those. It is what is validated, saved for other
    stages and judged. Training goes on from the weights themselves, of which the logged
    losses are, and batch norm's statistics are as training left them. Polyak &
    Juditsky, "Acceleration of stochastic approximation by averaging", 1992.

    Without the field it is `task` itself. What is set to 0 while training, as by a
    proximal step, is not exactly 0 in the average.
    """
    rate = decay(optimizer)
    if rate is None:
        return task
    every = (optimizer or {}).get("accumulate", 1)

    def init(rng: Array) -> TrainState:
        state = task.init(rng)
        return state._replace(average=state.params)

    def step(
        state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[TrainState, Metrics]:
        alone = state._replace(average=None)
        moved, metrics = task.step(alone, batch, constants, rng)
        share = _share(rate, moved.step, every)

        def mixed(old: Array, new: Array) -> Array:
            # what is held stays the same to the bit
            return jnp.where(old == new, old, (1 - share) * old + share * new)

        average = jax.tree.map(mixed, state.average, moved.params)
        return moved._replace(average=average), metrics

    return task._replace(init=init, step=step)


def _share(rate: float, step: Array, every: int) -> Array:
    """The newest weights' share of the average; 0 after a step without an update."""
    updates = (step // every).astype(jnp.float32)
    # (1 - d) / (1 - d^n), whose differences float32 has not the digits for
    share = math.expm1(math.log(rate)) / jnp.expm1(
        jnp.maximum(updates, 1.0) * math.log(rate)
    )
    share = jnp.where(updates > 1, share, 1.0)
    return jnp.where(step % every == 0, share, 0.0)
