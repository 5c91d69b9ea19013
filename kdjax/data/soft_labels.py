"""Soft labels: a teacher's logits keyed by example id, in one file.

`soft_labels.npz` holds key [n] str, label [n] int32, split [n] str, fold [n] int32,
logits [n, classes] float32 and header, a JSON string. They are joined by key, never by
row, and are logits: the reader applies its softmax, once. `fold` says which part of the
data the teacher had not seen when it made a row; -1 where it had learnt from the very
example.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax import files
from kdjax.data.dataset import (
    UNLABELLED,
    Examples,
    as_float,
    index_batches,
    rows_of,
    take,
)
from kdjax.errors import InputError

FILE = "soft_labels.npz"
IN_SAMPLE = -1  # the fold of an example that the teacher learnt from


class SoftLabels(NamedTuple):
    """Logits float32 `[n, classes]` with label int `[n]` and split str `[n]`."""

    label: np.ndarray
    split: np.ndarray
    logits: np.ndarray


def write_soft_labels(
    path: Path,
    predict: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    splits: Mapping[str, Examples],
    header: Mapping[str, Any],
    *,
    batch_size: int = 512,
) -> None:
    """Writes `predict(x [batch_size, ...]) -> logits` of every split's examples.

    `label` is each example's `y` as it is: -1 where training has none. The network
    learnt from the training split: that is in-sample.
    """
    logits = []
    for examples in splits.values():
        for batch in index_batches(len(examples.y), batch_size):
            rows = predict(as_float(examples.x[batch["index"]]))
            logits.append(rows[batch["mask"] > 0])
    split = np.repeat([*splits], [len(v.y) for v in splits.values()])
    write_rows(
        path,
        key=np.concatenate([examples.key for examples in splits.values()]),
        label=np.concatenate([examples.y for examples in splits.values()]),
        split=split,
        fold=np.where(split == "train", IN_SAMPLE, 0),
        logits=np.concatenate(logits),
        header=header,
    )


def write_rows(
    path: Path,
    *,
    key: np.ndarray,
    label: np.ndarray,
    split: np.ndarray,
    fold: np.ndarray,
    logits: np.ndarray,
    header: Mapping[str, Any],
) -> None:
    """Writes soft labels as they are: a row of each array an example."""
    arrays: dict[str, Any] = {
        "key": key,
        "label": label.astype(np.int32),
        "split": split,
        "fold": fold.astype(np.int32),
        "logits": logits.astype(np.float32),
        "header": np.array(json.dumps(dict(header))),
    }
    files.write(path, functools.partial(np.savez, **arrays))


class Keyed(NamedTuple):
    """Soft labels by key, and the fold of each."""

    key: np.ndarray
    label: np.ndarray
    fold: np.ndarray
    logits: np.ndarray


def read_for(path: Path, examples: Examples, classes: int) -> Keyed:
    """The soft labels of `examples`, in their order, found by key.

    InputError if the file is absent or damaged, has other classes, a key twice, none
    for one of the examples, or another label for it where both have one.
    """
    return _of(path, _read(path, classes), examples)


def read_where_there(
    path: Path, examples: Examples, classes: int
) -> NDArray[np.float32]:
    """The logits [n, classes] of `examples`, NaN for those that have none.

    InputError as `read_for`, but for an example that is not there.
    """
    stored = _read(path, classes)
    there = np.isin(examples.key, stored.key)
    logits = np.full((len(examples.key), classes), np.nan, np.float32)
    if there.any():
        some = take(examples, np.flatnonzero(there))
        logits[there] = _of(path, stored, some).logits
    return logits


def _of(path: Path, stored: Keyed, examples: Examples) -> Keyed:
    """The rows of `examples` among those that the file holds: see `read_for`."""
    rows = rows_of(stored.key, examples.key, where=f"{path}: key")
    own, label = examples.y, stored.label[rows]
    other = (own != label) & (own != UNLABELLED) & (label != UNLABELLED)
    if other.any():
        row = int(np.argmax(other))
        raise InputError(
            f"{path}: label: expected {own[row]} for {str(examples.key[row])!r}, "
            f"found {label[row]}"
        )
    return Keyed(examples.key, label, stored.fold[rows], stored.logits[rows])


def _read(path: Path, classes: int) -> Keyed:
    """All that the file holds, of so many classes, its logits finite."""
    stored = files.read_arrays(path, Keyed)
    _check_kinds(path, stored)
    _check_shape(path, stored.logits, (stored.key.size, classes))
    if not np.isfinite(stored.logits).all():
        row = int(np.argmin(np.isfinite(stored.logits).all(axis=1)))
        raise InputError(
            f"{path}: logits: expected finite values, found NaN or Inf in "
            f"{str(stored.key[row])!r}"
        )
    return stored


def read_soft_labels(path: Path, *, classes: int) -> SoftLabels | None:
    """The soft labels in a file, None where there is none; InputError if damaged."""
    if not path.exists():
        return None
    labels = files.read_arrays(path, SoftLabels)
    _check_kinds(path, labels)
    _check_shape(path, labels.logits, (labels.label.size, classes))
    return labels


# What a column of the file holds: NumPy's letters, and what they mean.
_KINDS = {"label": ("iu", "integers"), "fold": ("iu", "integers")}
_TEXT = ("U", "text")


def _check_kinds(path: Path, stored: Keyed | SoftLabels) -> None:
    """InputError unless each array is of its kind and, but for logits, a column."""
    for name, array in stored._asdict().items():
        if name == "logits":
            right, expected = array.dtype.kind == "f", "numbers [n, classes]"
        else:
            kinds, what = _KINDS.get(name, _TEXT)
            right = array.dtype.kind in kinds and array.shape == stored.label.shape
            right, expected = right and array.ndim == 1, f"{what} [n]"
        if not right:
            raise InputError(
                f"{path}: {name}: expected {expected}, found {array.dtype} "
                f"{array.shape}"
            )


def _check_shape(path: Path, logits: np.ndarray, expected: tuple[int, int]) -> None:
    if logits.shape != expected:
        raise InputError(
            f"{path}: logits: expected shape {expected}, found {logits.shape}"
        )
