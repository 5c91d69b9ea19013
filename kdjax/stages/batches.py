"""A stage's data as batches: whole on the device, or streamed from files."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from kdjax import data as datasets
from kdjax.augment import Augment
from kdjax.console import say
from kdjax.data.dataset import (
    SPLITS,
    UNLABELLED,
    Dataset,
    Examples,
    as_float,
    epoch_order,
    index_batches,
)
from kdjax.data.stream import ImageFiles, read_ahead
from kdjax.errors import (
    InputError,
    Settings,
    record_settings,
    recorded_settings,
    split_name,
)
from kdjax.training import processes
from kdjax.training.task import Batch, Source

Tree = Any
WHOLE = slice(None)  # of a batch


class Inputs(NamedTuple):
    """What a task reads: `sources` by split, and `constants`, a thunk of arrays.

    A batch's "index" is a row of the constants, in which the splits follow one another.
    """

    sources: dict[str, Source]
    constants: Callable[[], dict[str, np.ndarray]]


@functools.lru_cache(maxsize=2)
def _load(spec: str, seed: int) -> tuple[Dataset, Settings]:
    name, fields = split_name(json.loads(spec), where="config.data", given=("seed",))
    with recorded_settings() as settings:
        dataset = datasets.load(name, seed=seed, **fields)
    if processes.is_first():
        for count in dataset.counts:
            _say_once(_in_words(count))
    return dataset, settings


_say_once = functools.lru_cache(maxsize=2**16)(say)  # not again for every seed


def _in_words(count: Mapping[str, Any]) -> str:
    """`a.csv: 1,000 rows read, 3 incomplete, ...`, of a file's counts."""
    (_, read), *others = ((k, n) for k, n in count.items() if k != "file")
    rest = "".join(f", {number:,} {name}" for name, number in others)
    return f"{count['file']}: {read:,} rows read{rest}"


def load(spec: Mapping[str, Any], seed: int) -> Dataset:
    """The config's `data`, split by `seed`; the stages of one seed share it."""
    dataset, settings = _load(json.dumps(spec), seed)
    record_settings(settings)
    return dataset


@functools.lru_cache(maxsize=64)
def _fingerprint(spec: str, seed: int) -> str:
    dataset = _load(spec, seed)[0]
    used = [dataset.classes, dataset.channels, dataset.preprocessing]
    sha = hashlib.sha256(json.dumps(used).encode())
    for name, split in splits(dataset).items():
        sha.update(name.encode())
        for field in (split.x, split.y, split.group, split.key):
            if isinstance(field, ImageFiles):
                sha.update(field.fingerprint().encode())
                continue
            sha.update(f"{field.shape}{field.dtype}".encode())
            sha.update(np.ascontiguousarray(field).data)
    return sha.hexdigest()


def fingerprint(spec: Mapping[str, Any], seed: int) -> str:
    """SHA-256 of every split's examples, labels, groups and keys, and their scaling.

    Of images that stay in their files, of their names, sizes and times.
    """
    return _fingerprint(json.dumps(spec), seed)


def forget() -> None:
    """Reads data anew from here on: their files may have changed."""
    _load.cache_clear()
    _fingerprint.cache_clear()
    _say_once.cache_clear()


def splits(dataset: Dataset) -> dict[str, Examples]:
    """The dataset's examples by split, in the order of the rows."""
    return {name: getattr(dataset, name) for name in SPLITS}


def labelled(dataset: Dataset) -> np.ndarray:
    """The rows of the training split whose labels are known."""
    return np.flatnonzero(dataset.train.y != UNLABELLED)


def first(dataset: Dataset) -> Array:
    """One training example, [1, ...], for shapes and costs."""
    return jnp.asarray(as_float(dataset.train.x[:1]))


def inputs(
    dataset: Dataset,
    seed: int,
    *,
    train: np.ndarray | None = None,
    read_files: bool = True,
    stream: int | None = None,
) -> Inputs:
    """The batches of every split; of training, those of the rows `train` (or all).

    Examples in files are read for each batch ("x" uint8), unless `read_files` is false.
    `stream` is that of `Training`: which order of examples the seed gives.
    """
    sources, start = {}, 0
    for name, split in splits(dataset).items():
        rows = np.arange(len(split.y))
        if name == "train" and train is not None:
            rows = train
        files = split.x if read_files and isinstance(split.x, ImageFiles) else None
        batches = functools.partial(_batches, files, rows, start, seed, stream or 0)
        sources[name] = Source(len(rows), batches, streamed=files is not None)
        start += len(split.y)

    def constants() -> dict[str, np.ndarray]:
        parts = splits(dataset).values()
        arrays = {"y": np.concatenate([split.y for split in parts])}
        if not isinstance(dataset.train.x, ImageFiles):
            arrays["x"] = np.concatenate([split.x for split in parts])
        return arrays

    return Inputs(sources, constants)


def _batches(
    files: ImageFiles | None,
    examples: np.ndarray,
    start: int,
    seed: int,
    stream: int,
    batch_size: int,
    *,
    epoch: int | None,
    rows: slice = WHOLE,
    skip: int = 0,
) -> Iterator[Batch]:
    order = examples
    if epoch is not None:
        own = epoch_order(len(examples), seed=seed, epoch=epoch, stream=stream)
        order = examples[own]
    batches = index_batches(
        len(examples), batch_size, order=order, drop_remainder=epoch is not None
    )
    batches = itertools.islice(batches, skip, None)
    if rows != WHOLE:
        batches = ({name: x[rows] for name, x in b.items()} for b in batches)
    if files is not None:
        batches = read_ahead(batches, files)
    for batch in batches:
        yield batch | {"index": batch["index"] + np.int32(start)}


def gather(constants: Mapping[str, Any], batch: Mapping[str, Array]) -> Array:
    """A batch's examples [n, ...] float32, inside a step: gathered, or as streamed."""
    if "x" in batch:
        return batch["x"].astype(jnp.float32) / 255
    return constants["x"][batch["index"]]


def check_view(view: Augment, example: Array, *, where: str) -> None:
    """Traces an augmentation on shapes alone, so that what does not fit is said."""
    try:
        jax.eval_shape(view, jax.random.split(jax.random.key(0), 1), example)
    except (ValueError, TypeError) as error:
        line = str(error).splitlines()[0]
        raise InputError(f"{where}: {line}") from error


def about(dataset: Dataset, sources: Mapping[str, Source]) -> dict[str, Any]:
    """What a stage's record says of its data: enough to use it on raw examples."""
    sizes = {name: source.size for name, source in sources.items()}
    counts = {"counts": [dict(count) for count in dataset.counts]}
    known = len(labelled(dataset))
    if known != len(dataset.train.y):
        sizes["labelled"] = known
    return {
        "data": dataset.name,
        "synthetic": dataset.synthetic,
        "classes": list(dataset.classes),
        "examples": sizes,
        "input": {
            "shape": list(dataset.train.x.shape[1:]),
            "channels": list(dataset.channels),
        },
        "preprocessing": list(dataset.preprocessing),
        "split": {name: _described(split) for name, split in splits(dataset).items()},
        **(counts if dataset.counts else {}),
    }


def _described(split: Examples) -> dict[str, Any]:
    """A split's groups, and what identifies its examples."""
    groups = np.unique(split.group)
    alone = len(groups) == len(split.y)  # each example is its own group
    keys = hashlib.sha256("\n".join(split.key.tolist()).encode()).hexdigest()
    return {
        "examples": len(split.y),
        "groups": None if alone else groups.tolist(),
        "keys": keys,
    }
