"""Companions: examples a network sees beside its own, and how unlike they should be.

They are those of an earlier stage that left dissimilarities, `rdm.npz`: that stage's
training and validation examples. Its test examples are kept for judging.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from kdjax.checks import integer
from kdjax.data.dataset import Dataset, as_float, concatenate
from kdjax.data.stored_rdm import FILE, read_rdm
from kdjax.errors import InputError, section
from kdjax.stages import batches, networks

Tree = Any
WHERE = "config.companions"
FEWEST = 3  # of fewer the dissimilarities cannot be correlated


class Companions(NamedTuple):
    """Examples and their dissimilarities, some of them for each step.

    load: () -> the arrays, a part of the constants.
    draw: (arrays, rng) -> (examples [m, ...], rdm [m, m]): others at each step, the
      same on all devices.
    examples: m.
    """

    load: Callable[[], Tree]
    draw: Callable[[Tree, Array], tuple[Array, Array]]
    examples: int


def build(spec: Mapping[str, Any], dataset: Dataset) -> Companions:
    """The companions that the config's section says, for a network of `dataset`.

    {"stage": NAME, "examples": m}: m of that stage's examples at each step, drawn
    without putting back; None, the default: all. InputError on what does not fit.
    """
    spec = section(spec, where=WHERE)
    networks.check_section(spec, where=WHERE, fields=("examples",))
    config = networks.config_of(spec, where=WHERE)
    known = batches.load(config["data"], config["seed"])
    shapes = known.train.x.shape[1:], dataset.train.x.shape[1:]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"{WHERE}: expected examples of shape {shapes[1]}, as this stage's data, "
            f"found {shapes[0]} in {known.name}"
        )
    if known.preprocessing != dataset.preprocessing:
        raise InputError(
            f"{WHERE}: {known.name} is scaled otherwise than this stage's data"
        )
    every = concatenate([known.train, known.validation])
    asked = spec.get("examples")
    count = len(every.y) if asked is None else asked
    integer(count, low=FEWEST, high=len(every.y), where=f"{WHERE}.examples")

    def load() -> Tree:
        rdm = read_rdm(Path(str(spec["folder"])) / FILE, every.key)
        return {"x": as_float(every.x), "rdm": jnp.asarray(rdm, jnp.float32)}

    def draw(arrays: Tree, rng: Array) -> tuple[Array, Array]:
        rows = jax.random.permutation(rng, len(every.y))[:count]
        return arrays["x"][rows], arrays["rdm"][rows][:, rows]

    return Companions(load, draw, count)
