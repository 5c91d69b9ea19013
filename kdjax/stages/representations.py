"""Representations: what a frozen network makes of every example, computed once."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path, tree_map_with_path
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from kdjax import archives, files
from kdjax.data.dataset import UNLABELLED, Dataset, Examples
from kdjax.errors import InputError
from kdjax.stages import batches, networks
from kdjax.training import parallel, processes
from kdjax.training.host import compile_once
from kdjax.training.task import Batch, Source

Tree = Any
Solved = dict[str, NDArray[Any]]
BATCH = 512  # examples encoded at once
FROZEN = "frozen.npz"


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


def shape(module: nn.Module, example: Array) -> tuple[int, ...]:
    """The shape of the representations of `example` [n, ...]; nothing is computed."""

    def represent(rng: Array) -> Array:
        outputs, _ = module.init_with_output(rng, example, train=False)
        return networks.representation(outputs)

    return jax.eval_shape(represent, jax.random.key(0)).shape


def encode(
    module: nn.Module,
    model: Tree,
    dataset: Dataset,
    seed: int,
) -> Features:
    """Every example's representation, by the first device of each process.

    All processes call this: each encodes its part, and has the others' from them.
    """
    sources, load = batches.inputs(dataset, seed)
    constants = load()
    model, resident = jax.device_put((model, constants))

    @jax.jit
    def represent(model: Tree, constants: Tree, batch: Tree) -> Array:
        x = batches.gather(constants, batch)
        return networks.representation(networks.predict(module, model, x))

    parts: dict[str, list[np.ndarray]] = {}
    for name, source in sources.items():
        for batch in source.own(BATCH * processes.count(), epoch=None):
            x = parallel.gather(np.asarray(represent(model, resident, batch)))
            parts.setdefault(name, []).append(x[parallel.gather(batch["mask"]) > 0])
    y, train = constants["y"], sources["train"].size
    return Features(
        x=np.concatenate([part for split in parts.values() for part in split]),
        y=y,
        train=slice(train),
        labelled=np.flatnonzero(y[:train] != UNLABELLED),
        validation=slice(train, train + sources["validation"].size),
    )


def streamed(source: Source, features: Callable[[], Features]) -> Source:
    """The same batches with the representations, "x", which stay on the host."""

    def batches_of(
        batch_size: int,
        *,
        epoch: int | None,
        rows: slice = batches.WHOLE,
        skip: int = 0,
    ) -> Iterator[Batch]:
        every = source.batches(batch_size, epoch=epoch)
        for batch in itertools.islice(every, skip, None):
            own = {name: values[rows] for name, values in batch.items()}
            yield own | {"x": features().x[own["index"]]}

    return Source(source.size, batches_of, streamed=True)


def as_examples(features: Features, dataset: Dataset) -> dict[str, Examples]:
    """The splits of a dataset, with representations in the place of their `x`."""
    found, start = {}, 0
    for name, split in batches.splits(dataset).items():
        end = start + len(split.y)
        found[name], start = split._replace(x=features.x[start:end]), end
    return found


def write_frozen(folder: Path, encoder: Tree, solved: Solved) -> None:
    """Writes a frozen network, and what was solved on its representations, to FROZEN.

    So a stage needs no other stage's folder to be used.
    """
    tree = {"encoder": encoder, "solved": solved}
    arrays: dict[str, Any] = {_name(p): x for p, x in tree_leaves_with_path(tree)}
    files.write(folder / FROZEN, lambda file: np.savez(file, **arrays))


def read_frozen(folder: Path, encoder: Tree) -> tuple[Tree, Solved]:
    """(encoder, solved) of FROZEN as NumPy; `encoder` is a pytree of its shapes.

    InputError if the file is absent or damaged, or of a network of other shapes.
    """
    path = folder / FROZEN
    arrays = archives.read_npz(path, expected="a frozen network")

    def choose(place: tuple[Any, ...], leaf: Any) -> NDArray[Any]:
        name = _name(place)
        if name not in arrays or arrays[name].shape != leaf.shape:
            other = arrays[name].shape if name in arrays else "none"
            raise InputError(f"{path}: {name}: expected {leaf.shape}, found {other}")
        return arrays[name]

    solved = {
        name.removeprefix("solved/"): array
        for name, array in arrays.items()
        if name.startswith("solved/")
    }
    return tree_map_with_path(choose, {"encoder": encoder})["encoder"], solved


def _name(path: tuple[Any, ...]) -> str:
    """`encoder/params/Dense_0/kernel`: an array's name in FROZEN."""
    return keystr(path, simple=True, separator="/")
