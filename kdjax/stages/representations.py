"""Representations: what a frozen network makes of every example, computed once."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float, Int

from kdjax.data.dataset import UNLABELLED, Dataset
from kdjax.stages import batches, networks
from kdjax.training.host import compile_once

Tree = Any
BATCH = 512  # examples encoded at once


class Features(NamedTuple):
    """Representations [n, width] of the three splits one after another, and labels.

    train, labelled and validation are rows.
    """

    x: Float[np.ndarray, "n width"]
    y: Int[np.ndarray, " n"]
    train: slice
    labelled: np.ndarray
    validation: slice


def frozen(
    spec: Mapping[str, Any] | None,
    model: Mapping[str, Any] | None,
    dataset: Dataset,
    seed: int,
) -> networks.Trained:
    """A network that is not trained here.

    `spec` is {"folder", "checkpoint"} of the stage that trained it, or None: then it is
    `model` as `seed` initialises it, the control.
    """
    if spec is not None:
        return networks.read(spec, dataset, where="config.encoder")
    module = networks.build(model or {}, dataset.classes)

    def initial() -> Tree:
        init = compile_once(functools.partial(module.init, train=False))
        variables = dict(init(jax.random.key(seed), batches.first(dataset)))
        return {"params": variables.pop("params"), "model_state": variables}

    return networks.Trained(module, dataset.classes, initial, model or {})


def encode(
    module: nn.Module,
    model: Tree,
    dataset: Dataset,
    seed: int,
) -> Features:
    """Every example's representation, by the first device alone."""
    sources, load = batches.inputs(dataset, seed)
    constants = load()
    model, resident = jax.device_put((model, constants))

    @jax.jit
    def represent(model: Tree, constants: Tree, batch: Tree) -> Array:
        x = batches.gather(constants, batch)
        return networks.representation(networks.predict(module, model, x))

    parts: dict[str, list[np.ndarray]] = {}
    for name, source in sources.items():
        for batch in source.batches(BATCH, epoch=None):
            found = np.asarray(represent(model, resident, batch))
            parts.setdefault(name, []).append(found[batch["mask"] > 0])
    y, train = constants["y"], sources["train"].size
    return Features(
        x=np.concatenate([part for found in parts.values() for part in found]),
        y=y,
        train=slice(train),
        labelled=np.flatnonzero(y[:train] != UNLABELLED),
        validation=slice(train, train + sources["validation"].size),
    )
