"""The decoder `network`: any of kdjax.models, trained anew on each fold's volumes.

config.decoder = {"name": "network", "model": {"name": "resnet", "stem": "imagenet"}}
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import jax
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from kdjax import models
from kdjax.checks import integer, number
from kdjax.errors import InputError, split_name
from kdjax.losses import cross_entropy
from kdjax.models import Network, Outputs
from kdjax.tasks.brain.decoding.decoders import (
    WHERE,
    Fit,
    Labels,
    Predict,
    Responses,
    check_count,
    check_volumes,
    prepared,
)
from kdjax.training.host import compile_once
from kdjax.training.loop import Diverged
from kdjax.training.state import TrainState, create_state

MLP: Mapping[str, Any] = {"name": "mlp", "widths": (128,)}


class _Programs(NamedTuple):
    """The network's compiled functions, of batches [batch_size, voxels, 1].

    init: (key, x) -> state; step: (state, x, y) -> (state, loss), and the state given
    is no more; logits: (state, x) -> [batch_size, classes].
    """

    init: Callable[..., TrainState]
    step: Callable[..., tuple[TrainState, Array]]
    logits: Callable[..., Array]


def network(
    *,
    seed: int,
    model: Mapping[str, Any] = MLP,
    epochs: int = 100,
    batch_size: int = 16,
    learning_rate: float | int = 1e-3,
    weight_decay: float | int = 1e-2,
    voxels: int | None = None,
) -> Fit:
    """A network of standardised voxels, trained by AdamW on their cross-entropy.

    `model`: the fields of `kdjax.models.build`, for volumes as series [voxels, 1]: an
    MLP flattens them, a convolutional network runs over voxels in the file's order.
    Every epoch goes through the training volumes in an order of its own; the epochs are
    strung together and cut into batches, the last one filled from the epoch that would
    follow. So every fold, however many volumes it has, runs the one compiled step. The
    rate is constant, and the last step's network is the decoder: nothing is held out
    and no epoch is chosen.

    The seed draws the first parameters and the orders: the same seed gives the same
    bits on the same processor, versions and threads. Raises Diverged for a loss that is
    not finite.
    """
    build = functools.partial(_build, model)
    build(2)  # names a wrong field before any volumes are read
    integer(epochs, low=1, where=f"{WHERE}.epochs")
    integer(batch_size, low=1, where=f"{WHERE}.batch_size")
    rate = number(learning_rate, above=0, where=f"{WHERE}.learning_rate")
    decay = number(weight_decay, low=0, where=f"{WHERE}.weight_decay")
    check_count(voxels)
    optimizer = optax.adamw(rate, weight_decay=decay)

    @functools.cache
    def programs(classes: int) -> _Programs:
        return _compiled(build(classes), optimizer)

    def fit(x: Responses, y: Labels, run: NDArray[Any], classes: int) -> Predict:
        check_volumes(x, y, classes, voxels)
        features, transform = prepared(x, y, voxels)
        init, step, logits = programs(classes)
        state = init(jax.random.key(seed), features[:1, :, None])
        loss: Array | float = math.nan
        for rows in _batches(len(y), epochs=epochs, size=batch_size, seed=seed):
            state, loss = step(state, features[rows, :, None], y[rows])
        if not math.isfinite(loss):
            raise Diverged(WHERE, f"the loss is {float(loss)} after {epochs} epochs")

        def predict(x: Responses) -> NDArray[np.float32]:
            series = transform(x)[..., None]
            count = -(-len(x) // batch_size)
            # whole batches, the last one filled with volumes that were already there
            filled = np.resize(series, (count, batch_size, *series.shape[1:]))
            return np.concatenate([logits(state, part) for part in filled])[: len(x)]

        return predict

    return fit


def _build(model: Mapping[str, Any], classes: int) -> Network:
    """The network of a decoder's `model`, whose fields its errors name."""
    name, fields = split_name(
        model, where=f"{WHERE}.model", given=("classes", "norm_axis")
    )
    try:
        return models.build(name, classes=classes, **fields)
    except InputError as error:
        own = str(error).removeprefix("config.")
        raise InputError(f"{WHERE}.{own}") from error


def _compiled(module: Network, optimizer: optax.GradientTransformation) -> _Programs:
    def init(key: Array, x: Array) -> TrainState:
        return create_state(module.init(key, x, train=False), optimizer)

    def step(state: TrainState, x: Array, y: Array) -> tuple[TrainState, Array]:
        def loss_of(params: Any) -> tuple[Array, Any]:
            variables = {"params": params, **state.model_state}
            kept = list(state.model_state)
            outputs, moved = module.apply(variables, x, train=True, mutable=kept)
            return cross_entropy(outputs.logits, y), moved

        (loss, moved), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            state.params
        )
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, moved, opt_state), loss

    def logits(state: TrainState, x: Array) -> Array:
        variables = {"params": state.params, **state.model_state}
        return cast(Outputs, module.apply(variables, x, train=False)).logits

    return _Programs(
        compile_once(init), jax.jit(step, donate_argnums=0), jax.jit(logits)
    )


def _batches(
    n: int, *, epochs: int, size: int, seed: int
) -> Iterator[NDArray[np.intp]]:
    """Rows of `n` volumes in batches of `size`: `epochs` of them, and what fills up."""
    rng = np.random.default_rng(seed)
    left = np.empty(0, np.intp)
    for _ in range(-(-epochs * n // size)):
        while len(left) < size:
            left = np.concatenate([left, rng.permutation(n)])
        yield left[:size]
        left = left[size:]
